"""The dtypes of values and Jacobians: those of NumPy, whatever arguments and constants are of."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainad
from chainad.api.recorded_run import record_planned_run
from chainad.backends.numpy.build import observe
from chainad.errors import InputError

Function = Callable[..., Any]
E, F, D, G = np.float16, np.float32, np.float64, np.longdouble
FLOATS = (E, F, D, G)
NAMES = {E: "e", F: "f", D: "d", G: "g"}

ONES = {dtype: np.ones(3, dtype) for dtype in (*FLOATS, np.int8, np.int64, bool)}
SQUARE = {dtype: np.eye(3, dtype=dtype) for dtype in FLOATS}

# What a function of x in half, single, double and extended precision returns: a letter for each.
# A Python number has no precision of its own, an integer array that of doubles (int8: of halves).
TABLE: dict[str, tuple[Function, str]] = {
    "alone": (np.sin, "efdg"),
    "identity": (lambda x: x, "efdg"),
    "times an int": (lambda x: x * 2, "efdg"),
    "times a float": (lambda x: 2.5 * x, "efdg"),
    "power": (lambda x: x**2 + x**0.5, "efdg"),
    "times a half": (lambda x: x * E(2), "efdg"),
    "times a single": (lambda x: x * F(2), "ffdg"),
    "times a double": (lambda x: D(2) * x, "dddg"),
    "times an extended": (lambda x: x * G(2), "gggg"),
    "times halves": (lambda x: ONES[E] * x, "efdg"),
    "times singles": (lambda x: ONES[F] * x, "ffdg"),
    "times doubles": (lambda x: x * ONES[D], "dddg"),
    "times extendeds": (lambda x: x * ONES[G], "gggg"),
    "plus int8": (lambda x: x + ONES[np.int8], "efdg"),
    "plus int64": (lambda x: x + ONES[np.int64], "dddg"),
    "times bools": (lambda x: x * ONES[bool], "efdg"),
    "product with singles": (lambda x: SQUARE[F] @ x, "ffdg"),
    "product with doubles": (lambda x: SQUARE[D] @ x, "dddg"),
    "product with itself": (lambda x: x @ x, "efdg"),
    "einsum": (lambda x: np.einsum("i,ij", x, SQUARE[F]), "ffdg"),
    "sum": (np.sum, "efdg"),
    "mean": (np.mean, "efdg"),
    "variance": (np.var, "efdg"),
    "norm": (np.linalg.norm, "efdg"),
    "cumsum": (np.cumsum, "efdg"),
    "where": (lambda x: np.where(x > 0, x, 0.0), "efdg"),
    "where of doubles": (lambda x: np.where(x > 0, x, ONES[D]), "dddg"),
    "clip": (lambda x: np.clip(x, 0, 1), "efdg"),
    "maximum": (lambda x: np.maximum(x, 0), "efdg"),
    "stack": (lambda x: np.stack([x, ONES[F]]), "ffdg"),
    "to single": (lambda x: x.astype(F), "ffff"),
    "to double and back": (lambda x: x.astype(D).astype(x.dtype), "efdg"),
    "linspace": (lambda x: x * np.linspace(0, 1, 3), "dddg"),
    "zeros like x": (lambda x: x + np.zeros_like(x), "efdg"),
    "filled like x": (lambda x: x * np.full_like(x, 3.0), "efdg"),
    "polynomial": (lambda x: np.polyval([1.0, 2.0], x), "dddg"),
    "slopes": (lambda x: np.gradient(x, np.arange(3.0)), "efdg"),
    "covariance": (lambda x: np.cov(x), "dddg"),
    "a constant": (lambda x: ONES[F], "ffff"),
    "several": (lambda x: (x, ONES[D] * x, F(2) * x), "efdg dddg ffdg"),
}

MAKERS: dict[str, Callable[[Function], Any]] = {
    "traced": chainad.value_and_jacobian,
    "compiled": lambda f: chainad.value_and_jacobian(f, backend="numpy").compile(),
    "compiled in Python": lambda f: chainad.value_and_jacobian(f, backend="python").compile(),
    "compiled by choice": lambda f: chainad.value_and_jacobian(f).compile(),
    "sparse": lambda f: chainad.value_and_jacobian(f, output="sparse"),
    "compiled sparse": lambda f: chainad.value_and_jacobian(f, output="sparse").compile(),
    "structured": lambda f: chainad.value_and_jacobian(f, output="structured"),
    "operator": lambda f: chainad.value_and_jacobian(f, output="operator"),
    "batch": lambda f: chainad.value_and_jacobian(f, batch=0),
    "reverse": lambda f: chainad.value_and_jacobian(f, mode="reverse"),
}


def parts(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize("name", TABLE)
def test_the_table_is_numpys(name: str) -> None:
    f, letters = TABLE[name]
    for k, dtype in enumerate(FLOATS):
        wanted = [row[k] for row in letters.split()]
        assert [np.asarray(y).dtype.char for y in parts(f(np.full(3, 0.5, dtype)))] == wanted


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("name", TABLE)
@pytest.mark.filterwarnings("ignore::chainad.errors.FallbackWarning")
def test_values_and_jacobians_have_the_dtypes_of_the_table(name: str, maker: str) -> None:
    f, letters = TABLE[name]
    for k, dtype in enumerate(FLOATS):
        x = np.full(3, 0.5, dtype)
        J = MAKERS[maker](f)
        value, jacobian = J(x[None] if maker == "batch" else x)
        wanted = [row[k] for row in letters.split()]
        assert [y.dtype.char for y in parts(value)] == wanted
        if "sparse" in maker:  # SciPy has no sparse arrays of half precision
            wanted = ["f" if char == "e" else char for char in wanted]
        assert [block.dtype.char for block in parts(jacobian)] == wanted
        if "sparse" in maker:
            assert [block.toarray().dtype.char for block in parts(jacobian)] == wanted


# What is passed, and as what it counts: its own precision, or double.
ARGUMENTS: list[tuple[Any, type]] = [
    (0.5, D),
    (2, D),
    ([1, 2, 3], D),
    ([0.5, 1.5], D),
    (np.array([1, 2, 3]), D),
    (np.array([1, 2], np.int32), D),
    *((dtype(0.5), dtype) for dtype in FLOATS),
    *((np.array(0.5, dtype), dtype) for dtype in FLOATS),
    *((np.full(3, 0.5, dtype), dtype) for dtype in FLOATS),
    (np.full(3, 0.5, ">f8"), D),
    (np.full(3, 0.5, ">f4"), F),
]


@pytest.mark.parametrize(("x", "dtype"), ARGUMENTS, ids=repr)
@pytest.mark.parametrize("maker", ["traced", "compiled", "compiled by choice"])
def test_arguments_count_as_their_own_precision_or_as_doubles(
    x: Any, dtype: type, maker: str
) -> None:
    for f in (np.sin, lambda x: np.sum(np.multiply(x, x)), lambda x: np.multiply(x, 2.0)):
        value, J = MAKERS[maker](f)(x)
        assert (value.dtype, J.dtype) == (dtype, dtype)


def test_a_number_of_python_counts_as_a_double_among_arrays_too() -> None:
    # NumPy would give it the precision of the array; a Jacobian is not less exact than its value.
    value, J = chainad.value_and_jacobian(lambda t: t * ONES[F])(0.5)
    assert (value.dtype, J.dtype) == (D, D)
    value, J = chainad.value_and_jacobian(lambda t: t * ONES[F])(F(0.5))
    assert (value.dtype, J.dtype) == (F, F)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int16, np.uint64, complex, object])
def test_other_arguments_are_refused(dtype: Any) -> None:
    with pytest.raises(InputError, match="must be an array of real floats"):
        chainad.jacobian(np.sin)(np.ones(3, dtype))


@pytest.mark.parametrize("one", FLOATS)
@pytest.mark.parametrize("two", FLOATS)
def test_of_mixed_arguments_every_block_is_as_the_output(one: type, two: type) -> None:
    x, y = np.full(3, 0.5, one), np.full(3, 0.25, two)
    wide = np.result_type(one, two)
    for maker in ("traced", "compiled", "compiled by choice"):
        for argnums in (0, 1, (0, 1)):
            J = chainad.value_and_jacobian(lambda x, y: (x * y, np.sum(x)), argnums)
            value, rows = (J if maker == "traced" else J.compile())(x, y)
            assert [part.dtype for part in value] == [wide, one]
            for row, dtype in zip(rows, (wide, one), strict=True):
                assert {block.dtype for block in parts(row)} == {np.dtype(dtype)}


@pytest.mark.parametrize("maker", ["traced", "compiled", "structured"])
def test_extended_precision_is_not_lost(maker: str) -> None:
    tiny = np.finfo(G).eps
    if tiny == np.finfo(D).eps:
        pytest.skip("longdouble is double here")
    x = np.array([1 + tiny, 1, 3], G)
    value, J = MAKERS[maker](lambda x: SQUARE[D] @ (x * x) / 2)(x)
    assert value[0] - value[1] == pytest.approx(float(tiny), rel=1e-3)
    difference = np.asarray(J)[0, 0] - np.asarray(J)[1, 1]
    assert difference == pytest.approx(float(tiny), rel=1e-3)


@pytest.mark.parametrize("dtype", FLOATS)
def test_second_derivatives_have_the_same_dtype(dtype: type) -> None:
    H = chainad.jacobian(chainad.jacobian(lambda x: np.sum(x**3) * 2.0))(np.ones(2, dtype))
    assert H.dtype == dtype
    np.testing.assert_array_equal(H, 12 * np.eye(2))


@pytest.mark.parametrize("dtype", FLOATS)
def test_out_has_the_dtype_of_the_jacobian(dtype: type) -> None:
    x, out = np.ones(3, dtype), np.zeros((3, 3), dtype)
    for J in (chainad.jacobian(np.square), chainad.compile(chainad.jacobian(np.square))):
        assert J(x, out=out) is out
        np.testing.assert_array_equal(out, 2 * np.eye(3))
    other = np.zeros((3, 3), F if dtype is D else D)
    with pytest.raises(InputError, match=f"out must be an array of {np.dtype(dtype)}"):
        chainad.jacobian(np.square)(x, out=other)


WEIGHTS = np.ones((3, 3), F)
IN_SINGLES: dict[str, Function] = {
    "softmax": lambda x: x - np.log(np.sum(np.exp(x - np.max(x)))),
    "sums of products": lambda x: np.tanh(WEIGHTS @ x - x[::-1]) * np.sum(x),
    "scatter": lambda x: np.concatenate([x[1:] - x[:-1], 2 * x]) * x[0],
    "matrices": lambda x: np.outer(x, x) @ WEIGHTS + np.trace(np.outer(x, x)) * WEIGHTS,
}


@pytest.mark.parametrize("name", IN_SINGLES)
def test_nothing_is_computed_in_doubles_where_all_are_singles(name: str) -> None:
    x = np.array([0.3, 0.5, 0.2], F)
    found = record_planned_run(chainad.jacobian(IN_SINGLES[name])._of, (x,), {})
    assert found.program.program is not None
    types, _ = observe(found.program.program, found.local_jacobians)
    assert {kind.dtype for kind in types.values() if kind.shape is not None} == {np.dtype(F)}
