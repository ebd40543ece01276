"""Where a Jacobian has entries, and its local Jacobians: patterns as pictures.

A picture of a large matrix has cells that stand for many entries, the darker the more of them there
are; a cell with one entry can be seen.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from chainad.planning.orders import Vertex
from chainad.planning.views.draw import CHARACTERS_OF_TITLE, new_figure
from chainad.planning.views.labels import FAINT, INK
from chainad.planning.views.quantities import compact, count_text
from chainad.planning.views.report import shapes_of
from chainad.planning.views.terminal import cut
from chainad.structure.structure import Structure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from chainad.planning.plan import Plan

# Cells of a picture in each direction: of the Jacobian, and of a local one.
_RESULT_CELLS, _LOCAL_CELLS = 150, 60

# So many different local Jacobians are shown, those of most entries.
MAX_LOCAL_PATTERNS = 8

# A structure of more entries is shown as if it had all of them.
_MAX_ENTRIES = 20_000_000

# The gray of a cell with few entries, of 1 for a full one.
_LEAST_GRAY = 0.5

_COLUMNS = 4

# Longer matrices are drawn shorter than they are.
_MAX_RATIO = 4

Cells = npt.NDArray[np.float64]


class Pattern(NamedTuple):
    """Where a matrix may have entries other than zero.

    `density` holds, for every cell of a raster over the matrix, which part of it these are.
    """

    name: str
    shape: tuple[int, int]
    entries: int
    density: Cells


class _Block(NamedTuple):
    """Structures of one shape that add up to a block of a matrix, from some row and column on."""

    first: tuple[int, int]
    shape: tuple[int, int]
    terms: Sequence[Structure]
    is_transposed: bool = False


def result_pattern(plan: Plan) -> Pattern:
    """Return the pattern of the Jacobian, of all outputs by all inputs."""
    graph = plan.graph
    rows, cols = (_firsts(plan, vertices) for vertices in (graph.outputs, graph.inputs))
    corners = [(row, col) for row in rows[:-1] for col in cols[:-1]]
    sizes = [(graph.size(o), graph.size(i)) for o in graph.outputs for i in graph.inputs]
    blocks = [
        _Block(corner, size, [plan.structures[k] for k in numbers], k in plan.transposed)
        for k, (corner, size, numbers) in enumerate(zip(corners, sizes, plan.results, strict=True))
    ]
    return _pattern("J", (rows[-1], cols[-1]), blocks, _RESULT_CELLS)


def local_patterns(plan: Plan) -> list[Pattern]:
    """Return the patterns of the local Jacobians, equal ones of one operation together.

    Of many, those of most entries, in the order in which they occur.
    """
    graph = plan.graph
    count: Counter[tuple[str, Structure]] = Counter()
    for k, edge in enumerate(graph.edges):
        operation = graph.origins[k].name.removeprefix("np.") if graph.origins else ""
        count[operation, edge.structure] += 1
    shown = sorted(count, key=lambda key: -count[key] * key[1].nonzeros)[:MAX_LOCAL_PATTERNS]
    found = []
    for operation, structure in sorted(shown, key=[*count].index):
        times = count[operation, structure]
        name = f"{f'{times:,} x ' if times > 1 else ''}{operation}\n{structure.kind}"
        shape = structure.matrix_shape
        found.append(_pattern(name, shape, [_Block((0, 0), shape, [structure])], _LOCAL_CELLS))
    return found


def _firsts(plan: Plan, vertices: Sequence[Vertex]) -> list[int]:
    """Return where the entries of each value begin among those of all, and where they end."""
    return [*accumulate((plan.graph.size(v) for v in vertices), initial=0)]


def _pattern(
    name: str, shape: tuple[int, int], blocks: Sequence[_Block], most_cells: int
) -> Pattern:
    """Return the pattern of a matrix in blocks."""
    n_cells = [min(n, most_cells) for n in shape]
    # Where every cell begins; the last one ends where the matrix does.
    rows, cols = (
        [-(-k * n // max(1, cells)) for k in range(cells + 1)]
        for n, cells in zip(shape, n_cells, strict=True)
    )
    density, counts, n_entries = np.zeros(n_cells), np.zeros(n_cells), 0
    for (row, col), (n_rows, n_cols), terms, is_transposed in blocks:
        if any(structure.nonzeros >= min(n_rows * n_cols, _MAX_ENTRIES) for structure in terms):
            density += np.outer(_parts(rows, row, n_rows), _parts(cols, col, n_cols))
            n_entries += n_rows * n_cols
        elif terms:
            entries = [structure.nonzero_entries() for structure in terms]
            if is_transposed:
                entries = [(other, one) for one, other in entries]
            places = np.unique(np.concatenate([one * n_cols + other for one, other in entries]))
            starts = row + places // n_cols, col + places % n_cols
            at = (place * c // n for place, c, n in zip(starts, n_cells, shape, strict=True))
            np.add.at(counts, tuple(at), 1)
            n_entries += places.size
    if counts.any():
        density += counts / np.outer(np.diff(rows), np.diff(cols))
    return Pattern(name, shape, n_entries, density)


def _parts(starts: Sequence[int], first: int, length: int) -> Cells:
    """Return which part of every cell a range of rows, or of columns, covers."""
    stop = first + length
    return np.array(
        [
            max(0, min(end, stop) - max(start, first)) / (end - start)
            for start, end in pairwise(starts)
        ]
    )


def spy(plan: Plan, path: str | os.PathLike[str] | None = None) -> Figure:
    """Return a picture of the Jacobian's pattern and of those of its local Jacobians.

    It is written to `path`, if given.
    """
    local = local_patterns(plan)
    n_rows = max(1, -(-len(local) // _COLUMNS))
    figure = new_figure(11, 4.3 if n_rows == 1 else 4.9)
    ends = (
        f"{shapes_of(plan.graph, plan.graph.inputs)} -> {shapes_of(plan.graph, plan.graph.outputs)}"
    )
    title = cut(f"{plan.title}: {ends}", CHARACTERS_OF_TITLE)
    figure.text(
        0.03, 0.97, title, fontsize=12, fontweight="bold", color=INK, va="top", parse_math=False
    )
    grid = figure.add_gridspec(
        1, 2, width_ratios=(1, 1.9), left=0.06, right=0.98, top=0.8, bottom=0.08, wspace=0.12
    )
    _picture(result_pattern(plan), figure.add_subplot(grid[0]), 9.5)
    cells = grid[1].subgridspec(n_rows, _COLUMNS, wspace=0.45, hspace=0.85)
    for k, pattern in enumerate(local):
        _picture(pattern, figure.add_subplot(cells[k // _COLUMNS, k % _COLUMNS]), 8)
    if path is not None:
        figure.savefig(path)
    return figure


def _picture(pattern: Pattern, axes: Axes, fontsize: float) -> None:
    rows, cols = pattern.shape
    if pattern.density.size:
        axes.imshow(
            np.where(pattern.density, np.clip(pattern.density, _LEAST_GRAY, 1), np.nan),
            cmap="Greys",
            vmin=0,
            vmax=1.15,
            interpolation="nearest",
            extent=(0, 1, 1, 0),
            aspect="auto" if max(rows, cols) > _MAX_RATIO * min(rows, cols) else rows / cols,
        )
    part = pattern.entries / max(1, rows * cols)
    sizes = "x".join(map(count_text, pattern.shape))
    noun = "entry" if pattern.entries == 1 else "entries"
    axes.set_title(
        f"{pattern.name} {sizes}\n{compact(pattern.entries)} {noun}"
        + (f" ({100 * part:.2g} %)" if part < 1 else ""),
        fontsize=fontsize,
        color=INK,
        parse_math=False,
    )
    axes.set_facecolor("white")
    axes.grid(False)
    axes.set_xticks([0, 1], ["0", count_text(cols)])
    axes.set_yticks([0, 1], ["0", count_text(rows)])
    axes.tick_params(labelsize=7, colors=FAINT, length=2)
    axes.spines[:].set_color(FAINT)
