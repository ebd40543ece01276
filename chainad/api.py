"""The verbs for functions: jacobian, value_and_jacobian, compile, plan, stop_gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chainad.backends.numba import check_installed
from chainad.backends.numpy import build
from chainad.batches import Batch, ManyPoints
from chainad.blocks import assembler, check_size, dtype_of, itemsize_of, nest, pairs, write
from chainad.cache import Cache
from chainad.chunked import ChunkedPlan
from chainad.chunks import compile_chunks
from chainad.compiled import CompiledFunction, Prepared
from chainad.errors import InputError, PlanError
from chainad.evaluate import evaluate
from chainad.linear import LinearGraph
from chainad.linearize import Linearized, linearize
from chainad.lower import lower
from chainad.matrixfree import JacobianOperator, Sweeps
from chainad.memory import bytes_of, plan_within
from chainad.operators import Operator
from chainad.plan import Plan
from chainad.planners.auto import Mode, check_mode, mode_key, plan_cached
from chainad.planners.fit import check_fits
from chainad.planners.pace import Aim, Effort, aim_of
from chainad.prices import PriceModel, model_of
from chainad.results import OUTPUTS
from chainad.scalars.replay import BACKENDS
from chainad.tracing.record import Tracer
from chainad.tracing.recorded import detached
from chainad.tracing.trace import Run, tracing

_compiled: Cache[Prepared] = Cache(256)
_swept: Cache[tuple[Linearized, list[Sweeps]]] = Cache(64)


class JacobianFunction:
    """The Jacobian of a function, as a function; made by `jacobian`."""

    verb = "jacobian"

    def __init__(
        self,
        f: Callable[..., Any],
        argnums: int | Sequence[int],
        mode: Mode | ChunkedPlan,
        output: str,
        price: str | PriceModel,
        memory_limit: int | str | None,
        aim: Aim,
        backend: str = "auto",
        batch: Batch | None = None,
    ) -> None:
        if not callable(f):
            raise InputError(f"f must be a function, but got {type(f).__name__}")
        self.f = f
        self.argnums = _checked_argnums(argnums)
        self.mode = mode if isinstance(mode, ChunkedPlan) else check_mode(mode)
        self.output = _checked_output(output)
        model_of(price)  # refuses an unknown one in the line where it was asked for
        self.price = price
        self.aim = aim
        self.limit = None if memory_limit is None else bytes_of(memory_limit)
        self.backend = _checked_backend(backend)
        self.many = None if batch is None else ManyPoints(self, batch)
        self.__doc__ = f"The Jacobian of {_name_of(f)}, mode={mode!r}."

    def __repr__(self) -> str:
        name, how = f"chainad.{self.verb}", f"mode={self.mode!r}, output={self.output!r}"
        if self.many is not None:
            how += f", batch={self.many.batch}"
        return f"{name}({_name_of(self.f)}, argnums={self.argnums}, {how})"

    def __call__(self, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        both = self.traced if self.many is None else self.many.both
        return self.hand_out(*both(args, kwargs), out)

    @property
    def is_single(self) -> bool:
        """Whether one argument is differentiated by, so that its Jacobian needs no tuple."""
        return isinstance(self.argnums, int)

    def hand_out(self, value: Any, jacobian: Any, out: Any) -> Any:
        """Return what a call returns, the Jacobian in the buffers `out` if there are any."""
        return jacobian if out is None else write(jacobian, out)

    def traced(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Return what the function returns, and its Jacobian."""
        with tracing(_bound(self.f, kwargs), args, self.positions(len(args))) as run:
            if self.output == "operator":
                jacobian = nest(run, _operators(run), self.is_single)
            else:
                compiled = self.prepare(run)
                slots = evaluate(run.tape, compiled.linearized.recipes)
                jacobian = self.blocks(run, compiled)(compiled.run(slots))
        return run.values if run.is_tuple else run.values[0], jacobian

    def positions(self, count: int) -> tuple[int, ...]:
        """Return which of `count` arguments are differentiated by."""
        return _positions(self.argnums, count)

    def prepare(self, run: Run) -> Prepared:
        """Return the program for a run, made now or before."""
        if self.output == "operator":
            raise InputError("output='operator' is not compiled; call chainad.jacobian(f) instead")
        if self.output == "dense":
            check_size(run)
        model = model_of(self.price, itemsize_of(run))
        return _compile(run, self.mode, self.output, model, self.limit, self.aim)

    def blocks(self, run: Run, prepared: Prepared) -> Callable[[Sequence[Any]], Any]:
        """Return what makes the Jacobians of the results of a program."""
        return assembler(run, prepared.forms, self.output, self.is_single)

    def compile(self, *args: Any, **kwargs: Any) -> CompiledFunction:
        """Return a function that replays what a call does, without tracing; see `chainad.compile`.

        Arguments, if there are any, are called with at once.
        """
        if self.many is not None:
            raise InputError(
                "a function with batch= is compiled already, at its first call; call it as it is"
            )
        compiled = CompiledFunction(self)
        if args or kwargs:
            compiled(*args, **kwargs)
        return compiled

    def plan(self, *args: Any, **kwargs: Any) -> Plan | ChunkedPlan:
        """Return the plan for these arguments, without multiplying any Jacobian."""
        argnums = _positions(self.argnums, len(args))
        if self.many is not None:
            args = self.many.first(args)
        with tracing(_bound(self.f, kwargs), args, argnums) as run:
            tape = run.tape
            linearized = linearize(run.graph(), tape.origin, tape.where)
            how = (self.mode, itemsize_of(run), self.price, self.limit, self.output)
            plan = _plan(linearized.graph, *how, self.aim)
        names = [f"x{k}" for k in argnums] if len(argnums) > 1 else ["x"]
        title = f"{_name_of(self.f)}({', '.join(names)})"
        return replace(plan, title=title)


