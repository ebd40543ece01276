"""Generated modules: compiled once; threads, interrupts, forks, damaged files, folders to share."""

from __future__ import annotations

import gc
import logging
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import numpy as np
import pytest
from processes import holds_in_child, may_fork_with_threads, needs_fork

import chainad
from chainad.backends.numba import generated_modules as modules
from chainad.errors import FallbackWarning

TEXT = """
from numba import njit

@njit("void(float64[::1])", cache=True, nogil=True)
def run(x):
    x[0] = {}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: Any) -> Iterator[Path]:
    """Give each test a cache folder of its own, and let it know no module."""
    monkeypatch.setenv("CHAINAD_CACHE", str(tmp_path))
    monkeypatch.setattr(modules, "_warned", {})
    forget()
    yield tmp_path / "chainad" / "numba"
    forget()


def forget() -> None:
    """Let the next load look for files, as another process would."""
    modules._recent.clear()
    modules._loaded.clear()


def result(run: Any) -> float:
    x = np.zeros(1)
    run(x)
    return float(x[0])


def number_from(value: float) -> float:
    return result(modules.load(TEXT.format(value)))


@pytest.fixture
def executed(monkeypatch: Any) -> list[str]:
    """List the texts that are executed."""
    found: list[str] = []
    execute = modules._executed

    def note(name: str, text: str, file: str) -> Any:
        found.append(text)
        return execute(name, text, file)

    monkeypatch.setattr(modules, "_executed", note)
    return found


def warnings_in(caplog: Any) -> list[str]:
    return [each.message for each in caplog.records if each.name == "chainad"]


@pytest.fixture
def numba() -> Any:
    return pytest.importorskip("numba")


# ------------------------------------------------------------------ in one process


@pytest.mark.numba
def test_threads_that_want_the_same_module_get_one(executed: list[str]) -> None:
    barrier, found = Barrier(6), []

    def load() -> None:
        barrier.wait(60)
        found.append(modules.load(TEXT.format(1.5)))

    threads = [Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(executed) == 1
    assert len(found) == 6
    assert {*map(id, found)} == {id(found[0])}
    assert result(found[0]) == 1.5


@pytest.mark.numba
def test_a_module_is_dropped_with_the_last_program_that_uses_it(monkeypatch: Any) -> None:
    monkeypatch.setattr(modules, "MAX_UNUSED_MODULES", 0)
    x = np.array([0.5, 2.0])
    J = chainad.compile(chainad.jacobian(lambda x: np.sin(x) * x[0]), x, backend="numba")
    K = chainad.jacobian(lambda x: np.sin(x) * x[1], backend="numba", batch=0)
    K(np.stack([x, x]))
    assert len(modules._loaded) == 2
    modules._recent.clear()
    gc.collect()
    assert len(modules._loaded) == 2
    del J, K
    gc.collect()
    assert not modules._loaded
    assert not [name for name in sys.modules if name.startswith("chainad_")]


@pytest.mark.numba
def test_a_module_that_was_dropped_is_loaded_again(executed: list[str]) -> None:
    for _ in range(3):
        assert number_from(2.5) == 2.5
        forget()
        gc.collect()
    assert len(executed) == 3


@pytest.mark.numba
def test_modules_that_were_used_last_stay(executed: list[str]) -> None:
    for _ in range(3):
        assert number_from(2.5) == 2.5
        gc.collect()
    assert len(executed) == 1


@pytest.mark.numba
def test_what_numba_refuses_is_raised_at_once(numba: Any, executed: list[str]) -> None:
    with pytest.raises(numba.core.errors.NumbaError):
        modules.load(TEXT.format("no_such_name"))
    assert len(executed) == 1
    assert number_from(1.0) == 1.0


@pytest.mark.numba
def test_without_a_thread_to_be_had_it_is_compiled_all_the_same(monkeypatch: Any) -> None:
    def refuse(self: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", refuse)
    assert number_from(3.5) == 3.5


# ------------------------------------------------------------------------- files


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def _other(path: Path) -> None:
    path.write_text(TEXT.format(-1.0))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = [_truncate, _flip, _other, _empty, _zero, Path.unlink]


@pytest.mark.numba
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("pattern", ["module.py", "*.nbi", "*.nbc", "checksums"])
def test_damaged_files_are_written_anew(
    pattern: str, damage: Callable[[Path], None], folder: Path
) -> None:
    assert number_from(4.5) == 4.5
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = next(folder.rglob(pattern))
    damage(path)
    damaged = path.read_bytes() if path.exists() else b""
    forget()
    assert number_from(4.5) == 4.5
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == files
    assert path.read_bytes() != damaged
    assert next(folder.rglob("module.py")).read_text() == TEXT.format(4.5)


@pytest.mark.numba
def test_machine_code_that_was_changed_is_not_trusted(folder: Path) -> None:
    assert number_from(4.56789) == 4.56789
    path = next(folder.rglob("*.nbc"))
    changed = path.read_bytes().replace(struct.pack("=d", 4.56789), struct.pack("=d", -4.56789))
    assert changed != path.read_bytes()
    path.write_bytes(changed)
    forget()
    assert number_from(4.56789) == 4.56789
    assert path.read_bytes() != changed


@pytest.mark.numba
def test_files_that_checksums_fit_but_numba_cannot_read_are_written_anew(folder: Path) -> None:
    assert number_from(4.5) == 4.5
    entry = next(folder.iterdir())
    for path in folder.rglob("*.nb[ic]"):
        _truncate(path)
    modules._seal(entry)
    forget()
    assert number_from(4.5) == 4.5
    assert modules._is_intact(entry, TEXT.format(4.5))


@pytest.mark.filterwarnings("ignore:.*cannot be written")
@pytest.mark.numba
@pytest.mark.parametrize("name", ["module.py", "checksums", "__pycache__"])
def test_what_cannot_be_replaced_is_done_without(name: str, folder: Path) -> None:
    assert number_from(5.5) == 5.5
    path = next(folder.iterdir()) / name
    if path.is_dir():
        modules._remove(path)
        path.write_text("")
    else:
        _folder(path)
        (path / "inside").write_text("")
    forget()
    assert number_from(5.5) == 5.5


@pytest.mark.numba
def test_a_folder_that_cannot_be_written_is_told_once(
    tmp_path: Path, monkeypatch: Any, caplog: Any
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("CHAINAD_CACHE", str(file / "inside"))
    with pytest.warns(FallbackWarning, match="cannot be written"):
        assert number_from(1.0) == 1.0
    assert number_from(2.0) == 2.0
    assert warnings_in(caplog) == [
        f"{file / 'inside' / 'chainad' / 'numba'} cannot be written (Not a directory): machine code"
        " is compiled anew in each process; set CHAINAD_CACHE to a folder that can be written"
    ]


@pytest.mark.numba
@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(28, "Full")])
def test_a_folder_that_can_only_be_read_or_is_full_is_done_without(
    error: OSError, monkeypatch: Any, caplog: Any
) -> None:
    def refuse(*args: Any) -> None:
        raise error

    monkeypatch.setattr(modules, "write_atomically", refuse)
    with pytest.warns(FallbackWarning, match=error.strerror):
        assert number_from(1.0) == 1.0
    assert number_from(2.0) == 2.0
    assert len(warnings_in(caplog)) == 1
    assert error.strerror in warnings_in(caplog)[0]


@pytest.mark.numba
def test_numba_files_that_cannot_be_written_are_done_without(
    numba: Any, monkeypatch: Any, caplog: Any
) -> None:
    def refuse(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    caplog.set_level(logging.INFO, "chainad")
    monkeypatch.setattr(numba.core.caching.IndexDataCacheFile, "save", refuse)
    assert number_from(6.5) == 6.5
    assert "is compiled anew: OSError(28" in warnings_in(caplog)[0]


@pytest.mark.numba
def test_without_a_home_it_is_compiled_all_the_same(monkeypatch: Any, caplog: Any) -> None:
    def refuse() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("CHAINAD_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", refuse)
    with pytest.warns(FallbackWarning, match="Could not determine home directory"):
        assert number_from(7.5) == 7.5
    assert "Could not determine home directory" in warnings_in(caplog)[0]


@pytest.mark.numba
def test_a_relative_folder_stays_where_it_was(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAINAD_CACHE", f"here {tmp_path.name}")
    assert number_from(1.0) == 1.0
    monkeypatch.chdir("/")
    assert number_from(2.0) == 2.0
    entries = tmp_path / f"here {tmp_path.name}" / "chainad" / "numba"
    assert len([*entries.iterdir()]) == 2
    assert len([*entries.rglob("*.nbc")]) == 2


def test_entries_that_were_used_longest_ago_are_removed(folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(modules, "MAX_CACHED_MODULES", 3)
    (folder / "of somebody else").mkdir(parents=True)
    for k in range(4):
        entry = modules._entry(f"chainad_{k}", TEXT)
        assert entry is not None
        os.utime(entry, (k, k))  # as if it were long ago
    assert modules._entry("chainad_1", TEXT) is not None  # is used again
    assert modules._entry("chainad_4", TEXT) is not None
    assert sorted(path.name for path in folder.iterdir()) == [
        "chainad_1", "chainad_3", "chainad_4", "of somebody else",
    ]  # fmt: skip


def test_entries_that_another_process_removes_meanwhile_do_no_harm(
    folder: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(modules, "MAX_CACHED_MODULES", 1)
    listed = [folder / f"chainad_{k}" for k in range(5)]
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(listed))
    assert modules._entry("chainad_4", TEXT) == folder / "chainad_4"


# -------------------------------------------------------------- interrupts and forks

INTERRUPTED = """
import random, signal
import numpy as np, chainad

