"""Pictures of plans: what is written does not overlap, and is what there is to say."""

from __future__ import annotations

import ast
import pickle
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from functions_to_draw import CASES, plan_of

import chainad
from chainad.errors import MissingExtraError
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.views.spy import local_patterns, result_pattern

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

pytestmark = pytest.mark.plot
names = pytest.mark.parametrize("name", sorted({*CASES} - {"thousands"}))
MATRIX = np.linspace(-1, 1, 240).reshape(6, 40)


def two_ends() -> Any:
    def model(a: Any, b: Any) -> Any:
        return np.tanh(MATRIX @ (a * b)), np.sum(a) * b  # costs $5, not $6

    return chainad.plan(model, np.ones(40), np.ones(40), argnums=(0, 1))


def many_inputs() -> Any:
    def network(weights: Any) -> Any:
        h = MATRIX[:, :4]
        for weight in weights:
            h = np.tanh(h @ weight)
        return np.sum(h)

    return chainad.plan(network, [np.ones((4, 4))] * 5)


OTHERS = {
    "two_ends": two_ends,
    "many_inputs": many_inputs,
    "chain": lambda: chainad.plan_chain([30, 1, 40, 10, 10_000, 25]),
    "enormous": lambda: chainad.plan_chain([10**120, 3, 10**130, 5]),
    "hessian": lambda: chainad.plan(
        chainad.jacobian(lambda x: np.sum(np.tanh(MATRIX @ x) ** 3)), np.ones(40)
    ),
    "constant": lambda: chainad.plan(lambda x: np.zeros(3), np.ones(2)),
    "solve": lambda: chainad.plan(lambda x: np.linalg.solve(np.eye(40) * x[0], x), np.ones(40)),
    "time": lambda: chainad.plan(lambda x: np.cumsum(np.sin(x)), np.ones(40), cost="time"),
}


@cache
def figure_of(name: str) -> Figure:
    plan = OTHERS[name]() if name in OTHERS else plan_of(name)
    return plan.draw()


