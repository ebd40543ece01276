"""Executors of other packages: a dask cluster of four workers, loky; arrays of dask and xarray.

These need distributed and loky: only .ci/full asks for them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import chainad
from chainad.errors import InputError

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("default"),  # those of the clusters are theirs
]

X = np.random.default_rng(0).normal(size=(200, 3))


def layer(x: Any) -> Any:
    return np.tanh(np.outer(x, x) @ np.sin(x))


def fatal(x: Any) -> Any:
    if x[0] > 100:
        os._exit(1)
    return x**2


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(n_workers=4, threads_per_worker=1, dashboard_address=None)
    with cluster, distributed.Client(cluster) as made:
        yield made


def test_a_dask_cluster_returns_what_one_call_does(client: Any) -> None:
    out = np.empty((200, 3, 3))
    J = chainad.jacobian(layer, batch=0, executor=client.get_executor(), chunk_size=7)
    np.testing.assert_allclose(
        J(X, out=out), chainad.jacobian(layer, batch=0)(X), rtol=1e-13, atol=1e-13
    )


def test_a_dask_client_is_refused_with_what_to_give(client: Any) -> None:
    with pytest.raises(InputError, match=r"has one: client\.get_executor\(\)"):
        chainad.jacobian(layer, batch=0, executor=client)


def test_chunks_of_a_lost_worker_are_computed_by_others(client: Any) -> None:
    worker, *_ = client.run(os.getpid).values()
    lost: list[int] = []

    def kill_one(progress: Any) -> None:
        if progress.done > 50 and not lost:
            lost.append(worker)
            os.kill(worker, signal.SIGKILL)

    how: dict[str, Any] = {"executor": client.get_executor(), "chunk_size": 4}
    J = chainad.jacobian(layer, batch=0, progress=kill_one, **how)
    np.testing.assert_allclose(J(X), chainad.jacobian(layer, batch=0)(X), rtol=1e-13, atol=1e-13)
    assert lost


def test_a_chunk_that_kills_every_worker_is_given_up_by_dask(client: Any) -> None:
    from distributed.scheduler import KilledWorker

    points, out = X.copy(), np.full((200, 3, 3), np.nan)
    points[150, 0] = 1000.0
    J = chainad.jacobian(fatal, batch=0, executor=client.get_executor(), chunk_size=50)
    with pytest.raises(KilledWorker) as caught:
        J(points, out=out)
    done = [k for part in caught.value.finished for k in part]  # type: ignore[attr-defined]
    assert 150 not in done
    np.testing.assert_array_equal(np.isfinite(out).all(axis=(1, 2)).nonzero()[0], done)


def test_loky_returns_what_one_call_does_until_a_worker_dies() -> None:
    loky = pytest.importorskip("loky")
    pool = loky.get_reusable_executor(max_workers=2)
    J = chainad.jacobian(lambda x: fatal(x) * 2, batch=0, executor=pool, chunk_size=50)
    wanted = chainad.jacobian(lambda x: x**2 * 2, batch=0)(X)
    np.testing.assert_allclose(J(X), wanted)
    points, out = X.copy(), np.full((200, 3, 3), np.nan)
    points[199, 0] = 1000.0
    with pytest.raises(loky.process_executor.TerminatedWorkerError) as caught:
        J(points, out=out)
    done = [k for part in caught.value.finished for k in part]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(out[done], wanted[done])


def test_arrays_of_dask_are_refused_with_what_to_write() -> None:
    da = pytest.importorskip("dask.array")
    xarray = pytest.importorskip("xarray")
    J = chainad.jacobian(lambda x: np.array([x[0] * x[1], np.sin(x[2])]), batch=0)
    names = {"J": J, "m": 2, "n": 3, "xarray": xarray}
    blocks = da.from_array(X, chunks=(60, 3))
    labelled = xarray.DataArray(blocks, dims=("point", "x"), coords={"x": ["a", "b", "c"]})
    for points, line in ((blocks, 1), (labelled, 3)):
        with pytest.raises(InputError, match="argument 0 is lazy, an array of dask") as caught:
            J(points)
        lazy = eval(str(caught.value).splitlines()[line].strip(), names, {"D": points})
        np.testing.assert_allclose(lazy.compute(), J(X))
    assert [*lazy.dims, *lazy.coords["x"].data] == ["point", "y", "x", "a", "b", "c"]
    with pytest.raises(InputError, match="argument 0 is lazy"):
        chainad.vmap(np.sin)(blocks)
