"""Custom primitives: functions opaque to the tracer, with derivatives given by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, update_wrapper
from math import prod
from typing import Any

import numpy as np
import scipy.sparse

from chainad.errors import InputError, unknown
from chainad.ir.graph import Argument
from chainad.ir.pickling import importable_name
from chainad.ir.positions import coordinates, positions
from chainad.rules.base import ALL, RULES, Local, Locals, Rule, first_traced
from chainad.structure import Arrangement, arrange, dense, diagonal, operator
from chainad.structure.linear_operators import UserOperator
from chainad.structure.structure import Axis

_Derivative = Callable[[Argument, Argument], Local]


class Primitive:
    """A function of arrays with derivatives given by hand; made by the decorator `primitive`.

    Called with plain arrays it is the function itself. Inside a traced function it is one vertex
    of the graph; the function then runs on plain arrays, so it may use anything.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        update_wrapper(self, function)
        self.function = function
        self._derivatives: dict[int, _Derivative] = {}
        RULES[self] = Rule(self._locals, operands=ALL)

    def __call__(self, *args: Any) -> Any:
        traced = first_traced(args)
        if traced is not None:
            return traced.__array_function__(self, (type(traced),), args, {})
        return np.asarray(self.function(*args))[()]

    def __repr__(self) -> str:
        return f"chainad.primitive({getattr(self.function, '__name__', self.function)!r})"

    def __reduce__(self) -> Any:
        name = importable_name(self)
        return name or (Primitive, (self.function,), {"_derivatives": self._derivatives})

    def _locals(self, y: Argument, *args: Argument) -> Locals:
        found: dict[Argument, Local | tuple[Local, ...] | None] = {}
        for x in args:
            if x.traced and x.number not in self._derivatives:
                raise NotImplementedError(
                    f"no derivative was given for argument {x.number}; give one with"
                    f" .jacobian({x.number}) or .operator({x.number}), or keep that argument"
                    " constant with chainad.stop_gradient"
                )
            if x.traced:
                found[x] = self._derivatives[x.number](y, x)
        return found

    def jacobian(
        self, argument: int = 0, structure: Any = "dense"
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register the decorated function as the local Jacobian by one argument.

        Parameters
        ----------
        argument : int
            The position of the argument.
        structure : {"dense", "diagonal"} or scipy.sparse array or pair of index arrays
            "dense": the function returns an array of shape `y.shape + x.shape`; "diagonal": y and x
            have the same shape, and it returns the derivatives entry by entry; a sparse array or
            (rows, cols), counted in raveled y and x: it returns one number per entry, in the order
            of `rows` (of `A.tocoo()` for a sparse array).

        Returns
        -------
        callable
            A decorator for functions of `(y, *args)`, the result and the arguments of the call.

        Raises
        ------
        InputError
            If the structure is unknown, or the argument has a derivative already; or, when used,
            if the entries do not have the shape of the structure.

        Examples
        --------
        >>> import numpy as np
        >>> import chainad
        >>> @chainad.primitive
        ... def cube(x):
        ...     return x * x * x
        >>> @cube.jacobian(structure="diagonal")
        ... def slope(y, x):
        ...     return 3 * x**2
        >>> chainad.jacobian(lambda x: cube(2 * x))(np.array([1.0, 2.0]))
        array([[24.,  0.],
               [ 0., 96.]])
        """
        if not isinstance(argument, int):
            raise InputError(
                f"argument must be a position (int), but got {argument!r}; the decorator is called,"
                " @f.jacobian()"
            )
        arrange_for = _arranger(structure)

        def register(formula: Callable[..., Any]) -> Callable[..., Any]:
            def derivative(y: Argument, x: Argument) -> Local:
                arrangement, shape = arrange_for(y, x)

                def checked(out: Any, *args: Any) -> Any:
                    entries = formula(out, *args)
                    if np.shape(entries) != shape:
                        raise InputError(
                            f"the Jacobian of {self!r} by argument {argument} must have shape"
                            f" {shape}, but has {np.shape(entries)}"
                        )
                    stored = arrangement.structure.stored_shape
                    return entries if arrangement.ops else np.reshape(entries, stored)

                return Local(arrangement, checked)

            self._register(argument, derivative)
            return formula

        return register

    def operator(
        self,
        argument: int = 0,
        *,
        jvp: Callable[..., Any] | None = None,
        vjp: Callable[..., Any] | None = None,
        cost: int | None = None,
    ) -> None:
        """Give the local Jacobian by one argument as its action, matrix-free.

        Parameters
        ----------
        argument : int
            The position of the argument.
        jvp : callable, optional
            `(tangent, y, *args) -> J @ tangent`: from the shape of x to that of y.
        vjp : callable, optional
            `(adjoint, y, *args) -> adjoint @ J`: from the shape of y to that of x. One of the two
            is enough: the other direction then materializes the Jacobian.
        cost : int, optional
            Multiplications of one call; by default those of a dense product, y.size * x.size.

        Raises
        ------
        InputError
            If neither is given, or the argument has a derivative already; or, when used, if a
            result has the wrong shape.

        Examples
        --------
        >>> import numpy as np
        >>> import chainad
        >>> @chainad.primitive
        ... def smooth(x):
        ...     return np.convolve(x, [0.25, 0.5, 0.25], "same")
        >>> smooth.operator(jvp=lambda t, y, x: smooth(t), vjp=lambda a, y, x: smooth(a), cost=300)
        >>> J = chainad.jacobian(lambda x: np.sum(smooth(x) ** 2))(np.ones(100))
        >>> float(J[50])
        2.0
        """
        if jvp is None and vjp is None:
            raise InputError("give jvp=, vjp= or both")

        def derivative(y: Argument, x: Argument) -> Local:
            rows, cols = y.size, x.size
            each = rows * cols if cost is None else cost
            # One label for all of y and one for all of x: actions take whole arrays.
            arrangement = dense(y.shape, x.shape)
            plain = Arrangement(arrangement, ())
            tangent = None if jvp is None else each
            adjoint = None if vjp is None else each
            lacking = each * min(rows if tangent is None else cols, 10**9)
            costed = operator(plain, tangent or lacking, adjoint or lacking, 0)

            def formula(out: Any, *args: Any) -> UserOperator:
                return UserOperator(
                    rows,
                    cols,
                    np.result_type(out),
                    jvp and partial(_by_columns, self, jvp, x.shape, y.shape),
                    vjp and partial(_by_rows, self, vjp, y.shape, x.shape),
                    (out, *args),
                )

            if not arrangement.stored:  # scalars: there is nothing to map
                return Local(plain, lambda *values: np.reshape(formula(*values).materialize(), ()))
            return Local(costed, formula)

        self._register(argument, derivative)

    def _register(self, argument: int, derivative: _Derivative) -> None:
        # Plans and programs are cached by primitive: those of a changed one would be stale.
        if argument in self._derivatives:
            raise InputError(
                f"{self!r} has a derivative by argument {argument} already; make a new primitive"
            )
        self._derivatives[argument] = derivative


def primitive(function: Callable[..., Any]) -> Primitive:
    """Make a function opaque to the tracer; give its derivatives with the methods of the result.

    Parameters
    ----------
    function : callable
        A function of arrays (positional arguments) that returns one array of floats.

    Returns
    -------
    Primitive
        The function, with methods `jacobian` (entries: dense, diagonal or a pattern) and `operator`
        (jvp and vjp). `chainad.testing.check_jacobian` compares them with differences.
    """
    return Primitive(function)


def _arranger(structure: Any) -> Callable[[Argument, Argument], tuple[Arrangement, Any]]:
    """Return what makes the structure of a call, and the shape in which its entries are given."""
    if isinstance(structure, str) and structure == "dense":
        return lambda y, x: (Arrangement(dense(y.shape, x.shape), ()), (*y.shape, *x.shape))
    if isinstance(structure, str) and structure == "diagonal":
        return _diagonal
    if scipy.sparse.issparse(structure):
        entries = scipy.sparse.coo_array(structure)
        return _pattern(*entries.coords)
    if isinstance(structure, tuple) and len(structure) == 2:
        return _pattern(*map(np.asarray, structure))
    others = "a scipy.sparse array or a pair (rows, cols)"
    raise InputError(unknown("structure", structure, ["dense", "diagonal"], others))


def _diagonal(y: Argument, x: Argument) -> tuple[Arrangement, Any]:
    if y.shape != x.shape:
        raise NotImplementedError(
            f"structure='diagonal' needs equal shapes, but y has {y.shape} and x has {x.shape}"
        )
    return Arrangement(diagonal(y.shape), ()), y.shape


def _pattern(rows: Any, cols: Any) -> Callable[[Argument, Argument], tuple[Arrangement, Any]]:
    def make(y: Argument, x: Argument) -> tuple[Arrangement, Any]:
        if max(rows, default=-1) >= y.size or max(cols, default=-1) >= x.size:
            raise NotImplementedError(
                f"the pattern has places outside of a {y.size} x {x.size} Jacobian"
            )
        axes = [
            [
                Axis(n, (0,), positions(at))
                for n, at in zip(shape, coordinates(places, shape), strict=True)
            ]
            if shape
            else []
            for places, shape in ((rows, y.shape), (cols, x.shape))
        ]
        return arrange(axes[0], axes[1], {0: len(rows)}, (0,)), (len(rows),)

    return make


def _by_columns(
    of: Primitive, jvp: Callable[..., Any], shape: Any, result: Any, tangents: Any, *values: Any
) -> Any:
    """Return a block of tangents, pushed forward one by one."""
    count = np.shape(tangents)[-1]
    columns = [jvp(np.reshape(tangents[:, k], shape), *values) for k in range(count)]
    return np.stack([_checked(of, "jvp", c, result) for c in columns], axis=1)


def _by_rows(
    of: Primitive, vjp: Callable[..., Any], shape: Any, result: Any, adjoints: Any, *values: Any
) -> Any:
    """Return a block of adjoints, pulled back one by one."""
    count = np.shape(adjoints)[0]
    rows = [vjp(np.reshape(adjoints[k], shape), *values) for k in range(count)]
    return np.stack([_checked(of, "vjp", row, result) for row in rows], axis=0)


def _checked(of: Primitive, name: str, found: Any, shape: tuple[int, ...]) -> Any:
    if np.shape(found) != shape:
        raise InputError(f"{name} of {of!r} must return shape {shape}, but got {np.shape(found)}")
    return np.reshape(found, (prod(shape),))