def texts(figure: Figure) -> list[Text]:
    found = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    found += [text for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        found += [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]
        if axes.axison:
            found += [*axes.get_xticklabels(), *axes.get_yticklabels()]
    return [text for text in found if text.get_text().strip() and text.get_visible()]


def extents(figure: Figure) -> list[tuple[str, Bbox]]:
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    return [(t.get_text(), t.get_window_extent(renderer)) for t in texts(figure)]


@pytest.mark.parametrize("name", [*sorted({*CASES} - {"thousands"}), *OTHERS])
def test_no_two_texts_overlap_and_none_is_cut_off(name: str) -> None:
    figure = figure_of(name)
    found = extents(figure)
    for text, extent in found:
        assert figure.bbox.x0 <= extent.x0, text
        assert extent.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= extent.y0, text
        assert extent.y1 <= figure.bbox.y1, text
    for (one, first), (other, second) in combinations(found, 2):
        assert not first.padded(-0.5).overlaps(second.padded(-0.5)), (one, other)


@names
def test_no_label_touches_a_bar(name: str) -> None:
    from matplotlib.patches import Rectangle

    figure = figure_of(name)
    figure.draw_without_rendering()
    values = figure.axes[0]
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    bars = [p.get_window_extent(renderer) for p in values.patches if isinstance(p, Rectangle)]
    for text in values.texts:
        if text.get_text():
            extent = text.get_window_extent(renderer)
            assert not any(extent.overlaps(bar) for bar in bars), text.get_text()


def written(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in texts(figure))


def test_a_bottleneck_is_marked_with_the_line_of_the_user() -> None:
    text = written(figure_of("codec"))
    assert "narrowest: 20 entries\nfunctions_to_draw.py:" in text
    assert "hidden = np.tanh(narrower @ (narrow @ x))" in text
    assert "312M  9.7x" in text
    assert "1000x20 . 20x1000\n62 %" in text


def test_many_inputs_have_their_labels_beside_them() -> None:
    lines = written(figure_of("many_inputs")).splitlines()
    assert {f"weights[{k}]  16" for k in range(5)} <= {*lines}


def test_later_iterations_are_one_bar() -> None:
    assert "7 more\niterations" in written(figure_of("runge_kutta"))


def test_a_picture_without_products_has_no_costs() -> None:
    assert len(figure_of("one").axes) == 1
    assert len(figure_of("attention").axes) == 3


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_pictures_are_written_to_files(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"plan.{ending}"
    chainad.plan_chain([9, 2, 9]).draw(path)
    assert path.stat().st_size > 5_000


def test_notebooks_show_pictures_and_pickle_keeps_them() -> None:
    figure = chainad.plan_chain([9, 2, 9]).draw()
    for shown in (figure, pickle.loads(pickle.dumps(figure))):
        assert shown._repr_png_().startswith(b"\x89PNG")


def test_pictures_do_not_depend_on_the_style_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import rcParams
    from matplotlib.colors import to_hex

    dark = {"text.color": "w", "axes.facecolor": "k", "axes.grid": True, "axes.labelcolor": "w"}
    dark |= {"xtick.color": "w", "ytick.color": "w", "figure.autolayout": True}
    for key, value in dark.items():
        monkeypatch.setitem(rcParams, key, value)
    plan = plan_of("burgers")
    for figure in (plan.draw(), plan.spy()):
        assert "#ffffff" not in {to_hex(text.get_color()) for text in texts(figure)}
        assert not any(line.get_visible() for a in figure.axes for line in a.get_xgridlines())
        assert {axes.get_facecolor() for axes in figure.axes} <= {(0, 0, 0, 0), (1, 1, 1, 1)}


def test_pyplot_and_its_global_state_are_not_used() -> None:
    for path in (Path(chainad.__file__).parent / "planning" / "views").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert "pyplot" not in ast.unparse(node), path


def test_the_extra_is_named_where_matplotlib_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainad.planning.views.draw.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "chainad\[plot\]"'):
        chainad.plan_chain([9, 2, 9]).draw()


def test_a_chunked_plan_draws_its_first_block() -> None:
    function, x = CASES["codec"]()
    plan = chainad.plan(function, x, memory_limit="13.2 MB")
    assert isinstance(plan, ChunkedPlan)
    figure = plan.draw()
    assert f"codec(x), the first of {len(plan.chunks)} blocks of columns" in written(figure)


# ------------------------------------------------------------------------------ patterns


def test_the_pattern_of_the_result_is_that_of_the_sparse_jacobian() -> None:
    function, x = CASES["burgers"]()
    pattern = result_pattern(plan_of("burgers"))
    sparse = chainad.jacobian(function, output="sparse")(x)
    assert pattern.shape == sparse.shape
    assert pattern.entries == sparse.nnz
    assert pattern.density.shape == (150, 150)


def test_blocks_of_several_inputs_and_outputs_stand_where_they_belong() -> None:
    pattern = result_pattern(two_ends())
    assert pattern.shape == (46, 80)
    assert pattern.entries == 6 * 80 + 40 * 40 + 40
    lower_right = pattern.density[6:, 40:]
    np.testing.assert_array_equal(lower_right, np.eye(40))


@names
def test_densities_are_parts(name: str) -> None:
    plan = plan_of(name)
    for pattern in [result_pattern(plan), *local_patterns(plan)]:
        assert pattern.density.min(initial=0) >= 0
        assert pattern.density.max(initial=0) <= 1
        assert pattern.entries <= pattern.shape[0] * pattern.shape[1]


def test_local_patterns_are_counted() -> None:
    found = {p.name: p.entries for p in local_patterns(plan_of("equal_layers"))}
    assert found["50 x matmul\ndense"] == 64 * 64
    assert found["50 x tanh\ndiagonal"] == 64


@pytest.mark.parametrize("name", ["codec", "attention", "none", "two_ends", "constant", "enormous"])
def test_titles_of_patterns_do_not_overlap(name: str) -> None:
    plan = OTHERS[name]() if name in OTHERS else plan_of(name)
    for (one, first), (other, second) in combinations(extents(plan.spy()), 2):
        assert not first.padded(-0.5).overlaps(second.padded(-0.5)), (one, other)
