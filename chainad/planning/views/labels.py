"""Labels of a picture that overlap nothing: each is put where there is room, or left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase
    from matplotlib.transforms import Bbox

INK = "#222222"
FAINT = "#6E6E6E"

# Between a label and whatever else there is.
_PADDING_PIXELS = 2.0


Horizontal = Literal["left", "center", "right"]


class Anchor(NamedTuple):
    """Where a label may stand: a point of the axes' data, and from there so many points away."""

    x: float
    y: float
    right: float = 0.0
    up: float = 0.0
    horizontal: Horizontal = "center"
    vertical: Literal["top", "center", "bottom"] = "bottom"


class Labels:
    """The labels of one pair of axes, whose limits are final, and what they must not overlap."""

    def __init__(self, axes: Axes, renderer: RendererBase) -> None:
        self._axes, self._renderer = axes, renderer
        self._taken: list[Bbox] = []

    def keep_free(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Let no label cover a rectangle of the axes' data."""
        from matplotlib.transforms import Bbox

        corners = self._axes.transData.transform([(x0, y0), (x1, y1)])
        self._taken.append(Bbox(corners))

    def keep_dot_free(self, x: float, y: float, area: float) -> None:
        """Let no label cover a dot at a point of the axes' data, of some square points."""
        from matplotlib.transforms import Bbox

        x, y = self._axes.transData.transform((x, y))
        radius = area**0.5 / 2 * self._axes.figure.dpi / 72
        self._taken.append(Bbox([(x - radius, y - radius), (x + radius, y + radius)]))

    def put(self, text: str, anchors: Sequence[Anchor], **style: Any) -> bool:
        """Write a label at the first anchor where there is room; return whether there was any."""
        from matplotlib.patheffects import withStroke

        look: dict[str, Any] = {"fontsize": 8.5, "color": INK, "linespacing": 1.15, "zorder": 6}
        look |= style
        room = self._axes.get_window_extent()
        for anchor in anchors:
            label = self._axes.annotate(
                text,
                (anchor.x, anchor.y),
                xytext=(anchor.right, anchor.up),
                textcoords="offset points",
                ha=anchor.horizontal,
                va=anchor.vertical,
                annotation_clip=False,
                parse_math=False,
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
                **look,
            )
            extent = label.get_window_extent(self._renderer)
            padded = extent.padded(_PADDING_PIXELS)
            is_inside = room.x0 <= extent.x0 and extent.x1 <= room.x1
            if is_inside and not any(padded.overlaps(other) for other in self._taken):
                self._taken.append(extent)
                return True
            label.remove()
        return False
