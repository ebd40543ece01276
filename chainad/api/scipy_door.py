"""One object that every solver of SciPy takes: a function, and all derivatives of it."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from math import inf
from typing import TYPE_CHECKING, Any, Generic, Literal, Unpack, overload

import numpy as np
import scipy.sparse

from chainad.api import signatures
from chainad.api.analysis import Analysis
from chainad.api.compiled import CompiledFunction
from chainad.api.differentiator import Differentiator
from chainad.api.evaluation import Evaluation
from chainad.api.function_of import FunctionOf, P, R_co, V_co, check_callable, name_of
from chainad.api.jacobian_functions import (
    HessianFunction,
    JacobianFunction,
    ValueAndJacobianFunction,
    compiled_function,
)
from chainad.api.options import How, Options, check_has_parts, checked_options
from chainad.api.points import Batch
from chainad.api.signatures import typed_as
from chainad.api.sparsity import sparsity
from chainad.errors import InputError
from chainad.ir.cache import cached_property
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.plan import Plan
from chainad.rules.elementwise import displaced
from chainad.structure.results import Output

Function = Callable[..., Any]

# Jacobians of a solve.
_EXPECTED_CALLS = 50


@typed_as(signatures.for_scipy)
def for_scipy(
    f: Function,
    argnums: int = 0,
    *,
    output: Output = "dense",
    col_deriv: bool = False,
    **how: Unpack[How],
) -> Any:
    """Return `f` as an object that has every derivative which a solver of SciPy takes.

    Parameters
    ----------
    f : callable
        A function as the solver calls it: `f(x, *args)`, or `f(t, y, *args)` with `argnums=1`; it
        returns a number, an array of shape (m,), or a list or tuple of m numbers.
    argnums : int
        The position of the unknown.
    output : {"dense", "sparse", "operator"}
        The form of Jacobians and Hessians: arrays, `scipy.sparse.csr_array`, or `LinearOperator`.
    col_deriv : bool
        Whether the derivatives in `jac` go down the columns, as the argument of `fsolve`, `leastsq`
        and `odeint` says.
    **how
        `mode`, `cost`, `memory_limit`, `effort`, `seed`, `progress`, `backend`, `constant`,
        `chunk_size`, `executor`, as for `jacobian`; by default little effort is made for what
        takes little.

    Returns
    -------
    SciPyFunction

    Raises
    ------
    PlanError, InputError
        As for `jacobian`.

    Notes
    -----
    The function is traced once, when the first derivative is requested. From then on, its values
    are replayed, too, and what they have in common with the derivative at the same point is
    computed once; a point that a solver rejects costs a value. What is remembered of the last point
    of each thread is a private copy, compared by content.

    Examples
    --------
    >>> import chainad, numpy as np, scipy
    >>> @chainad.for_scipy
    ... def residuals(x):
    ...     return np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])
    >>> found = scipy.optimize.least_squares(residuals, [-1.2, 1.0], jac=residuals.jac)
    >>> np.round(found.x, 6)
    array([1., 1.])
    """
    check_callable(f)
    if not isinstance(argnums, (int, np.integer)) or isinstance(argnums, bool):
        raise InputError(
            f"argnums must be the position of one argument, the unknown, but got {argnums!r}"
        )
    if output not in ("dense", "sparse", "operator"):
        raise InputError(
            f"output must be 'dense', 'sparse' or 'operator' for SciPy, but got {output!r}"
        )
    options = checked_options(argnums, output=output, **how)
    check_has_parts(options, None)
    if "effort" not in how:
        search = replace(options.search, effort="fast", expected_calls=_EXPECTED_CALLS)
        options = replace(options, search=search)
    return SciPyFunction(f, options, col_deriv)


class SciPyFunction(FunctionOf[P, float, V_co, V_co], Generic[P, V_co, R_co]):
    """A function, and whatever a solver of SciPy may ask of it; made by `for_scipy`.

    Called, it is the function itself. It may be used by several threads, and is pickled as the
    function is. Where the function has the shape (1,), it counts as a number, but for equations
    f(t, y) of one unknown.
    """

    def __init__(self, f: Function, options: Options, col_deriv: bool = False) -> None:
        super().__init__(f, "", False, "")
        self._options, self._col_deriv = options, col_deriv
        # What values are shared with: the derivative that was requested last.
        self._shared: _SharedDerivative | None = None
        self._calls = threading.local()

    @property
    def _parts(self) -> tuple[Any, ...]:
        return self.__wrapped__, self._options, self._col_deriv

    def __repr__(self) -> str:
        how = self._options
        text = f"argnums={how.argnums}, output={how.output!r}"
        return f"chainad.for_scipy({name_of(self.__wrapped__)}, {text})"

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        self._calls.count = len(args)
        shared = self._shared
        if shared is None or kwargs or not shared.is_shared:
            value = self.__wrapped__(*args, **kwargs)
        else:
            value, _ = shared.begin(args)
        return value[0] if self._is_number(np.shape(value), args) else value

    if not TYPE_CHECKING:  # which is overloaded in FunctionOf
        __call__ = _call

    # --------------------------------------------------------------- first derivatives

    @property
    def jac(self) -> Callable[..., R_co]:
        """The function that computes the Jacobian, (m, n); dense, (n,) where f is a number.

        Sparse Jacobians of numbers are (1, n), for constraints: all of a problem must be sparse.
        """
        # f2py, with which SciPy calls LSODA, counts named arguments, but not those of partials.
        return partial(self._jac)

    def _jac(self, *args: Any) -> R_co:
        self._calls.count = len(args)
        found: R_co
        if self._options.output == "operator":
            found = self._operators(*args)[1]
        else:
            found = self._arranged(self._requested(self._jacobian).jacobian(args), args)
        return found

    def value_and_jac(self, *args: Any) -> tuple[V_co, R_co]:
        """Return the function and its Jacobian, for `minimize(F.value_and_jac, x, jac=True)`."""
        self._calls.count = len(args)
        if self._options.output == "operator":
            value, jacobian = self._operators(*args)
        else:
            value, jacobian = self._requested(self._jacobian).evaluated(args)
            jacobian = self._arranged(jacobian, args)
        return value[0] if self._is_number(np.shape(value), args) else value, jacobian

    def params_jac(self, xdata: Any, *params: Any) -> Any:
        """Return the Jacobian of a model `f(xdata, *params)` by all its parameters.

        That is what `curve_fit` asks for, of shape (M, k).
        """
        return self._requested(self._by_parameters).jacobian((xdata, *params))

    def bc_jac(self, ya: Any, yb: Any, *p: Any) -> tuple[Any, ...]:
        """Return the Jacobians of boundary conditions `f(ya, yb[, p])`, for `solve_bvp`."""
        shared = self._by_all if p else self._by_ends
        found: tuple[Any, ...] = self._requested(shared).jacobian((ya, yb, *p))
        return found

    def fun_jac(self, x: Any, y: Any, *p: Any) -> Any:
        """Return the Jacobian of an equation `f(x, y[, p])`, for `solve_bvp`.

        That is by y at every point, of shape (n, n, m): points are on the last axis. With unknown
        parameters p, the Jacobian by these is the second of two, of shape (n, k, m).
        """
        if not p:
            return np.moveaxis(self._by_points(x, y), 0, -1)
        parameters = np.broadcast_to(p[0], (len(x), *np.shape(p[0])))
        found = self._by_points_and_parameters(x, y, parameters)
        return tuple(np.moveaxis(slope, 0, -1) for slope in found)

    @overload
    def explain(self, *args: Any) -> Plan | ChunkedPlan: ...

    @overload
    def explain(self, *args: Any, analyze: Literal[True], seconds: float = 2.0) -> Analysis: ...

    def explain(self, *args: Any, **how: Any) -> Plan | ChunkedPlan | Analysis:
        """Return the plan of `jac` for these arguments; with `analyze=True`, how long steps take.

        See `CompiledFunction.explain`.
        """
        found: Plan | ChunkedPlan | Analysis
        if self._options.output == "operator":
            found = self._operators.explain(*args, **how)
        else:
            found = self._jacobian.explain(args, how)
        return found

    def sparsity(self, *args: Any) -> scipy.sparse.csr_array:
        """Return which entries of the Jacobian may be other than zero, as `jac_sparsity` wants it.

        Only the shapes of the arguments and the branches that they choose matter.
        """
        found: scipy.sparse.csr_array = _rows(
            sparsity(self.__wrapped__, *args, argnums=self._unknown)
        )
        return found

    # -------------------------------------------------------------- second derivatives

    def hess(self, *args: Any, v: Any = None) -> R_co:
        """Return the Hessian, of shape (n, n), of a number, or of the sum of v[i] * f(x)[i].

        It is called as `hess(x, *args)`, as `minimize` does, or as `hess(x, v)`, as for
        `NonlinearConstraint`.

        Raises
        ------
        InputError
            If the function is no number, and there is no v; or if it cannot be told whether the
            last argument is v, because the function has optional arguments.
        """
        if v is None:
            args, v = self._weighted(args)
        found: R_co = self._hessian(_weights(v), *args)
        return found

    def hessp(self, x: Any, p: Any, *args: Any) -> Any:
        """Return the product of the Hessian of a number `f(x, *args)` and a vector p."""
        return self._hessian_product(p, _weights(None), x, *args)

    # -------------------------------------------------- what they are made of, made once

    @cached_property
    def _jacobian(self) -> _SharedDerivative:
        times = partial(_with_times, self._unknown) if self._unknown else None
        return _SharedDerivative(self.__wrapped__, self._options, times)

    @cached_property
    def _operators(self) -> ValueAndJacobianFunction:
        return ValueAndJacobianFunction(self.__wrapped__, self._options)

    @cached_property
    def _by_parameters(self) -> _SharedDerivative:
        f = self.__wrapped__

        @wraps(f)
        def of_parameters(params: Any, xdata: Any) -> Any:
            return f(xdata, *params)

        def arguments(xdata: Any, *params: Any) -> tuple[Any, ...]:
            return np.array(params, float), xdata

        return _SharedDerivative(of_parameters, self._dense(0), arguments)

    @cached_property
    def _by_ends(self) -> _SharedDerivative:
        return _SharedDerivative(self.__wrapped__, self._dense((0, 1)))

    @cached_property
    def _by_all(self) -> _SharedDerivative:
        return _SharedDerivative(self.__wrapped__, self._dense((0, 1, 2)))

    @cached_property
    def _by_points(self) -> JacobianFunction:
        batch: Batch = {0: 0, 1: 1}
        return JacobianFunction(_at_one_point(self.__wrapped__), self._dense(1), batch)

    @cached_property
    def _by_points_and_parameters(self) -> JacobianFunction:
        batch: Batch = {0: 0, 1: 1, 2: 0}
        return JacobianFunction(_at_one_point(self.__wrapped__), self._dense((1, 2)), batch)

    @cached_property
    def _hessian(self) -> Function:
        """The Hessian of v . f, a function of v and the arguments of f."""
        options = replace(self._options, argnums=1 + self._unknown, mode="auto")
        hessian: HessianFunction = HessianFunction(_weighted_sum(self.__wrapped__), options)
        return hessian if options.output == "operator" else hessian.compile()

    @cached_property
    def _hessian_product(self) -> CompiledFunction:
        """The Hessian of v . f times p, a function of p, v and the arguments of f.

        It is the derivative of the gradient along p, planned with the effort of `self._options`.
        """
        k = self._unknown
        gradient: Function = JacobianFunction(_weighted_sum(self.__wrapped__), self._dense(1 + k))

        def along(t: Any, p: Any, v: Any, *args: Any) -> Any:
            return gradient(v, *args[:k], displaced(args[k], p, t), *args[k + 1 :])

        slope: Function = JacobianFunction(along, self._dense(0))

        def product(p: Any, v: Any, *args: Any) -> Any:
            return slope(0.0, p, v, *args)

        return compiled_function(product, self._options.backend, (*self._options.constant,))

    # ---------------------------------------------------------------------- arguments

    @cached_property
    def _arity(self) -> tuple[int, float]:
        return _arity(self.__wrapped__)

    @property
    def _unknown(self) -> int:
        k = self._options.argnums
        assert isinstance(k, int)
        return k

    def _dense(self, argnums: int | tuple[int, ...]) -> Options:
        """Return the options of a dense Jacobian by other arguments."""
        return replace(self._options, argnums=argnums, output="dense", mode="auto")

    def _requested(self, derivative: _SharedDerivative) -> _SharedDerivative:
        self._shared = derivative
        return derivative

    def _is_number(self, shape: tuple[int, ...], args: tuple[Any, ...]) -> bool:
        # With one unknown, those who call f(x) take a number, those who call f(t, y) an array.
        is_one = self._unknown > 0 and np.shape(args[self._unknown]) == (1,)
        return shape == (1,) and not is_one

    def _arranged(self, jacobian: Any, args: tuple[Any, ...]) -> Any:
        """Return a Jacobian as SciPy wants it: one array, without an axis for a number."""
        jacobian = _rows(jacobian)
        if isinstance(jacobian, np.ndarray):
            ndim = np.ndim(args[self._unknown])
            if jacobian.ndim > ndim and self._is_number(jacobian.shape[: -ndim or None], args):
                return jacobian[0]
        return jacobian.T if self._col_deriv and jacobian.ndim == 2 else jacobian

    def _weighted(self, given: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any]:
        """Return arguments of the function, and the weights v behind them, None without these."""
        least, most = self._arity
        count = len(given)
        if count <= least:
            return given, None
        if count <= most:  # what is optional may be left out
            called = getattr(self._calls, "count", None)
            if called == count:
                return given, None
            if called != count - 1:
                raise InputError(
                    f"it is not clear whether the last of {count} arguments is v, or one of"
                    f" {name_of(self.__wrapped__)}, which has optional ones; call hess(..., v=v)"
                )
        return given[:-1], given[-1]


class _SharedDerivative:
    """A derivative whose last evaluation, in each thread, is finished if it is at the same point.

    Attributes
    ----------
    is_shared : bool
        Whether that saves anything: not where the function has to be traced at each call, nor where
        it reads more than it computes. Then values and derivatives are evaluated apart.
    """

    def __init__(
        self, f: Function, options: Options, arguments: Callable[..., tuple[Any, ...]] | None = None
    ) -> None:
        self._compiled: CompiledFunction = CompiledFunction(
            Differentiator(f, options, has_value=True)
        )
        self._arguments = arguments
        self._last = threading.local()
        self.is_shared = True

    def explain(self, args: tuple[Any, ...], how: dict[str, Any]) -> Any:
        """Return the plan, or what analyzing it finds."""
        return self._compiled.explain(*self._given(args), **how)

    def _given(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return args if self._arguments is None else self._arguments(*args)

    def begin(self, args: tuple[Any, ...]) -> tuple[Any, Evaluation]:
        """Return the value, and what makes the derivative."""
        given = self._given(args)
        value, evaluation = self._compiled.begin(*given)
        self._last.evaluation, self.is_shared = evaluation, evaluation.is_worth_keeping
        return value, evaluation

    def evaluated(self, args: tuple[Any, ...]) -> tuple[Any, Any]:
        """Return the value and the derivative."""
        if self.is_shared:
            value, evaluation = self.begin(args)
            return value, evaluation()
        given = self._given(args)
        found: tuple[Any, Any] = self._compiled(*given)
        return found

    def jacobian(self, args: tuple[Any, ...]) -> Any:
        """Return the derivative."""
        if not self.is_shared:
            return self.evaluated(args)[1]
        last: Evaluation | None = getattr(self._last, "evaluation", None)
        given = self._given(args)
        if last is None or not (last.is_at(given) and last.holds()):
            _, last = self.begin(args)
        return last()


def _with_times(count: int, *args: Any) -> tuple[Any, ...]:
    """Return arguments of f(t, y) with times of one type: SciPy gives the first one as a float."""
    times = [np.float64(t) if type(t) is float else t for t in args[:count]]
    return *times, *args[count:]


def _weights(v: Any) -> Any:
    return np.float64(1.0) if v is None else np.asarray(v, float)


def _rows(jacobian: Any) -> Any:
    """Return the Jacobian of several numbers as one."""
    if not isinstance(jacobian, (tuple, list)):
        return jacobian
    if scipy.sparse.issparse(jacobian[0]):
        return scipy.sparse.vstack(jacobian, format="csr")
    return np.stack(jacobian)


def _stacked(result: Any) -> Any:
    return np.stack(result) if isinstance(result, (tuple, list)) else result


def _weighted_sum(f: Function) -> Function:
    """Return the number v . f as a function of v and the arguments of f."""

    @wraps(f)
    def weighted(v: Any, *args: Any) -> Any:
        values = _stacked(f(*args))
        if np.shape(v) == () and np.shape(values) not in ((), (1,)):
            raise InputError(
                f"the Hessian is that of a number, but {name_of(f)} returned an array of shape"
                f" {np.shape(values)}; give the weights of its entries, hess(x, v)"
            )
        return np.sum(values * v)

    return weighted


def _at_one_point(f: Function) -> Function:
    """Return a function of arrays of points, on the last axis, as one of a single point."""

    @wraps(f)
    def at_one_point(x: Any, y: Any, *p: Any) -> Any:
        return _stacked(f(np.reshape(x, (1,)), y[:, None], *p))[:, 0]

    return at_one_point


def _arity(f: Function) -> tuple[int, float]:
    """Return how many arguments by position a function takes, at least and at most."""
    try:
        parameters = inspect.signature(f).parameters.values()
    except (ValueError, TypeError):  # a function in C that does not tell
        return 0, inf
    kinds = [each.kind for each in parameters]
    by_position = [
        each
        for each in parameters
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    least = sum(each.default is each.empty for each in by_position)
    return least, inf if inspect.Parameter.VAR_POSITIONAL in kinds else len(by_position)
