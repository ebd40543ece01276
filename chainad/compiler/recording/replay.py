"""Replay: a recording as the source of one straight-line Python function.

What is executed is what `source` prints. Calls that neither a result nor a guard depends on are
dropped. The function returns MISS where the arguments, or what was read off values, are not as
recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from math import inf, isfinite, prod
from typing import Any, NamedTuple

import numpy as np

from chainad.backends.namespace import Namespace
from chainad.backends.numpy.allocate import ArrayType
from chainad.backends.numpy.emit import emit_new
from chainad.compiler.passes.fuse_elementwise import Compile
from chainad.compiler.recording.accumulation import Accumulation, preallocated
from chainad.compiler.recording.arguments import argument_checks
from chainad.compiler.recording.capture_checks import bits_differ, capture_checks
from chainad.compiler.recording.link import LinkedProgram, link
from chainad.compiler.recording.quiet_calls import is_quiet
from chainad.compiler.recording.recording import Recording
from chainad.frontends.captures.contents import content, has_content
from chainad.frontends.numpy.tracers import has_tracer
from chainad.ir.calls import SILENT, Call, Guard
from chainad.ir.program import Instruction, Program, Runner

MISS: Any = object()
# What a replay returns whose Jacobian is to be made with masks of exact zeros.
NOT_FINITE: Any = object()

Replay = Callable[..., Any]  # of args, kwargs and out

# Smaller results are not freed before the replay returns.
_MIN_FREED_BYTES = 1 << 12


@dataclass(frozen=True)
class RequestedOutput:
    """What a replay returns: what the function returns, the Jacobian, or both.

    `blocks` makes the Jacobians of the results of the accumulation. `buffers` tells which arrays
    these are to be written into: of `out=`, and of what is read meanwhile. `is_checked` says that
    the last result of the accumulation is no part of it, but finite unless it is to be made with
    masks of exact zeros: NOT_FINITE is returned then.
    """

    value: bool
    jacobian: bool
    is_tuple: bool
    blocks: Callable[[Any], Any]
    buffers: Callable[..., Any]
    is_checked: bool = False


class SecondHalf(NamedTuple):
    """What makes the Jacobian of an evaluation that was begun.

    Attributes
    ----------
    finish : callable
        Returns the Jacobian at that point, in the buffer `out` if that fits.
    check : callable
        Tells whether what the function read beside its arguments is as it was; of `kept`.
    kept : tuple
        What it took of that.
    is_worth_keeping : bool
        Whether the first half takes longer than to compare what is kept, twice.
    """

    finish: Callable[..., Any]
    check: Callable[[tuple[Any, ...]], bool]
    kept: tuple[Any, ...] = ()
    is_worth_keeping: bool = True

    @classmethod
    def of(cls, jacobian: Any) -> SecondHalf:
        """Return what returns copies of a Jacobian that is there already."""
        if has_tracer(jacobian):
            return cls(lambda out=None: jacobian, _cannot_tell)
        return cls(lambda out=None: deepcopy(jacobian), _cannot_tell)

    @property
    def is_replayed(self) -> bool:
        """Whether the Jacobian is not there already."""
        return self.check is not _cannot_tell

    def holds(self) -> bool:
        """Return whether a new evaluation at the same point would give the same."""
        return self.check(self.kept)


def _cannot_tell(kept: tuple[Any, ...]) -> bool:
    return False


class Snapshot:
    """Returns the content of an array in memory that nobody overwrites."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self._array = array
        self._last: tuple[Any, Any] | None = None

    @property
    def size(self) -> int:
        """The number of elements."""
        return self._array.size

    def __call__(self) -> Any:
        """Return a copy of the array: the last one, as long as the array is what it was."""
        last = self._last
        if last is None or not has_content(self._array, last[1]):
            copy = self._array.copy(order="K")
            last = self._last = copy, content(copy)
        return last[0]


def build_replay(
    recording: Recording,
    jacobian: Program | Runner,
    slots: Sequence[Any],
    requested: RequestedOutput,
    compiled: Compile | None = None,
) -> tuple[Replay, str]:
    """Return a function from arguments to value (or None) and Jacobian, or MISS; and its source.

    `jacobian` accumulates the Jacobian of the local ones, which were `slots` in the recorded run.
    With `compiled`, elementwise operations are fused into nests.
    """
    source = _Source(recording, jacobian, slots, requested, compiled)
    return source.names.define("replay(args, kwargs, out=None)", source.lines())


