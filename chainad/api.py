"""The verbs for functions: jacobian, value_and_jacobian, plan, stop_gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from chainad.backends.numpy import Runner, build
from chainad.cache import Cache
from chainad.errors import InputError
from chainad.evaluate import evaluate
from chainad.linearize import Linearized, linearize
from chainad.lower import lower
from chainad.plan import Plan
from chainad.planners.auto import Mode, check_mode, mode_key, plan_cached
from chainad.program import Program
from chainad.tracing.record import Tracer
from chainad.tracing.trace import Run, tracing


@dataclass(frozen=True)
class _Compiled:
    """Everything that is kept for calls with the same graph and mode."""

    linearized: Linearized
    plan: Plan
    program: Program
    run: Runner


_compiled: Cache[_Compiled] = Cache(256)


class JacobianFunction:
    """The Jacobian of a function, as a function; made by `jacobian`."""

    verb = "jacobian"

    def __init__(self, f: Callable[..., Any], argnums: int | Sequence[int], mode: Mode) -> None:
        if not callable(f):
            raise InputError(f"f must be a function, but got {type(f).__name__}")
        self.f = f
        self.argnums = _checked_argnums(argnums)
        self.mode = check_mode(mode)
        self.__doc__ = f"The Jacobian of {_name_of(f)}, mode={mode!r}."

    def __repr__(self) -> str:
        name = f"chainad.{self.verb}"
        return f"{name}({_name_of(self.f)}, argnums={self.argnums}, mode={self.mode!r})"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(args, kwargs)[1]

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Return what the function returns, and its Jacobian."""
        argnums = _positions(self.argnums, len(args))
        with tracing(_bound(self.f, kwargs), args, argnums) as run:
            compiled = _compile(run, self.mode)
            slots = evaluate(run.tape, compiled.linearized.recipes)
            blocks = compiled.run(slots)
        value = run.values if run.is_tuple else run.values[0]
        return value, _assemble(run, argnums, blocks, isinstance(self.argnums, int))

    def plan(self, *args: Any, **kwargs: Any) -> Plan:
        """Return the plan for these arguments, without multiplying any Jacobian."""
        argnums = _positions(self.argnums, len(args))
        with tracing(_bound(self.f, kwargs), args, argnums) as run:
            tape = run.tape
            linearized = linearize(run.graph(), tape.origin, tape.where)
            itemsize = max((_dtype(run, o, i).itemsize for o, i in _pairs(run, argnums)), default=8)
            plan = plan_cached(linearized.graph, self.mode, itemsize)
        names = [f"x{k}" for k in argnums] if len(argnums) > 1 else ["x"]
        title = f"{_name_of(self.f)}({', '.join(names)})"
        return replace(plan, title=title)


class ValueAndJacobianFunction(JacobianFunction):
    """A function and its Jacobian, as one function; made by `value_and_jacobian`."""

    verb = "value_and_jacobian"

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        return self._run(args, kwargs)


def jacobian(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, mode: Mode = "auto"
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
        ("chain", "markowitz", "greedy", "exhaustive"), an elimination order, a `Plan`, or a
        function from a `LinearGraph` to an order.

    Returns
    -------
    JacobianFunction
        A function of the same arguments that returns an array of shape `f(x).shape + x.shape`,
        in the dtype of `f(x)`. With several `argnums` it returns a tuple, one array per argument;
        if `f` returns a tuple, a tuple of these, one per output.

    Raises
    ------
    PlanError
        If the mode is unknown or does not fit the function.
    InputError
        If an argument is not an array of real floats, or `argnums` does not fit (when called).
    TraceError
        If `f` does something that would lose a derivative (when called).

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
    """
    return JacobianFunction(f, argnums, mode)


def value_and_jacobian(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, mode: Mode = "auto"
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
    return ValueAndJacobianFunction(f, argnums, mode)


def plan(
    f: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] = 0,
    mode: Mode = "auto",
    **kwargs: Any,
) -> Plan:
    """Return how the Jacobian of `f` would be accumulated; nothing is multiplied.

    Parameters
    ----------
    f, argnums, mode
        As for `jacobian`.
    *args, **kwargs
        The arguments of `f`; only their shapes and the branches they choose matter.

    Returns
    -------
    Plan
        Frozen, hashable, comparable; `print` it to read it.

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
    return JacobianFunction(f, argnums, mode).plan(*args, **kwargs)


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
    while isinstance(x, Tracer):
        x = x.value
    return np.array(x) if isinstance(x, np.ndarray) else x


# -------------------------------------------------------------------- helpers


def _compile(run: Run, mode: Mode) -> _Compiled:
    key = mode_key(mode)
    if key is None:
        return _build(run, mode)
    return _compiled.get((run.key, key), lambda: _build(run, mode))


def _build(run: Run, mode: Mode) -> _Compiled:
    linearized = linearize(run.graph(), where=run.tape.where)
    made = plan_cached(linearized.graph, mode, 8)
    program = lower(made, [recipe.kernels for recipe in linearized.recipes])
    return _Compiled(linearized, made, program, build(program))


def _checked_argnums(argnums: int | Sequence[int]) -> int | tuple[int, ...]:
    if isinstance(argnums, (int, np.integer)) and not isinstance(argnums, bool):
        return int(argnums)
    numbers = [] if isinstance(argnums, (bool, str)) or not np.iterable(argnums) else [*argnums]
    if numbers and all(isinstance(k, (int, np.integer)) for k in numbers):
        return tuple(int(k) for k in numbers)
    raise InputError(f"argnums must be an int or a non-empty sequence of ints, but got {argnums!r}")


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


def _pairs(run: Run, argnums: tuple[int, ...]) -> list[tuple[int, int]]:
    return [(o, i) for o in range(len(run.values)) for i in range(len(argnums))]


def _dtype(run: Run, output: int, number: int) -> np.dtype[Any]:
    """Return the dtype of a block: that of the output, or of the input for integer outputs."""
    dtype: np.dtype[Any] = run.values[output].dtype
    return dtype if dtype.kind == "f" else run.input(number).dtype


def _assemble(run: Run, argnums: tuple[int, ...], blocks: Sequence[Any], one_argument: bool) -> Any:
    """Arrange the blocks as the user asked: outputs first, then arguments."""
    found = iter(blocks)
    rows = []
    for o in range(len(run.values)):
        row = tuple(_block(run, o, i, next(found)) for i in range(len(argnums)))
        rows.append(row[0] if one_argument else row)
    return tuple(rows) if run.is_tuple else rows[0]


def _block(run: Run, output: int, number: int, block: Any) -> Any:
    dtype = _dtype(run, output, number)
    if block is None:
        shape = (*np.shape(run.values[output]), *np.shape(run.input(number)))
        return np.zeros(shape, dtype)
    if isinstance(block, Tracer):
        return block
    array: npt.NDArray[Any] = np.asarray(block)
    return array if array.dtype == dtype else array.astype(dtype)
