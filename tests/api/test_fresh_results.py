"""Whose memory results are in: in that of whoever gets them, and in nobody else's."""

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import chainad

Function = Callable[..., Any]
RNG = np.random.default_rng(0)
C, M, LARGE, OTHER = (RNG.normal(size=shape) for shape in (3, (3, 3), (50, 50), 50))
CONSTANTS = (C, M, LARGE, OTHER)
COPIES = tuple(each.copy() for each in CONSTANTS)


def twice(x: np.ndarray) -> tuple[Any, ...]:
    y = np.sin(x)
    return y, y[::-1], y, np.real(y)


def begun(compiled: chainad.CompiledFunction) -> Function:
    """Return a function that begins an evaluation, and finishes it twice."""

    def halves(x: np.ndarray) -> tuple[Any, ...]:
        value, finish = compiled.begin(x)
        return value, finish(), finish()

    return halves


# Functions that return, or have as Jacobians, what lies somewhere already; and their argument.
CASES: dict[str, tuple[Function, Any]] = {
    "identity": (lambda x: x, 3),
    "view": (lambda x: x[::-1], 3),
    "transpose": (lambda x: x.T, (3, 3)),
    "flattened": (np.ravel, (3, 3)),
    "diagonal": (np.diagonal, (3, 3)),
    "broadcast": (lambda x: np.broadcast_to(x, (2, 3)), 3),
    "entry": (lambda x: x[0], 3),
    "constant": (lambda x: C, 3),
    "constant and view": (lambda x: (C, C[::-1], C), 3),
    "constant matrix": (lambda x: M.T, 3),
    "constant spread": (lambda x: np.broadcast_to(C, (2, 3)), 3),
    "number": (lambda x: 3.0, 3),
    "linear": (lambda x: M @ x, 3),
    "linear transposed": (lambda x: M.T @ x, 3),
    "linear twice": (lambda x: (M @ x, M @ x, x), 3),
    "times a constant": (lambda x: (C * x, x * C[::-1]), 3),
    "product": (lambda x: C @ x, 3),
    "Kronecker": (lambda x: (M @ x, (x @ M).T), (3, 3)),
    "values as Jacobian": (lambda x: (np.exp(x), x @ x), 3),
    "the same again": (twice, 3),
    "overlapping": (lambda x: (x, x[1:], x[:2]), 3),
    "order of axes": (lambda x: np.moveaxis(np.sin(x), 0, 1), (3, 3)),
    "large constant": (lambda x: (LARGE, LARGE @ x), 50),
    "large": (lambda x: np.tanh(LARGE @ (OTHER * x)), 50),
    "hoisted": (lambda x: LARGE @ (LARGE @ (LARGE @ (OTHER * x))), 50),
    "stencil": (lambda x: x[1:] * x[:-1], 50),
}
MAKERS: dict[str, Callable[[Function], Any]] = {
    **{
        f"{form} {backend}": lambda f, form=form, backend=backend: chainad.value_and_jacobian(
            f, output=form, backend=backend
        ).compile()
        for form in ("dense", "sparse", "structured")
        for backend in ("numpy", "auto")
    },
    **{
        f"traced {form}": lambda f, form=form: chainad.value_and_jacobian(f, output=form)
        for form in ("dense", "sparse", "structured")
    },
    **{
        f"begun {form}": lambda f, form=form: begun(chainad.jacobian(f, output=form).compile())
        for form in ("dense", "sparse", "structured")
    },
    "begun in Python": lambda f: begun(chainad.jacobian(f, backend="python").compile()),
    "python": lambda f: chainad.value_and_jacobian(f, backend="python").compile(),
    "in blocks": lambda f: chainad.value_and_jacobian(f, memory_limit="200 kB"),
    "in blocks, compiled": lambda f: chainad.value_and_jacobian(f, memory_limit="200 kB").compile(),
    "batch": lambda f: chainad.value_and_jacobian(f, batch=0),
    "batch of arrays": lambda f: chainad.value_and_jacobian(f, batch=0, backend="numpy"),
    "batch in Python": lambda f: chainad.value_and_jacobian(f, batch=0, backend="python"),
}
# Cases whose programs on scalars take seconds to make.
LARGE_CASES = {"large constant", "large", "hoisted"}
PAIRS = [
    (name, maker)
    for name in CASES
    for maker in MAKERS
    if not (name in LARGE_CASES and ("batch" in maker or "ython" in maker))
    # Two dense Jacobians of a large constant are larger than the limit.
    and not (name == "large constant" and "blocks" in maker)
]
BY_NUMBA: dict[str, Callable[[Function], Any]] = {
    "numba": lambda f: chainad.value_and_jacobian(f, backend="numba").compile(),
    "begun by numba": lambda f: begun(chainad.jacobian(f, backend="numba").compile()),
    "batch, numba": lambda f: chainad.value_and_jacobian(f, batch=0, backend="numba"),
}