def build_split_replay(
    recording: Recording,
    jacobian: Program | Runner,
    slots: Sequence[Any],
    requested: RequestedOutput,
) -> tuple[Replay, str]:
    """Return a function from arguments to value and `SecondHalf`, or MISS; and its source.

    The arguments must be nobody else's. See `build_replay`.
    """
    source = _Source(recording, jacobian, slots, requested)
    return source.names.define("begin(args, kwargs, out=None)", source.lines_in_halves())


def finished_by(replay: Replay, begin: Replay) -> Replay:
    """Return what begins an evaluation as `begin` does, and finishes it by a whole replay.

    That is where the second half takes more time than both halves in another form. It reads what
    the function reads beside its arguments as it is then, so that this must not have changed.
    """

    def finish(second: SecondHalf, args: Any, kwargs: Any, out: Any) -> Any:
        whole = replay(args, kwargs, out) if second.holds() else MISS
        return second.finish(out) if whole is MISS else whole[1]

    return finished_otherwise(begin, finish)


def finished_otherwise(begin: Replay, finish: Callable[..., Any]) -> Replay:
    """Return what begins an evaluation as `begin` does, and finishes it in another way.

    `finish` takes the second half as it was, the arguments of the evaluation, and `out`.
    """

    def run(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any = None) -> Any:
        found = begin(args, kwargs)
        if found is MISS:
            return MISS
        value, second = found
        return value, second._replace(finish=lambda out=None: finish(second, args, kwargs, out))

    return run


def bind_arguments(
    recording: Recording, names: Namespace, holds_constants: bool = False, is_brief: bool = False
) -> list[str]:
    """Return lines that bind the data arguments, or return MISS for a call that was not recorded.

    See `check_captured`. With `is_brief`, dtypes and layouts of arguments are left to machine code
    to check.
    """
    names.objects |= {"ndarray": np.ndarray, "MISS": MISS}
    lines = argument_checks(*recording.arguments, names.constant, is_brief)
    return lines + check_captured(recording, names, holds_constants)


def check_captured(recording: Recording, names: Namespace, holds_constants: bool) -> list[str]:
    """Return lines that return MISS unless what is read beside the arguments is as it was.

    Captured arrays must have the shapes that they had; the same entries, too, where these are
    constants of what is replayed (`holds_constants`).
    """
    lines = capture_checks(recording.captures, names.constant)
    fixed = [(each.array, each.entries) for each in recording.statics]
    referenced = {id(x): x for x in recording.references.values()}.values()
    tests = (
        [] if holds_constants else [f"{names.constant(x)}.shape != {x.shape}" for x in referenced]
    )
    for array, entries in [*fixed, *((x, x) for x in referenced if holds_constants)]:
        name = names.constant(array)
        tests.append(bits_differ(name, entries.shape, entries.tobytes(), names.constant))
    return lines + [line for test in tests for line in (f"if {test}:", "    return MISS")]


