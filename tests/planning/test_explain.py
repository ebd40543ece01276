"""What `print` shows of a plan: the saving, the place to meet, the lines that are paid for."""

from __future__ import annotations

import re
from io import StringIO
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from test_report import bottleneck, branching

import chainad
from chainad.planning.auto import make_plan
from chainad.planning.linear_graph import Edge, LinearGraph
from chainad.planning.views.diagram import diagram_of
from chainad.planning.views.directions import shown_directions
from chainad.structure import identity

BOTTLENECK = """\
J: (1000,) -> (1000,)    J is 1000 x 1000, dense, 32,018,000 multiplications
Cheapest place to meet: net.py:4 `W2 @ x`, 20 numbers. What is before is pulled back, what is after
is pushed forward: 9.8x fewer multiplications than forward or reverse.

widths  █████▃▃▃▃▃▃▃▃▃▃▁▁▁▁▁▁▁▁▁▁▃▃▃▃▃▃▃▃▃▃█████  1,000 numbers in, 20 at the narrowest, 1,000 out

  hybrid (this plan)     32,018,000      1.0x  ███
  forward               312,620,000      9.8x  ██████████████████████████████
  reverse               312,620,000      9.8x  ██████████████████████████████

the 3 most expensive of 6 steps, 99.9 % of the multiplications
  62.5 %  20,000,000  joined          1000 -> 20 -> 1000  net.py:4  W2 @ x
  18.7 %   6,000,000  pulled back     1000 -> 300 -> 20   net.py:3  W1 @ x
  18.7 %   6,000,000  pushed forward  20 -> 300 -> 1000   net.py:6  W4 @ x

7 local Jacobians: 4 dense, 3 diagonal
peak 13.2 MB; optimal over all bracketings of this chain
"""


def test_a_bottleneck_is_explained() -> None:
    assert make_plan(bottleneck()).explain(width=100) + "\n" == BOTTLENECK


def test_steps_that_multiply_nothing_are_shown_if_asked_for() -> None:
    plan = chainad.plan(lambda u: np.concatenate([[0.0], u[1:] - u[:-1]]), np.ones(20))
    assert not plan.multiplications
    assert f"all {len(plan.steps)} steps" in plan.explain(rows=len(plan.steps))
    assert f"the most expensive of {len(plan.steps)} steps" in plan.explain(rows=1)


def test_a_constant_has_no_local_jacobian() -> None:
    assert "\nno local Jacobian\n" in chainad.plan(lambda x: np.zeros(3), np.ones(2)).explain()


def test_a_small_saving_is_said_in_percent() -> None:
    close, far = (chainad.plan_chain(sizes) for sizes in ([10, 9, 10, 9], [9, 2, 8, 9]))
    assert ": 10 % fewer multiplications than forward." in close.explain(width=200)
    assert ": 2.6x fewer multiplications than forward." in far.explain(width=200)


def test_a_narrow_place_may_have_one_local_jacobian_on_a_side() -> None:
    text = make_plan(branching()).explain(width=100)
    assert "Cheapest place to meet: the value a, 4 numbers. What is before is pulled back" in text
    # Between equal layers there is no direction that costs less.
    layers = [np.eye(8) for _ in range(50)]
    wide = np.ones((8, 90)), np.ones((90, 8))

    def equal(x: Any) -> Any:
        x = wide[0] @ x
        for W in layers:
            x = np.tanh(W @ x)
        return wide[1] @ x

    plan = chainad.plan(equal, np.ones(90))
    assert "What is before and what is after is multiplied first" in plan.explain(width=200)
    assert "49 x pulled back" in plan.explain() or "49 x pushed forward" in plan.explain()
    assert len(plan.explain().splitlines()) <= 30


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("forward", "Pushed forward from the input to the output, one operation after the other; "
         "reverse takes 28.9 % fewer multiplications."),
        ("reverse", "Pulled back from the output to the input, one operation after the other: 1.4x "
         "fewer multiplications than forward."),
    ],
)  # fmt: skip
def test_the_pure_modes_are_compared(mode: str, words: str) -> None:
    plan = chainad.plan_chain([5, 4, 3, 2], mode=mode)
    assert words in plan.explain(width=200)
    assert f"{mode} (this plan)" in plan.explain()


