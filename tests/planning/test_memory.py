"""Limits of memory: obeyed by plans, by programs, and refused where nothing keeps within them."""

import gc
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainad
from chainad.api.targets import NUMPY
from chainad.backends.numpy.build import build
from chainad.compiler.chunked_programs import compile_chunks
from chainad.compiler.lower import lower
from chainad.errors import InputError, PlanError, TooLargeError
from chainad.planning.auto import make_plan
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.machine_memory import _limits_of_groups, memory_of_machine
from chainad.planning.memory import bytes_of, plan_in_blocks, plan_within
from chainad.planning.plan import Plan
from chainad.testing import path_sum, random_graph

randoms = st.randoms(use_true_random=False)
rng = np.random.default_rng(0)
K = 24
LEFT, RIGHT = ([rng.normal(size=(K, K)) / 5 for _ in range(3)] for _ in range(2))


def mixed(X: np.ndarray) -> np.ndarray:
    """Map K x K entries to K x K entries; every product of two of its Jacobians is dense."""
    for a, b in zip(LEFT, RIGHT, strict=True):
        X = np.tanh(a @ X @ b)
    return X


X = rng.normal(size=(K, K))
RESULT = 8 * K**4


SIZES = [
    ("2 GB", 2 * 10**9),
    ("2GB", 2 * 10**9),
    (" 1.5 kb ", 1500),
    ("1 KiB", 1024),
    ("3 MiB", 3 * 2**20),
    ("7 B", 7),
    (12, 12),
]


@pytest.mark.parametrize(("text", "count"), SIZES)
def test_limits_are_read(text: str | int, count: int) -> None:
    assert bytes_of(text) == count


@pytest.mark.parametrize("limit", ["2", "GB", "-1 GB", "2 GBit", "0 B", 0, -5, 1.5, True, "1e9 B"])
def test_what_is_no_limit_is_refused(limit: object) -> None:
    with pytest.raises(InputError, match="memory_limit must be a number of bytes, or text such as"):
        chainad.jacobian(mixed, memory_limit=limit)  # type: ignore[arg-type]


def test_a_limit_that_is_wide_changes_nothing() -> None:
    assert chainad.plan(mixed, X, memory_limit="1 GB") == chainad.plan(mixed, X)


def test_chunks_keep_within_the_limit_and_give_the_same_jacobian() -> None:
    free = chainad.plan(mixed, X)
    assert isinstance(free, Plan)
    limit = int(1.2 * RESULT)
    assert free.peak.dense_bytes > 1.9 * RESULT
    plan = chainad.plan(mixed, X, memory_limit=limit)
    assert isinstance(plan, ChunkedPlan)
    assert plan.peak.bytes <= limit
    assert len(plan.chunks) > 2
    assert plan.multiplications >= free.multiplications
    J = chainad.jacobian(mixed, memory_limit=limit)(X)
    np.testing.assert_allclose(J, chainad.jacobian(mixed)(X), rtol=1e-10, atol=1e-12)


def network(x: np.ndarray) -> np.ndarray:
    for weights in WEIGHTS:
        x = np.tanh(weights @ x)
    return x


def stencil(u: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], u[2:] ** 2 - 2 * u[1:-1] * u[:-2], [0.0]]) + u**3


def diffusion(u: np.ndarray) -> np.ndarray:
    for _ in range(6):
        u = u + 0.1 * (np.roll(u, 1) - 2 * u + np.roll(u, -1)) * np.sin(u)
    return u


WEIGHTS = [rng.normal(size=(300, 300)) / 20 for _ in range(4)]
# A function, its argument, the bytes of the user's arrays among local Jacobians, output, limit.
RUNS = {
    "network": (network, rng.normal(size=300), 4 * WEIGHTS[0].nbytes, "dense", None),
    "network in blocks": (network, rng.normal(size=300), 4 * WEIGHTS[0].nbytes, "dense", "3.8 MB"),
    "mixed": (mixed, X, 0, "dense", None),
    "mixed in blocks": (mixed, X, 0, "dense", int(1.2 * RESULT)),
    "sparse stencil": (stencil, rng.normal(size=20_000), 0, "sparse", None),
    "dense stencil": (stencil, rng.normal(size=400), 0, "dense", None),
    "sparse steps": (diffusion, rng.normal(size=3000), 0, "sparse", None),
    "dense steps": (diffusion, rng.normal(size=400), 0, "dense", None),
}