class _Source:
    """A linked recording as lines of Python."""

    def __init__(
        self,
        recording: Recording,
        jacobian: Program | Runner,
        slots: Sequence[Any],
        requested: RequestedOutput,
        compiled: Compile | None = None,
    ) -> None:
        if not requested.jacobian:
            jacobian = Program(0, (), ())
        linked = link(recording, jacobian, requested.value)
        has_products = bool(linked.accumulation.outputs) and isinstance(jacobian, Program)
        self.recording, self.requested = recording, requested
        self.is_quiet = compiled is not None
        self.names = Namespace(blocks=requested.blocks, buffers=requested.buffers)
        # Without `products`, the last call makes all results: that of this runner.
        self.runner = None if isinstance(jacobian, Program) else jacobian
        self.products: Accumulation | None = None
        if has_products:
            linked, self.products = preallocated(linked, slots, self.names, compiled)
        else:
            linked = linked.stacked({})
            if compiled is not None:
                fused = linked.fused({}, compiled)
                linked = linked if fused is None else fused[0]
        self.linked = linked
        # The registers that the function itself writes.
        self.function = {i.output for i in linked.program.instructions[: linked.n_function]}
        self.names.objects |= {f"v{k}": array for k, array in linked.program.constants.items()}
        accumulation = linked.accumulation
        # The registers that are read after the last call.
        self.read = {k for i in accumulation.instructions for k in i.inputs}
        self.read |= {k for k in accumulation.outputs if k is not None}
        # Upper bounds of the magnitudes of registers.
        self.bounds: dict[int, float] = {}

    def lines(self) -> list[str]:
        """Return the lines of a function of `args`, `kwargs` and `out`."""
        bound = bind_arguments(self.recording, self.names)
        read = self.read.union(self.linked.values)
        calls = self._calls(self.linked.calls, read, self._accumulation(True))
        value = self._value(()) if self.requested.value else "None"
        jacobian = self._jacobian() if self.requested.jacobian else "None"
        return [*bound, *calls, *self._check(), f"return {value}, {jacobian}"]

    def lines_in_halves(self) -> list[str]:
        """Return the lines of a function of `args` and `kwargs`, with a closure for the Jacobian.

        What the closure reads is nobody else's: neither a value that is returned, nor an array that
        the function took from elsewhere.
        """
        linked = self.linked
        lines = bind_arguments(self.recording, self.names)
        in_first = _needed_first(linked)
        first = [i for i in linked.calls if i.output in in_first]
        second = [i for i in linked.calls if i.output not in in_first]
        read = {k for i in second for k in i.inputs} | self.read
        aliased = _aliased(first, read)
        snapshots = {k: Snapshot(x) for k, x in self.recording.references.items() if k in aliased}
        self.names.objects |= {f"snapshot{k}": each for k, each in snapshots.items()}
        lines += [f"v{k} = snapshot{k}()" for k in snapshots]
        lines += self._calls(first, read.union(linked.values), [])
        value = self._value(aliased)
        if self.products is not None:
            lines += self.products.constant_lines
        finish = self._calls(second, self.read, self._accumulation(False)) + self._check()
        lines += ["def finish(out=None):", *(f"    {line}" for line in finish)]
        lines.append(f"    return {self._jacobian()}")
        self.names.objects["SecondHalf"] = SecondHalf
        elements = sum(each.size for each in snapshots.values())
        is_worth_keeping = _elements_of_work(first, linked.types) >= elements
        self.names.objects["holds"] = holds_still(self.recording, False, [*snapshots.values()])
        kept = "".join(f"v{k}, " for k in snapshots)
        half = f"SecondHalf(finish, holds, ({kept}), {is_worth_keeping})"
        return [*lines, f"return {value}, {half}"]

    def _calls(
        self, calls: Sequence[Instruction], read: Collection[int], accumulation: list[str]
    ) -> list[str]:
        """Return the lines of some calls, of the guards between them, and of the accumulation.

        Large arrays that the calls make are freed after their last use, but for those in the
        registers that are `read` later.
        """
        linked, names = self.linked, self.names
        ndims = {k: len(array.shape) for k, array in linked.types.items()}
        lines: list[str] = []
        block: list[str] = []
        state: tuple[str, ...] | None = None

        def end_block() -> None:
            nonlocal block
            if block and state is not None:
                lines.append(f"with np.errstate({_errstate_keywords(state)}):")
                lines.extend(f"    {line}" for line in block)
            else:
                lines.extend(block)
            block = []

        n_function = sum(i.output in self.function for i in calls)
        sizes = {i.output: linked.types[i.output].nbytes for i in calls if i.output in linked.types}
        last_reads = Program(0, tuple(calls), tuple(read)).last_reads
        for n, (i, last) in enumerate(zip(calls, last_reads, strict=True)):
            op = i.op
            is_silent = isinstance(op, Guard) or is_quiet(i, self.bounds)
            if isinstance(op, Call) and not is_silent and op.errstate != state:
                end_block()
                state = op.errstate
            if n == n_function:
                block.append("# local Jacobians")
            if isinstance(op, Call) and all(ndims.get(k) in (1, 2) for k in i.inputs):
                # A dot product is dispatched faster.
                op = replace(op, function=np.dot) if op.function is np.matmul else op
            operands = [f"v{k}" for k in i.inputs]
            if isinstance(op, Guard):
                block += _guard(op, operands[0], names)
            elif isinstance(op, Call) and op.function is self.runner:
                taken = ", ".join(["out", *operands])
                block.append(f"if out is not None: out = buffers({taken})")
                block.append(f"v{i.output} = {emit_new(op, operands, names)[:-1]}, out)")
            else:
                block.append(f"v{i.output} = {emit_new(op, operands, names)}")
            large = [k for k in last if sizes.get(k, 0) >= _MIN_FREED_BYTES]
            if large:
                block.append("del " + ", ".join(f"v{k}" for k in large))
        # What the function itself does not warn of, its derivatives do not. (Where no formula may
        # warn, local Jacobians are bounded, or values of the function: it costs time to enter
        # another state.)
        if state != SILENT:
            end_block()
            state = SILENT if self.is_quiet else None
        block += accumulation
        end_block()
        return lines

    def _accumulation(self, with_constants: bool) -> list[str]:
        products = self.products
        if products is None:
            return []
        read = "".join(f", v{k}" for k in products.read)
        lines = ["# products", "if out is not None:", f"    out = buffers(out{read})"]
        return lines + (products.constant_lines if with_constants else []) + products.lines

    def _value(self, aliased: Container[int]) -> str:
        """Return an expression for what the function returns; see `_unaliased`."""
        values = _unaliased(self.linked, aliased)
        return (
            f"({', '.join(values)},)" if self.requested.is_tuple and values else (*values, "()")[0]
        )

    def _check(self) -> list[str]:
        """Return lines that return NOT_FINITE where masks of exact zeros are needed."""
        if self.products is None or not self.requested.is_checked:
            return []
        self.names.objects["NOT_FINITE"] = NOT_FINITE
        is_finite = self.names.constant(isfinite)  # the program may call NumPy's
        return [f"if not {is_finite}({self.products.source.results[-1]}):", "    return NOT_FINITE"]

    def _jacobian(self) -> str:
        if self.products is not None:
            results = self.products.source.results
            results = results[:-1] if self.requested.is_checked else results
            return f"blocks([{', '.join(results)}])"
        outputs = self.linked.accumulation.outputs
        return f"blocks(v{outputs[0]})" if outputs else "blocks([])"


