"""Compiled functions see every change of what they read beside their arguments."""

from __future__ import annotations

import collections
import functools
import math
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import chainad

Function = Callable[..., Any]
Change = Callable[[], object]
X = np.array([0.5, 1.5])

this = sys.modules[__name__]
number, table, settings_of = 2.0, np.array([1.0, 2.0]), {"dt": 0.1, "layers": [1.0, [2.0]]}
module = types.ModuleType("module")
module.__file__ = __file__
module.rate, module.table = 2.0, np.ones(2)  # type: ignore[attr-defined]


def helper(x: Any) -> Any:
    return number * x


def other_helper(x: Any) -> Any:
    return 7 * x


def scaled(x: Any, factor: Any) -> Any:
    return x * factor


def with_default(x: Any, weights: Any = np.ones(2)) -> Any:  # noqa: B008
    return x * (2 * weights)


class Base:
    shared = 3.0

    def __init__(self) -> None:
        self.k, self.config, self.A = 1.0, {"dt": 1.0}, np.ones(2)
        self.layers = [Layer(2.0), Layer(3.0)]

    def inner(self, x: Any) -> Any:
        model = self
        return model.k * x

    def rate(self, x: Any) -> Any:
        return self.shared * x


class Layer:
    __slots__ = ("weight",)

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, x: Any) -> Any:
        return self.weight * x


