"""Compiled functions see every change of what they read beside their arguments."""

from __future__ import annotations

import collections
import cProfile
import dis
import enum
import functools
import math
import random
import sys
import threading
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import chainad
from chainad import InputError, TraceError
from chainad.errors import FallbackWarning
from chainad.frontends.captures import find_captures
from chainad.frontends.captures.contents import MAX_KEPT_BYTES, content, has_content
from chainad.frontends.captures.find_captures import random_states
from chainad.frontends.captures.instructions import EFFECTS, OPAQUE
from chainad.frontends.captures.interpreter import _Interpreter

Function = Callable[..., Any]
Change = Callable[[], object]
X = np.array([0.5, 1.5])


def compile_jacobian(f: Function, *args: Any, **how: Any) -> chainad.CompiledFunction:
    return chainad.compile(chainad.jacobian(f), *args, **how)


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


def a_method_that_a_library_calls() -> tuple[Function, Change]:
    m = Model()
    return lambda x: next(map(m.by_attribute, [x])), lambda: setattr(m, "k", 4.0)


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


class Constant:
    rate = 2.0

    @property
    def doubled(self) -> float:
        return 2 * self.rate


class Sized:
    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Any:
        yield from [self.n, 2 * self.n]

    def __contains__(self, value: int) -> bool:
        return value == self.n

    def __enter__(self) -> int:
        return self.n

    def __exit__(self, *error: object) -> None: ...

    def __mul__(self, factor: Any) -> Any:
        return factor * float(self.n)


class Mode(enum.Enum):
    SLOW = 1
    FAST = 2


def the_class_of_an_object_made_inside() -> tuple[Function, Change]:
    return lambda x: x * Constant().rate, lambda: setattr(Constant, "rate", Constant.rate + 1)


def a_property_of_an_object_made_inside() -> tuple[Function, Change]:
    return lambda x: x * Constant().doubled, lambda: setattr(Constant, "rate", Constant.rate + 1)


def the_length_of_an_object() -> tuple[Function, Change]:
    sized = Sized(2)
    return lambda x: x * len(sized), lambda: setattr(sized, "n", 3)


def iteration_over_an_object() -> tuple[Function, Change]:
    sized = Sized(2)
    return lambda x: x * sum(v for v in sized), lambda: setattr(sized, "n", 3)


def membership_in_an_object() -> tuple[Function, Change]:
    sized = Sized(2)
    return lambda x: x * 2 if 3 in sized else x, lambda: setattr(sized, "n", 3)


def an_object_as_a_context() -> tuple[Function, Change]:
    sized = Sized(2)

    def f(x: Any) -> Any:
        with sized as n:
            return x * n

    return f, lambda: setattr(sized, "n", 3)


def an_operator_of_an_object() -> tuple[Function, Change]:
    sized = Sized(2)
    return lambda x: x * (sized * 3.0), lambda: setattr(sized, "n", 3)


def a_matched_entry() -> tuple[Function, Change]:
    known = {"rate": 2.0}

    def f(x: Any) -> Any:
        match known:
            case {"rate": rate}:
                return x * rate
        return x

    return f, lambda: known.__setitem__("rate", 3.0)


def an_enumeration() -> tuple[Function, Change]:
    m = types.SimpleNamespace(mode=Mode.SLOW)
    return lambda x: x * m.mode.value, lambda: setattr(m, "mode", Mode.FAST)


def an_attribute_that_is_missing() -> tuple[Function, Change]:
    m = types.SimpleNamespace()
    return lambda x: x * getattr(m, "rate", 2.0), lambda: setattr(m, "rate", 3.0)


def an_attribute_that_is_asked_for() -> tuple[Function, Change]:
    m = types.SimpleNamespace()
    return lambda x: x * 2 if hasattr(m, "rate") else x, lambda: setattr(m, "rate", 3.0)


def the_names_of_attributes() -> tuple[Function, Change]:
    m = types.SimpleNamespace(a=1.0)
    return lambda x: x * len(vars(m)), lambda: setattr(m, "b", 1.0)