class ValueAndJacobianFunction(JacobianFunction):
    """A function and its Jacobian, as one function; made by `value_and_jacobian`."""

    verb = "value_and_jacobian"

    def hand_out(self, value: Any, jacobian: Any, out: Any) -> tuple[Any, Any]:
        return value, super().hand_out(value, jacobian, out)


def jacobian(
    f: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    mode: Mode | ChunkedPlan = "auto",
    output: str = "dense",
    price: str | PriceModel = "multiplications",
    memory_limit: int | str | None = None,
    effort: Effort = "balanced",
    seed: int = 0,
    backend: str = "auto",
    batch: Batch | None = None,
) -> JacobianFunction:
    """Return a function that computes the Jacobian of `f` at the lowest cost.

    Parameters
    ----------
    f : callable
        A function of NumPy arrays, written with `import numpy as np` as usual. It returns a number,
        an array, a list (taken for an array), or a tuple of these.
    argnums : int or sequence of int
        The positional arguments to differentiate by; these must be real floats (float32, float64).
    mode : str, sequence of int, Plan or callable
        In which order the local Jacobians are multiplied: "auto" (the cheapest found), "forward",
        "reverse", "hybrid" (the cheapest found that is neither), the name of another planner
        ("chain", "markowitz", "greedy", "relative", "fill", "exhaustive", "blocks", "window",
        "annealing", "repeats", "edges"), an elimination order (of vertices and
        `EdgeElimination`), a `Plan`, or a function from a `LinearGraph` to an order.
    output : str
        In which form the Jacobian is handed out:

        - "dense": an array of shape `f(x).shape + x.shape`;
        - "sparse": a `scipy.sparse.csr_array` of shape `(f(x).size, x.size)`, in canonical format;
          its pattern follows from the structure alone, so an entry may happen to be zero;
        - "structured": a `StructuredJacobian`, the numbers it really has (a diagonal as a vector,
          one block per sample, thin factors unmultiplied);
        - "operator": a `scipy.sparse.linalg.LinearOperator` of shape `(f(x).size, x.size)` that
          never accumulates the Jacobian; `mode` plays no part.

        Only dense Jacobians can be differentiated again.
    price : str or PriceModel
        What the plan is to make small: "multiplications" (scalar ones; a product with +1 or -1
        everywhere is free), "all_multiplications" (such products counted like any others, the
        convention of published tables), "bytes" (read from memory and written there), "time" (by
        the table of `calibrate`, or a shipped one), "peak" (the bytes of the most numbers alive at
        once), or a model of your own.
    memory_limit : int or str, optional
        Bytes, or text such as "2 GB", that the plan keeps within: with another order if need be,
        else with the dense Jacobian accumulated in blocks of columns or rows, which costs more.
        All local Jacobians count, the products alive at one time, and the result in full; the
        values inside `f` do not.
    effort : str or float
        How hard to search for a cheap order: "fast", "balanced", "thorough" (seconds to a minute),
        or a number of seconds. Ctrl-C during the search ends it with the best order so far.
    seed : int
        Of the random choices of the search: the same seed gives the same plan, unless the effort
        is a number of seconds.
    backend : str
        What runs batches and compiled functions: "numpy", "python", "numba" or "auto"; see
        `compile`. With "auto", batches of much work run on numba where it is installed.
    batch : int or mapping, optional
        If given, `f` is written for one point and a call takes many: an int is the axis of points
        of the differentiated arguments, a mapping tells the axis of every argument in the batch by
        position, so that others than the differentiated ones may be among them. All else is shared.
        Values and Jacobians have the points in front: (N, *f(x).shape, *x.shape). (The blocks of a
        function that is itself written for batches come by output="structured".)

    Returns
    -------
    JacobianFunction
        A function of the same arguments that returns the Jacobian in the dtype of `f(x)`. With
        several `argnums` it returns a tuple, one Jacobian per argument; if `f` returns a tuple, a
        tuple of these, one per output. Its keyword `out` takes arrays, nested as the result, of
        the same shapes and dtypes: dense Jacobians are written there and `out` is returned.

    Raises
    ------
    PlanError
        If the mode is unknown or does not fit the function, or the price is unknown.
    InputError
        If `output` is unknown, or, when called, if an argument is not an array of real floats, or
        `argnums` or `out` does not fit.
    TraceError
        If `f` does something that would lose a derivative (when called).
    TooLargeError
        If a dense Jacobian does not fit into memory, or no plan found keeps within `memory_limit`
        (when called).

    Notes
    -----
    The function is traced anew at every call, so control flow and closures may change. The plan is
    cached under the structure of the trace. While `f` runs, inputs and large constants are
    read-only, since their numbers are needed for the derivative.

    Kinks: the derivative of `abs` at 0 is 0, ties of `maximum`, `minimum`, `max` and `min` share
    evenly, `clip` has derivative 1 on its bounds, the norm has derivative 0 at the zero vector,
    `sort` follows the stable order.

    Source of the method: Griewank & Walther, *Evaluating Derivatives*, 2nd ed., ch. 9 and 10.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> def f(x):
    ...     return np.array([x[0] * x[1], np.sin(x[0])])
    >>> chainad.jacobian(f)(np.array([0.0, 2.0]))
    array([[2., 0.],
           [1., 0.]])
    >>> chainad.jacobian(np.square, output="sparse")(np.array([1.0, 3.0])).data
    array([2., 6.])
    """
    aim = aim_of(effort, seed)
    return JacobianFunction(f, argnums, mode, output, price, memory_limit, aim, backend, batch)