signal.signal(signal.SIGALRM, signal.default_int_handler)
seconds = random.Random({seed})
f = lambda x: np.sin(x[0]) * x + np.exp(x[1])
X = np.array([0.5, 1.5])
for _ in range(12):
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds.uniform(0.001, {most}))
        chainad.jacobian(f, backend="numba").compile(X)(X)
        chainad.jacobian(f, backend="numba", batch=0)(np.stack([X, X]))
    except KeyboardInterrupt:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
J = chainad.jacobian(f, backend="numba").compile(X)
K = chainad.jacobian(f, backend="numba", batch=0)
wanted = chainad.jacobian(f)(X)
np.testing.assert_allclose(J(X), wanted)
np.testing.assert_allclose(K(np.stack([X, X])), np.stack([wanted, wanted]))
"""


@pytest.mark.numba
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no timers here")
@pytest.mark.parametrize(("seed", "most"), [(0, 0.2), (1, 1.0)])
def test_interrupts_in_the_first_calls_leave_nothing_half_done(seed: int, most: float) -> None:
    code = INTERRUPTED.format(seed=seed, most=most)
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=300)


@pytest.mark.numba
def test_an_interrupt_leaves_the_compilation_to_the_next_call(
    monkeypatch: Any, executed: list[str]
) -> None:
    def interrupt(self: Event, timeout: float | None = None) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(modules, "Event", lambda: type("Event", (Event,), {"wait": interrupt})())
        with pytest.raises(KeyboardInterrupt):
            number_from(8.5)
    assert number_from(8.5) == 8.5
    assert len(executed) == 1


@pytest.mark.numba
@needs_fork
@may_fork_with_threads
def test_a_fork_waits_for_a_compilation(monkeypatch: Any) -> None:
    inside, execute, found = Event(), modules._executed, []

    def slowly(name: str, text: str, file: str) -> Any:
        inside.set()
        return execute(name, text, file)

    monkeypatch.setattr(modules, "_executed", slowly)
    thread = Thread(target=lambda: found.append(number_from(9.5)))
    thread.start()
    inside.wait(60)
    is_right = holds_in_child(lambda: number_from(10.5) == 10.5 and number_from(9.5) == 9.5, 60)
    thread.join()
    assert is_right
    assert found == [9.5]
    assert number_from(11.5) == 11.5