def an_array_of_objects() -> tuple[Function, Change]:
    B = np.array([1.0, None], dtype=object)
    return lambda x: x * B[0], lambda: B.__setitem__(0, 3.0)


def starred_names() -> tuple[Function, Change]:
    B = [1.0, 2.0, 3.0]

    def f(x: Any) -> Any:
        first, *rest = B
        return x * first * rest[-1]

    return f, lambda: B.__setitem__(2, 9.0)


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


@pytest.mark.parametrize("backend", ["numpy", "auto"])
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda s: s.__name__)
def test_a_change_is_seen_by_values(situation: Function, backend: str) -> None:
    f, change = situation()
    compiled = chainad.compile(f, X, backend=backend)
    for _ in range(2):
        np.testing.assert_allclose(compiled(X), f(X), rtol=1e-12)
        change()


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda s: s.__name__)
def test_a_change_is_seen_by_batches(situation: Function) -> None:
    f, change = situation()
    batched = chainad.jacobian(f, batch=0)
    for _ in range(2):
        found = batched(np.stack([X, X + 1]))
        np.testing.assert_allclose(found[0], chainad.jacobian(f)(X), rtol=1e-12)
        np.testing.assert_allclose(found[1], chainad.jacobian(f)(X + 1), rtol=1e-12)
        change()


# ------------------------------------------------------- constants of NumPy calls

KNOTS = np.array([0.5, 1.5, 2.5])


class Constants:
    """Constants of many kinds, which `change` overwrites in place."""

    def __init__(self) -> None:
        self.w, self.m = np.array([1.0, 2.0, 4.0]), np.array([[4.0, 1, 0], [1, 5, 2], [0, 2, 6]])
        self.index, self.mask = np.array([0, 2, 1]), np.array([True, False, True])
        self.k, self.counts = np.array(1), np.array([1, 2, 1])

    def change(self) -> None:
        self.w[:], self.index[:], self.k[...] = [2.0, 3.0, 7.0], [1, 1, 0], 2
        self.m += np.diag([1.0, 2.0, 3.0])
        self.mask[:], self.counts[:] = [False, True, True], [2, 1, 1]


def unpacked(x: Any, a: Any, b: Any, c: Any) -> Any:
    return a * x + b * c


def in_place(x: Any, w: Any) -> Any:
    x += w
    x *= w
    return x