def value_and_jacobian(
    f: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    mode: Mode | ChunkedPlan = "auto",
    output: str = "dense",
    price: str | PriceModel = "multiplications",
    memory_limit: int | str | None = None,
    effort: Effort = "balanced",
    seed: int = 0,
    backend: str = "auto",
    batch: Batch | None = None,
) -> ValueAndJacobianFunction:
    """Return a function that computes `f` and its Jacobian from one trace.

    Parameters, errors and the shape of the Jacobian are those of `jacobian`.

    Returns
    -------
    ValueAndJacobianFunction
        A function of the same arguments that returns the pair `(f(x), jacobian(f)(x))`.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> value, J = chainad.value_and_jacobian(np.square)(np.array([1.0, 3.0]))
    >>> value
    array([1., 9.])
    >>> J
    array([[2., 0.],
           [0., 6.]])
    """
    aim = aim_of(effort, seed)
    how = (argnums, mode, output, price, memory_limit, aim, backend, batch)
    return ValueAndJacobianFunction(f, *how)


def compile(
    f: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] = 0,
    mode: Mode | ChunkedPlan = "auto",
    output: str = "dense",
    price: str | PriceModel = "multiplications",
    memory_limit: int | str | None = None,
    effort: Effort = "balanced",
    seed: int = 0,
    backend: str = "auto",
    **kwargs: Any,
) -> CompiledFunction:
    """Return the Jacobian of `f` as a function that replays what one call did, without tracing.

    Parameters
    ----------
    f, argnums, mode, output, price, memory_limit, effort, seed
        As for `jacobian`; `output="operator"` is refused.
    backend : str
        What runs the program: "numpy"; "python", operations on single Python numbers, for functions
        of a few numbers; "numba", machine code, which needs chainad[numba]; or "auto": "python"
        where that is quicker, else "numpy". Where "python" or "numba" cannot run a function, a
        FallbackWarning says why, and NumPy runs it.
    *args, **kwargs
        Arguments to record with at once. Without any, the first call records.

    Returns
    -------
    CompiledFunction
        A function of the same arguments as `jacobian(f)`. Print its `source` to see what it does.

    Raises
    ------
    PlanError, InputError, TraceError, TooLargeError
        As for `jacobian`; TraceError also if `f` does what cannot be replayed.

    Notes
    -----
    A call runs one straight line of NumPy calls: those of `f` that are needed, the formulas of the
    local Jacobians, the plan. What `f` read off values (branches, `int`, indices, shapes) is
    checked at each call, and where it differs `f` is recorded anew; all programs are kept, up to
    32. New shapes, dtypes and values of other arguments than arrays are recorded anew, too.

    The backends "python" and "numba" eliminate on the graph of single numbers, which is another one
    than `plan` shows: for mode="auto" in the order that leaves the fewest operations there.

    Arrays that `f` takes from elsewhere are captured by reference: what is written into them later
    is seen. Not seen are a name that is bound to another object, numbers of Python, and arrays that
    `f` computes from such arrays alone; call `recompile` after these have changed. Random numbers
    and side effects of `f` happen only while it is recorded.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> J = chainad.compile(lambda x: np.where(x > 0, x * x, 0.0), np.ones(2))
    >>> J(np.array([3.0, 1.0]))
    array([[6., 0.],
           [0., 2.]])
    """
    aim = aim_of(effort, seed)
    of = JacobianFunction(f, argnums, mode, output, price, memory_limit, aim, backend)
    return of.compile(*args, **kwargs)


