"""Generated modules: compiled by numba once per text, and kept in a cache folder.

An entry of the cache is a folder whose name the text determines, and the versions of what compiles
it: the text, numba's files of machine code, and checksums of these, without which they are not
trusted. The entries that were used longest ago are removed.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from shutil import rmtree
from threading import Event, Thread, local
from types import FunctionType, ModuleType
from typing import Any
from weakref import WeakValueDictionary

from chainad.backends.numba import llvm_functions
from chainad.ir.cache_folder import cache_folder, write_atomically
from chainad.ir.locks import fork_safe_lock
from chainad.ir.notices import log, warn_of_fallback
from chainad.ir.version import VERSION

Runner = Callable[..., Any]

MAX_CACHED_MODULES = 256
MAX_UNUSED_MODULES = 32  # that stay in memory

_TEXT, _CHECKSUMS, _MACHINE_CODE = "module.py", "checksums", "__pycache__"

# What programs use, and what was used last; the rest is dropped.
_loaded: WeakValueDictionary[str, Runner] = WeakValueDictionary()
_recent: deque[Runner] = deque(maxlen=MAX_UNUSED_MODULES)
_warned: dict[str, bool] = {}  # and whether the user was told
_lock = fork_safe_lock()  # of these
_background = local()  # what was started meanwhile by a thread that does not wait

# Held while numba compiles. A fork waits for it: in the child, numba's own lock would be held for
# good, and what it was about to change would stay half changed.
_compiling = fork_safe_lock()


def load(text: str) -> Runner:
    """Return the function `run` of a module: that of an earlier call, from the cache, or compiled.

    Raises
    ------
    Exception
        Whatever numba raises about the text.
    """
    name = "chainad_" + sha256(f"{_versions()}\n{text}".encode()).hexdigest()[:24]
    run = _known(name)
    if run is None:
        compilation = Compilation(name, text)
        try:
            compilation.start()
        except RuntimeError:  # the system has no thread left
            compilation.run()
        started: list[Compilation] | None = getattr(_background, "started", None)
        if started is not None:
            started.append(compilation)
            return compilation
        run = compilation.result()
    return run


def load_into(names: dict[str, Any], name: str, text: str) -> None:
    """Give the function `run` of a module a name; what stands for it meanwhile is replaced."""
    names[name] = run = load(text)
    if isinstance(run, Compilation):
        run.named.append((names, name))
        if run.done.is_set():
            run.rename()


@contextmanager
def in_background(is_wanted: bool) -> Iterator[list[Compilation]]:
    """Let `load`, in this thread, return at once; yield what it starts to compile.

    What it returns waits for that when it is called. Do nothing if that is not wanted.
    """
    started: list[Compilation] = []
    _background.started = started if is_wanted else None
    try:
        yield started
    finally:
        _background.started = None


@cache
def _versions() -> str:
    """Return what machine code depends on beside its text and the processor, which numba notes."""
    translator = sha256(Path(llvm_functions.__file__).read_bytes()).hexdigest()
    # numba is imported where no interrupt comes.
    compilers = (f"{name} {version(name)}" for name in ("numba", "llvmlite"))
    return "\n".join([f"chainad {VERSION}", translator, *compilers])


def _known(name: str) -> Runner | None:
    with _lock:
        run = _loaded.get(name)
        if run is not None:
            _recent.append(run)
        return run


class Compilation(Thread):
    """Compiles a module in a thread of its own.

    An interrupt comes to the main thread, which waits; numba would not work any more if one left it
    in the middle of its preparations. What was compiled meanwhile is there for the next call.
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(name="chainad compiles", daemon=False)
        self._of = name, text
        self._result: Runner | BaseException | None = None
        self.done = Event()
        self.named: list[tuple[dict[str, Any], str]] = []  # where the result is to have a name

    def run(self) -> None:
        name, text = self._of
        try:
            with _compiling:
                self._result = _known(name)  # several threads may want the same
                if self._result is None:
                    run = self._result = _compiled(name, text)
                    with _lock:
                        _loaded[name] = run
                        _recent.append(run)
        except BaseException as error:
            self._result = error
        finally:
            self.done.set()
            self.rename()

    def rename(self) -> None:
        """Give the function its names, in the place of what stands for it."""
        if not isinstance(self._result, BaseException):
            for names, name in self.named:
                names[name] = self._result

    def result(self) -> Runner:
        """Return the function, once it is there; raise what numba raised."""
        self.done.wait()
        _tell()
        if isinstance(self._result, BaseException):
            raise self._result
        assert self._result is not None
        return self._result

    def __call__(self, *args: Any) -> Any:
        """Call the function, once it is there."""
        return self.result()(*args)

    @property
    def functions(self) -> Any:
        """Those of a module that has several, once they are there."""
        run: Any = self.result()
        return run.functions