CALLS: dict[str, Callable[[Any, Constants], Any]] = {
    "interp": lambda x, c: np.interp(x, [0.0, 1.0, 3.0], c.w),
    "interp at": lambda x, c: np.interp(c.w, [0.0, 1.0, 3.0], x),
    "where": lambda x, c: np.where(c.w > 2, x, x * x),
    "where mask": lambda x, c: np.where(c.mask, x, c.w),
    "clip": lambda x, c: np.clip(x, c.w / 4, c.w - 1.1),
    "convolve": lambda x, c: np.convolve(x, c.w),
    "solve": lambda x, c: np.linalg.solve(c.m, x),
    "einsum": lambda x, c: np.einsum("ij,j,i->i", c.m, x, c.w),
    "polyval": lambda x, c: np.polyval(c.w, x),
    "kron": lambda x, c: np.kron(x, c.w),
    "cross": lambda x, c: np.cross(c.w, x),
    "power": lambda x, c: np.power(x, c.w) + np.power(c.w, x),
    "average": lambda x, c: np.average(x * x, weights=c.w),
    "gradient": lambda x, c: np.gradient(x * x, c.w),
    "searchsorted": lambda x, c: x * np.searchsorted(c.w, x),
    "quantile": lambda x, c: np.quantile(x * x, c.w / 10),
    "take": lambda x, c: np.take(x * x, c.index),
    "index": lambda x, c: (x * x)[c.index],
    "mask": lambda x, c: (x * x)[c.mask],
    "select": lambda x, c: np.select([c.mask, ~c.mask], [x, x * x]),
    "roll": lambda x, c: np.roll(x * x, c.k),
    "repeat": lambda x, c: np.repeat(x * x, c.counts),
    "bincount": lambda x, c: np.bincount(c.index, weights=x * x, minlength=4),
    "slice": lambda x, c: (x * x)[: int(c.k)],
    "inverse": lambda x, c: np.linalg.inv(c.m) @ x + np.linalg.inv(c.m * x)[0],
    "power of a matrix": lambda x, c: np.linalg.matrix_power(c.m, 2) @ x,
    "eigenvalues": lambda x, c: np.linalg.eigvalsh(c.m) * x,
    "pad": lambda x, c: np.pad(x * x, int(c.k)),
    "stack": lambda x, c: np.stack([c.w, x * x]).sum(0) * x,
    "views": lambda x, c: c.m.T @ x + c.w[::-1] * x + c.m[..., 1] * x + c.w.reshape(3, 1) @ x[:1],
    "copies": lambda x, c: c.w.copy() * x + c.m[c.index] @ x + c.w.astype(int) * x,
    "open mesh": lambda x, c: c.m[np.ix_(c.index, c.index)] @ x,
    "rows": lambda x, c: sum(row @ x for row in c.m),
    "entries": lambda x, c: sum(w * x for w in c.w) + c.w.tolist()[1] * x + c.w.item(0) * x,
    "unpacked": lambda x, c: unpacked(x, *c.w),
    "reductions": lambda x, c: x * c.w.mean() / np.std(c.w) - np.ptp(c.w) + c.w.max() * x,
    "mapped": lambda x, c: sum(map(lambda w: w * x, c.w)),  # noqa: C417
    "range": lambda x, c: sum(x**j for j in range(int(c.k))),
    "condition": lambda x, c: x * 2 if (c.w @ np.ones(3)) < 7.5 else x * 3,
    "all": lambda x, c: x if c.mask.all() else (x * 2 if c.mask[0] else x * 3),
    "in place": lambda x, c: in_place(x * 1.0, c.w),
    "row by row": lambda x, c: np.apply_along_axis(lambda row: row * c.w, 0, x),
    "scratch": lambda x, c: x * np.add(c.w, 1.0, out=np.empty(3)),
}


@pytest.mark.parametrize("backend", ["numpy", "auto"])
@pytest.mark.parametrize("name", CALLS)
def test_a_change_of_constants_of_calls_is_seen(name: str, backend: str) -> None:
    constants, call = Constants(), CALLS[name]
    traced = chainad.value_and_jacobian(lambda x: call(x, constants), backend=backend)
    compiled = traced.compile(KNOTS)
    before = traced(KNOTS)
    for _ in range(2):
        for found, wanted in zip(compiled(KNOTS), traced(KNOTS), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-12)
        constants.change()
    assert any(
        a.shape != b.shape or not np.allclose(a, b)
        for a, b in zip(before, traced(KNOTS), strict=True)
    )


