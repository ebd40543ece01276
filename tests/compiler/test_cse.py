"""Common subexpressions are planned once, and the Jacobian stays what it is."""

import numpy as np
import pytest

import chainad
from chainad.testing import check_jacobian

x = np.array([0.3, 0.7, 1.1])


def square_of_sine(x):
    s = np.sin(x)
    return s * s


def nested(x):
    e = np.exp(np.cos(x))
    return e + np.sqrt(e)


def of_a_product(x):
    p = x[0] * x[1]
    return np.tanh(p) - p**2


def of_a_sum(x):
    s = np.sum(x * x)
    return np.array([s, np.log(s)])


# A function, and one that has written each subexpression once.
REPEATED = {
    "the same call": (lambda x: np.sin(x) * np.sin(x), square_of_sine),
    "calls of calls": (lambda x: np.exp(np.cos(x)) + np.sqrt(np.exp(np.cos(x))), nested),
    "factors swapped": (lambda x: np.tanh(x[0] * x[1]) - (x[1] * x[0]) ** 2, of_a_product),
    "two results": (lambda x: np.array([np.sum(x * x), np.log(np.sum(x * x))]), of_a_sum),
}


@pytest.mark.parametrize("name", sorted(REPEATED))
def test_equal_calls_are_planned_once(name: str) -> None:
    twice, once = REPEATED[name]
    assert chainad.plan(twice, x).cost == chainad.plan(once, x).cost
    assert len(chainad.plan(twice, x).graph.inner) == len(chainad.plan(once, x).graph.inner)
    check_jacobian(twice, x)


def filled(x):
    a = np.sin(x)
    b = np.sin(x)
    a[0] = 2.0 * x[1]
    return a * b


DISTINCT = {
    "other constants": lambda x: np.sum(2.0 * x) * np.prod(3.0 * x),
    "other arrays": lambda x: (x * np.array([1.0, 2.0, 3.0])) * (x * np.array([3.0, 2.0, 1.0])),
    "other axes": lambda x: np.sum(np.outer(x, x * x), 0) * np.sum(np.outer(x, x * x), 1),
    "other indices": lambda x: x[0] * x[1] + x[1] * x[2],
    "minus swapped": lambda x: (x[0] - x[1]) * (x[1] - x[0]),
    "shapes swapped": lambda x: (x[:, None] * x[None, :]) - (x[None, :] * x[:, None]) ** 2,
    "filled in between": filled,
}


@pytest.mark.parametrize("name", sorted(DISTINCT))
def test_calls_that_differ_are_not_merged(name: str) -> None:
    check_jacobian(DISTINCT[name], x)


def test_a_function_of_ones_own_is_never_merged() -> None:
    count = 0

    def noisy(x):
        nonlocal count
        count += 1
        return count * x

    own = chainad.primitive(noisy)
    own.jacobian(structure="diagonal")(lambda y, x: y / x)
    J = chainad.jacobian(lambda x: own(x) + own(x))(np.ones(2))
    np.testing.assert_array_equal(J, np.diag([3.0, 3.0]))  # 1 x and 2 x
    assert count == 2