def test_orders_that_cost_the_same_are_not_called_cheaper() -> None:
    plan = chainad.plan_chain([3, 3, 3, 3, 3], mode="hybrid")
    assert plan.mode == "hybrid"
    assert "hybrid" not in plan.explain()
    assert "forward or reverse costs the same" in plan.explain()
    tied = chainad.plan_chain([2, 5, 5, 2, 2])
    assert tied.mode == "hybrid"
    assert "\nAnother order, but no cheaper one: of the cost" in tied.explain()


def test_free_products_say_so() -> None:
    eye = identity((3,))
    graph = LinearGraph(((3,),) * 3, (0,), (2,), (Edge(0, 1, eye), Edge(1, 2, eye)))
    text = make_plan(graph).explain()
    assert "Nothing to multiply: local Jacobians are at most moved and added." in text
    assert "J is 3 x 3, identity" in text
    assert "most expensive" not in text


def test_an_operator_alone_is_not_free() -> None:
    A = np.diag([2.0, 3.0]) + 1
    text = str(chainad.jacobian(lambda b: np.linalg.solve(A, b)).explain(np.ones(2)))
    assert "No products: operators are written out" in text
    assert "Nothing to multiply" not in text


def test_a_product_of_two_local_jacobians_goes_the_way_it_is_used() -> None:
    plan = make_plan(bottleneck())
    n = len(plan.graph.edges)
    directions = [shown_directions(plan)[n + k] for k in range(6)]
    assert [step.direction for step in plan.steps] == [
        "leaf", "reverse", "leaf", "reverse", "forward", "join"]  # fmt: skip
    # What costs little goes the way of what it prepares: here that is pushed forward.
    assert directions == ["reverse", "reverse", "forward", "forward", "forward", "join"]