def plan(
    f: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] = 0,
    mode: Mode | ChunkedPlan = "auto",
    price: str | PriceModel = "multiplications",
    memory_limit: int | str | None = None,
    effort: Effort = "balanced",
    seed: int = 0,
    **kwargs: Any,
) -> Plan | ChunkedPlan:
    """Return how the Jacobian of `f` would be accumulated; nothing is multiplied.

    Parameters
    ----------
    f, argnums, mode, price, memory_limit, effort, seed
        As for `jacobian`.
    *args, **kwargs
        The arguments of `f`; only their shapes and the branches they choose matter.

    Returns
    -------
    Plan or ChunkedPlan
        Frozen, hashable, comparable; `print` it to read it. A `ChunkedPlan`, one plan per block,
        only where `memory_limit` asks for it.

    Raises
    ------
    PlanError, InputError, TraceError
        As for `jacobian`.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> A = np.ones((30, 2)), np.ones((2, 40))
    >>> chainad.plan(lambda x: A[0] @ np.sin(A[1] @ x), np.ones(40)).multiplications
    2460
    """
    return JacobianFunction(
        f, argnums, mode, "dense", price, memory_limit, aim_of(effort, seed)
    ).plan(*args, **kwargs)


def stop_gradient(x: Any) -> Any:
    """Return the plain numbers of x: what is computed from them has derivative zero.

    Parameters
    ----------
    x : traced value or array_like

    Returns
    -------
    ndarray or scalar
        The numbers of a traced value, as a copy; anything else as it is.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> chainad.jacobian(lambda x: x * chainad.stop_gradient(x))(np.float64(3.0))
    array(3.)
    """
    return detached(x)


# -------------------------------------------------------------------- helpers


def _plan(
    graph: LinearGraph,
    mode: Mode | ChunkedPlan,
    itemsize: int,
    price: str | PriceModel,
    limit: int | None,
    output: str,
    aim: Aim,
) -> Plan | ChunkedPlan:
    if isinstance(mode, ChunkedPlan):
        check_fits(mode.graph, graph)
        if output != "dense":
            raise PlanError(
                f"a plan in blocks gives a dense Jacobian, but output={output!r} is asked for;"
                " plan with that output"
            )
        return mode.with_origins(graph)
    if limit is None:
        return plan_cached(graph, mode, itemsize, price, aim)
    return plan_within(graph, mode, itemsize, price, limit, output, aim)


