"""The details of a plan, pinned verbatim."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import chainad
from chainad.ir.graph import Origin
from chainad.ir.sites import FunctionSource, Site
from chainad.planning.auto import make_plan
from chainad.planning.linear_graph import Edge, LinearGraph
from chainad.planning.views.quantities import bytes_text
from chainad.planning.views.terminal import MAX_LINE_LENGTH
from chainad.structure import arrange, dense, diagonal, identity


def bottleneck() -> LinearGraph:
    """Return the chain of a network of widths 1000, 300, 20, 300, 1000."""
    widths = (1000, 300, 20, 300, 1000)
    shapes, edges, origins, names = [(1000,)], [], [], ["x"]
    source = FunctionSource("net.py", "net.py", "net", 2, 7)
    for k, (n, m) in enumerate(pairwise(widths)):
        line = Site(source, 3 + k, f"W{k + 1} @ x")
        edges.append(Edge(len(edges), len(edges) + 1, dense((m,), (n,))))
        origins.append(Origin("matmul", line))
        if k < 3:
            edges.append(Edge(len(edges), len(edges) + 1, diagonal((m,))))
            origins.append(Origin("tanh", line))
    shapes += [edge.structure.row_shape for edge in edges]
    names += [f"v{k}" for k in range(1, len(edges))] + ["y"]
    return LinearGraph(
        tuple(shapes), (0,), (len(edges),), tuple(edges), tuple(origins), tuple(names)
    )


def branching() -> LinearGraph:
    """Return the graph of b = tanh(A x), y = C (b * b) + x[:50] + x[50:]."""
    C, A = dense((50,), (4,)), dense((4,), (100,))
    x = identity((100,)).cols[0]
    halves = [
        arrange([replace(x, size=50)], [replace(x, positions=at)], {0: 50}, scale=1).structure
        for at in (range(50), range(50, 100))
    ]
    edges = (
        Edge(0, 1, A),
        Edge(1, 2, diagonal((4,))),
        Edge(2, 3, diagonal((4,))),
        Edge(2, 3, diagonal((4,))),
        Edge(3, 4, C),
        Edge(0, 4, halves[0]),
        Edge(0, 4, halves[1]),
    )
    names = ("matmul", "tanh", "multiply", "multiply", "matmul", "getitem", "getitem")
    shapes = ((100,), (4,), (4,), (4,), (50,))
    vertices = ("x", "a", "b", "c", "y")
    return LinearGraph(shapes, (0,), (4,), edges, tuple(map(Origin, names)), vertices)


BOTTLENECK = """\
Plan  J: (1000,) -> (1000,)     J is 1000 x 1000, dense
mode        hybrid  (requested: mode='auto')
bracketing  J = (J7 ((J6 J5) J4)) ((J3 J2) J1)
operations  32,018,000 multiplications, 30,960,000 additions, peak 13.2 MB
optimality  optimal over all bracketings of this chain

                             multiplications  vs this plan    additions
  hybrid  <- chosen (chain)       32,018,000          1.0x   30,960,000
  forward                        312,620,000          9.8x  310,680,000
  reverse                        312,620,000          9.8x  310,680,000

  step  direction  product     shapes             structure              mults     %  bytes out
     1  reverse    P1 = J3 J2  20x300 . 300x300   dense . diagonal       6,000   0.0      48 kB
     2  reverse    P2 = P1 J1  20x300 . 300x1000  dense . dense      6,000,000  18.7     160 kB
     3  forward    P3 = J6 J5  300x300 . 300x20   diagonal . dense       6,000   0.0      48 kB
     4  forward    P4 = P3 J4  300x20 . 20x20     dense . diagonal       6,000   0.0      48 kB
     5  forward    P5 = J7 P4  1000x300 . 300x20  dense . dense      6,000,000  18.7     160 kB
     6  join       P6 = P5 P2  1000x20 . 20x1000  dense . dense     20,000,000  62.5       8 MB

local Jacobians
      operation  shape     structure   bytes  line
  J1  matmul     300x1000  dense      2.4 MB  net.py:3  W1 @ x
  J2  tanh       300x300   diagonal   2.4 kB  net.py:3  W1 @ x
  J3  matmul     20x300    dense       48 kB  net.py:4  W2 @ x
  J4  tanh       20x20     diagonal    160 B  net.py:4  W2 @ x
  J5  matmul     300x20    dense       48 kB  net.py:5  W3 @ x
  J6  tanh       300x300   diagonal   2.4 kB  net.py:5  W3 @ x
  J7  matmul     1000x300  dense      2.4 MB  net.py:6  W4 @ x
