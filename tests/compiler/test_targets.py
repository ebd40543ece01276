"""Other front ends and back ends: a graph made by hand, run by a backend of a few lines."""

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainad
from chainad.api.outputs import nesting
from chainad.compiler.chunked_programs import compile_chunks
from chainad.compiler.lower import lower
from chainad.compiler.matrix_free import Sweeps
from chainad.compiler.target import Target
from chainad.ir import ops, trees
from chainad.ir.op import Op
from chainad.ir.program import Program, Runner
from chainad.ir.signature import signature_of
from chainad.ir.trees import LEAF
from chainad.planning.auto import make_plan
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.linear_graph import Edge, LinearGraph
from chainad.planning.memory import plan_within
from chainad.planning.search.budget import search_options
from chainad.structure import (
    Arrangement,
    dense,
    diagonal,
    from_labels,
    reduced,
    reshaped,
    selection,
    strided,
)
from chainad.testing import apply_op, apply_ops, path_sum

ROOT = Path(chainad.__file__).parent
DTYPE = np.dtype(np.float32)

# ------------------------------------------------------------------- a backend


def apply(op: Op, *arrays: Any) -> Any:
    """Do what an op says, in the dtype of this backend."""
    if isinstance(op, ops.MatMul):
        return np.matmul(*arrays)
    return np.asarray(apply_op(op, *arrays), DTYPE)


def build(program: Program) -> Runner:
    """Return what runs a program, instruction by instruction."""

    def run(slots: Sequence[Any]) -> tuple[Any, ...]:
        registers = {k: slots[k] for k in program.used_slots}
        for i in program.instructions:
            registers[i.output] = apply(i.op, *[registers[k] for k in i.inputs])
        return tuple(None if k is None else registers[k] for k in program.outputs)

    return run


TARGET = Target(build)

# --------------------------------------------------------------------- a graph


def stated(structure: Any) -> Arrangement:
    """Return a structure whose array is stored as it is."""
    return Arrangement(structure, ())


def some(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(DTYPE)


_folded, _flipped = reshaped((12,), (3, 4)), strided(3, (4, -1), (3, 4), (3, 4))
assert _folded is not None
assert _flipped is not None
ROW, COL, INNER = 0, 1, 2
BLOCKS = (
    [(5, [ROW]), (4, [COL])],
    [(3, [INNER]), (4, [COL])],
    {ROW: 5, COL: 4, INNER: 3},
)
# Tail, head, arrangement, and the array in the layout that a rule would state.
LOCALS: list[tuple[int, int, Arrangement, Any]] = [
    (0, 1, stated(diagonal((12,))), some(12)),  # an elementwise function
    (1, 2, _folded, None),  # a reshape
    (2, 3, _flipped, None),  # a view, the other way round
    (3, 4, from_labels(*BLOCKS, [INNER, ROW]), some(3, 5)),  # A.T @ X
    (2, 4, from_labels(*BLOCKS, [ROW, INNER]), some(5, 3)),  # B @ X, which is added
    (4, 5, reduced((4,), (5, 4), (0,), 1), None),  # a sum over rows
    (5, 6, selection(np.array([3, 3, 0, 1, 2]), (4,)), None),  # a gather
    (1, 6, stated(dense((5,), (12,))), some(5, 12)),
]  # fmt: skip
SHAPES = ((12,), (12,), (3, 4), (3, 4), (5, 4), (4,), (5,))
GRAPH = LinearGraph(
    SHAPES, (0,), (6,), tuple(Edge(tail, head, a.structure) for tail, head, a, _ in LOCALS)
)
OPS = [arrangement.ops for _, _, arrangement, _ in LOCALS]
SLOTS = [array for _, _, _, array in LOCALS]


def jacobian() -> Any:
    """Return the Jacobian: over all paths, the products of dense local Jacobians."""
    stored = [apply_ops(each, array) for each, array in zip(OPS, SLOTS, strict=True)]
    return path_sum(GRAPH, stored)[0]


def assert_is_jacobian(found: Any) -> None:
    assert found.dtype == DTYPE
    np.testing.assert_allclose(found, jacobian().reshape(found.shape), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["auto", "forward", "reverse", "exhaustive"])
def test_a_graph_made_by_hand_runs_on_another_backend(mode: Any) -> None:
    lowered = lower(make_plan(GRAPH, mode), OPS, passes=TARGET.passes)
    (found,) = TARGET.build(lowered.program)(SLOTS)
    assert_is_jacobian(found)


def test_a_plan_in_blocks_runs_on_another_backend() -> None:
    plan = plan_within(GRAPH, "auto", 4, "multiplications", 850, "dense", search_options("fast"))
    assert isinstance(plan, ChunkedPlan)
    (found,) = compile_chunks(plan, OPS, TARGET)(SLOTS)
    assert_is_jacobian(found)


def test_sweeps_run_on_another_backend() -> None:
    sweeps = Sweeps(GRAPH, OPS, (0, 6), TARGET)
    slots = [SLOTS[k] for k in sweeps.slots]
    assert_is_jacobian(sweeps.jvp(slots, np.eye(12, dtype=DTYPE)))
    assert_is_jacobian(sweeps.vjp(slots, np.eye(5, dtype=DTYPE)))


def test_results_are_nested_and_typed_as_the_signature_says() -> None:
    single, double = np.dtype(np.float32), np.dtype(float)
    inputs = np.zeros(2, single), np.zeros((), double)
    outputs = np.zeros(3, single), np.zeros((), int)
    signature = signature_of(inputs, outputs, "a key")
    assert [(*b.rows, *b.cols) for b in signature.blocks] == [(3, 2), (3,), (2,), ()]
    assert [b.dtype for b in signature.blocks] == [single, single, single, double]
    assert signature.itemsize == 8
    pair = trees.tuple_of((LEAF, LEAF))
    assert nesting(pair, (LEAF, LEAF), is_single=False).unflatten("abcd") == (
        ("a", "b"),
        ("c", "d"),
    )


# ----------------------------------------------------------------- what it takes

# What a front end and a backend of another library build on.
SEAMS = (
    "chainad.ir.signature",
    "chainad.structure",
    "chainad.planning.auto",
    "chainad.planning.memory",
    "chainad.planning.cost_models",
    "chainad.compiler.lower",
    "chainad.compiler.target",
    "chainad.compiler.chunked_programs",
    "chainad.compiler.matrix_free",
)


def file_of(module: str) -> Path | None:
    path = ROOT.parent.joinpath(*module.split("."))
    found = [path.with_suffix(".py"), path / "__init__.py"]
    return next((file for file in found if file.exists()), None)


def imports_of(module: str) -> set[str]:
    """Return the modules that importing a module imports, the packages around them included."""
    found: set[str] = set()
    remaining = [module]
    while remaining:
        name = remaining.pop()
        file = file_of(name)
        if file is None or name == "chainad" or name in found:
            continue
        found.add(name)
        remaining.append(name.rpartition(".")[0])
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                remaining += [node.module, *(f"{node.module}.{x.name}" for x in node.names)]
    return found


@pytest.mark.parametrize("module", SEAMS)
def test_the_way_from_structures_to_programs_needs_no_front_end_rule_or_backend(
    module: str,
) -> None:
    found = imports_of(module)
    assert len(found) > 1
    others = ("chainad.frontends", "chainad.rules", "chainad.backends", "chainad.api")
    assert not [name for name in found if name.startswith(others)]