def test_objects_among_the_arguments_are_watched() -> None:
    def f(x: Any, model: Any, options: Any = None) -> Any:
        return model.k * x * options["layer"].weight

    m, options = Model(), {"layer": Layer(2.0)}
    compiled, traced = compile_jacobian(f, X, m, options=options), chainad.jacobian(f)
    for change in (lambda: setattr(m, "k", 3.0), lambda: setattr(options["layer"], "weight", 4.0)):
        change()
        np.testing.assert_array_equal(compiled(X, m, options=options), traced(X, m, options))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(["W @ x", "2 * W @ x", "x * W[0]", "x * W[k, 0]", "x * W.sum()",
                              "x + (W @ np.ones(2))", "x * 2 if W[0, k] > 1 else x", "x * k",
                              "W.T @ np.tanh(x)", "step(W, x)", "step(W, 2.0) * x"]),
             min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.floats(-2, 2)), max_size=3),
    st.sampled_from(["numpy", "auto"]),
)  # fmt: skip
def test_any_function_of_captured_arrays_follows_their_changes(
    lines: list[str], changes: list[tuple[int, int, float]], backend: str
) -> None:
    space: dict[str, Any] = {"np": np, "W": np.array([[1.0, 2.0], [3.0, 4.0]]), "k": 1}
    body = "\n    ".join(f"x = {line}" for line in lines)
    exec(f"def step(A, x):\n    return A[0] * x\ndef f(x):\n    {body}\n    return x", space)
    compiled = compile_jacobian(space["f"], X, backend=backend)
    traced = chainad.jacobian(space["f"])
    for i, j, value in changes:
        space["W"][i, j] = value
        np.testing.assert_allclose(compiled(X), traced(X), rtol=1e-10, atol=1e-12)
        space["k"] = 1 - space["k"]
        np.testing.assert_allclose(compiled(X), traced(X), rtol=1e-10, atol=1e-12)


# ------------------------------------------------------------------ what it costs

MATRIX = np.array([[1.0, 2.0], [3.0, 4.0]])
LAYERS = [(np.eye(2), np.ones(2)), (2 * np.eye(2), np.zeros(2))]


def layered(x: Any) -> Any:
    for A, b in LAYERS:
        x = np.tanh(A @ x + b)
    return x


def layered_by_index(x: Any) -> Any:
    for k in range(len(LAYERS)):
        x = scaled(LAYERS[k][0] @ x, LAYERS[k][1])
    return x


@pytest.mark.parametrize(
    "f",
    [
        lambda x: MATRIX @ x,
        lambda x: np.tanh(MATRIX[1] * x + MATRIX[:, 0] * x + MATRIX.T @ x),
        lambda x: np.einsum("ij,j->i", MATRIX, x),
        lambda x: np.stack([MATRIX[0] * x, x]),
        lambda x: np.asarray(MATRIX).T.reshape(2, 2) @ x,
        lambda x: (x, MATRIX)[0],
        layered,
        layered_by_index,
        lambda x: sum(A @ x for A, _ in LAYERS),
        lambda x: scaled(x, MATRIX),
    ],
)
@pytest.mark.counts_instructions
def test_contents_of_arrays_that_are_used_directly_are_not_compared(f: Function) -> None:
    compiled = compile_jacobian(f, X, backend="numpy")
    assert "tobytes" not in compiled.source
    assert "seen by reference" in str(compiled)
    assert "by content" not in str(compiled)


def test_a_function_of_its_arguments_alone_has_no_checks() -> None:
    compiled = compile_jacobian(lambda x: x * x, X, backend="numpy")
    assert "try" not in compiled.source.partition("# products")[0]


def test_what_is_only_counted_is_not_checked() -> None:
    m = Model()

    def f(x: Any) -> Any:
        m.k += 1
        return 2 * x

    compiled = compile_jacobian(f, X)
    for _ in range(3):
        np.testing.assert_array_equal(compiled(X), 2 * np.eye(2))
    assert compiled.programs == 1


def test_what_is_filled_at_the_first_call_is_recorded_once() -> None:
    m, runs = Model(), []
    m.A = None  # type: ignore[assignment]

    def f(x: Any) -> Any:
        runs.append(1)
        if m.A is None:
            m.A = np.arange(2.0)
        m.config["last"] = x * 2
        return x * m.A * m.A[1] + m.config["last"]

    compiled = compile_jacobian(f)
    for _ in range(3):
        np.testing.assert_array_equal(compiled(X), np.diag([2.0, 3.0]))
    assert compiled.programs == 1


