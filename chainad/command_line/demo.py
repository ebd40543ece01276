"""The demo: the Jacobian of a bottleneck network is planned, run in three modes, and checked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt

import chainad
from chainad.api.stopwatch import in_turns
from chainad.planning.auto import Mode
from chainad.planning.views.quantities import bytes_text, seconds_text

Array = npt.NDArray[np.float64]

WIDTHS = (1000, 300, 20, 300, 1000)

_MODES: tuple[Mode, ...] = "auto", "forward", "reverse"
_SECONDS = 0.6


def network(widths: tuple[int, ...], seed: int = 0) -> tuple[Callable[[Array], Array], Array]:
    """Return an encoder-decoder as anyone would write it in NumPy, and a point."""
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=(m, n)) / np.sqrt(n) for n, m in pairwise(widths)]
    biases = [0.1 * rng.normal(size=m) for m in widths[1:]]

    def autoencoder(x: Array) -> Array:
        for W, b in zip(weights[:-1], biases[:-1], strict=True):
            x = np.tanh(W @ x + b)
        y: Array = weights[-1] @ x + biases[-1]
        return y

    return autoencoder, rng.normal(size=widths[0])


def complex_step(f: Callable[[Array], Array], x: Array) -> Array:
    """Return the Jacobian by the complex-step method, one column at a time.

    Exact to rounding for analytic functions (Squire & Trapp 1998), and independent of chainad.
    """
    steps = 1e-30j * np.eye(x.size)
    return np.stack([f(x + step).imag / 1e-30 for step in steps], axis=-1)


def demo() -> int:
    """Print the plan, run three modes, compare them; return the exit status."""
    f, x = network(WIDTHS)
    print(chainad.plan(f, x))
    print("\nEach mode against the complex-step method, and timed:")
    reference = complex_step(f, x)
    calls = {mode: partial(chainad.jacobian(f, mode=mode), x) for mode in _MODES}
    errors = [float(np.max(np.abs(call() - reference))) for call in calls.values()]
    worst = max(errors)
    times = in_turns([*calls.values()], _SECONDS)
    for mode, error, seconds in zip(_MODES, errors, times, strict=True):
        plan = chainad.plan(f, x, mode=mode)
        print(
            f"  {mode:8} {plan.multiplications:>12,} multiplications {seconds_text(seconds):>9}"
            f"   largest error {error:.1e}   peak {bytes_text(plan.peak.bytes)}"
        )
    agree = worst < 1e-10
    print("All modes agree with it." if agree else "THE MODES DISAGREE: please report this.")
    return 0 if agree else 1
