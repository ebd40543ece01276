"""What is differentiated, and what comes of it: names, signatures, methods, kinds of functions."""

import inspect
import pydoc
from collections.abc import Callable
from functools import lru_cache, partial, singledispatch, wraps
from typing import Any

import numpy as np
import pytest

import chainad
from chainad.errors import InputError, TraceError

X = np.array([1.0, 2.0])
VERBS = [
    chainad.jacobian,
    chainad.value_and_jacobian,
    lambda f: chainad.compile(chainad.jacobian(f)),
    partial(chainad.jacobian, batch=0),
]


def power(x: np.ndarray, k: int = 2, *, scale: float = 1.0) -> np.ndarray:
    """Return a power."""
    return scale * x**k


class Model:
    """A callable with parameters."""

    def __init__(self, w: float) -> None:
        self.w = w

    def __call__(self, x: Any, k: int = 1) -> Any:
        return self.w * np.sin(x) ** k

    def residual(self, x: Any) -> Any:
        return self.w * x**2

    @classmethod
    def of_class(cls, x: Any) -> Any:
        return np.sin(x)

    @staticmethod
    def of_none(x: Any) -> Any:
        return np.sin(x)

    jac = chainad.jacobian(residual, argnums=1)
    both = chainad.value_and_jacobian(residual, argnums=1)
    quick = chainad.compile(chainad.jacobian(residual, argnums=1))
    many = chainad.jacobian(residual, argnums=1, batch=0)
    sparse = chainad.jacobian(residual, argnums=1, output="sparse")


# ---------------------------------------------------------------- names, docs


@pytest.mark.parametrize("verb", VERBS)
def test_a_jacobian_has_the_name_of_its_function(verb: Any) -> None:
    J = verb(power)
    assert (J.__name__, J.__qualname__, J.__module__) == ("power", "power", __name__)
    assert J.__wrapped__ is inspect.unwrap(J) is power
    assert "acobian of power" in J.__doc__
    assert "acobian of power" in pydoc.render_doc(J)
    assert inspect.getsource(J) == inspect.getsource(power)


def test_wraps_takes_what_it_needs() -> None:
    @wraps(chainad.jacobian(power))
    def counted(*args: Any) -> Any:
        return args

    assert (counted.__name__, counted(1)) == ("power", (1,))


def test_what_a_jacobian_is_of_is_said() -> None:
    J = chainad.jacobian(power)
    assert J.__doc__ == "The Jacobian of power, mode='auto'."
    both = chainad.value_and_jacobian(power)
    assert both.__doc__ == "The value and the Jacobian of power, mode='auto'."
    assert both.compile().__doc__ == "The value and the Jacobian of power, compiled."
    assert chainad.jacobian(J).__doc__ == "The Jacobian of jacobian(power), mode='auto'."
    assert str(chainad.plan(J, X)).startswith("jacobian(power)(x): ")
    assert str(chainad.plan(partial(power, k=3), X)).startswith("power(x): ")


# ----------------------------------------------------------------- signatures


@pytest.mark.parametrize("verb", VERBS)
def test_the_signature_is_that_of_the_function_and_out(verb: Any) -> None:
    found = inspect.signature(verb(power))
    own = inspect.signature(power)
    out = inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=None)
    assert [*found.parameters.values()] == [*own.parameters.values(), out]
    found.bind(X, 3, scale=2.0, out=np.zeros((2, 2)))


def test_out_stands_where_it_may_and_only_where_it_is_taken() -> None:
    def f(x: Any, *args: Any, **options: Any) -> Any:
        return x

    assert (
        str(inspect.signature(chainad.jacobian(f)))
        == "(x: Any, *args: Any, out=None, **options: Any)"
    )
    for output in ("sparse", "structured", "operator"):
        J = chainad.jacobian(f, output=output)
        assert inspect.signature(J).parameters.keys() == inspect.signature(f).parameters.keys()


def test_the_keyword_out_is_that_of_the_jacobian() -> None:
    def f(x: Any, out: Any = None) -> Any:
        return np.square(x)

    assert str(inspect.signature(chainad.jacobian(f))) == "(x: Any, *, out=None)"
    buffer = np.zeros((2, 2))
    assert chainad.jacobian(f)(X, out=buffer) is buffer


def test_a_function_without_a_signature_takes_anything() -> None:
    assert str(inspect.signature(chainad.jacobian(_without_signature()))).startswith("(*args")


def _without_signature() -> Callable[..., Any]:
    """Return a function in C that does not tell its signature, wherever there is one."""
    for f in (np.where, np.concatenate, np.dot, max, iter):
        try:
            inspect.signature(f)
        except ValueError:
            return f
    pytest.skip("every function tells its signature")