def peak_of_call(call: Callable[[], object]) -> int:
    """Return the most bytes that a call has allocated at one time."""
    call()  # plans and programs stay in caches
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", RUNS)
def test_a_run_takes_the_memory_that_its_plan_says(name: str) -> None:
    f, x, users, output, limit = RUNS[name]
    J = chainad.jacobian(f, output=output, memory_limit=limit)  # type: ignore[call-overload]
    plan = J.plan(x)
    assert isinstance(plan, Plan) == (limit is None)
    stated = plan.peak.bytes_for(output)
    measured = users + peak_of_call(lambda: J(x))
    assert 0.75 * stated <= measured <= 1.3 * stated


@pytest.mark.parametrize("name", RUNS)
def test_a_compiled_function_holds_a_few_times_what_its_plan_says_at_most(name: str) -> None:
    f, x, users, output, limit = RUNS[name]
    J = chainad.jacobian(f, output=output, memory_limit=limit)  # type: ignore[call-overload]
    stated = J.plan(x).peak.bytes_for(output)
    J.compile(x)
    tracemalloc.start()
    try:
        compiled = J.compile(x)
        gc.collect()
        tracemalloc.reset_peak()
        compiled(x)
        measured = users + tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert measured <= 2.5 * stated


@pytest.mark.parametrize("name", RUNS)
def test_a_limit_of_its_peak_accepts_every_plan(name: str) -> None:
    f, x, _, output, _ = RUNS[name]
    for mode in ("auto", "forward", "reverse"):
        free = chainad.jacobian(f, mode=mode, output=output)  # type: ignore[call-overload]
        plan = free.plan(x)
        most = plan.peak.bytes_for(output)
        within = chainad.jacobian(f, mode=mode, output=output, memory_limit=most)  # type: ignore[call-overload]
        assert within.plan(x) == plan


def test_blocks_are_from_the_lines_of_the_function() -> None:
    compiled = chainad.compile(chainad.jacobian(mixed, memory_limit=int(1.2 * RESULT)))
    compiled(X)
    plan = compiled.plan
    assert isinstance(plan, ChunkedPlan)
    assert "np.tanh(a @ X @ b)" in plan.chunks[-1].plan.listing()


def test_plans_in_blocks_are_explained() -> None:
    plan = chainad.plan(mixed, X, memory_limit=int(1.2 * RESULT))
    lines = plan.explain(width=120).splitlines()
    assert (
        str(plan).splitlines()[0]
        == lines[0]
        == (
            "mixed(X): (24, 24) -> (24, 24)    in 12 blocks of rows,"
            f" {plan.multiplications:,} multiplications"
        )
    )
    assert " ".join(lines[1:3]) == (
        "Made in blocks to keep within 3.19 MB: it takes 3.14 MB, of which local Jacobians 41.5 kB,"
        " the result 2.65 MB, products of a block 442 kB. What blocks have in common is multiplied"
        " for each of them anew."
    )
    assert lines[3] == "12 blocks of up to 48 rows, cut along axis 0 of y"
    assert lines[5].startswith("the first block: (24, 24) -> (2, 24)    J is 48 x 576, ")
    assert max(map(len, plan.explain(width=70).splitlines())) <= 70


def test_plans_in_blocks_list_what_all_blocks_cost() -> None:
    plan = chainad.plan(mixed, X, memory_limit=int(1.2 * RESULT))
    assert f"mixed(X): {plan.multiplications:,} multiplications, by line" in plan.listing()
    assert f"test_memory.py:34    {plan.multiplications:,} multiplications, 100.0 %" in (
        plan.listing()
    )
    assert "Plan  first block of mixed(X)" in plan.details()