def holds_still(
    recording: Recording, holds_constants: bool, snapshots: Sequence[Snapshot] = ()
) -> Callable[[tuple[Any, ...]], bool]:
    """Return what tells whether everything is as it was when these snapshots were taken."""
    names = Namespace(MISS=False, snapshots=snapshots)
    lines = check_captured(recording, names, holds_constants)
    lines.append("return all(each() is x for each, x in zip(snapshots, kept))")
    return names.define("holds(kept)", lines)[0]


def _needed_first(linked: LinkedProgram) -> set[int]:
    """Return the registers that the values depend on, and whatever may end a replay."""
    needed = {*linked.values}
    for i in reversed(linked.calls):
        if i.output in needed or isinstance(i.op, Guard):
            needed |= {*i.inputs, i.output}
    return needed


def _elements_of_work(instructions: Sequence[Instruction], types: Mapping[int, ArrayType]) -> float:
    """Return how many elements ufuncs make, which takes about as long as to compare them twice.

    A multiplication inside of a matrix product takes a tenth of that, and a solver anything.
    """
    work = 0.0
    for i in instructions:
        if isinstance(i.op, Call) and getattr(i.op.function, "is_solver", False):
            return inf
        if isinstance(i.op, Call) and isinstance(i.op.function, np.ufunc):
            size, first = prod(i.op.shape), types.get(i.inputs[0]) if i.inputs else None
            is_product = i.op.function is np.matmul and first is not None and first.shape
            work += 0.1 * size * first.shape[-1] if is_product and first else size
    return work


def _aliased(instructions: Sequence[Instruction], registers: Iterable[int]) -> set[int]:
    """Return the registers that some registers are, or may be views of."""
    found = {*registers}
    for i in reversed(instructions):
        is_new = isinstance(i.op.function, np.ufunc) if isinstance(i.op, Call) else not i.op.is_view
        if i.output in found and not is_new:
            found.update(i.inputs)
    return found


def _errstate_keywords(state: tuple[str, ...]) -> str:
    keys = ("divide", "over", "under", "invalid")
    assert tuple(np.geterr()) == keys
    return ", ".join(f"{key}={value!r}" for key, value in zip(keys, state, strict=True))


def _guard(guard: Guard, own: str, names: Namespace) -> list[str]:
    if guard.kind == "truth":
        test = f"not {own}" if guard.found else own
    elif guard.kind == "equal":  # nan is nan, and 0.0 is not -0.0
        test = f"repr({own}) != {repr(guard.found)!r}"
    elif guard.kind == "shape":
        dtype = names.constant(guard.found.dtype)
        test = f"{own}.shape != {guard.found.shape} or {own}.dtype != {dtype}"
    else:
        test = bits_differ(own, guard.found.shape, guard.found.tobytes(), names.constant)
    return [f"if {test}:", "    return MISS"]


def _unaliased(linked: LinkedProgram, aliased: Container[int]) -> list[str]:
    """Return expressions for the values, contiguous and in memory that nothing else shares.

    The memory of the registers `aliased` is read later.
    """
    ops = {i.output: i.op for i in linked.program.instructions}
    found = []
    for n, k in enumerate(linked.values):
        op, name = ops.get(k), f"v{k}"
        if not isinstance(op, Call):
            found.append(f"np.array({name}, order='C')")
        elif op.is_scalar:
            found.append(name)
        elif not isinstance(op.function, np.ufunc) or k in linked.values[:n] or k in aliased:
            found.append(f"np.array({name}, order='C')")
        else:  # a ufunc makes an array, in the order of its operands
            found.append(name if len(op.shape) < 2 else f"np.asarray({name}, order='C')")
    return found