def test_the_last_product_of_two_local_jacobians_goes_the_way_of_the_plan() -> None:
    plan = chainad.plan(lambda x, y: np.sin(x * y), 0.5, 3.0, argnums=(0, 1))
    assert plan.mode == "forward"
    assert {*shown_directions(plan).values()} == {"forward"}
    assert "joined" not in plan.explain()


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_width_of_the_terminal_is_kept(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(5, 200, 40)
    layers = [rng.normal(size=(m, n)) for n, m in pairwise(sizes)]

    def deep(x: Any) -> Any:
        for W in layers:
            x = (
                np.tanh(np.where(x > 0, x, 0.1 * x) + 0.0 * x)
                if W is None
                else np.tanh(W @ x) * 1.0
            )
        return x

    plan = chainad.plan(deep, np.ones(sizes[0]))
    monkeypatch.setenv("COLUMNS", str(width))
    lines = str(plan).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= 30
    assert len(plan.explain(rows=3).splitlines()) == len(lines) - 5


def test_by_another_cost_it_is_that_which_is_compared() -> None:
    plan = chainad.plan_chain([50, 3, 40, 50], cost="bytes")
    assert "kB by bytes" in plan.explain()
    assert "less cost by bytes than forward" in plan.explain(width=200)


def test_ends_and_a_narrow_place_show_beside_arguments_that_are_returned() -> None:
    encode, decode = np.ones((4, 90)), np.ones((90, 4))

    def penalized(x: Any) -> Any:
        z = encode @ np.sin(np.ones((90, 90)) @ x)
        for _ in range(60):
            z = np.tanh(z)
        return np.concatenate([np.ones((90, 90)) @ np.sin(decode @ z), x])

    text = chainad.plan(penalized, np.ones(90)).explain(width=100)
    assert "Cheapest place to meet: test_explain.py" in text
    (widths,) = [line.split()[1] for line in text.splitlines() if line.startswith("widths")]
    assert (widths[0], widths[len(widths) // 2], widths[-1]) == ("▅", "▁", "█")


def test_plans_of_compiled_functions_name_the_lines_and_arguments():
    E = np.ones((3, 40))

    def f(weights):
        return np.tanh(E @ np.sin(weights)) + E[:, 0]

    known = chainad.plan(f, np.ones(40))
    plan = chainad.compile(chainad.jacobian(f), np.ones(40), backend="numpy").plan
    assert plan.explain() == known.explain()
    assert plan.details() == known.details()


def test_equal_shapes_are_counted_where_there_are_many():
    f = chainad.jacobian(lambda x: np.stack([x[0] * x[1], x[2]]), batch=0, backend="python")
    assert "6 x () -> (), ()" in repr(f.plan(np.ones((2, 6))))


WITHOUT_LINES = """\
chain: (30,) -> (7,)    J is 7 x 30, dense, 980 multiplications
Pulled back from the output to the input, one operation after the other: 11.0x fewer multiplications
than forward.

widths  ▇▇▇▇▇▇▁▁▁▁▁▁██████▂▂▂▂▂▂  30 numbers in, 2 at the narrowest, 7 out

  reverse (this plan)      980      1.0x  ███
  forward               10,800     11.0x  ██████████████████████████████
  other orders          chain 1.0x

all 2 steps, 100 % of the multiplications
  57.1 %  560  pulled back  2 -> 40 -> 7  value v2
  42.9 %  420  pulled back  30 -> 2 -> 7  value v1

values: v1 = matrix(x), 2; v2 = matrix(v1), 40
3 local Jacobians: 3 dense
peak 5.15 kB; optimal over all bracketings of this chain
"""


def test_values_that_go_by_their_names_are_defined() -> None:
    assert chainad.plan_chain([30, 2, 40, 7]).explain(width=100) + "\n" == WITHOUT_LINES


def test_equal_steps_without_lines_are_together() -> None:
    text = chainad.plan_chain([5] * 41, mode="forward").explain(width=100)
    assert "39 x pushed forward  5 -> 5 -> 5  values v2, v3, ..., y\n" in text
    assert "values: v2 = matrix(v1), 5; v3 = matrix(v2), 5; y = matrix(v39), 5\n" in text


def test_steps_without_multiplications_are_shown_if_requested() -> None:
    plan = chainad.plan(lambda x: np.sin(x[::-1]) * x + np.roll(x, 1), np.ones(5))
    assert "    0.0 %  0  pushed forward  5 -> 5 -> 5  " not in plan.explain(width=100)
    assert "    0.0 %  0  pushed forward  5 -> 5 -> 5  " in plan.explain(rows=20, width=100)
    assert "all 6 steps, 100 % of the multiplications" in plan.explain(rows=20)
    assert "the 2 most expensive of 6 steps" in plan.explain(rows=2)


def test_shapes_of_arrays_are_shown() -> None:
    A, B = np.ones((6, 4)), np.ones((3, 7))
    text = chainad.plan(lambda x: np.tanh(A @ x) @ B, np.ones((4, 3))).explain(width=100)
    assert "4x3 -> 6x3 -> 6x7" in text


def test_a_hybrid_order_that_saves_nothing_is_not_called_so() -> None:
    plan = chainad.plan_chain([3, 3, 3, 3, 3], mode="hybrid")
    assert repr(plan) == "<Plan chain (3,) -> (3,), 81 multiplications, 504 B>"
    assert "hybrid" not in plan.details().replace("mode='hybrid'", "").replace("(hybrid)", "")
    saving = chainad.plan_chain([9, 2, 9, 2, 9])
    assert repr(saving).startswith("<Plan chain (9,) -> (9,) hybrid, ")


def test_kinds_are_shown_beside_the_code_where_there_is_room() -> None:
    A = np.ones((4, 4))
    plan = chainad.plan(lambda x: np.tanh(A @ x), np.ones(4))
    assert "  diagonal\n" in plan.explain(width=140)
    assert "  diagonal\n" not in plan.explain(width=60)


def test_rich_shows_the_same_text_in_colors() -> None:
    rich = pytest.importorskip("rich.console")
    plan = make_plan(bottleneck())
    shown = [
        rich.Console(file=StringIO(), width=width, color_system=colors, force_terminal=True)
        for width, colors in ((100, None), (70, None), (200, "truecolor"))
    ]
    for console in shown:
        console.print(plan)
    plain, narrow, colored = (console.file.getvalue() for console in shown)
    assert plain == plan.explain(width=100) + "\n"
    assert narrow == plan.explain(width=70) + "\n"
    assert re.sub("\x1b\\[[0-9;]*m", "", colored) == plain
    green = "\x1b[38;2;0;158;115m"
    assert f"{green}joined\x1b[0m" in colored
    assert f"{green}███\x1b[0m" in colored


def test_calls_on_several_lines_are_named_by_all_of_them() -> None:
    def entries(x: Any) -> Any:
        z = []
        for k in range(40):
            a = x[k] * x[k + 1]
            b = x[k] * x[k + 2]
            z.append(np.sin(a) * b)
        return np.array(z)

    line = entries.__code__.co_firstlineno + 3
    text = chainad.plan(entries, np.ones(42)).explain(width=100)
    assert f"test_explain.py:{line}, {line + 1}  a = x[k] * x[k + 1]" in text


def test_small_products_in_another_order_are_no_direction() -> None:
    data = np.ones((200, 30))

    def loss(W: Any, b: Any) -> Any:
        return np.mean(np.tanh(data @ W + b) ** 2)

    J = chainad.jacobian(loss, argnums=(0, 1))
    text = J.plan(np.ones((30, 5)), np.ones(5)).explain(width=200)
    assert "Pulled back from the output to the input, with some small products in anoth" in text


def test_time_is_less_not_fewer() -> None:
    A, B = np.ones((50, 10)), np.ones((200, 50))
    plan = chainad.plan(lambda x: B @ np.tanh(A @ x), np.ones(10), cost="time")
    assert "x less time than " in plan.explain(width=200) or " % less time than " in plan.explain(
        width=200
    )


def test_what_scales_goes_the_way_of_what_it_goes_into() -> None:
    rng = np.random.default_rng(0)
    C, E = rng.normal(size=(40, 90)), rng.normal(size=(6, 40))
    D, B = rng.normal(size=(40, 6)), rng.normal(size=(90, 40))
    plan = chainad.plan(lambda x: B @ np.sin(D @ np.tanh(E @ (C @ x))), np.ones(90))
    shown = shown_directions(plan)
    small = [s for s in plan.steps if "diagonal" in {plan.structures[k].kind for k in s[1:3]}]
    assert [s.direction for s in small] == ["leaf", "reverse"]
    assert [shown[s.number] for s in small] == ["forward", "forward"]
    assert [arc.direction for arc in diagram_of(plan).arcs] == [
        "reverse", "reverse", "forward", "forward", "forward", "forward"]  # fmt: skip


def test_the_narrowest_of_several_places_is_named() -> None:
    plan = chainad.plan_chain([900, 90, 7, 215, 6, 90, 900])
    assert ", 6 numbers. What" in plan.explain(width=200)
    # The last product is made at v5 of one local Jacobian, and is joined there nevertheless.
    text = chainad.plan_chain([1000, 8, 300, 9, 400, 7, 1000]).explain(width=200)
    assert "place to meet: the value v5, 7 numbers" in text
    assert "7,000,000  joined          1000 -> 7 -> 1000" in text


def test_many_names_and_shapes_are_cut() -> None:
    def many(*xs: Any) -> Any:
        return [np.ones(k + 1) * x[0] for k, x in enumerate(xs)]

    plan = chainad.plan(many, *[np.ones(2 + k) for k in range(40)], argnums=tuple(range(40)))
    assert repr(plan).startswith(
        "<Plan many(x0, x1, x2, x3, x4, x5, x6, ..., x39) (2,), (3,), (4,), (5,), (6,), (7,), (8,),"
        " ..., (41,) (40 arrays) -> (1,), (2,), (3,)"
    )
    assert len(repr(plan)) < 300
