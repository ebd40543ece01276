"""No argument of any row loses its derivative in silence: it is right, or it is refused.

Drawn from the signatures and the table of examples: every number or array of floats that a function
takes, in any argument, is traced for once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from test_rules import EXAMPLES, ROWS, Operand, arrays_of, fill

import chainad
from chainad import scipy
from chainad.rules.base import name_of

# Where differences are no derivatives: at jumps, and where entries of a matrix go together.
EXCEPT = {
    *[("np.heaviside", 0), ("np.setdiff1d", 0), ("np.interp", "period")],
    *[("np.quantile", "weights"), ("positive_solve", 0), ("triangular_solve", 0)],
}
STEP = 1e-6


def numbers(value: Any) -> Any:
    """The numbers that an argument may be replaced by."""
    is_number = isinstance(value, (float, np.ndarray)) and not isinstance(value, bool)
    return np.asarray(value, float) if is_number and np.asarray(value).dtype.kind == "f" else None


def cases(function: Any) -> Iterator[tuple[Any, tuple[Any, ...], dict[str, Any], Any]]:
    """Yield an argument, by position or name, the arguments, and what it may be."""
    for example in EXAMPLES[function]:
        args, kwargs = fill((example.args, example.kwargs), arrays_of(example))
        given = {**dict(enumerate(example.args)), **example.kwargs}
        for key, value in given.items():
            if not isinstance(value, Operand) and (x := numbers(value)) is not None:
                yield key, args, kwargs, x
        yield from ((k, args, kwargs, x) for k, x in _optional(function, args, kwargs))


def _optional(function: Any, args: Any, kwargs: Any) -> Iterator[tuple[str, Any]]:
    """Yield arguments that are left out, and what they may be."""
    if isinstance(function, np.ufunc):
        return
    try:
        signature = inspect.signature(function)
    except ValueError:  # functions in C have none in NumPy 2.0
        return
    shape = np.shape(args[0]) if isinstance(args[0], np.ndarray) else ()
    for name, parameter in signature.parameters.items():
        is_free = parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        is_flag = isinstance(parameter.default, bool)
        if (
            is_free
            and not is_flag
            and name != "out"
            and name not in signature.bind(*args, **kwargs).arguments
        ):
            for each in dict.fromkeys([(), shape, shape[-1:], (2,)]):
                yield name, np.linspace(0.3, 0.8, int(np.prod(each))).reshape(each)


def call_with(function: Any, key: Any, args: Any, kwargs: Any) -> Callable[[Any], Any]:
    """The example as a function of one of its arguments."""

    def f(x: Any) -> Any:
        found = (
            function(*args, **{**kwargs, key: x})
            if isinstance(key, str)
            else function(*args[:key], x, *args[key + 1 :], **kwargs)
        )
        return found[0] if isinstance(found, (tuple, list)) else found

    return f


def differences(f: Callable[[Any], Any], x: Any) -> Any:
    """The Jacobian by differences; None where f takes no such argument, or jumps."""
    try:
        with np.errstate(all="ignore"):
            moves = [STEP * e.reshape(x.shape) for e in np.eye(x.size)]
            columns = [(f(x + d) - f(x - d)) / (2 * STEP) for d in moves]
            return np.stack(columns, axis=-1).reshape(*np.shape(columns[0]), *x.shape)
    except Exception:
        return None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("function", ROWS, ids=name_of)
def test_no_argument_loses_its_derivative_in_silence(function: Any) -> None:
    seen = set()
    for key, args, kwargs, x in cases(function):
        f = call_with(function, key, args, kwargs)
        if (name_of(function), key) in EXCEPT or (key, x.shape) in seen:
            continue
        wanted = differences(f, x)
        if wanted is None or not np.isfinite(wanted).all() or not np.any(wanted):
            continue
        seen.add((key, x.shape))
        try:
            found = chainad.jacobian(f)(x)
        except chainad.TraceError:
            continue
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5, err_msg=str(key))


X = np.array([0.3, 0.9, 0.1, 0.5])
# Arguments that NumPy does not ask for, beside plain arrays.
ASIDE: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "initial": (lambda p: np.max(X[::3], initial=p), 1.0),
    "initial of sums": (lambda p: np.sum([1, 2], initial=p), 1.0),
    "constant_values": (lambda p: np.pad(X[:1], 1, constant_values=(p, 2.0)), [1.0, 0.0, 0.0]),
    "left": (lambda p: np.interp([0.05, 0.2], X[[2, 0]], X[:2], left=p), [1.0, 0.0]),
    "mean": (lambda p: np.var(X, mean=p), 0.6),
    "base": (lambda p: np.logspace(0, 2, 3, base=p), [0.0, 1.0, 1.5]),
    "fill_value": (lambda p: np.full_like(X[:2], p), [1.0, 1.0]),
    "out": (lambda p: np.cumsum([1.0], out=np.stack([p])), [0.0]),
    "weights": (lambda p: np.quantile(X, 0.3, method="inverted_cdf", weights=X + p), 0.0),
}


@pytest.mark.parametrize("name", ASIDE)
def test_arguments_that_numpy_does_not_ask_for_are_followed(name: str) -> None:
    f, wanted = ASIDE[name]
    np.testing.assert_allclose(chainad.jacobian(f)(0.75), wanted, atol=1e-12)
    np.testing.assert_allclose(chainad.jacobian(f).compile(0.5)(0.75), wanted, atol=1e-12)


MATRIX = np.array([[2.0, 0.3], [0.1, 1.5]])
DECIDING: list[Callable[[Any], Any]] = [
    lambda p: np.linalg.norm(X, p),
    lambda p: np.linalg.norm(MATRIX * p, p),
    lambda p: np.linalg.vector_norm(X, ord=p),
    lambda p: np.linalg.matrix_norm(MATRIX, ord=p),
    lambda p: np.linalg.cond(MATRIX, p),
    lambda p: np.quantile(X, p),
    lambda p: np.nanpercentile(X, p),
    lambda p: scipy.stats.poisson.logpmf(p, 2.0),
]


@pytest.mark.parametrize("f", DECIDING)
@pytest.mark.parametrize("p", [1.0, 2.0])
def test_arguments_that_decide_what_is_computed_are_refused(f: Any, p: float) -> None:
    with pytest.raises(chainad.TraceError, match=r"decides what is computed.*stop_gradient"):
        chainad.jacobian(f)(p)


def test_mean_by_where_takes_a_mask() -> None:
    assert chainad.jacobian(lambda x: np.mean(X, where=x > 0.2))(X).tolist() == [0.0] * 4


@pytest.mark.parametrize("function", [np.sum, np.prod, np.min])
def test_a_start_that_is_no_number_is_refused(function: Any) -> None:
    with pytest.raises(chainad.TraceError, match="initial= is a number"):
        chainad.jacobian(lambda p: function(X, initial=p))(X[:1])