class Model(Base):
    def by_attribute(self, x: Any) -> Any:
        return self.k * x

    def by_method(self, x: Any) -> Any:
        return self.inner(x) + super().rate(x)

    def by_entry(self, x: Any) -> Any:
        return x * self.config["dt"]

    def by_array(self, x: Any) -> Any:
        return x + self.A * 2 * x

    def by_layers(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x

    def by_computed_name(self, x: Any) -> Any:
        return sum(getattr(self, name) for name in ("k", "shared")) * x

    @property
    def doubled(self) -> float:
        return 2 * self.k

    @classmethod
    def of_class(cls) -> float:
        return cls.shared

    def by_property(self, x: Any) -> Any:
        return self.doubled * x + self.of_class() * x

    def __call__(self, x: Any) -> Any:
        return self.k * x


class Names:
    """Attributes that are looked up by a method."""

    def __init__(self) -> None:
        self.known = {"k": 2.0}

    def __getattr__(self, name: str) -> Any:
        return self.known[name]

    def __getitem__(self, name: str) -> Any:
        return self.known[name]


@dataclass
class Parameters:
    mass: float = 1.0
    drag: list[float] = field(default_factory=lambda: [1.0, 2.0])


Point = collections.namedtuple("Point", "a b")


def rebinding_a_global() -> tuple[Function, Change]:
    return lambda x: x * number, lambda: setattr(this, "number", number + 1)


def rebinding_a_global_that_a_helper_reads() -> tuple[Function, Change]:
    return lambda x: helper(x), lambda: setattr(this, "number", number + 1)


def rebinding_a_helper() -> tuple[Function, Change]:
    this.chosen = helper
    return lambda x: chosen(x), lambda: setattr(this, "chosen", other_helper)  # noqa: F821


def rebinding_an_array() -> tuple[Function, Change]:
    return lambda x: x * table, lambda: setattr(this, "table", table + 1)


def rebinding_a_closure_number() -> tuple[Function, Change]:
    c = 3.0

    def change() -> None:
        nonlocal c
        c = 5.0

    return lambda x: x * c, change


def rebinding_from_one_to_true() -> tuple[Function, Change]:
    k: Any = 1

    def change() -> None:
        nonlocal k
        k = True

    return lambda x: x * np.array([3.0, 4.0])[k] * x.sum(), change


def entries_of_a_derived_array() -> tuple[Function, Change]:
    B = np.array([1.0, 2.0])
    return lambda x: x * (2 * B), lambda: B.__setitem__(0, 9.0)


def one_element() -> tuple[Function, Change]:
    B = np.array([1.0, 2.0])
    return lambda x: x * B[0], lambda: B.__setitem__(0, 9.0)


def a_sum() -> tuple[Function, Change]:
    B = np.array([1.0, 2.0])
    return lambda x: x * B.sum(), lambda: B.__setitem__(0, 9.0)


def a_condition() -> tuple[Function, Change]:
    B = np.array([1.0, 2.0])
    return lambda x: x * 2 if B[0] > 2 else x * 3, lambda: B.__setitem__(0, 9.0)


def knots_of_interp() -> tuple[Function, Change]:
    B, at = np.array([0.0, 1.0, 5.0]), np.array([0.0, 1.0, 2.0])
    return lambda x: np.interp(x, at, B), lambda: B.__setitem__(1, 4.0)


def an_array_used_directly() -> tuple[Function, Change]:
    W = np.array([[1.0, 2.0], [3.0, 4.0]])
    return lambda x: np.tanh(W @ x), lambda: W.__setitem__(0, 0.1)


def used_directly_and_otherwise() -> tuple[Function, Change]:
    W = np.array([[1.0, 2.0], [3.0, 4.0]])
    return lambda x: W @ x + (W * 2)[0] * x, lambda: W.__setitem__(0, 0.1)


def a_loop_that_starts_with_plain_numbers() -> tuple[Function, Change]:
    W = np.array([[1.0, 2.0], [3.0, 4.0]])

    def f(x: Any) -> Any:
        h: Any = np.ones(2)
        for _ in range(3):
            h = W @ h / 9
            h = h + x * h
        return h

    return f, lambda: W.__setitem__(0, 0.1)


def a_loop_that_ends_with_plain_numbers() -> tuple[Function, Change]:
    W = np.array([[1.0, 2.0], [3.0, 4.0]])

    def f(x: Any) -> Any:
        for each in (x, np.ones(2)):
            y = W @ each
        return y * x

    return f, lambda: W.__setitem__(0, 0.1)


def a_helper_called_with_plain_and_traced_numbers() -> tuple[Function, Change]:
    W = np.array([1.0, 2.0])

    def times(y: Any) -> Any:
        return y * W

    return lambda x: times(x) * times(2.0), lambda: W.__setitem__(0, 0.1)


def a_local_name() -> tuple[Function, Change]:
    B = np.array([1.0, 2.0])

    def f(x: Any) -> Any:
        C = B
        D = C if number > -9 else None
        return x * D.mean()

    return f, lambda: B.__setitem__(0, 9.0)


def a_comprehension() -> tuple[Function, Change]:
    B = [1.0, 2.0]
    return lambda x: sum([b * x for b in B]), lambda: B.append(5.0)


def a_generator() -> tuple[Function, Change]:
    B = [np.ones(2), np.ones(2)]
    return lambda x: x * sum(b[0] * 2 for b in B), lambda: B[1].__setitem__(0, 5.0)


def a_nested_function() -> tuple[Function, Change]:
    B = np.array([1.0, 2.0])

    def f(x: Any) -> Any:
        def step(y: Any, scale: Any = number) -> Any:
            return y * float(B[1]) * scale

        return functools.reduce(lambda y, _: step(y), range(3), x)

    return f, lambda: B.__setitem__(1, 9.0)


def an_array_passed_on() -> tuple[Function, Change]:
    B = np.array([1.0, 2.0])
    return lambda x: scaled(x, B[::-1] + 1), lambda: B.__setitem__(1, 9.0)


def keyword_arguments() -> tuple[Function, Change]:
    options = {"factor": 3.0}
    return lambda x: scaled(x, **options), lambda: options.__setitem__("factor", 4.0)


def a_default_argument() -> tuple[Function, Change]:
    return with_default, lambda: with_default.__defaults__[0].__iadd__(1)


def a_closure_in_a_list() -> tuple[Function, Change]:
    weights = [np.ones(2), np.ones(2)]
    steps = [(lambda x, w=w: x * (w + 1)) for w in weights]

    def f(x: Any) -> Any:
        for step in steps:
            x = step(x)
        return x

    return f, lambda: weights[1].__setitem__(0, 5.0)


def a_function_in_a_dictionary() -> tuple[Function, Change]:
    known = {"f": helper}
    return lambda x: known["f"](x), lambda: known.__setitem__("f", other_helper)


def a_decorated_function() -> tuple[Function, Change]:
    scale = [2.0]

    def decorated(f: Function) -> Function:
        @functools.wraps(f)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return scale[0] * f(*args, **kwargs)

        return wrapper

    return decorated(lambda x: x * x), lambda: scale.__setitem__(0, 3.0)


def a_partial() -> tuple[Function, Change]:
    B = np.array([1.0, 2.0])
    f = functools.partial(scaled, factor=B)
    return lambda x: f(2 * x) * float(f.keywords["factor"][0]), lambda: B.__setitem__(0, 4.0)


def an_attribute() -> tuple[Function, Change]:
    m = Model()
    return m.by_attribute, lambda: setattr(m, "k", 7.0)


def an_attribute_of_a_closed_over_object() -> tuple[Function, Change]:
    m = Model()
    return lambda x: x * m.k, lambda: setattr(m, "k", 7.0)


def an_attribute_by_other_methods() -> tuple[Function, Change]:
    m = Model()
    return m.by_method, lambda: setattr(m, "k", 7.0)


def an_attribute_of_the_class() -> tuple[Function, Change]:
    m = Model()
    return m.by_method, lambda: setattr(Base, "shared", Base.shared + 1)


def an_attribute_that_hides_that_of_the_class() -> tuple[Function, Change]:
    m = Model()
    return m.by_method, lambda: setattr(m, "shared", 9.0)


def a_method_that_is_replaced() -> tuple[Function, Change]:
    m = Model()
    return m.by_method, lambda: setattr(m, "inner", lambda x: 9 * x)


def an_attribute_by_a_computed_name() -> tuple[Function, Change]:
    m = Model()
    return m.by_computed_name, lambda: setattr(m, "k", 7.0)


def a_property() -> tuple[Function, Change]:
    m = Model()
    return m.by_property, lambda: setattr(m, "k", 7.0)


def a_class_method() -> tuple[Function, Change]:
    m = Model()
    return m.by_property, lambda: setattr(Base, "shared", Base.shared + 1)


def a_callable_object() -> tuple[Function, Change]:
    m = Model()
    return m, lambda: setattr(m, "k", 7.0)


def an_entry_of_a_dictionary_attribute() -> tuple[Function, Change]:
    m = Model()
    return m.by_entry, lambda: m.config.__setitem__("dt", 2.0)


def an_array_attribute_in_place() -> tuple[Function, Change]:
    m = Model()
    return m.by_array, lambda: m.A.__setitem__(0, 4.0)


def objects_with_slots_in_a_list() -> tuple[Function, Change]:
    m = Model()
    return m.by_layers, lambda: setattr(m.layers[1], "weight", 5.0)


def one_more_object_in_a_list() -> tuple[Function, Change]:
    m = Model()
    return m.by_layers, lambda: m.layers.append(Layer(4.0))


def attributes_by_a_method() -> tuple[Function, Change]:
    names = Names()
    return lambda x: x * names.k, lambda: names.known.__setitem__("k", 4.0)


def entries_by_a_method() -> tuple[Function, Change]:
    names = Names()
    return lambda x: x * names["k"], lambda: names.known.__setitem__("k", 4.0)


def a_dataclass() -> tuple[Function, Change]:
    p = Parameters()
    return lambda x: x * p.mass, lambda: setattr(p, "mass", 4.0)


def a_dataclass_passed_on() -> tuple[Function, Change]:
    p = Parameters()
    return lambda x: drag_of(x, p), lambda: p.drag.__setitem__(1, 4.0)


def drag_of(x: Any, p: Parameters) -> Any:
    return p.mass * x * sum(p.drag)


def an_entry_of_a_global_dictionary() -> tuple[Function, Change]:
    change = functools.partial(settings_of.__setitem__, "dt", settings_of["dt"] + 1)  # type: ignore[operator]
    return lambda x: x * settings_of["dt"], change


def an_entry_found_by_get() -> tuple[Function, Change]:
    known: dict[str, float] = {}
    return lambda x: x * known.get("a", 2.0), lambda: known.__setitem__("a", 3.0)


def an_entry_that_is_tested_for() -> tuple[Function, Change]:
    known: dict[str, float] = {}
    return lambda x: x * 2 if "a" in known else x * 3, lambda: known.__setitem__("a", 3.0)


def an_entry_deep_inside() -> tuple[Function, Change]:
    known = {"layers": [1.0, [2.0]]}
    change = functools.partial(known["layers"][1].__setitem__, 0, 9.0)  # type: ignore[attr-defined]
    return lambda x: x * known["layers"][1][0], change  # type: ignore[index]


def the_length_of_a_list() -> tuple[Function, Change]:
    known = [1.0, 2.0]
    return lambda x: x * len(known), lambda: known.append(1.0)


def a_long_list() -> tuple[Function, Change]:
    known = [float(k) for k in range(100)]
    return lambda x: x * sum(known), lambda: known.__setitem__(50, 1.0)


def a_set() -> tuple[Function, Change]:
    known = {1.0, 2.0}
    return lambda x: x * sum(known), lambda: known.add(3.0)


def a_named_tuple() -> tuple[Function, Change]:
    point = Point(1.0, np.ones(2))
    return lambda x: x * point.a * (2 * point.b), lambda: point.b.__setitem__(0, 4.0)


def a_module() -> tuple[Function, Change]:
    module.rate = 2.0
    return lambda x: x * module.rate, lambda: setattr(module, "rate", 3.0)


def an_array_of_a_module() -> tuple[Function, Change]:
    module.table[:] = 1.0
    return lambda x: x * module.table.prod(), lambda: module.table.__setitem__(0, 3.0)


def a_large_array() -> tuple[Function, Change]:
    big = np.arange(200_000.0)

    def swap() -> None:
        big[[3, 150_000]] = big[[150_000, 3]]

    return lambda x: x * big[3], swap


def a_sparse_matrix_used_directly() -> tuple[Function, Change]:
    S = scipy.sparse.csr_array(np.array([[1.0, 2.0], [0.0, 4.0]]))
    return lambda x: x @ S, lambda: S.data.__setitem__(0, 9.0)


def positions_in_a_sparse_matrix() -> tuple[Function, Change]:
    S = scipy.sparse.csr_array(np.array([[1.0, 0.0], [0.0, 4.0]]))
    return lambda x: x @ S, lambda: S.indices.__setitem__(slice(None), [1, 0])


def a_sparse_matrix_used_otherwise() -> tuple[Function, Change]:
    S = scipy.sparse.csr_array(np.array([[1.0, 2.0], [0.0, 4.0]]))
    return lambda x: x * S.sum(), lambda: S.data.__setitem__(0, 9.0)


def an_array_of_arrays() -> tuple[Function, Change]:
    W = [(np.ones((2, 2)), np.ones(2)), (np.ones((2, 2)), np.ones(2))]

    def f(x: Any) -> Any:
        for A, b in W:
            x = np.tanh(A @ x + b * 2)
        return x

    return f, lambda: W[1][1].__setitem__(0, 3.0)


def arrays_in_step() -> tuple[Function, Change]:
    As, bs = [np.eye(2), 2 * np.eye(2)], [np.ones(2), np.ones(2)]

    def f(x: Any) -> Any:
        for k, (A, b) in enumerate(zip(As, bs, strict=True)):
            x = A @ x * (k + 1) + b
        return x

    return f, lambda: As.__setitem__(1, 3 * np.eye(2))


def a_constant_that_another_name_holds() -> tuple[Function, Change]:
    B = np.array([1.0, 2.0])
    view = B[::-1]
    return lambda x: x * math.exp(view[0]), lambda: B.__setitem__(1, 0.5)


def a_compiled_function_inside() -> tuple[Function, Change]:
    m = Model()
    inner = chainad.compile(chainad.jacobian(m.by_attribute))
    y = np.ones(2)
    inner(y)
    return lambda x: x * float(inner(y)[0, 0]), lambda: setattr(m, "k", 4.0)


def a_jacobian_inside() -> tuple[Function, Change]:
    m = Model()
    inner = chainad.jacobian(m.by_method)
    return lambda x: inner(x) @ x, lambda: setattr(m, "k", 4.0)


def code_from_text() -> tuple[Function, Change]:
    space: dict[str, Any] = {"rate": 2.0}
    exec("def f(x):\n    return rate * x", space)
    return space["f"], lambda: space.__setitem__("rate", 3.0)


def a_while_loop_and_a_try() -> tuple[Function, Change]:
    limits = [3, 4]

    def f(x: Any) -> Any:
        k = 0
        while k < limits[0]:
            try:
                x = x * limits[1 + k]
            except IndexError:
                x = x + 1
            k += 1
        return x

    return f, lambda: limits.__setitem__(0, 2)


SITUATIONS = [
    value
    for value in list(globals().values())
    if isinstance(value, types.FunctionType)
    and value.__module__ == __name__
    and value.__annotations__.get("return") == "tuple[Function, Change]"
]


@pytest.mark.parametrize("backend", ["numpy", "python", "auto", "numba"])
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda s: s.__name__)
@pytest.mark.filterwarnings("ignore::chainad.errors.FallbackWarning")
def test_a_change_is_seen(situation: Function, backend: str) -> None:
    if backend == "numba":
        pytest.importorskip("numba")
    f, change = situation()
    compiled = chainad.value_and_jacobian(f, backend=backend).compile(X)
    traced = chainad.value_and_jacobian(f)

    def agree() -> None:
        for found, wanted in zip(compiled(X), traced(X), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-12)
        assert compiled.programs

    agree()
    assert compiled.programs == 1
    before = traced(X)
    change()
    assert any(not np.allclose(a, b) for a, b in zip(before, traced(X), strict=True))
    agree()
    programs = compiled.programs
    agree()
    assert compiled.programs == programs <= 2


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda s: s.__name__)
def test_a_change_is_seen_by_batches(situation: Function) -> None:
    f, change = situation()
    batched = chainad.jacobian(f, batch=0)
    for _ in range(2):
        found = batched(np.stack([X, X + 1]))
        np.testing.assert_allclose(found[0], chainad.jacobian(f)(X), rtol=1e-12)
        np.testing.assert_allclose(found[1], chainad.jacobian(f)(X + 1), rtol=1e-12)
        change()