@pytest.mark.parametrize("size", [10, 40_000, MAX_KEPT_BYTES // 8 + 5])
def test_content_is_told_apart_by_any_change(size: int) -> None:
    array = np.arange(float(size))
    known = content(array)
    assert has_content(array.copy(), known)
    array[[1, -2]] = array[[-2, 1]]
    assert not has_content(array, known)
    array[[1, -2]] = array[[-2, 1]]
    assert has_content(array, known)
    array[0] = -0.0
    assert not has_content(array, known)
    assert not has_content(np.arange(float(size + 1)), known)


# -------------------------------------------------------------------------- words


def table_function(x: Any) -> Any:
    y = MATRIX @ x * number
    return y * float(table[0]) * settings_of["dt"]


@pytest.mark.counts_instructions
def test_the_table_says_how_each_is_watched_and_where() -> None:
    table[:], settings_of["dt"] = [1.0, 2.0], 0.5
    this.number = 2.0
    line = table_function.__code__.co_firstlineno + 1
    assert str(compile_jacobian(table_function, X, backend="numpy", constant="number")) == (
        "chainad.jacobian(table_function, argnums=0, mode='auto', output='dense').compile()\n"
        "programs    1, the last by calls of NumPy, for (float64 (2,))\n"
        "captured\n"
        f"  MATRIX             float64 (2, 2)  seen by reference   test_captures.py:{line}"
        "  y = MATRIX @ x * n...\n"
        "  number                             named in constant=\n"
        f"  settings_of['dt']  0.5             guarded by value    test_captures.py:{line + 1}"
        "  return y * float(t...\n"
        f"  table              float64 (2,)    guarded by content  test_captures.py:{line + 1}"
        "  return y * float(t..."
    )
    by_scalars = str(compile_jacobian(table_function, X, backend="python"))
    assert "by reference" not in by_scalars
    assert str(compile_jacobian(np.square)).endswith("programs    0")
    assert str(compile_jacobian(np.square, X)).endswith("nothing but functions and modules")


def test_the_table_names_the_line_that_reads_a_closure() -> None:
    W = np.ones(2)

    def f(x: Any) -> Any:
        y = x * 2
        return y * W

    lines = str(compile_jacobian(f, X, backend="numpy")).splitlines()
    assert lines[-1].split("  ")[-1] == "return y * W"


def test_objects_of_others_are_compared_by_identity() -> None:
    pattern = np.random.SeedSequence(3)
    compiled = compile_jacobian(lambda x: x * len(repr(pattern)), X)
    assert "by identity only" in str(compiled)


def reads_globals(x: Any) -> Any:
    return globals()["number"] * x


def evaluates(x: Any) -> Any:
    return eval("number") * x


def reads_a_computed_name(x: Any) -> Any:
    return sum(getattr(module, name) for name in ("rate",)) * x


def passes_a_module_on(x: Any) -> Any:
    return x * len(vars(module))


@pytest.mark.parametrize(
    ("f", "message", "name"),
    [
        (reads_globals, r"globals\(\) reads names that are not known before", "globals"),
        (evaluates, r"eval\(\) reads names that are not known before", "eval"),
        (reads_a_computed_name, r"getattr\(module, ...\) computes the name", "module"),
        (passes_a_module_on, "the module module is used as an object", "module"),
    ],
)
def test_what_cannot_be_checked_is_refused_with_its_line(
    f: Function, message: str, name: str
) -> None:
    with pytest.raises(TraceError, match=rf"test_captures\.py:\d+: {message}.*constant='{name}'"):
        compile_jacobian(f, X)
    compile_jacobian(f, X, constant=name)
    compile_jacobian(f, X, constant=f.__name__)


@pytest.mark.counts_instructions
def test_what_is_not_executed_is_not_refused() -> None:
    def f(x: Any) -> Any:
        return x * 2 if x.size < 9 else reads_globals(x) * globals()["number"]

    np.testing.assert_array_equal(compile_jacobian(f, X)(X), 2 * np.eye(2))


def test_too_many_objects_are_refused() -> None:
    many = [Layer(1.0) for _ in range(20_000)]
    with pytest.raises(TraceError, match=r"many holds more than 10,000 objects.*constant='many'"):
        compile_jacobian(lambda x: many[0](x) * sum(each.weight for each in many), X)


def counts_its_calls(x: Any) -> Any:
    model.k += 1
    return x * model.k


model = Model()


def test_a_function_that_goes_on_from_its_last_call_is_refused() -> None:
    with pytest.raises(TraceError, match=r"reads model\.k, and changes it at each call.*constant="):
        compile_jacobian(counts_its_calls, X)
    compile_jacobian(counts_its_calls, X, constant="model.k")


def test_constants_are_not_checked() -> None:
    m = Model()
    compiled = compile_jacobian(m.by_entry, X, constant=["self.config"])
    m.config["dt"] = 5.0
    np.testing.assert_array_equal(compiled(X), np.eye(2))
    with pytest.raises(InputError, match="constant must be a name or a sequence of names"):
        compile_jacobian(m.by_entry, X, constant=[1])  # type: ignore[list-item]


def test_constants_are_named_where_a_jacobian_is_made() -> None:
    with pytest.raises(TraceError, match="constant='globals'"):
        chainad.jacobian(reads_globals, batch=0)(X[None])
    m = Model()
    for f, name in [(reads_globals, "globals"), (m.by_entry, "self.config")]:
        wanted = chainad.jacobian(f)(X)
        batched = chainad.jacobian(f, batch=0, constant=name)
        of_pair = chainad.value_and_jacobian(f, batch=0, constant=[name])
        compiled = chainad.jacobian(f, constant=name).compile(X)
        for _ in range(2):
            np.testing.assert_array_equal(batched(X[None])[0], wanted)
            np.testing.assert_array_equal(of_pair(X[None])[1][0], wanted)
            np.testing.assert_array_equal(compiled(X), wanted)
            m.config["dt"] = 5.0
    with pytest.raises(InputError, match="constant must be a name or a sequence of names"):
        chainad.jacobian(m.by_entry, batch=0, constant=[1])  # type: ignore[list-item]


# ---------------------------------------------------------------- random numbers

rng = np.random.default_rng(5)
iterator = iter(range(100))


@pytest.mark.parametrize(
    ("f", "name"),
    [
        (lambda x: x * np.random.normal(), r"np\.random"),
        (lambda x: x * random.random(), "random"),
        (lambda x: x * rng.normal(size=2), "rng"),
        (lambda x: x * np.random.default_rng().normal(), r"np\.random\.default_rng"),
        (lambda x: x * np.random.default_rng(None).normal(), r"np\.random\.default_rng"),
        (lambda x: x * (1 + next(iterator)), r"next\(iterator\)"),
    ],
)
@pytest.mark.parametrize("batch", [False, True])
def test_functions_that_draw_are_traced_at_each_call(f: Function, name: str, batch: bool) -> None:
    x = np.ones((3, 2)) if batch else X
    compiled = chainad.jacobian(f, batch=0) if batch else compile_jacobian(f)
    with pytest.warns(FallbackWarning, match=rf"draws by {name}, and a replay would repeat"):
        one = compiled(x)
    other = compiled(x)
    assert not np.allclose(one, other)
    if batch:
        assert not np.allclose(other[0], other[1])


def test_what_another_thread_draws_is_not_drawn_by_the_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []

    def states() -> dict[str, Any]:
        seen.append(1)
        return random_states() | ({"random": "drawn"} if len(seen) == 1 else {})

    monkeypatch.setattr(find_captures, "random_states", states)
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    try:
        assert chainad.compile(np.sin, 1.0).programs == 1
    finally:
        done.set()
        other.join()


def test_draws_from_a_seed_are_no_draws() -> None:
    def f(x: Any) -> Any:
        return x * np.random.default_rng(3).normal()

    compiled = compile_jacobian(f, X)
    np.testing.assert_array_equal(compiled(X), chainad.jacobian(f)(X))
    assert compiled.programs == 1


# -------------------------------------------------------- profilers and tracers


def test_the_profiler_and_the_tracer_of_the_user_are_kept() -> None:
    events: list[str] = []

    def profile(frame: Any, event: str, arg: Any) -> None:
        events.append(event)

    def trace(frame: Any, event: str, arg: Any) -> Any:
        return None

    before = sys.getprofile(), sys.gettrace()
    for use_profile, use_trace in [(True, False), (False, True), (True, True)]:
        m = Model()
        try:
            if use_profile:
                sys.setprofile(profile)
            if use_trace:
                sys.settrace(trace)
            compiled = compile_jacobian(m.by_array, X)
            kept = sys.getprofile(), sys.gettrace()
        finally:
            sys.setprofile(before[0])
            sys.settrace(before[1])
        assert kept == (
            profile if use_profile else before[0],
            trace if use_trace else before[1],
        )
        assert bool(events) == use_profile or not use_profile
        m.A[0] = 5.0
        np.testing.assert_array_equal(compiled(X), chainad.jacobian(m.by_array)(X))


@pytest.mark.counts_instructions
def test_a_profile_goes_on() -> None:
    m, profile = Model(), cProfile.Profile()
    with profile:
        compiled = compile_jacobian(m.by_array, X)
        helper(2.0)
    assert any("helper" in str(entry.code) for entry in profile.getstats())
    m.A[0] = 5.0
    np.testing.assert_array_equal(compiled(X), chainad.jacobian(m.by_array)(X))


def test_code_that_raises_leaves_no_tracer_behind() -> None:
    before = sys.gettrace()
    with pytest.raises(ZeroDivisionError):
        compile_jacobian(lambda x: x * (1 // 0), X)
    assert sys.gettrace() is before


def test_functions_run_in_other_threads_are_watched() -> None:
    m = Model()

    def f(x: Any) -> Any:
        with ThreadPoolExecutor(1) as pool:
            (factor,) = pool.map(lambda a: a * m.k, [2.0])
        return x * factor

    compiled = compile_jacobian(f, X)
    m.k = 3.0
    np.testing.assert_array_equal(compiled(X), 6 * np.eye(2))


@pytest.mark.filterwarnings("ignore:Setting the shape on a NumPy array:DeprecationWarning")
@pytest.mark.parametrize(
    "backend", ["auto", "numpy", "python", pytest.param("numba", marks=pytest.mark.numba)]
)
@pytest.mark.parametrize(
    ("f", "old", "new"),
    [
        (lambda x, W: np.sum(W * np.sin(x), axis=0), (6, 1), (3, 2)),
        (lambda x, W: W.T @ np.sin(W @ x), (1, 2, 2), (2, 1, 2)),
    ],
)
def test_another_shape_of_a_captured_array_is_seen(
    f: Function, old: tuple[int, ...], new: tuple[int, ...], backend: str
) -> None:
    W, x = np.arange(1.0, 1 + np.prod(old)).reshape(old).copy(), np.array([0.5, 2.0])
    traced = chainad.jacobian(lambda x: f(x, W), backend=backend)
    compiled = traced.compile(x)
    compiled(x)
    W.shape = new
    np.testing.assert_allclose(compiled(x), traced(x), rtol=1e-12)


# ------------------------------------------------------------------ instructions


def test_every_instruction_of_this_python_is_known() -> None:
    names = {name for name in dis.opmap if not name.startswith(("INSTRUMENTED", "RESERVED"))}
    pseudo = {"JUMP", "JUMP_NO_INTERRUPT", "SETUP_FINALLY", "SETUP_CLEANUP", "SETUP_WITH"}
    known = {name.removeprefix("op_").upper() for name in dir(_Interpreter) if name[:3] == "op_"}
    assert not names - pseudo - known - {*EFFECTS} - OPAQUE


def test_an_unknown_instruction_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(EFFECTS, "COMPARE_OP")
    with pytest.raises(TraceError, match="instruction COMPARE_OP, which chainad does not know"):
        compile_jacobian(lambda x: x if number > 1 else 2 * x, X)
