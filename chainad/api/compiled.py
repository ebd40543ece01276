"""Compiled functions: a function, or its Jacobian, that is recorded once and then replayed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from logging import INFO
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from chainad.api.analysis import Analysis
from chainad.api.analyze import analyze as analyze_plan
from chainad.api.captured_table import captured_table
from chainad.api.choose_backend import CompiledProgram, Form, compile_program
from chainad.api.differentiator import Differentiator
from chainad.api.evaluation import Evaluation, owned, with_exact_zeros
from chainad.api.fallbacks import attempt, is_fault, warn_of_fault
from chainad.api.function_of import F_co, FunctionOf, P, R_co, V_co
from chainad.api.outputs import is_finite, is_on_disk, reserve
from chainad.api.recompilation import why_recorded
from chainad.backends.numba.generated_modules import Compilation, in_background
from chainad.compiler.recording.arguments import arguments_as_text, has_opaque_arrays
from chainad.compiler.recording.replay import MISS, NOT_FINITE, Replay
from chainad.errors import PlanError
from chainad.frontends.numpy.trace import argument_leaves, holder_of
from chainad.frontends.numpy.tracers import has_tracer
from chainad.ir import trees
from chainad.ir.cache import cached_property
from chainad.ir.locks import fork_safe_lock
from chainad.ir.notices import log, warn_of_fallback
from chainad.ir.progress import is_from_progress
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.machine_memory import memory_of_machine
from chainad.planning.plan import Plan

# A function that has these and still finds no fitting one is traced at each call.
MAX_PROGRAMS = 32

# Scalar programs hold the entries of arrays from elsewhere and cost more to make, so a function
# that keeps changing is better off with NumPy.
MAX_SCALAR_PROGRAMS = 4


class CompiledFunction(FunctionOf[P, V_co, R_co, F_co]):
    """A function, or its Jacobian, that is replayed without tracing; made by `compile`."""

    def __init__(self, of: Differentiator) -> None:
        self._of = of
        self._programs: tuple[CompiledProgram, ...] = ()
        self._lock = fork_safe_lock()
        self._misses = 0
        self._has_told_limit = False
        # The forms whose programs failed, by a fault of chainad.
        self._failed: frozenset[Form] = frozenset()
        # What machine code is compiled for in the background, and whether that has failed.
        self._pending: tuple[CompiledProgram, list[Compilation]] | None = None
        self._has_given_up = False
        self._has_jacobian = of.has_jacobian
        # What a call returns of the pair of value and Jacobian; None: both.
        self._take = _taken(of)
        takes_out = of.has_jacobian and of.options.output == "dense"
        super().__init__(of.wrapped, of.verb, takes_out, "compiled")

    @property
    def _parts(self) -> tuple[Any, ...]:
        return (self._of,)

    def __repr__(self) -> str:
        return f"{self._of!r}.compile()" if self._has_jacobian else f"chainad.compile({self._of!r})"

    def __str__(self) -> str:
        """Return what it is, and how it notices changes of what the function reads elsewhere."""
        constant = sorted(self._of.options.constant)
        programs = self._latest_programs
        if not programs:
            return f"{self!r}\nprograms    0"
        program = programs[0]
        table = captured_table(program.captures, constant, program.form is Form.SCALARS)
        made = f"{program.form.value}, for {arguments_as_text(*program.arguments)}"
        return f"{self!r}\nprograms    {len(programs)}, the last by {made}\n{table}"

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        # Without a Jacobian to write there, `out` is the function's own keyword.
        out = kwargs.pop("out", None) if kwargs and self._has_jacobian else None
        programs = self._programs
        if out is None and programs and not self._misses:
            # The usual call, in as few steps as there can be: most of these take microseconds.
            failure = None
            try:
                found = programs[0][0](args, kwargs)
            except Exception as error:
                failure = error
            if failure is not None:  # not while it is handled: what tracing raises has no context
                found = self._instead_of(programs[0], failure, args, kwargs)
            if found is not MISS:
                return found if self._take is None else self._take(found)
        return self._of.returned(*self._value_and_jacobian(args, kwargs, out), out)

    def _value_and_jacobian(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any = None
    ) -> tuple[Any, Any]:
        """Return what the function returns, and its Jacobian; None for what is not requested.

        The Jacobian is `out` itself if it could be written there directly.
        """
        if out is not None and self._is_larger_on_disk(out):
            return self._on_disk._value_and_jacobian(args, kwargs, out)
        # A function that goes another way each time is not looked up any more, but traced.
        found = MISS if self._misses > MAX_PROGRAMS else self._find(args, kwargs, out)
        value, jacobian = self._miss(args, kwargs, out) if found is MISS else found
        return value, jacobian

    if not TYPE_CHECKING:  # which is overloaded in FunctionOf
        __call__ = _call

    def begin(self, *args: P.args, **kwargs: P.kwargs) -> tuple[Any, Evaluation]:
        """Return the value, and what returns the Jacobian at the same point when it is called.

        A point that is rejected costs its value alone.

        Parameters
        ----------
        *args, **kwargs
            As for a call. They are copied: arrays may be overwritten meanwhile.

        Returns
        -------
        value : array, number, or container of these
            What the function returns, in memory that nothing else uses; of a Hessian, the gradient.
        finish : Evaluation
            `finish()` returns what `jacobian` returns; its keyword `out` is that of `jacobian`. It
            may be called in any order with others, often, and by other threads.

        Raises
        ------
        PlanError
            If this is no Jacobian.
        InputError
            When `finish` is called, if the Jacobian is nan or infinite where a selection leaves
            values unused, and what the function reads beside its arguments has changed.

        Notes
        -----
        Programs of two halves are recorded apart from those of calls. A function that is traced at
        each call is differentiated at once.

        Examples
        --------
        >>> import numpy as np
        >>> import chainad
        >>> J = chainad.jacobian(np.square).compile()
        >>> value, finish = J.begin(np.array([1.0, 3.0]))
        >>> value
        array([1., 9.])
        >>> finish()
        array([[2., 0.],
               [0., 6.]])
        """
        if not self._has_jacobian:
            raise PlanError(
                f"{self!r} returns values: there is no Jacobian to finish; compile"
                " chainad.jacobian(f)"
            )
        args, split = owned(args), self._split
        if kwargs:
            kwargs = owned(kwargs)
        value, second = split._value_and_jacobian(args, kwargs)
        return value, Evaluation(split._of, args, kwargs, second)

    @property
    def source(self) -> str:
        """The source of the program that was used last; that of `begin` if nothing was called."""
        programs = self._latest_programs
        return programs[0].source if programs else ""

    @property
    def _latest_programs(self) -> tuple[CompiledProgram, ...]:
        """Those of calls; or else those that serve until machine code is there, or of `begin`."""
        found = self._programs
        for name in ("_meanwhile", "_split"):
            other = self.__dict__.get(name)
            found = found or (() if other is None else other._latest_programs)
        return found

    @property
    def plan(self) -> Plan | ChunkedPlan | None:
        """The plan of the program that was used last; None if there is no program yet.

        Raises
        ------
        PlanError
            If this is no Jacobian.

        Notes
        -----
        Of a program on scalars it is a plan on the graph of these: the program does what it
        says, but makes products that several entries have in common once. Its cost is what is left,
        in operations, a division counted as three.
        """
        self._check_has_plan()
        programs = self._programs
        if not programs and "_meanwhile" in self.__dict__:
            programs = self._meanwhile._programs
        return programs[0].plan() if programs else None

    def _check_has_plan(self) -> None:
        if not self._has_jacobian:
            raise PlanError(
                f"{self!r} returns values: there is no Jacobian to plan; compile"
                " chainad.jacobian(f), or call chainad.plan(f, *args)"
            )

    @overload
    def explain(self, *args: P.args, **kwargs: P.kwargs) -> Plan | ChunkedPlan: ...

    @overload
    def explain(
        self, *args: Any, analyze: Literal[True], seconds: float = 2.0, **kwargs: Any
    ) -> Analysis: ...

    def explain(
        self, *args: Any, analyze: Any = False, seconds: Any = 2.0, **kwargs: Any
    ) -> Plan | ChunkedPlan | Analysis:
        """Return the plan for these arguments; with `analyze=True`, how long its steps take.

        Parameters
        ----------
        *args, **kwargs
            As for a call.
        analyze : bool
            Whether to run the function and its plan, often, and to measure: what `EXPLAIN ANALYZE`
            does in databases.
        seconds : float
            About how long to measure. What is done once comes on top of that, such as planning
            and compiling, and so do calls that take longer; pure modes that would are estimated.

        Returns
        -------
        Plan, ChunkedPlan or Analysis
            `print` it, or look at it in a notebook. An `Analysis` has every step of the plan with
            the time that was estimated and that was measured, the pure modes likewise, what a call
            spends its time on, and all steps as one program beside their sum.

        Raises
        ------
        PlanError
            If this is no Jacobian.
        InputError
            If there is nothing to measure: with `output="operator"`, or `batch=`.

        Examples
        --------
        >>> import numpy as np
        >>> import chainad
        >>> def f(x):
        ...     return np.outer(x, x) @ np.sin(x)
        >>> found = chainad.jacobian(f).explain(np.ones(3), analyze=True, seconds=0.05)
        >>> [phase.name for phase in found.phases][:3]
        ['tracing f', 'looking up the plan', 'local Jacobians']
        >>> len(found.rows) == len(found.plan.steps)
        True
        """
        if analyze:
            self._check_has_plan()
            return analyze_plan(self._of, self, self._form, args, kwargs, seconds)
        self._call(*args, **kwargs)
        # A function that is traced at each call has no program.
        return self.plan or self._of.plan(args, kwargs)

    def _form(self) -> str:
        programs = self._programs
        return programs[0].form.value if programs else ""

    @property
    def programs(self) -> int:
        """How many programs were recorded: one for each shape and each branch met so far."""
        return len(self._programs)

    def clear(self) -> None:
        """Forget what was recorded; the next call records anew."""
        with self._lock:
            self._programs, self._misses, self._failed = (), 0, frozenset()
            self._pending, self._has_given_up = None, False
            for name in ("_masked", "_split", "_on_disk", "_meanwhile"):
                self.__dict__.pop(name, None)

    def _find(self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any = None) -> Any:
        programs = self._programs
        for k, program in enumerate(programs):
            found = self._replayed(program, args, kwargs, out)
            if found is not MISS:
                self._misses = 0
                if k:
                    self._prefer(program)
                return found
        return MISS

    def _replayed(
        self, program: CompiledProgram, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
    ) -> Any:
        """Return what a program does, or, if that raises, what tracing does."""
        try:
            return program.run(args, kwargs, out)
        except Exception as error:
            failure = error
        return self._instead_of(program, failure, args, kwargs, out)

    def _instead_of(
        self,
        program: CompiledProgram,
        failure: Exception,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        out: Any = None,
    ) -> Any:
        """Return what tracing does where a program has raised."""
        if is_from_progress(failure):
            raise failure
        log.info("%r is traced: its program raises %r", self, failure)
        # It is the function's own, in its own line: let that raise it, or do otherwise.
        found = self._of.traced(args, kwargs, out)
        if is_fault(failure):
            with self._lock:
                self._failed |= {program.form}
                self._programs = tuple(p for p in self._programs if p.form is not program.form)
            warn_of_fault(f"replaying {program.form.value}", failure)
        return found

    def _prefer(self, program: CompiledProgram) -> None:
        with self._lock:
            others = (each for each in self._programs if each is not program)
            self._programs = (program, *others)

    def _miss(self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
        if self._misses > MAX_PROGRAMS or has_tracer(trees.all_leaves((args, kwargs))):
            return self._of.traced(args, kwargs, out)
        checked, kwargs, is_other = self._checked(args, kwargs)
        if is_other:
            found = self._find(checked, kwargs, out)
            if found is not MISS:
                return found
        if has_opaque_arrays((checked, kwargs)):
            log.info("%r is traced: an argument has arrays of text, objects or subclasses", self)
            return self._of.traced(args, kwargs, out)
        if self._pending is not None or self._has_given_up:
            return self._served_meanwhile(args, kwargs, out)
        before = self._programs
        if len(before) >= MAX_PROGRAMS:
            self._misses += 1
            self._tell_limit()
            return self._of.traced(args, kwargs, out)
        avoided = self._failed
        if len(before) >= MAX_SCALAR_PROGRAMS:
            avoided |= {Form.SCALARS, Form.LOOPS, Form.FUSED}
        with in_background(self._of.options.background) as started:
            program = compile_program(self._of, checked, kwargs, avoided)
        if program is None:
            self._misses = MAX_PROGRAMS + 1
            return self._of.traced(args, kwargs, out)
        if program.has_exact_zeros and not self._of.options.carries_masks:
            is_exact = (lambda found: True) if program.is_checked else is_finite
            run = self._with_exact_zeros(program.run, is_exact)
            if self._of.is_split:
                run = with_exact_zeros(self._of, program.run, is_exact, self._with_masks)
            program = program._replace(run=run)
        if started:
            self._pending = program, started
            return self._served_meanwhile(args, kwargs, out)
        if not self._add(program, before):
            return self._value_and_jacobian(args, kwargs, out)
        found = self._replayed(program, checked, kwargs, out)
        # A function that reads random numbers or counts its calls may find no program of its own.
        return self._of.traced(args, kwargs, out) if found is MISS else found

    def _served_meanwhile(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
    ) -> tuple[Any, Any]:
        """Return what NumPy computes, or, as soon as there is machine code, what that does."""
        pending = self._pending
        if pending is None or not all(x.done.is_set() for x in pending[1]):
            return self._meanwhile._value_and_jacobian(args, kwargs, out)
        with self._lock:
            is_first = self._pending is pending
            self._pending = None
        if is_first:
            program, compilations = pending
            found = [attempt(compilation.result) for compilation in compilations]
            fault = next((x for x in found if isinstance(x, Exception)), None)
            if fault is None:
                self._add(program, self._programs)
            else:
                self._has_given_up = True
                warn_of_fault(f"compiling to {program.form.value} in the background", fault)
        return self._value_and_jacobian(args, kwargs, out)

    @cached_property
    def _meanwhile(self) -> CompiledFunction:
        """What serves until machine code is there."""
        options = replace(self._of.options, backend="numpy", background=False)
        return CompiledFunction(replace(self._of, options=options))

    def _with_exact_zeros(self, replay: Replay, is_exact: Callable[[Any], bool]) -> Replay:
        """Return a replay whose results that are not exact are made with masks of exact zeros."""

        part = int(self._has_jacobian)

        def run(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any = None) -> Any:
            found = replay(args, kwargs, out)
            if found is MISS or (found is not NOT_FINITE and is_exact(found[part])):
                return found
            return self._with_masks(args, kwargs, out)

        return run

    def _with_masks(self, *call: Any) -> tuple[Any, Any]:
        return self._masked._value_and_jacobian(*call)

    @cached_property
    def _split(self) -> CompiledFunction:
        """What runs the first halves of evaluations."""
        return CompiledFunction(replace(self._of, has_value=True, is_split=True))

    def _is_larger_on_disk(self, out: Any) -> bool:
        """Return whether `out` is on disk, so that the program for it may be another one."""
        how = self._of.options
        if how.is_on_disk or not is_on_disk(out):
            return False
        trees.map_leaves(reserve, out)
        nbytes = sum([array.nbytes for array in trees.flatten(out)[0]])
        return how.memory_limit is not None or nbytes > memory_of_machine()

    @cached_property
    def _on_disk(self) -> CompiledFunction:
        """What writes Jacobians into arrays on disk, which count towards no memory."""
        options = replace(self._of.options, is_on_disk=True)
        return CompiledFunction(replace(self._of, options=options))

    @cached_property
    def _masked(self) -> CompiledFunction:
        options = replace(self._of.options, carries_masks=True)
        return CompiledFunction(replace(self._of, options=options))

    def _add(self, program: CompiledProgram, before: tuple[CompiledProgram, ...]) -> bool:
        """Add a program, unless other threads have added some since there were those `before`."""
        with self._lock:
            if len(self._programs) > len(before):
                return False
            known = self._programs
            self._programs = (program, *known)
        if known and log.isEnabledFor(INFO):
            call, why = arguments_as_text(*program.arguments), why_recorded(program, known)
            log.info("%r records program %d, for %s: %s", self, len(known) + 1, call, why)
        return True

    def _tell_limit(self) -> None:
        if not self._has_told_limit:
            self._has_told_limit = True
            warn_of_fallback(
                f"{self!r} has recorded {MAX_PROGRAMS} programs, as many as it keeps; calls that"
                " none of them fits are traced, which takes longer: the logger 'chainad' tells at"
                " level INFO why each was recorded"
            )

    def _checked(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any], bool]:
        """Return the arguments, those to differentiate by of plain arrays of floats.

        And whether any of them is another now.
        """
        of, positional, named = self._of, list(args), dict(kwargs)
        is_other = False
        for k in of.options.selected(of.function, args, kwargs) if of.has_jacobian else ():
            given = holder_of(k, positional, named)
            before, _ = trees.flatten_arrays(given[k])
            leaves, tree = argument_leaves(of.function, k, given[k])
            plain = [x if isinstance(x, np.generic) else _plain(x) for x in leaves]
            if any(a is not b for a, b in zip(before, plain, strict=True)):
                is_other = True
                given[k] = tree.unflatten(plain)
        return tuple(positional), named, is_other


def _plain(array: Any) -> Any:
    return array if type(array) is np.ndarray else np.asarray(array)


def _taken(of: Differentiator) -> Callable[[Any], Any] | None:
    """Return what takes that which a call returns from the pair of value and Jacobian."""
    if of.has_value:
        return None if of.has_jacobian else itemgetter(0)
    return (lambda pair: (pair[1], pair[0][1])) if of.options.has_aux else itemgetter(1)