def _compiled(name: str, text: str) -> Runner:
    from numba.core.errors import NumbaError

    folder = _entry(name, text)
    if folder is not None:
        for _ in range(2):
            try:
                run = _executed(name, text, str(folder / _TEXT))
            except (NumbaError, MemoryError):  # it is not about files
                raise
            except Exception as error:
                # numba's files may be damaged, or cannot be written: with none, and then without.
                log.info("%s is compiled anew: %r", folder, error)
                _remove(folder / _MACHINE_CODE)
            else:
                with suppress(OSError):
                    _seal(folder)
                return run
    return _executed(name, text.replace("cache=True, ", ""), f"<{name}>")


def _executed(name: str, text: str, file: str) -> Runner:
    """Return the function `run` of a module; compiled, since its signature is part of its text."""
    module = ModuleType(name)
    module.__file__ = file
    module.__dict__["__source__"] = text
    sys.modules[name] = module  # numba's cache looks it up, but only while it compiles
    try:
        exec(compile(text, file, "exec"), module.__dict__)
        run: Runner = module.__dict__["run"]
    finally:
        sys.modules.pop(name, None)
    functions = getattr(run, "functions", (run,))
    if not any(isinstance(f, FunctionType) for f in functions):  # which NUMBA_DISABLE_JIT leaves
        # Machine code reads no names; by these, what numba registers would keep it alive for good.
        module.__dict__.clear()
    return run


# ------------------------------------------------------------- the cache folder


def _entry(name: str, text: str) -> Path | None:
    """Return the entry of a module with nothing but what belongs there; None if none can be had."""
    root = "the user's cache folder"
    try:
        folder = cache_folder() / "numba" / name
        root = str(folder.parent)
        folder.mkdir(parents=True, exist_ok=True)
        if not _is_intact(folder, text):
            _remove(folder / _MACHINE_CODE)
            write_atomically(folder / _TEXT, text.encode())
            _evict(folder.parent)
        os.utime(folder)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        _warn_once(
            f"{root} cannot be written ({reason}): machine code is compiled anew in each process;"
            " set CHAINAD_CACHE to a folder that can be written"
        )
        return None
    return folder


def _is_intact(folder: Path, text: str) -> bool:
    try:
        is_same = (folder / _TEXT).read_bytes() == text.encode()
        return is_same and (folder / _CHECKSUMS).read_bytes() == _checksums(folder)
    except OSError:
        return False


def _seal(folder: Path) -> None:
    """Write checksums of numba's files, if they have changed."""
    checksums = _checksums(folder)
    path = folder / _CHECKSUMS
    if not path.exists() or path.read_bytes() != checksums:
        write_atomically(path, checksums)


def _checksums(folder: Path) -> bytes:
    files = sorted((folder / _MACHINE_CODE).glob("*.nb[ic]"))
    lines = (f"{sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    return "".join(lines).encode()


def _evict(root: Path) -> None:
    """Remove the entries that were used longest ago; another process that needs one compiles it."""
    entries = []
    for path in root.glob("chainad_*"):
        with suppress(OSError):  # another process was here
            entries.append((path.stat().st_mtime, path))
    for _, path in sorted(entries)[:-MAX_CACHED_MODULES]:
        _remove(path)


def _remove(path: Path) -> None:
    rmtree(path, ignore_errors=True)


def _warn_once(message: str) -> None:
    """Note what the user is to be told: not here, in a thread that is none of the user's."""
    with _lock:
        _warned.setdefault(message, False)


def _tell() -> None:
    """Warn of what was noted and not told."""
    with _lock:
        new = [message for message, is_told in _warned.items() if not is_told]
        _warned.update(dict.fromkeys(new, True))
    for message in new:
        warn_of_fallback(message)


# ------------------------------------------------------------------------ forks


def _release() -> None:
    if _compiling._is_owned():  # else an interrupt came while the fork waited
        _compiling.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_compiling.acquire, after_in_parent=_release, after_in_child=_release
    )