def test_the_classes_have_signatures_of_their_own() -> None:
    for kind in (chainad.JacobianFunction, chainad.CompiledFunction):
        assert "out" not in inspect.signature(kind).parameters


def test_annotations_are_evaluated_by_nobody() -> None:
    def f(x: "there_is_no_such_name") -> "nor_this":  # noqa: F821
        return x

    J = chainad.jacobian(f)
    assert inspect.signature(J).parameters["x"].annotation == "there_is_no_such_name"
    assert inspect.signature(J).return_annotation is inspect.Signature.empty


# -------------------------------------------------------------------- methods


@pytest.mark.parametrize("name", ["jac", "quick", "sparse"])
def test_in_a_class_a_jacobian_is_a_method(name: str) -> None:
    for w in (3.0, 5.0):
        found = getattr(Model(w), name)(X)
        dense = found.toarray() if name == "sparse" else found
        np.testing.assert_array_equal(dense, np.diag(2 * w * X))
        np.testing.assert_array_equal(getattr(Model, name)(Model(w), X).diagonal(), 2 * w * X)


def test_methods_take_out_batches_and_return_values() -> None:
    model, buffer = Model(3.0), np.zeros((2, 2))
    assert model.jac(X, out=buffer) is buffer
    np.testing.assert_array_equal(buffer, np.diag(6 * X))
    assert model.many(np.stack([X, X, X])).shape == (3, 2, 2)
    value, jacobian = model.both(X)
    np.testing.assert_array_equal(value, model.residual(X))
    np.testing.assert_array_equal(jacobian, buffer)


def test_a_method_has_the_signature_without_self() -> None:
    assert str(inspect.signature(Model(1.0).jac)) == "(x: Any, *, out=None)"
    assert str(inspect.signature(Model.jac)) == "(self, x: Any, *, out=None)"
    assert isinstance(Model.jac, chainad.JacobianFunction)


def test_a_method_added_later_is_a_method_too() -> None:
    class Later(Model):
        pass

    Later.added = chainad.jacobian(Later.residual, argnums=1)
    np.testing.assert_array_equal(Later(3.0).added(X), np.diag(6 * X))
    np.testing.assert_array_equal(chainad.jacobian(Later(3.0).added)(X)[0, 0], [6, 0])


# --------------------------------------------------------- kinds of functions


def sine(x: Any) -> Any:
    return np.sin(x)


KINDS: dict[str, tuple[Callable[..., Any], str]] = {
    "function": (sine, "sine"),
    "lambda": (lambda x: np.sin(x), "<lambda>"),
    "partial": (partial(power, k=3), "power"),
    "partial of a partial": (partial(partial(power, scale=2.0), k=3), "power"),
    "partial that gives the first": (partial(np.multiply, 3.0), "multiply"),
    "object": (Model(2.0), "Model"),
    "partial of an object": (partial(Model(2.0), k=2), "Model"),
    "method": (Model(2.0).residual, "residual"),
    "method of a class": (Model.of_class, "of_class"),
    "static method": (Model.of_none, "of_none"),
    "ufunc": (np.sin, "sin"),
    "function of NumPy": (np.sum, "sum"),
    "wrapped": (wraps(sine)(lambda *args: sine(*args)), "sine"),
    "dispatched": (singledispatch(sine), "sine"),
    "polynomial": (np.poly1d([1.0, 2.0, 3.0]), "poly1d"),
    "method of a model": (Model(2.0).jac, "residual"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_can_be_called_can_be_differentiated(kind: str) -> None:
    f, name = KINDS[kind]
    step = 1e-6 * np.eye(2)
    wanted = np.stack([(f(X + each) - f(X - each)) / 2e-6 for each in step], -1)
    for J in (chainad.jacobian(f), chainad.compile(chainad.jacobian(f))):
        assert J.__name__ == name
        np.testing.assert_allclose(J(X), wanted, rtol=1e-6, atol=1e-9)
        assert name in repr(J)


def test_what_needs_plain_numbers_is_refused_with_the_next_move() -> None:
    def relu(t: float) -> float:
        return t if t > 0 else 0.0

    with pytest.raises(TraceError, match=r"np\.vectorize calls relu on plain numbers.*batch=0"):
        chainad.jacobian(np.vectorize(relu))
    vectorized = np.vectorize(relu)
    np.testing.assert_array_equal(
        chainad.jacobian(lambda x: vectorized(x))(X), np.diag((X > 0) * 1.0)
    )
    with pytest.raises(TraceError, match="no rule"):
        chainad.jacobian(np.frompyfunc(relu, 1, 1))(X)
    with pytest.raises(TraceError, match="lru_cache"):
        chainad.jacobian(lru_cache(relu))(1.0)
    for other in (3, "sin", None):
        with pytest.raises(InputError, match="f must be a function"):
            chainad.jacobian(other)
