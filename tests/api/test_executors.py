"""Batches on executors: the results of one process, in order; and what is left when one breaks."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest

import chainad
from chainad.api.chunks_of_points import CHUNKS_PER_WORKER, MIN_OPERATIONS_PER_CHUNK, size_of_chunks
from chainad.errors import InputError
from chainad.ir import executors
from chainad.ir.progress import UNTOLD

X = np.random.default_rng(0).normal(size=(23, 3))
calls: list[int] = []


def layer(x: Any) -> Any:
    calls.append(1)
    return np.tanh(np.outer(x, x) @ np.sin(x))


def branching(x: Any) -> Any:
    return np.sin(x) if x[0] > 0 else x**2


def several(w: Any, x: Any) -> Any:
    return {"a": np.sum(w * x), "b": (w * x, x @ x)}


def drawing(x: Any) -> Any:
    return x * np.random.default_rng().normal() * 0 + x**2


def fatal(x: Any) -> Any:
    if x[0] > 100:
        os._exit(1)
    return x**2


def failing(x: Any) -> Any:
    if x[0] > 100:
        raise ValueError("too large")
    return x**2


@partial(chainad.jacobian, batch=0)
def replaced(x: Any) -> Any:
    return np.cos(x)


class PicklingExecutor(Executor):
    """Runs tasks at once, as another process would: of pickled copies."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            function, copies = pickle.loads(pickle.dumps((fn, args)))
            future.set_result(pickle.loads(pickle.dumps(function(*copies, **kwargs))))
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.fixture(scope="module", params=["threads", "pickled"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    with ThreadPoolExecutor(2) if request.param == "threads" else PicklingExecutor() as made:
        yield made


def equal(found: Any, wanted: Any) -> None:
    leaves = chainad.ir.trees.flatten
    for a, b in zip(leaves(found)[0], leaves(wanted)[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13)


@pytest.mark.filterwarnings("ignore:the function draws")
@pytest.mark.parametrize("f", [layer, branching, drawing, replaced.__wrapped__])
@pytest.mark.parametrize("chunk_size", [1, 7, 23])
def test_an_executor_returns_what_one_call_does(
    executor: Executor, f: Any, chunk_size: int
) -> None:
    if f is replaced.__wrapped__ and isinstance(executor, PicklingExecutor):
        pytest.importorskip("cloudpickle")
    verb = partial(chainad.value_and_jacobian, f, batch=0)
    equal(verb(executor=executor, chunk_size=chunk_size)(X), verb()(X))


def test_containers_and_shared_arguments_go_to_an_executor(executor: Executor) -> None:
    w, batch = np.array([1.0, 2.0, 3.0]), {1: 0}
    how = {"executor": executor, "chunk_size": 5}
    wanted = chainad.value_and_jacobian(several, 0, batch=batch)(w, X)
    equal(chainad.value_and_jacobian(several, 0, batch=batch, **how)(w, X), wanted)
    equal(chainad.vmap(several, batch, **how)(w, X), wanted[0])


def test_chunks_need_no_executor() -> None:
    done = []
    J = chainad.jacobian(layer, batch=0, chunk_size=5, progress=lambda p: done.append(p.done))
    equal(J(X), chainad.jacobian(layer, batch=0)(X))
    assert done == [5, 10, 15, 20, 23]


def test_results_are_written_into_out(executor: Executor) -> None:
    out = np.full((23, 3, 3), np.nan)
    J = chainad.jacobian(branching, batch=0, executor=executor, chunk_size=4)
    assert J(X, out=out) is out
    equal(out, chainad.jacobian(branching, batch=0)(X))


def test_what_is_read_is_not_overwritten_before(executor: Executor) -> None:
    memory = np.random.default_rng(1).normal(size=(9, 3, 3))
    points = memory.ravel()[-27:].reshape(9, 3)
    wanted = chainad.jacobian(layer, batch=0)(points.copy())
    chainad.jacobian(layer, batch=0, executor=executor, chunk_size=1)(points, out=memory)
    equal(memory, wanted)


def test_a_wrong_out_is_refused_before_anything_runs(executor: Executor) -> None:
    done: list[Any] = []
    J = chainad.jacobian(layer, batch=0, executor=executor, chunk_size=4, progress=done.append)
    with pytest.raises(InputError, match=r"out must be an array of float64 \(23, 3, 3\)"):
        J(X, out=np.empty((22, 3, 3)))
    assert not done


def test_a_function_is_recorded_once_per_process() -> None:
    J = chainad.jacobian(layer, batch=0, executor=PicklingExecutor(), chunk_size=2)
    J(X)  # here, and in what stands for another process
    before = len(calls)
    J(X + 1)
    assert len(calls) == before


def test_what_a_function_reads_is_read_anew_at_the_next_call() -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    W = np.eye(3)
    J = chainad.jacobian(lambda x: W @ x, batch=0, executor=PicklingExecutor(), chunk_size=9)
    J(X)
    W[0, 0] = 5.0
    assert (J(X)[:, 0, 0] == 5).all()
    assert cloudpickle


def test_settings_of_floating_point_errors_hold_in_tasks(executor: Executor) -> None:
    J = chainad.vmap(np.log, executor=executor, chunk_size=9)
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        J(X * 0)


@pytest.mark.parametrize("name", ["threads", "pickled"])
def test_an_error_tells_what_is_finished(name: str) -> None:
    points, out = X.copy(), np.full((23, 3, 3), np.nan)
    points[13, 0] = 1000.0
    with ThreadPoolExecutor(1) if name == "threads" else PicklingExecutor() as pool:
        J = chainad.jacobian(failing, batch=0, executor=pool, chunk_size=5)
        with pytest.raises(ValueError, match="too large") as caught:
            J(points, out=out)
    finished = caught.value.finished
    assert finished[0] == range(10)
    assert "of 23 points, 0:10" in caught.value.__notes__[0]
    done = [k for part in finished for k in part]
    equal(out[done], chainad.jacobian(failing, batch=0)(points[done]))


def test_ctrl_c_cancels_what_has_not_begun() -> None:
    def stop(progress: Any) -> None:
        raise KeyboardInterrupt

    points = np.ones((1000, 3))
    with ThreadPoolExecutor(1) as pool:
        J = chainad.jacobian(layer, batch=0, executor=pool, chunk_size=1, progress=stop)
        with pytest.raises(KeyboardInterrupt) as caught:
            J(points)
        assert 0 < len(caught.value.finished[0]) < 10
        assert pool.submit(len, []).result() == 0


def test_a_closed_executor_says_so() -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    J = chainad.jacobian(layer, batch=0, executor=pool, chunk_size=5)
    with pytest.raises(RuntimeError, match="after shutdown") as caught:
        J(X)
    assert caught.value.finished == ()


def test_processes_return_the_same_until_one_dies() -> None:
    points, out = X.copy(), np.full((23, 3, 3), np.nan)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        J = chainad.jacobian(fatal, batch=0, executor=pool, chunk_size=5)
        equal(J(points), chainad.jacobian(fatal, batch=0)(points))
        points[13, 0] = 1000.0
        with pytest.raises(BrokenProcessPool) as caught:
            J(points, out=out)
    assert caught.value.finished == (range(10),)
    assert np.isfinite(out[:10]).all()
    assert np.isnan(out[10:]).all()


@pytest.mark.parametrize("bad", [2, "threads", map, ThreadPoolExecutor])
def test_what_is_no_executor_is_refused(bad: Any) -> None:
    with pytest.raises(InputError, match=r"executor must have the method submit, as"):
        chainad.jacobian(layer, batch=0, executor=bad)


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "2"])
def test_a_chunk_size_that_is_none_is_refused(bad: Any) -> None:
    with pytest.raises(InputError, match="chunk_size must be a positive integer, but got"):
        chainad.jacobian(layer, batch=0, chunk_size=bad)


def test_a_function_that_cannot_be_sent_is_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cloudpickle", None)
    J = chainad.jacobian(lambda x: x, batch=0, executor=PicklingExecutor(), chunk_size=5)
    with pytest.raises(InputError, match="define its function in a module, install cloudpickle"):
        J(X)


def test_an_executor_stays_behind_when_a_function_is_pickled() -> None:
    with ThreadPoolExecutor(1) as pool:
        J = chainad.jacobian(layer, batch=0, executor=pool, chunk_size=5)
        equal(pickle.loads(pickle.dumps(J))(X), J(X))


def test_chunks_follow_from_what_a_point_takes() -> None:
    even = CHUNKS_PER_WORKER * 2
    assert size_of_chunks(8000, 2, MIN_OPERATIONS_PER_CHUNK, 8) == 8000 // even
    assert size_of_chunks(8000, 2, 1, 8) == 8000  # too little for two
    assert size_of_chunks(8000, 2, MIN_OPERATIONS_PER_CHUNK // 2000, 8) == 2000
    assert size_of_chunks(8000, 2, MIN_OPERATIONS_PER_CHUNK, 1 << 30) == 1


def threads_of_blas() -> list[int]:
    found = pytest.importorskip("threadpoolctl").threadpool_info()
    return [each["num_threads"] for each in found if each["user_api"] == "blas"]


def test_threads_of_blas_are_limited_while_tasks_run(executor: Executor) -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    inside: list[Any] = []
    tasks = [executors.Task(slice(k, k + 1), threads_of_blas, ()) for k in range(4)]
    with threadpoolctl.threadpool_limits(2):
        before = threads_of_blas()
        executors.run_tasks(executor, tasks, lambda part, found: inside.extend(found), UNTOLD)
        assert threads_of_blas() == before
    assert max(inside) <= max(1, executors.processors() // executors.workers_of(executor))


# ------------------------------------------------------------------ blocks of one Jacobian

U, V = np.random.default_rng(3).normal(size=(2, 40, 400))
S = np.eye(40) + np.random.default_rng(4).normal(size=(40, 40)) / 9


def network(x: Any) -> Any:
    return U @ np.tanh(V.T @ x)


def with_operators(x: Any) -> Any:
    return np.linalg.solve(S, np.cumsum(np.sin(S @ x)))


def selecting(x: Any) -> Any:
    return np.where(x < 1, x, np.sqrt(x)) @ S


@pytest.mark.parametrize(
    ("f", "how"),
    [
        (network, {"memory_limit": "330 kB"}),
        (with_operators, {"chunk_size": 7}),
        (selecting, {"chunk_size": 7}),
    ],
)
@pytest.mark.parametrize("is_compiled", [False, True])
def test_blocks_on_an_executor_are_those_of_one_call(
    executor: Executor, f: Any, how: Any, is_compiled: bool
) -> None:
    x, out = np.linspace(0, 2, 40), np.empty((40, 40))
    J = chainad.jacobian(f, executor=executor, **how)
    assert isinstance(J.plan(x), chainad.ChunkedPlan)
    for found in ((J.compile() if is_compiled else J), J):
        assert found(x, out=out) is out
        np.testing.assert_allclose(out, chainad.jacobian(f)(x), rtol=1e-10, atol=1e-10)


def test_blocks_that_run_at_once_keep_within_the_limit_together() -> None:
    x = np.ones(40)
    with ThreadPoolExecutor(3) as pool:
        plan = chainad.jacobian(network, memory_limit="330 kB", executor=pool).plan(x)
    alone = chainad.plan(network, x, memory_limit="330 kB")
    assert plan.at_once == 3
    assert len(plan.chunks) > len(alone.chunks)
    assert max(plan.peak.bytes, alone.peak.bytes) <= 330_000


def test_a_block_that_fails_tells_which_are_finished() -> None:
    class Broken(PicklingExecutor):
        left = 3

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise RuntimeError("broken")
            return super().submit(fn, *args, **kwargs)

    J = chainad.jacobian(network, executor=Broken(), chunk_size=10)
    with pytest.raises(RuntimeError, match="broken") as caught:
        J(np.ones(40))
    assert caught.value.finished == (range(3),)


def test_an_executor_without_anything_to_run_is_refused() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(InputError, match="executor= runs the point"):
        chainad.jacobian(network, executor=pool)
    with pytest.raises(InputError, match="blocks of a dense Jacobian, but output='sparse'"):
        chainad.jacobian(network, chunk_size=3, output="sparse")
