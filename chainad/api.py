"""The verbs for functions: jacobian, value_and_jacobian, plan, stop_gradient."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from chainad.backends.numpy import Runner, build
from chainad.cache import Cache
from chainad.errors import InputError, TooLargeError
from chainad.evaluate import evaluate
from chainad.linearize import Linearized, linearize
from chainad.lower import Lowered, lower
from chainad.matrixfree import JacobianOperator, Sweeps
from chainad.operators import Operator
from chainad.plan import Plan
from chainad.planners.auto import Mode, check_mode, mode_key, plan_cached
from chainad.prices import PriceModel, model_of
from chainad.report.text import bytes_text
from chainad.results import OUTPUTS, zero
from chainad.tracing.record import Tracer
from chainad.tracing.trace import Run, tracing


@dataclass(frozen=True)
class _Compiled:
    """Everything that is kept for calls with the same graph, mode and output."""

    linearized: Linearized
    plan: Plan
    lowered: Lowered
    run: Runner


_compiled: Cache[_Compiled] = Cache(256)
_swept: Cache[tuple[Linearized, list[Sweeps]]] = Cache(64)


class JacobianFunction:
    """The Jacobian of a function, as a function; made by `jacobian`."""

    verb = "jacobian"

    def __init__(
        self,
        f: Callable[..., Any],
        argnums: int | Sequence[int],
        mode: Mode,
        output: str,
        price: str | PriceModel,
    ) -> None:
        if not callable(f):
            raise InputError(f"f must be a function, but got {type(f).__name__}")
        self.f = f
        self.argnums = _checked_argnums(argnums)
        self.mode = check_mode(mode)
        self.output = _checked_output(output)
        model_of(price)  # refuses an unknown one in the line where it was asked for
        self.price = price
        self.__doc__ = f"The Jacobian of {_name_of(f)}, mode={mode!r}."

    def __repr__(self) -> str:
        name, how = f"chainad.{self.verb}", f"mode={self.mode!r}, output={self.output!r}"
        return f"{name}({_name_of(self.f)}, argnums={self.argnums}, {how})"

    def __call__(self, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        return self._run(args, kwargs, out)[1]

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> tuple[Any, Any]:
        """Return what the function returns, and its Jacobian."""
        argnums = _positions(self.argnums, len(args))
        with tracing(_bound(self.f, kwargs), args, argnums) as run:
            blocks = self._blocks(run)
        value = run.values if run.is_tuple else run.values[0]
        nested = _nest(run, len(argnums), blocks, isinstance(self.argnums, int))
        return value, nested if out is None else _write(nested, out)

    def _blocks(self, run: Run) -> list[Any]:
        """Return the Jacobian of every output by every argument, outputs first."""
        if self.output == "operator":
            return _operators(run)
        if self.output == "dense":
            _check_size(run)
        compiled = _compile(run, self.mode, self.output, model_of(self.price, _itemsize(run)))
        arrays = iter(compiled.run(evaluate(run.tape, compiled.linearized.recipes)))
        blocks = []
        for (o, i), form in zip(_pairs(run), compiled.lowered.forms, strict=True):
            dtype = _dtype(run, o, i)
            if form is None:
                ends = np.shape(run.values[o]), np.shape(run.input(i))
                blocks.append(zero(self.output, *ends, dtype))
            else:
                taken = [_cast(next(arrays), dtype, self.output) for _ in range(form.width)]
                blocks.append(form.assemble(taken, dtype))
        return blocks

    def plan(self, *args: Any, **kwargs: Any) -> Plan:
        """Return the plan for these arguments, without multiplying any Jacobian."""
        argnums = _positions(self.argnums, len(args))
        with tracing(_bound(self.f, kwargs), args, argnums) as run:
            tape = run.tape
            linearized = linearize(run.graph(), tape.origin, tape.where)
            plan = plan_cached(linearized.graph, self.mode, _itemsize(run), self.price)
        names = [f"x{k}" for k in argnums] if len(argnums) > 1 else ["x"]
        title = f"{_name_of(self.f)}({', '.join(names)})"
        return replace(plan, title=title)


class ValueAndJacobianFunction(JacobianFunction):
    """A function and its Jacobian, as one function; made by `value_and_jacobian`."""

    verb = "value_and_jacobian"

    def __call__(self, *args: Any, out: Any = None, **kwargs: Any) -> tuple[Any, Any]:
        return self._run(args, kwargs, out)


def jacobian(
    f: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    mode: Mode = "auto",
    output: str = "dense",
    price: str | PriceModel = "multiplications",
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
        If a dense Jacobian does not fit into memory (when called).

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
    return JacobianFunction(f, argnums, mode, output, price)


def value_and_jacobian(
    f: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    mode: Mode = "auto",
    output: str = "dense",
    price: str | PriceModel = "multiplications",
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
    return ValueAndJacobianFunction(f, argnums, mode, output, price)


def plan(
    f: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] = 0,
    mode: Mode = "auto",
    price: str | PriceModel = "multiplications",
    **kwargs: Any,
) -> Plan:
    """Return how the Jacobian of `f` would be accumulated; nothing is multiplied.

    Parameters
    ----------
    f, argnums, mode, price
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
    return JacobianFunction(f, argnums, mode, "dense", price).plan(*args, **kwargs)


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