"""

BRANCHING = """\
Plan  J: (100,) -> (50,)     J is 50 x 100, dense
mode        hybrid  (requested: mode='auto')
bracketing  eliminate b, c, a
operations  20,204 multiplications, 15,154 additions, peak 85.7 kB
optimality  not proved: the best of the orders compared

                                 multiplications  vs this plan  additions
  hybrid  <- chosen (markowitz)           20,204          1.0x     15,154
  reverse                                 20,400         1.01x     15,154
  forward                                 20,800         1.03x     15,154
  exhaustive                              20,204          1.0x     15,154
  one pivot                               20,204          1.0x     15,154

  step  direction  product       shapes           structure               mults     %  bytes out
     1  forward    P1 = J3 + J4  4x4 + 4x4        diagonal + diagonal         0   0.0       32 B
     2  sum        P2 = J6 + J7  50x100 + 50x100  selection + selection       0   0.0      800 B
     3  forward    P3 = P1 J2    4x4 . 4x4        diagonal . diagonal         4   0.0       32 B
     4  forward    P4 = J5 P3    50x4 . 4x4       dense . diagonal          200   1.0     1.6 kB
     5  join       P5 = P4 J1    50x4 . 4x100     dense . dense          20,000  99.0      40 kB
     6  sum        P6 = P2 + P5  50x100 + 50x100  pattern + dense             0   0.0      40 kB

local Jacobians
      operation  shape   structure   bytes  line
  J1  matmul     4x100   dense      3.2 kB
  J2  tanh       4x4     diagonal     32 B
  J3  multiply   4x4     diagonal     32 B
  J4  multiply   4x4     diagonal     32 B
  J5  matmul     50x4    dense      1.6 kB
  J6  getitem    50x100  selection     0 B
  J7  getitem    50x100  selection     0 B
"""


@pytest.mark.parametrize(
    ("graph", "text"),
    [(bottleneck(), BOTTLENECK), (branching(), BRANCHING)],
    ids=["a chain", "a graph that branches"],
)
def test_report_reads(graph: LinearGraph, text: str) -> None:
    assert make_plan(graph).details() + "\n" == text


def test_report_of_a_zero_jacobian_says_so() -> None:
    graph = LinearGraph(((3,), (2,)), (0,), (1,), ())
    assert "J is 2 x 3, zero" in make_plan(graph).details()


def test_report_of_several_blocks_says_how_many() -> None:
    edges = (Edge(0, 2, dense((2,), (3,))), Edge(1, 3, dense((2,), (3,))))
    graph = LinearGraph(((3,), (3,), (2,), (2,)), (0, 1), (2, 3), edges)
    assert "J: (3,), (3,) -> (2,), (2,)     J has 2 x 2 blocks" in make_plan(graph).details()


def test_report_of_a_long_chain_is_cut() -> None:
    text = chainad.plan_chain([2 + k % 5 for k in range(102)]).details()
    assert "  ... 60 more steps" in text
    assert "  ... 61 more local Jacobians" in text
    lines = text.splitlines()
    assert len(lines) < 110
    bracketing = next(line for line in lines if line.startswith("bracketing"))
    assert " ... " in bracketing
    assert len(bracketing) <= MAX_LINE_LENGTH


def test_report_prints_the_title_it_is_given() -> None:
    text = replace(make_plan(bottleneck()), title="encoder(x)").details()
    assert text.startswith("Plan  encoder(x): (1000,) -> (1000,)")


BYTES = [
    (0, "0 B"),
    (999, "999 B"),
    (1000, "1 kB"),
    (999_600, "1 MB"),
    (5 * 10**12, "5 TB"),
    (8_080_000, "8.08 MB"),
    (48_000_000, "48 MB"),
    (7_500_000_000, "7.5 GB"),
    (12_345 * 10**12, "12,345 TB"),
]


@pytest.mark.parametrize(("count", "text"), BYTES)
def test_bytes_are_written_in_a_unit_that_suits(count: int, text: str) -> None:
    assert bytes_text(count) == text


def test_a_plan_is_one_line_to_debuggers() -> None:
    narrow = np.ones((3, 50)), np.ones((50, 3))

    def codec(x: np.ndarray) -> np.ndarray:
        return np.sin(narrow[1] @ np.tanh(narrow[0] @ np.sin(narrow[1] @ (narrow[0] @ x))))

    plan = chainad.plan(codec, np.ones(50))
    # 150 + 450 + 9 in the middle, 150 + 450 beside it, 7,500 to join
    words = "hybrid, 8,709 multiplications, 2.91x under reverse, 26.8 kB"
    assert repr(plan) == f"<Plan codec(x) (50,) -> (50,) {words}>"
    square = np.ones((50, 50))
    in_blocks = chainad.plan(
        lambda x: square @ np.tanh(square @ np.tanh(square @ x)), np.ones(50), memory_limit="92 kB"
    )
    assert repr(in_blocks).startswith("<ChunkedPlan <lambda>(x) in ")
    assert "within 92 kB" in repr(in_blocks)


def test_only_diagonals_are_called_so() -> None:
    A, B, x = np.ones((5, 5)), np.ones((6, 6)), np.ones(900)
    text = chainad.plan(lambda X: A @ X + X @ B, np.ones((5, 6))).explain()
    assert "J is 30 x 30, sparse with at most 330 entries" in text
    assert ", 2 diagonals," in chainad.plan(lambda x: x[1:] - 2 * x[:-1], x).explain()
    order = np.arange(900) * 7 % 900
    assert "diagonals," not in chainad.plan(lambda x: x[order] - 2 * x, x).explain()