def test_a_leaner_order_is_taken_before_blocks() -> None:
    A, B = np.ones((40, 30)), np.ones((2, 40))

    def f(x: np.ndarray) -> np.ndarray:
        return B @ np.tanh(A @ x)

    forward = make_plan(chainad.plan(f, np.ones(30)).graph, "forward").peak.bytes
    found = chainad.plan(f, np.ones(30), cost="peak", memory_limit=forward - 1)
    assert isinstance(found, Plan)
    assert found.peak.bytes < forward


def test_what_never_fits_is_refused_with_the_least_that_would() -> None:
    with pytest.raises(TooLargeError) as caught:
        chainad.jacobian(mixed, memory_limit="1 MB")(X)
    text = str(caught.value)
    assert "no plan was found that keeps within memory_limit=1 MB: the least found takes" in text
    assert "the dense result 2.65 MB" in text
    least = int(text.partition("(")[2].partition(" ")[0])
    plan = chainad.plan(mixed, X, memory_limit=least)
    assert plan.peak.bytes <= least
    with pytest.raises(TooLargeError):
        chainad.plan(mixed, X, memory_limit=least - 1)


def test_other_forms_keep_within_a_limit_too() -> None:
    sparse = chainad.jacobian(np.square, output="sparse", memory_limit="1 kB")(np.arange(3.0))
    np.testing.assert_array_equal(sparse.toarray(), np.diag([0.0, 2.0, 4.0]))
    with pytest.raises(TooLargeError, match="or request output='operator'"):
        chainad.jacobian(mixed, output="sparse", memory_limit="1 MB")(X)


@pytest.mark.parametrize("mode", ["forward", "reverse", lambda graph: graph.inner])
def test_modes_hold_inside_the_blocks(mode: object) -> None:
    limit = int(1.4 * RESULT)
    plan = chainad.plan(mixed, X, mode=mode, memory_limit=limit)
    assert isinstance(plan, ChunkedPlan)
    if isinstance(mode, str):
        assert {chunk.plan.planner for chunk in plan.chunks[:1]} == {mode}
    J = chainad.jacobian(mixed, mode=mode, memory_limit=limit)(X)
    np.testing.assert_allclose(J, chainad.jacobian(mixed)(X), rtol=1e-10, atol=1e-12)


def test_a_plan_in_blocks_is_given_back() -> None:
    plan = chainad.plan(mixed, X, memory_limit=int(1.2 * RESULT))
    assert chainad.plan(mixed, X, mode=plan) == plan
    assert hash(plan) == hash(chainad.plan(mixed, X, memory_limit=int(1.2 * RESULT)))
    J = chainad.jacobian(mixed, mode=plan)(X)
    np.testing.assert_array_equal(J, chainad.jacobian(mixed, memory_limit=int(1.2 * RESULT))(X))
    with pytest.raises(PlanError, match="the plan was made for another function: its inputs"):
        chainad.jacobian(np.sin, mode=plan)(np.ones(3))
    with pytest.raises(PlanError, match="gives a dense Jacobian, but output='sparse' is requested"):
        chainad.jacobian(mixed, mode=plan, output="sparse")(X)


def test_a_plan_in_blocks_read_back_is_the_one_that_was_written() -> None:
    plan = chainad.plan(mixed, X, memory_limit=int(1.2 * RESULT))
    again = ChunkedPlan.from_json(plan.to_json())
    assert again == plan
    assert str(again) == str(plan)
    assert again.to_json() == plan.to_json()
    with pytest.raises(PlanError, match=r"plans in blocks by ChunkedPlan\.from_json"):
        Plan.from_json(plan.to_json())


