"""Which of the user's code runs while a function is recorded, and what each instruction took.

Of every execution of an instruction it is noted which arrays the recorder took there by reference.
An instruction that took an array at all its executions never read the entries in another way. The
profiler and the tracer of the user's are kept.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable, Mapping
from threading import local
from types import CodeType, FrameType
from typing import Any, TypeAlias

import numpy as np

from chainad.errors import TraceError
from chainad.frontends.captures.bytecode import bytecode
from chainad.ir.cache import cached_property
from chainad.ir.notices import is_library_file
from chainad.ir.source_lines import raw_site

# A code object, by its id, and the offset of an instruction in it.
Instruction: TypeAlias = tuple[int, int]

# Where Python and installed packages are.
_FOLDERS = tuple({sysconfig.get_path(key) + os.sep for key in ("stdlib", "purelib", "platlib")})

# The bytes of the inline caches of an instruction: where it calls, its offset may lie behind them.
_MAX_CACHE_BYTES = 20


def owner_of(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the array that an array is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def package_of(f: Any) -> str:
    """Return the folder of the installed package that a function is of, or ""."""
    while not hasattr(f, "__code__") and hasattr(f, "__wrapped__"):
        f = f.__wrapped__
    code = getattr(f, "__code__", None) or getattr(type(f).__call__, "__code__", None)
    file: str = getattr(code, "co_filename", "")
    for folder in sorted(_FOLDERS, key=len, reverse=True):
        if file.startswith(folder):
            return folder + file[len(folder) :].split(os.sep, maxsplit=1)[0]
    return ""


def _file_of_namespace(namespace: Mapping[str, Any]) -> str:
    """Return the file of the module whose globals are given; "" for a session."""
    name = str(namespace.get("__name__", "__main__"))
    if name == "__main__":  # whatever started it, a test runner perhaps
        return ""
    if name.startswith("namedtuple_"):
        return "<frozen"
    return getattr(sys.modules.get(name), "__file__", None) or ""


class CodeRuns:
    """The user's code that runs inside a `with` block, in this thread.

    Attributes
    ----------
    codes : dict
        The code objects, by their id.
    counts : Counter
        How often every instruction was executed.
    taken : dict
        By instruction, the owners of the arrays that the recorder took by reference, by id, and
        how many executions took just these.
    package : str
        The folder of an installed package that counts as the user's, since the function is there.
    """

    def __init__(self, package: str = "") -> None:
        self.codes: dict[int, CodeType] = {}
        self.counts: Counter[Instruction] = Counter()
        self.taken: dict[Instruction, Counter[frozenset[int]]] = {}
        self.package = package
        self._at: Instruction = (0, 0)
        self._owners: set[int] = set()
        self._is_read = False
        self._is_users_file: dict[str, bool] = {}

    def __enter__(self) -> CodeRuns:
        _watch(self)
        return self

    def __exit__(self, *error: object) -> None:
        _unwatch(self)
        self._end()

    def is_users(self, code: CodeType, namespace: Mapping[str, Any]) -> bool:
        """Return whether code with these globals is the user's; if so, note that it ran."""
        found = self.is_users_code(code, namespace)
        if found:
            self.codes[id(code)] = code
        return found

    def is_users_code(self, code: CodeType, namespace: Mapping[str, Any]) -> bool:
        """Return whether code with these globals is the user's."""
        file = code.co_filename
        if file.startswith("<") and not is_library_file(file):
            # A session's, or what exec was given: that of a class, perhaps.
            file = _file_of_namespace(namespace)
        found = self._is_users_file.get(file)
        if found is None:
            found = self._is_users_file[file] = self.is_users_file(file)
        return found

    def is_users_file(self, file: str) -> bool:
        """Return whether a file is neither Python's nor that of an installed package."""
        if is_library_file(file) or file.startswith("<frozen"):
            return False
        is_own = bool(self.package) and file.startswith(self.package)
        return is_own or not file.startswith(_FOLDERS)

    def step(self, code: CodeType, offset: int) -> None:
        """Note that an instruction is executed next."""
        if self._owners or self._is_read:
            self._end()
        self._at = id(code), offset
        self.counts[self._at] += 1

    def take(self, array: np.ndarray[Any, Any]) -> None:
        """Note that the recorder takes an array by reference, at the instruction that runs."""
        site = raw_site()
        code, offset = self._at
        if site and id(site[0]) == code and 0 <= site[1] - offset <= _MAX_CACHE_BYTES:
            self._owners.add(id(owner_of(array)))

    def read(self) -> None:
        """Note that entries of arrays may be read, at the instruction that runs, in another way."""
        self._is_read = True

    def was_executed(self, at: Instruction) -> bool:
        """Return whether an instruction was executed, or may have been unseen."""
        return at in self.counts or at[0] not in self._counted

    @cached_property
    def _counted(self) -> set[int]:
        """The code objects whose instructions were counted."""
        return {code for code, _ in self.counts}

    def join_prefixes(self, code: CodeType) -> None:
        """Count prefixes of an instruction (where that is told to begin) as the instruction."""
        for prefix, offset in bytecode(code).prefixes:
            before, at = (id(code), prefix), (id(code), offset)
            if before in self.counts:
                self.counts[at] = max(self.counts[at], self.counts.pop(before))
                self.taken.setdefault(at, Counter()).update(self.taken.pop(before, {}))

    def always_takes(self, at: Instruction, owners: frozenset[int], operands: int) -> bool:
        """Return whether all executions of an instruction took so many of these arrays."""
        taken = self.taken.get(at)
        if taken is None:
            return False
        fitting = sum(n for each, n in taken.items() if len(each & owners) >= operands)
        return fitting == self.counts[at]

    def _end(self) -> None:
        if self._owners and not self._is_read:
            self.taken.setdefault(self._at, Counter())[frozenset(self._owners)] += 1
        self._owners.clear()
        self._is_read = False


