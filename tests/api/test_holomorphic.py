"""Jacobians of holomorphic functions are complex; what is not holomorphic is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainad
from chainad.errors import InputError

Z = np.array([1 + 2j, 0.5 - 1j, -0.3 + 0.2j])
A = np.array([[3, 1j, 0.5], [0.2, 2 - 1j, 0], [1, 0, 4j]])

FUNCTIONS: list[Callable[[Any], Any]] = [
    lambda z: np.sin(z) ** 2 / (1 + z[::-1]),
    lambda z: np.exp(z) * z[0],
    lambda z: np.sum(z * z),
    lambda z: np.linalg.solve(A + np.outer(z, z), z),
    lambda z: np.fft.fft(np.sqrt(z)) @ A,
    lambda z: np.real(z) + 1j * np.imag(z) * 1.0,
    lambda z: np.conj(np.conj(z) ** 2),
    lambda z: np.arctan(z) if abs(z[0]) > 1 else z,
    lambda z: A[0],
]


def differences(f: Any, z: np.ndarray, h: float = 1e-6) -> np.ndarray:
    columns = [(f(z + h * e) - f(z - h * e)) / (2 * h) for e in np.eye(z.size)]
    return np.stack(columns, -1)


@pytest.mark.parametrize("number", range(len(FUNCTIONS)))
def test_holomorphic_functions_have_complex_jacobians(number: int) -> None:
    f = FUNCTIONS[number]
    wanted = differences(f, Z)
    J = chainad.jacobian(f, holomorphic=True)
    compiled = J.compile(Z)
    for found in (J(Z), compiled(Z), compiled(Z)):
        assert found.dtype == complex
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(compiled(Z * 1.5), differences(f, Z * 1.5), rtol=1e-6, atol=1e-8)
    sparse = chainad.jacobian(f, holomorphic=True, output="sparse")(Z)
    np.testing.assert_allclose(sparse.toarray(), wanted.reshape(-1, 3), rtol=1e-6, atol=1e-8)
    values, many = chainad.value_and_jacobian(f, holomorphic=True, batch=0)(np.stack([Z, 1.5 * Z]))
    np.testing.assert_allclose(values[0], f(Z), rtol=1e-12)
    np.testing.assert_allclose(many[0], wanted, rtol=1e-6, atol=1e-8)


def test_numbers_several_arguments_and_second_derivatives() -> None:
    assert chainad.jacobian(lambda z: z**2, holomorphic=True)(1 + 2j) == 2 + 4j
    assert chainad.jacobian(np.square, holomorphic=True)(3.0) == 6
    product = chainad.jacobian(lambda z, w: z * w, argnums=(0, -1), holomorphic=True)
    assert product(1 + 2j, 3.0) == (3, 1 + 2j)
    single = chainad.jacobian(np.sin, holomorphic=True)(Z.astype(np.complex64))
    assert single.dtype == np.complex64
    J = chainad.jacobian(FUNCTIONS[0], holomorphic=True)
    H = chainad.jacobian(J, holomorphic=True)(Z)
    np.testing.assert_allclose(H, differences(J, Z), rtol=1e-6, atol=1e-8)
    assert "plan" in str(J.plan(Z))


@pytest.mark.parametrize("f", [np.abs, np.conj, lambda z: z * np.conj(z), np.real])
def test_what_is_not_holomorphic_is_refused_with_the_split_that_works(f: Any) -> None:
    J = chainad.jacobian(f, holomorphic=True)
    for call in (J, J.compile()):
        with pytest.raises(InputError, match=r"not holomorphic here.*re \+ 1j \* im"):
            call(Z)


def test_the_split_that_is_advised_works() -> None:
    with pytest.raises(InputError, match=r"holomorphic=True.*argnums=\(0, 1\)"):
        chainad.jacobian(lambda z: np.abs(z) ** 2)(Z)
    f = lambda re, im: np.abs(re + 1j * im) ** 2
    by_re, by_im = chainad.jacobian(f, argnums=(0, 1))(Z.real, Z.imag)
    np.testing.assert_allclose(np.diag(by_re), 2 * Z.real)
    np.testing.assert_allclose(np.diag(by_im), 2 * Z.imag)


def test_what_is_not_offered_is_refused() -> None:
    with pytest.raises(InputError, match="output='operator' with holomorphic=True"):
        chainad.jacobian(np.sin, holomorphic=True, output="operator")
    with pytest.raises(InputError, match="one output"):
        chainad.jacobian(lambda z: (z, z), holomorphic=True)(Z)
    with pytest.raises(InputError, match=r"J\.compile"):
        chainad.compile(chainad.jacobian(np.sin, holomorphic=True))
    with pytest.raises(InputError, match="out="):
        chainad.jacobian(np.sin, holomorphic=True)(Z, out=np.zeros((3, 3)))