WRONG = [
    ({"side": "diagonals"}, "side must be 'columns' or 'rows'"),
    ({"limit": 0}, "limit must be an integer from 1"),
    ({"costs": [1]}, "costs must be a list of 12"),
    ({"multiplications": 1}, "multiplications must be the 32859648 of its blocks"),
    ({"first": []}, "first must be a list of 1"),
    ({"first": [[2, 1, {}]]}, r"first\[0\].axis must be an integer from 0 to 1"),
    ({"first": [[0, 25, {}]]}, r"first\[0\].stop must be an integer from 1 to 24"),
    ({"first": [[0, 1, {}]]}, "no format is named in it"),
    ({"more": 1}, "the text must be an object with"),
]


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_a_damaged_plan_in_blocks_is_refused(change: dict[str, object], said: str) -> None:
    plan = chainad.plan(mixed, X, memory_limit=int(1.2 * RESULT))
    with pytest.raises(PlanError, match=said):
        ChunkedPlan.from_json(json.dumps(json.loads(plan.to_json()) | change))


def test_the_blocks_of_another_graph_are_refused() -> None:
    fields = json.loads(chainad.plan(mixed, X, memory_limit=int(1.2 * RESULT)).to_json())
    fields["first"][0][:2] = [1, 1]
    with pytest.raises(PlanError, match="must be the plan of a block of the graph"):
        ChunkedPlan.from_json(json.dumps(fields))


def test_a_given_order_is_not_cut_into_blocks() -> None:
    order = chainad.plan(mixed, X).order
    with pytest.raises(TooLargeError):
        chainad.plan(mixed, X, mode=order, memory_limit=int(1.2 * RESULT))


def test_chunked_jacobians_can_be_differentiated_again() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        for a, b in zip(LEFT, RIGHT, strict=True):
            x = np.tanh(a[:4, :4] @ x @ b[:4, :4])
        return x

    x = X[:4, :4]
    least = least_for(f, x)
    assert isinstance(chainad.plan(f, x, memory_limit=least), ChunkedPlan)
    again = chainad.jacobian(chainad.jacobian(f, memory_limit=least))(x)
    wanted = chainad.jacobian(chainad.jacobian(f))(x)
    np.testing.assert_allclose(again, wanted, rtol=1e-10, atol=1e-12)


def least_for(f: object, *args: np.ndarray) -> int:
    """Return the least memory limit that can be kept."""
    with pytest.raises(TooLargeError) as caught:
        chainad.plan(f, *args, memory_limit=1)  # type: ignore[arg-type]
    return int(str(caught.value).partition("(")[2].partition(" ")[0])