def _compile(run: Run, mode: Mode, output: str, model: PriceModel) -> _Compiled:
    key = mode_key(mode)
    if key is None:
        return _build(run, mode, output, model)
    return _compiled.get((run.key, key, output, model), lambda: _build(run, mode, output, model))


def _build(run: Run, mode: Mode, output: str, model: PriceModel) -> _Compiled:
    linearized = linearize(run.graph(), where=run.tape.where)
    made = plan_cached(linearized.graph, mode, _itemsize(run), model)
    lowered = lower(made, [recipe.kernels for recipe in linearized.recipes], output)
    return _Compiled(linearized, made, lowered, build(lowered.program))


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


def _pairs(run: Run) -> list[tuple[int, int]]:
    return [(o, i) for o in range(len(run.values)) for i in range(run.tape.n_inputs)]


def _check_size(run: Run) -> None:
    """Raise TooLargeError if the dense Jacobians cannot fit into the memory of this machine."""
    sizes = [
        np.size(run.values[o]) * np.size(run.input(i)) * _dtype(run, o, i).itemsize
        for o, i in _pairs(run)
        if not isinstance(run.input(i), Tracer)
    ]
    if sum(sizes) > _memory():
        raise TooLargeError(
            f"the dense Jacobian takes {bytes_text(sum(sizes))}, this machine has"
            f" {bytes_text(_memory())}; ask for output='sparse', 'structured' or 'operator'"
        )


@cache
def _memory() -> int:
    """Return the bytes of memory of this machine, a huge number where that is not known."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return 1 << 62


def _dtype(run: Run, output: int, number: int) -> np.dtype[Any]:
    """Return the dtype of a block: that of the output, or of the input for integer outputs."""
    dtype: np.dtype[Any] = run.values[output].dtype
    return dtype if dtype.kind == "f" else run.input(number).dtype


def _itemsize(run: Run) -> int:
    """Return the bytes of a number of the Jacobian, the largest of all blocks."""
    return max((_dtype(run, o, i).itemsize for o, i in _pairs(run)), default=8)


def _nest(run: Run, count: int, blocks: Sequence[Any], one_argument: bool) -> Any:
    """Arrange the blocks as the user asked: outputs first, then arguments."""
    rows = [tuple(blocks[k : k + count]) for k in range(0, len(blocks), count)]
    found = tuple(row[0] if one_argument else row for row in rows)
    return found if run.is_tuple else found[0]


def _cast(array: Any, dtype: np.dtype[Any], output: str) -> Any:
    """Return the numbers of a block in its dtype."""
    if array is None:
        return None
    if isinstance(array, Tracer):
        if output != "dense":
            raise InputError(
                f"a Jacobian with output={output!r} cannot be differentiated again;"
                " use output='dense' for the inner one"
            )
        return array
    numbers: npt.NDArray[Any] = np.asarray(array)
    return numbers if numbers.dtype == dtype else numbers.astype(dtype)


def _write(found: Any, out: Any) -> Any:
    """Write dense blocks into the buffers of the user, once all of these fit; return them."""
    _check_out(found, out)
    _copy(found, out)
    return out


def _check_out(found: Any, out: Any) -> None:
    """Refuse buffers that are not nested, shaped and typed as the blocks are."""
    if isinstance(found, tuple):
        if not isinstance(out, tuple) or len(out) != len(found):
            raise InputError(
                f"out must be a tuple of {len(found)} arrays, nested as the result is, but got"
                f" {type(out).__name__}"
            )
        for one, into in zip(found, out, strict=True):
            _check_out(one, into)
        return
    if not isinstance(found, np.ndarray):
        raise InputError(
            f"out= takes dense Jacobians, but this one is a {type(found).__name__};"
            " leave out= away, or use output='dense'"
        )
    if not isinstance(out, np.ndarray) or out.shape != found.shape or out.dtype != found.dtype:
        got = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise InputError(f"out must be an array of {found.dtype} {found.shape}, but got {got}")
    if not out.flags.writeable:
        raise InputError("out must be writeable, but got a read-only array; pass a copy of it")


def _copy(found: Any, out: Any) -> None:
    if isinstance(found, tuple):
        for one, into in zip(found, out, strict=True):
            _copy(one, into)
    else:
        np.copyto(out, found)


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
        JacobianOperator(each, kept, _dtype(run, o, i))
        for each, (o, i) in zip(sweeps, _pairs(run), strict=True)
    ]


def _sweeps(run: Run) -> tuple[Linearized, list[Sweeps]]:
    linearized = linearize(run.graph(), where=run.tape.where)
    graph = linearized.graph
    arrangements = [recipe.kernels for recipe in linearized.recipes]
    ends = [(i, o) for o in graph.outputs for i in graph.inputs]
    return linearized, [Sweeps(graph, arrangements, each) for each in ends]
