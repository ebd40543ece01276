"""Jacobians larger than memory: written block by block, from where a killed process was."""

from __future__ import annotations

import errno
import json
import os
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import chainad
from chainad.api import stream_record
from chainad.errors import InputError, PlanError, TooLargeError

Array = npt.NDArray[Any]

rng = np.random.default_rng(0)
W, TALL = rng.normal(size=(30, 30)) / 5, rng.normal(size=(30, 4))
LARGE = rng.normal(size=(200, 30))
X = rng.normal(size=30)


def f(x: Array) -> Array:
    return np.tanh(W @ np.sin(x))


def g(x: Array) -> Array:
    return np.tanh(W @ np.cos(x))


def with_pairs(w: dict[str, Array], x: Array) -> tuple[Array, Array]:
    return np.tanh(w["A"] @ x), np.sum(w["b"] ** 2)


def partly_constant(x: Array) -> Array:
    return np.concatenate([np.sin(x[:3]), np.ones(4)])


def selecting(x: Array) -> Array:
    return W @ np.where(x > 0, x * x, np.sqrt(x))


def a_map(path: Path, shape: tuple[int, ...], dtype: Any = float, mode: Any = "w+") -> Any:
    J = np.memmap(path / "J", dtype=dtype, mode=mode, shape=shape)
    if mode == "w+":
        J[...] = np.nan
    return J


class Dataset:
    """What takes blocks, and is no array; its disk is full after so many."""

    def __init__(self, shape: tuple[int, ...], room: int = 1000) -> None:
        self.data = np.full(shape, np.nan)
        self.shape, self.dtype = self.data.shape, self.data.dtype
        self.room, self.flushed = room, 0

    def __setitem__(self, index: Any, block: Array) -> None:
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= 1
        self.data[index] = block

    def __getitem__(self, index: Any) -> Array:
        return self.data[index]

    def flush(self) -> None:
        self.flushed += 1


# ------------------------------------------------------------------ what is written