def test_float32_counts_half() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        return np.tanh(a @ np.tanh(a @ x @ b) @ b)

    a, b, x = (array.astype(np.float32) for array in (LEFT[0], RIGHT[0], X))
    need = chainad.plan(f, X).peak.bytes
    assert isinstance(chainad.plan(f, x, memory_limit=need // 2), Plan)
    assert isinstance(chainad.plan(f, x, memory_limit=need // 3), ChunkedPlan)
    J = chainad.jacobian(f, memory_limit=need // 3)(x)
    assert J.dtype == np.float32
    np.testing.assert_allclose(J, chainad.jacobian(f)(x), rtol=1e-4, atol=1e-6)


def test_a_compiled_jacobian_runs_in_blocks() -> None:
    limit = int(1.2 * RESULT)
    J = chainad.compile(chainad.jacobian(mixed, memory_limit=limit), X)
    np.testing.assert_allclose(J(X / 2), chainad.jacobian(mixed)(X / 2), rtol=1e-10, atol=1e-12)
    assert J.programs == 1


@given(randoms)
def test_blocks_of_random_graphs_add_up_to_the_jacobian(rng: Random) -> None:
    n_inputs, n_outputs = rng.randint(1, 2), rng.randint(1, 2)
    graph, numbers = random_graph(rng, rng.randint(0, 4), n_inputs=n_inputs, n_outputs=n_outputs)
    try:
        plan = plan_within(graph, "auto", 8, "multiplications", 1)
    except TooLargeError as error:
        least = int(str(error).partition("(")[2].partition(" ")[0])
        plan = plan_within(graph, "auto", 8, "multiplications", least)
    wanted = path_sum(graph, numbers)
    none = [() for _ in graph.edges]
    if isinstance(plan, ChunkedPlan):
        assert plan.peak.bytes <= plan.limit
        assert ChunkedPlan.from_json(plan.to_json()) == plan
        chunks = compile_chunks(plan, none, NUMPY)
        forms, arrays = chunks.forms, iter(chunks(numbers))
        assert all(numbers[k] is not None for k in chunks.used_slots)
    else:
        lowered = lower(plan, none)
        forms, arrays = lowered.forms, iter(build(lowered.program)(numbers))
    for form, want in zip(forms, wanted, strict=True):
        got = np.zeros_like(want) if form is None else next(arrays)
        np.testing.assert_allclose(got, want.reshape(got.shape), rtol=1e-12, atol=1e-9)


def test_what_the_machine_cannot_hold_is_refused_before_it_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chainad.planning.memory.memory_of_machine", lambda: 10**6)
    a = np.eye(20) + 0.1

    def f(x: np.ndarray) -> np.ndarray:
        return np.sum(np.linalg.cholesky(x) ** 2)

    with pytest.raises(TooLargeError) as caught:
        chainad.jacobian(f, mode="forward")(a)
    text = str(caught.value)
    assert "at a time, but this machine has 1 MB; the largest Jacobian, of 1.28 MB," in text
    assert "test_memory.py:" in text
    # The other way round it takes no more than a few matrices.
    assert chainad.jacobian(f)(a).shape == a.shape
    assert chainad.plan(f, a).peak.bytes < 10 * a.nbytes


def test_refusals_name_the_operation_and_the_line() -> None:
    with pytest.raises(TooLargeError, match=r"is made by np\.\w+ \(.*test_memory\.py:\d+\)"):
        chainad.jacobian(mixed, memory_limit="1 MB")(X)


@pytest.mark.parametrize(
    ("groups", "files", "least"),
    [
        ("0::/a/b\n", {"a/memory.max": "500\n", "a/b/memory.max": "max\n"}, 500),
        ("4:cpu,memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": "700"}, 700),
        ("0::/outside/of/here\n", {"memory.max": "900"}, 900),
        ("0::/\n", {}, 1 << 62),
    ],
)
def test_limits_of_control_groups_count(
    tmp_path: Path, groups: str, files: dict[str, str], least: int
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "groups").write_text(groups)
    assert min(_limits_of_groups(tmp_path / "groups", tmp_path)) == least


@pytest.mark.parametrize("kind", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_limits_of_the_process_count(kind: str) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(getattr(resource, kind))
    limit = memory_of_machine() - 4096
    try:
        resource.setrlimit(getattr(resource, kind), (limit, before[1]))
        assert memory_of_machine() == limit
    finally:
        resource.setrlimit(getattr(resource, kind), before)
    assert memory_of_machine() == limit + 4096


def sums(x: np.ndarray) -> np.ndarray:
    return WEIGHTS[0] @ np.tanh(x)


INTO = {
    "a product": (sums, rng.normal(size=300), None),
    "places": (lambda x: np.sin(x) * np.exp(x), rng.normal(size=300), None),
    "blocks of columns": (network, rng.normal(size=300), "3.8 MB"),
    "blocks of rows": (mixed, X, int(1.2 * RESULT)),
}


@pytest.mark.parametrize("is_on_disk", [False, True], ids=["in memory", "on disk"])
@pytest.mark.parametrize("is_compiled", [False, True], ids=["traced", "compiled"])
@pytest.mark.parametrize("name", INTO)
def test_what_is_written_into_out_is_not_allocated(
    tmp_path: Path, name: str, is_compiled: bool, is_on_disk: bool
) -> None:
    f, x, limit = INTO[name]
    J = chainad.jacobian(f, memory_limit=limit)
    assert isinstance(J.plan(x), Plan) == (limit is None)
    wanted = J(x)
    call = J.compile(x) if is_compiled else J
    out = np.full(wanted.shape, np.nan)
    if is_on_disk:
        out = np.memmap(tmp_path / "jacobian", dtype=float, mode="w+", shape=wanted.shape)
    assert call(x, out=out) is out
    np.testing.assert_allclose(out, wanted, rtol=1e-10, atol=1e-12)
    peak = peak_of_call(lambda: call(x, out=out))
    if is_on_disk and limit is not None:  # larger blocks, since the result does not count
        assert peak < 2 * bytes_of(limit)
    else:
        assert peak_of_call(lambda: call(x)) - peak > 0.9 * wanted.nbytes


THIN = rng.normal(size=(400, 30)), rng.normal(size=(30, 400))
LARGER_THAN_MEMORY = {
    "products": lambda x: THIN[0] @ np.sin(THIN[1] @ x),
    "exact zeros": lambda x: THIN[0] @ np.sin(THIN[1] @ np.where(x >= 0, x * 2, np.sqrt(x))),
}


@pytest.mark.parametrize("is_compiled", [False, True], ids=["traced", "compiled"])
@pytest.mark.parametrize("name", LARGER_THAN_MEMORY)
def test_a_jacobian_on_disk_may_be_larger_than_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_compiled: bool
) -> None:
    f, x = LARGER_THAN_MEMORY[name], np.linspace(0, 1, 400)
    wanted = chainad.jacobian(f)(x)
    assert np.isfinite(wanted).all()  # though the square root has an infinite slope, unused
    machine = int(0.8 * wanted.nbytes)
    monkeypatch.setattr("chainad.planning.machine_memory._limits_of_process", lambda: [machine])
    J = chainad.jacobian(f).compile() if is_compiled else chainad.jacobian(f)
    with pytest.raises(TooLargeError, match="write it to a disk"):
        J(x)
    out = np.memmap(tmp_path / "jacobian", dtype=float, mode="w+", shape=wanted.shape)
    assert peak_of_call(lambda: J(x, out=out)) < machine
    np.testing.assert_allclose(out, wanted, rtol=1e-10, atol=1e-12)


def test_blocks_that_are_zero_are_written_into_out() -> None:
    x = X[:6, :6]
    a, b = (matrix[:6, :6] for matrix in (LEFT[0], RIGHT[0]))

    def pair(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = np.tanh(a @ x @ b)
        return np.tanh(a @ z @ b), np.tanh(a @ np.tanh(a @ (z * y) @ b) @ b)

    J = chainad.jacobian(pair, (0, 1))
    wanted = J(x, x)
    J = chainad.jacobian(pair, (0, 1), chunk_size=12)
    out = tuple(tuple(np.full((6, 6, 6, 6), np.nan) for _ in range(2)) for _ in range(2))
    for call in (J, J.compile(x, x)):
        for row in out:
            for block in row:
                block.fill(np.nan)
        assert call(x, x, out=out) is out
        for got, want in zip(out, wanted, strict=True):
            for block, expected in zip(got, want, strict=True):
                np.testing.assert_allclose(block, expected, rtol=1e-10, atol=1e-12)


def test_out_that_holds_what_is_read_is_written_last() -> None:
    W = rng.normal(size=(40, 40))

    def f(x: np.ndarray) -> np.ndarray:
        return W @ np.tanh(W @ x)

    x = rng.normal(size=40)
    wanted = chainad.jacobian(f)(x)
    limit = chainad.plan(f, x).peak.bytes - 1
    for memory_limit in (None, limit):
        before = W.copy()
        got = chainad.jacobian(f, memory_limit=memory_limit)(x, out=W)
        assert got is W
        np.testing.assert_allclose(W, wanted)
        W[...] = before


def test_a_block_on_a_disk_is_as_small_as_the_limit_asks_for() -> None:
    A = np.ones((1000, 2))
    graph = chainad.plan(lambda x: A @ np.sin(A.T @ x), A[:, 0]).graph
    fixed = 8 * sum(edge.structure.count for edge in graph.edges)
    for room in (10**6, 10**5):  # of 8 MB
        plan = plan_in_blocks(graph, "auto", 8, "multiplications", fixed + room)
        assert plan.side == "rows"
        assert plan.peak.bytes <= fixed + room
        assert 8e6 / room <= len(plan.chunks) < 3 * 8e6 / room