def _compile(
    run: Run, mode: Mode | ChunkedPlan, output: str, model: PriceModel, limit: int | None, aim: Aim
) -> Prepared:
    key = mode if isinstance(mode, ChunkedPlan) else mode_key(mode)
    if key is None:
        return _build(run, mode, output, model, limit, aim)
    known = (run.key, key, output, model, limit, aim)
    return _compiled.get(known, lambda: _build(run, mode, output, model, limit, aim))


def _build(
    run: Run, mode: Mode | ChunkedPlan, output: str, model: PriceModel, limit: int | None, aim: Aim
) -> Prepared:
    # Lines are looked up only where a message may name them.
    origin = run.tape.origin if isinstance(mode, (Plan, ChunkedPlan)) else None
    linearized = linearize(run.graph(), origin, run.tape.where)
    made = _plan(linearized.graph, mode, itemsize_of(run), model, limit, output, aim)
    arrangements = [recipe.kernels for recipe in linearized.recipes]
    if isinstance(made, ChunkedPlan):
        chunks = compile_chunks(made, arrangements)
        return Prepared(linearized, made, chunks.forms, chunks.used_slots, chunks)
    lowered = lower(made, arrangements, output)
    used = lowered.program.used_slots
    program = lowered.program
    return Prepared(linearized, made, lowered.forms, used, build(program), program)


def _checked_backend(backend: str) -> str:
    if backend not in BACKENDS:
        raise InputError(f"backend={backend!r} is unknown; choose one of {', '.join(BACKENDS)}")
    if backend == "numba":
        check_installed()
    return backend


def _checked_argnums(argnums: int | Sequence[int]) -> int | tuple[int, ...]:
    if isinstance(argnums, (int, np.integer)) and not isinstance(argnums, bool):
        return int(argnums)
    numbers = [] if isinstance(argnums, (bool, str)) or not np.iterable(argnums) else [*argnums]
    if numbers and all(isinstance(k, (int, np.integer)) for k in numbers):
        return tuple(int(k) for k in numbers)
    raise InputError(f"argnums must be an int or a non-empty sequence of ints, but got {argnums!r}")


def _checked_output(output: str) -> str:
    if output not in OUTPUTS:
        raise InputError(f"output={output!r} is unknown; choose one of {', '.join(OUTPUTS)}")
    return output


def _positions(argnums: int | tuple[int, ...], count: int) -> tuple[int, ...]:
    wanted = (argnums,) if isinstance(argnums, int) else argnums
    for k in wanted:
        if not -count <= k < count:
            raise InputError(
                f"argnums={argnums} asks for positional argument {k}, but only {count} were given"
            )
    found = tuple(k % count for k in wanted)
    if len(set(found)) != len(found):
        raise InputError(f"argnums={argnums} names an argument twice")
    return found


def _bound(f: Callable[..., Any], kwargs: dict[str, Any]) -> Callable[..., Any]:
    return (lambda *args: f(*args, **kwargs)) if kwargs else f


def _name_of(f: Callable[..., Any]) -> str:
    return getattr(f, "__name__", type(f).__name__)


def _operators(run: Run) -> list[Any]:
    """Return a matrix-free operator for every output and argument."""
    if isinstance(run.input(0), Tracer):
        raise InputError(
            "a Jacobian with output='operator' cannot be differentiated again;"
            " use output='dense' for the inner one"
        )
    linearized, sweeps = _swept.get(run.key, lambda: _sweeps(run))
    slots = evaluate(run.tape, linearized.recipes)
    # The operator outlives this call: numbers that the user may overwrite are its own.
    kept = [x.copy() if isinstance(x, (np.ndarray, Operator)) else x for x in slots]
    return [
        JacobianOperator(each, kept, dtype_of(run, o, i))
        for each, (o, i) in zip(sweeps, pairs(run), strict=True)
    ]


def _sweeps(run: Run) -> tuple[Linearized, list[Sweeps]]:
    linearized = linearize(run.graph(), where=run.tape.where)
    graph = linearized.graph
    arrangements = [recipe.kernels for recipe in linearized.recipes]
    ends = [(i, o) for o in graph.outputs for i in graph.inputs]
    return linearized, [Sweeps(graph, arrangements, each) for each in ends]