CASES: dict[str, tuple[Callable[..., Any], Array, dict[str, Any]]] = {
    "columns": (f, X, {"mode": "forward"}),
    "rows": (lambda x: TALL.T @ np.sin(x), X, {}),
    "one index a block": (np.cumsum, X[:9], {"chunk_size": 1}),
    "one block": (f, X, {}),
    "a number": (lambda x: np.sum(x**2), X, {"chunk_size": 7}),
    "by a number": (lambda t: np.sin(t * X), np.array(0.3), {"chunk_size": 7}),
    "a number by a number": (np.sin, np.array(0.3), {}),
    "several axes": (lambda x: W[:4, :6] @ x, X.reshape(6, 5), {"chunk_size": 4}),
    "zeros": (partly_constant, X, {"chunk_size": 2}),
    "nothing": (lambda x: np.ones(3), X, {"chunk_size": 8}),
    "float32": (np.cumsum, X.astype(np.float32), {"chunk_size": 8}),
    "solves": (lambda x: np.linalg.solve(W + np.diag(x), x), X, {"chunk_size": 8}),
    "exact zeros": (selecting, np.maximum(X, 0.0), {"chunk_size": 8}),
    "a gradient": (chainad.grad(lambda x: np.sum(f(x) ** 2)), X, {"chunk_size": 8}),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_streamed_is_the_jacobian(tmp_path: Path, name: str) -> None:
    f, x, how = CASES[name]
    with np.errstate(all="ignore"):
        wanted = chainad.jacobian(f)(x)
        J = a_map(tmp_path, wanted.shape, wanted.dtype)
        assert chainad.stream(f, x, into=J, **how) is J
        gathered = np.full_like(wanted, np.nan)
        for index, block in chainad.blocks(f, x, **how):
            assert np.isnan(gathered[index]).all()  # no entry is in two blocks
            gathered[index] = block
    tolerance = 1e-5 if wanted.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(J, wanted, tolerance, tolerance)
    np.testing.assert_array_equal(J, gathered)
    assert os.listdir(tmp_path) == ["J"]  # the record is removed


def test_containers_are_streamed_into_containers() -> None:
    w, x = {"A": W[:3], "b": X}, X
    wanted = chainad.jacobian(with_pairs, (0, 1))(w, x)
    into = tuple(
        ({"A": Dataset((*rows, 3, 30)), "b": Dataset((*rows, 30))}, Dataset((*rows, 30)))
        for rows in ((3,), ())
    )
    assert chainad.stream(with_pairs, w, x, argnums=(0, 1), into=into, chunk_size=2) is into
    for (of_w, of_x), (wanted_w, wanted_x) in zip(into, wanted, strict=True):
        for name in w:
            np.testing.assert_allclose(of_w[name].data, wanted_w[name], 1e-12, 1e-12)
        np.testing.assert_allclose(of_x.data, wanted_x, 1e-12, 1e-12)
        assert of_x.flushed > 0


def test_no_more_than_the_limit_is_in_memory(tmp_path: Path) -> None:
    A, x = rng.normal(size=(600, 20)), rng.normal(size=600)
    J = a_map(tmp_path, (600, 600))

    def thin(x: Array) -> Array:
        return A @ np.sin(A.T @ x)

    tracemalloc.start()
    chainad.stream(thin, x, into=J, memory_limit="600 kB")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6 < J.nbytes / 2
    wanted = A @ (np.cos(A.T @ x)[:, None] * A.T)
    np.testing.assert_allclose(J, wanted, 1e-9, 1e-9)


def test_a_plan_in_blocks_is_followed() -> None:
    plan = chainad.plan(f, X, memory_limit="21 kB")
    assert isinstance(plan, chainad.ChunkedPlan)
    assert len([*chainad.blocks(f, X, mode=plan)]) == len(plan.chunks)


def test_hdf5_and_zarr_take_blocks(tmp_path: Path) -> None:
    h5py, zarr = pytest.importorskip("h5py"), pytest.importorskip("zarr")
    with h5py.File(tmp_path / "J.h5", "w") as file:
        J = file.create_dataset("J", (30, 30), float)
        chainad.stream(f, X, into=J, chunk_size=8, record=tmp_path / "record")
        np.testing.assert_allclose(J[...], chainad.jacobian(f)(X), 1e-12, 1e-12)
    Z = zarr.create_array(tmp_path / "J.zarr", shape=(30, 30), chunks=(8, 30), dtype=float)
    chainad.stream(f, X, into=Z, chunk_size=8, record=tmp_path / "record")
    np.testing.assert_allclose(Z[...], chainad.jacobian(f)(X), 1e-12, 1e-12)
    with h5py.File(tmp_path / "J.h5") as file, pytest.raises(InputError, match="open for reading"):
        chainad.stream(f, X, into=file["J"])


# ------------------------------------------------------------------ begun and not ended


def begin(f: Any, x: Any, J: Any, finished: int = 2, **how: Any) -> None:
    """Write a few blocks and be interrupted."""

    def stop(progress: chainad.Progress) -> None:
        if progress.done == finished:
            raise StopIteration

    with pytest.raises(KeyboardInterrupt) as caught:
        chainad.stream(f, x, into=J, progress=stop, **({"chunk_size": 8} | how))
    assert f"{finished} of 4 blocks are in `into`, recorded in" in caught.value.__notes__[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a child is killed")
def test_a_killed_process_is_gone_on_from(tmp_path: Path) -> None:
    J = a_map(tmp_path, (30, 30))
    child = os.fork()
    if child == 0:
        chainad.stream(f, X, into=J, chunk_size=8, progress=lambda p: p.done == 2 and os._exit(9))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    J = a_map(tmp_path, (30, 30), mode="r+")
    assert np.isnan(J).any()
    told: list[float] = []
    chainad.stream(f, X, into=J, chunk_size=8, progress=lambda p: told.append(p.done))
    assert told == [2, 3, 4]  # what was finished is not made again
    np.testing.assert_allclose(J, chainad.jacobian(f)(X), 1e-12, 1e-12)


def test_a_line_that_was_cut_off_counts_for_nothing(tmp_path: Path) -> None:
    J = a_map(tmp_path, (30, 30))
    begin(f, X, J)
    record = tmp_path / "J.record"
    record.write_text(record.read_text()[:-9])
    begin(f, X, J, finished=3)
    assert [json.loads(line)[0] for line in record.read_text().splitlines()[1:]] == [0, 1, 2]


MISMATCHES: dict[str, tuple[dict[str, Any], str]] = {
    "a function of the same plan": ({"f": g}, "another function"),
    "a constant": ({"f": lambda x: np.tanh(2 * W @ np.sin(x))}, "another function"),
    "an argument": ({"x": np.nextafter(X, 1)}, "other arguments"),
    "a plan": ({"chunk_size": 15}, "another number of blocks"),
    "a mode": ({"mode": "reverse"}, "another plan"),
    "a result": ({"f": lambda x: f(x)[:, None]}, "another shape or dtype"),
    "a version": ({"version": "0.0.1"}, "another version of chainad"),
    "an emptied file": ({"fill": 0.0}, "block 0 is finished by the record"),
    "one changed entry": ({"change": 1}, "block 1 is finished by the record"),
    "no record": ({"text": "some notes\n"}, "is no record of chainad.stream"),
}


@pytest.mark.parametrize("name", MISMATCHES)
def test_what_does_not_fit_the_record_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    J = a_map(tmp_path, (30, 30))
    begin(f, X, J, mode="forward")
    change, message = MISMATCHES[name]
    how = {"chunk_size": 8, "mode": "forward"}
    how |= {key: change[key] for key in ("chunk_size", "mode") if key in change}
    if "version" in change:
        monkeypatch.setattr("chainad.api.stream.VERSION", change["version"])
    if "fill" in change:
        J[...] = change["fill"]
    if "change" in change:
        J[0, 8] += 1
    if "text" in change:
        (tmp_path / "J.record").write_text(change["text"])
    before = J.copy(), (tmp_path / "J.record").read_bytes()
    into = J if name != "a result" else J[:, None]
    with pytest.raises(InputError, match=message):
        chainad.stream(change.get("f", f), change.get("x", X), into=into, **how)
    np.testing.assert_array_equal(J, before[0])  # nothing was touched
    assert (tmp_path / "J.record").read_bytes() == before[1]


# ------------------------------------------------------------------ targets and disks


def test_a_full_disk_is_told_and_gone_on_from(tmp_path: Path) -> None:
    J = Dataset((30, 30), room=3)
    record = tmp_path / "record"
    with pytest.raises(OSError, match="No space left") as caught:
        chainad.stream(f, X, into=J, chunk_size=8, record=record)
    assert "3 of 4 blocks are in `into`" in caught.value.__notes__[0]
    J.room = 1
    chainad.stream(f, X, into=J, chunk_size=8, record=record)
    np.testing.assert_allclose(J.data, chainad.jacobian(f)(X), 1e-12, 1e-12)
    J.room = 0
    with pytest.raises(OSError, match="No space left") as caught:
        chainad.stream(f, X, into=J)
    assert "there is no record" in caught.value.__notes__[0]


@pytest.mark.parametrize("verb", ["stream", "jacobian"])
def test_the_room_of_a_map_is_reserved_first(
    tmp_path: Path, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    J = a_map(tmp_path, (30, 30))
    write = partial(chainad.stream, f, into=J)
    if verb == "jacobian":
        write = partial(chainad.jacobian(f), out=J)
    with pytest.raises(OSError, match="No space left"):
        write(X)
    assert np.isnan(J).all()
    assert os.listdir(tmp_path) == ["J"]


def read_only(path: Path) -> Array:
    a_map(path, (30, 30))
    return a_map(path, (30, 30), mode="r")


def copied_on_write(path: Path) -> Array:
    a_map(path, (30, 30))
    return a_map(path, (30, 30), mode="c")


BAD_TARGETS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "shape": (lambda path: a_map(path, (30, 31)), r"float64 \(30, 30\), .* got float64 \(30, 31\)"),
    "dtype": (lambda path: a_map(path, (30, 30), np.float32), r"got float32 \(30, 30\)"),
    "read-only": (read_only, "read-only array; open it with 'r.'"),
    "copy on write": (copied_on_write, "reaches no disk"),
    "a path": (lambda path: "J.npy", "must be an np.memmap, a dataset of h5py or zarr"),
    "a pair": (lambda path: (np.zeros((30, 30)),) * 2, "into must be an array, nested as"),
    "what is read": (lambda path: LARGE[:, :30][:30], "into holds what the function reads"),
}


@pytest.mark.parametrize("name", BAD_TARGETS)
def test_what_cannot_take_the_jacobian_is_refused(tmp_path: Path, name: str) -> None:
    make, message = BAD_TARGETS[name]
    with pytest.raises(InputError, match=message):
        chainad.stream(lambda x: W @ (LARGE @ x)[:30], X, into=make(tmp_path))
    assert not (tmp_path / "J.record").exists()


def test_bad_options_are_refused() -> None:
    J = np.zeros((30, 30))
    with pytest.raises(InputError, match="chunk_size must be a positive integer, but got 0"):
        chainad.stream(f, X, into=J, chunk_size=0)
    with pytest.raises(InputError, match="chunk_size must be"):
        chainad.blocks(f, X, chunk_size=1.5)  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="choose mode= by name, or pass a ChunkedPlan"):
        chainad.stream(f, X, into=J, mode=chainad.plan(f, X))
    with pytest.raises(TooLargeError, match="no block of chunk_size=30 was found that keeps"):
        chainad.stream(f, X, into=J, chunk_size=30, memory_limit="9 kB")
    with pytest.raises(InputError, match=r"chainad\.ravel, or write all of them by chainad.stream"):
        next(chainad.blocks(with_pairs, {"A": W, "b": X}, X))
    with pytest.raises(InputError, match="cannot be differentiated again"):
        chainad.jacobian(lambda x: next(chainad.blocks(f, x))[1])(X)
    write_only: Any = type(
        "WriteOnly", (), {"__setitem__": None, "shape": (30, 30), "dtype": 0.0}
    )()
    write_only.dtype = J.dtype
    with pytest.raises(InputError, match="record= needs targets that can be read"):
        chainad.stream(f, X, into=write_only, record="record")


def test_records_are_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stream_record, "_write", full)
    J = a_map(tmp_path, (30, 30))
    with pytest.raises(OSError, match="No space left"):
        chainad.stream(f, X, into=J)
    assert np.isnan(J).all()
    assert not (tmp_path / "J.record").exists()


@pytest.mark.parametrize("mode", ["auto", "forward", "reverse"])
def test_blocks_are_arrays_of_the_callers_own(mode: Any) -> None:
    before = LARGE.copy()
    for index, block in chainad.blocks(lambda x: LARGE @ x, X, chunk_size=8, mode=mode):
        np.testing.assert_array_equal(block, before[index])
        block.fill(0.0)
    np.testing.assert_array_equal(LARGE, before)