class _Watching(local):
    """The runs that are watched in this thread, and the profiler that was there before."""

    runs: tuple[CodeRuns, ...] = ()
    before: Callable[..., Any] | None = None


_watching = _Watching()


def _started(frame: FrameType) -> bool:
    """Note that code runs; return whether it is the user's."""
    code, namespace = frame.f_code, frame.f_globals
    found = [runs.is_users(code, namespace) for runs in _watching.runs]
    return any(found)


def _stepped(code: CodeType, offset: int) -> None:
    for runs in _watching.runs:
        runs.step(code, offset)


if sys.version_info >= (3, 12):
    from threading import Lock

    class _Monitor:
        """A tool of sys.monitoring, as long as any thread watches."""

        def __init__(self) -> None:
            self.monitoring, self.lock = sys.monitoring, Lock()
            self.watched = 0
            self.tool = -1
            self.counted: dict[int, CodeType] = {}

        def enter(self) -> None:
            events = self.monitoring.events
            with self.lock:
                if not self.watched:
                    self.tool = self._free_tool()
                    self.monitoring.use_tool_id(self.tool, "chainad")
                    register = self.monitoring.register_callback
                    register(self.tool, events.PY_START, self.start)
                    register(self.tool, events.INSTRUCTION, self.step)
                    self.monitoring.set_events(self.tool, events.PY_START)
                self.watched += 1

        def leave(self) -> None:
            with self.lock:
                self.watched -= 1
                if not self.watched:
                    while self.counted:
                        _, code = self.counted.popitem()
                        self.monitoring.set_local_events(self.tool, code, 0)
                    self.monitoring.set_events(self.tool, 0)
                    self.monitoring.free_tool_id(self.tool)

        def start(self, code: CodeType, offset: int) -> None:
            if _started(sys._getframe(1)):
                self.counted[id(code)] = code
                instruction = self.monitoring.events.INSTRUCTION
                self.monitoring.set_local_events(self.tool, code, instruction)

        def step(self, code: CodeType, offset: int) -> None:
            if _watching.runs:
                _stepped(code, offset)

        def _free_tool(self) -> int:
            for tool in (4, 3, 5, 1, 0, 2):  # the first two are nobody's by name
                if self.monitoring.get_tool(tool) is None:
                    return tool
            raise TraceError(
                "all six tools of sys.monitoring are in use, so that chainad cannot see which code"
                " runs; compile before they start, or call chainad.jacobian(f) instead"
            )

    _monitor = _Monitor()

    def _watch(runs: CodeRuns) -> None:
        _monitor.enter()
        _watching.runs = (*_watching.runs, runs)

    def _unwatch(runs: CodeRuns) -> None:
        _watching.runs = tuple(each for each in _watching.runs if each is not runs)
        _monitor.leave()

else:

    def _trace(frame: FrameType, event: str, arg: Any) -> Any:
        if not _started(frame):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return _trace_inside

    def _trace_inside(frame: FrameType, event: str, arg: Any) -> Any:
        if event == "opcode":
            _stepped(frame.f_code, frame.f_lasti)
        return _trace_inside

    def _profile(frame: FrameType, event: str, arg: Any) -> None:
        if event == "call":
            _started(frame)
        if _watching.before is not None:
            _watching.before(frame, event, arg)

    def _watch(runs: CodeRuns) -> None:
        if not _watching.runs:
            if sys.gettrace() is None:
                sys.settrace(_trace)
            else:  # a debugger, or what measures coverage: instructions are not counted
                _watching.before = sys.getprofile()
                if not (_watching.before is None or callable(_watching.before)):
                    raise TraceError(
                        "a tracer and a profiler are in use, so that chainad cannot see which code"
                        " runs; compile before they start, or call chainad.jacobian(f) instead"
                    )
                sys.setprofile(_profile)
        _watching.runs = (*_watching.runs, runs)

    def _unwatch(runs: CodeRuns) -> None:
        _watching.runs = tuple(each for each in _watching.runs if each is not runs)
        if not _watching.runs:
            if sys.gettrace() is _trace:
                sys.settrace(None)
            elif sys.getprofile() is _profile:
                sys.setprofile(_watching.before)