def arrays_in(result: Any) -> Iterator[np.ndarray]:
    if isinstance(result, tuple):
        for each in result:
            yield from arrays_in(each)
    elif scipy.sparse.issparse(result):
        yield from (result.data, result.indices, result.indptr)
    elif isinstance(result, chainad.StructuredJacobian):
        yield from (f.array for term in result.terms for f in term if f.array is not None)
    elif not isinstance(result, np.generic):  # which is immutable
        assert type(result) is np.ndarray
        yield result


def check(J: Any, x: np.ndarray) -> None:
    own = x.copy()
    calls = [[*arrays_in(J(x))] for _ in range(3)]
    everything = [array for arrays in calls for array in arrays]
    for array in everything:
        assert array.flags.writeable
        assert array.flags.c_contiguous
        assert not any(np.shares_memory(array, other) for other in (x, *CONSTANTS))
    for one, two in combinations(everything, 2):
        assert not np.shares_memory(one, two)
    wanted = [array.copy() for array in calls[0]]
    for array in everything:
        array.fill(7)
    for found, want in zip(arrays_in(J(x)), wanted, strict=True):
        np.testing.assert_array_equal(found, want)
    for one, two in zip((x, *CONSTANTS), (own, *COPIES), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("name", "maker"), PAIRS)
@pytest.mark.filterwarnings("ignore::chainad.errors.FallbackWarning")
def test_results_are_in_memory_of_their_own(name: str, maker: str) -> None:
    f, shape = CASES[name]
    x = RNG.normal(size=shape)
    many = np.stack([x, x + 0.1, x - 0.1])
    given = many if "batch" in maker else x
    check(MAKERS[maker](f), given)
    if given.ndim > 1:  # another memory layout, another recording
        check(MAKERS[maker](f), np.asfortranarray(given))


@pytest.mark.numba
@pytest.mark.parametrize("maker", BY_NUMBA)
@pytest.mark.parametrize("name", ["identity", "constant and view", "linear", "the same again"])
@pytest.mark.filterwarnings("ignore::chainad.errors.FallbackWarning")
def test_results_of_numba_are_in_memory_of_their_own(name: str, maker: str) -> None:
    f, shape = CASES[name]
    x = RNG.normal(size=shape)
    check(BY_NUMBA[maker](f), np.stack([x, 2 * x]) if "batch" in maker else x)


def test_products_with_operators_are_in_memory_of_their_own() -> None:
    for f, shape in CASES.values():
        x = RNG.normal(size=shape)
        operators = chainad.jacobian(f, output="operator")(x)
        for operator in operators if isinstance(operators, tuple) else (operators,):
            for one in (operator, operator.T):
                v = np.ones((one.shape[1], 2))
                for given in (v, v[:, 0].copy()):
                    products = [one @ given, one @ given]
                    assert not np.shares_memory(*products)
                    for product in products:
                        assert product.flags.writeable
                        assert not any(np.shares_memory(product, c) for c in (given, *CONSTANTS))
