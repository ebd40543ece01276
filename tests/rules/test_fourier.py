"""Fourier transforms as operators, and products with complex numbers: rows stay where they lie."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import chainad
from chainad.ir.array_functions import join_pairs, pair_matmul, split_pairs
from chainad.rules import fourier
from chainad.rules.fourier import FourierTransform

rng = np.random.default_rng(0)
N = 32
K = np.fft.rfftfreq(N, 1 / N)


def step(u: Any) -> Any:
    h = np.fft.rfft(u)
    return u - 0.01 * u * np.fft.irfft(1j * K * h, N) - 0.002 * np.fft.irfft(K**2 * h, N)


@pytest.mark.parametrize("kind", ["fft", "ifft", "rfft", "irfft"])
def test_adjoints_are_transposed_tangents_for_every_length_and_norm(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_complex = {"rfft": [False], "irfft": [True]}.get(kind, [False, True])
    monkeypatch.setattr(fourier, "_MAX_BLOCK_BYTES", 100)  # of a few rows
    norms = None, "ortho", "forward", "backward"
    for given, n, norm, pairs in product((1, 2, 5, 6), (1, 2, 5, 6), norms, of_complex):
        found = FourierTransform(kind, given, n, norm, (kind != "irfft", pairs))
        wanted = found.jvp(np.eye(found.n_in))
        np.testing.assert_allclose(found.vjp(np.eye(found.n_out)), wanted, atol=1e-14)
        np.testing.assert_allclose(found.materialize(), wanted, atol=1e-14)


def test_pulled_rows_of_a_spectral_step_are_never_transposed() -> None:
    x = rng.normal(size=N)
    J = chainad.jacobian(step, mode="reverse").compile()
    found = J(x)
    assert "pair_matmul" in J.source
    assert "transpose" not in J.source
    wanted = [(step(x + 1e-6 * e) - step(x - 1e-6 * e)) / 2e-6 for e in np.eye(N)]
    np.testing.assert_allclose(found, np.transpose(wanted), atol=1e-7)


@pytest.mark.parametrize("is_complex", [True, False])
def test_pairs_times_matrices_are_one_product_of_matrices_each(is_complex: bool) -> None:
    x, y = rng.normal(size=(5, 3, 2)), rng.normal(size=(3, 2, 2))
    if is_complex:
        y[:, 1, 1], y[:, 0, 1] = y[:, 0, 0], -y[:, 1, 0]
    wanted = np.einsum("mni,nij->mnj", x, y)
    np.testing.assert_allclose(pair_matmul(x, y), wanted, rtol=1e-14)
    out = np.zeros((2, 3, 5)).T
    np.testing.assert_allclose(pair_matmul(x, y, out), wanted, rtol=1e-14)
    np.testing.assert_allclose(out, wanted, rtol=1e-14)


def test_joining_pairs_is_the_inverse_of_splitting_in_any_layout() -> None:
    for x in (rng.normal(size=(3, 4, 2)), rng.normal(size=(4, 3, 2)).transpose(1, 0, 2)):
        np.testing.assert_array_equal(split_pairs(join_pairs(x)), x)
        np.testing.assert_array_equal(split_pairs(join_pairs(x).T), x.transpose(1, 0, 2))
