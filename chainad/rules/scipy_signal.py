"""scipy.signal for traced values: convolutions of arrays of any number of axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainad.rules.base import refuse_unless
from chainad.rules.reduction import in_dtype
from chainad.rules.scipy_wrappers import wrapper_of


def _convolved(a: Any, b: Any, mode: str) -> Any:
    """Return a convolution along all axes: of vectors by sums, else by Fourier transforms."""
    refuse_unless(np.ndim(a) == np.ndim(b), "both arrays must have the same number of axes")
    one, two = np.shape(a), np.shape(b)
    if mode == "valid" and any(n < m for n, m in zip(one, two, strict=True)):
        a, b, one, two = b, a, two, one
    full = tuple(n + m - 1 for n, m in zip(one, two, strict=True))
    if len(full) == 1:
        found = np.convolve(a, b)
    else:
        axes = tuple(range(len(full)))
        is_complex = np.iscomplexobj(a) or np.iscomplexobj(b)
        forward, back = (np.fft.fftn, np.fft.ifftn) if is_complex else (np.fft.rfftn, np.fft.irfftn)
        found = back(forward(a, full, axes) * forward(b, full, axes), full, axes)
    sizes = {
        "full": full,
        "same": one,
        "valid": tuple(n - m + 1 for n, m in zip(one, two, strict=True)),
    }[mode]
    starts = [(n - m) // 2 for n, m in zip(full, sizes, strict=True)]
    return found[tuple(slice(k, k + n) for k, n in zip(starts, sizes, strict=True))]


@wrapper_of("scipy.signal")
def convolve(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Any:
    return _convolved(in1, in2, mode)


@wrapper_of("scipy.signal")
def fftconvolve(in1: Any, in2: Any, mode: str = "full", axes: Any = None) -> Any:
    refuse_unless(axes is None, "axes= is not differentiated; loop over the other axes")
    # Transforms are computed in single precision at least.
    in1, in2 = (in_dtype(x, np.result_type(x, np.float32)) for x in (in1, in2))
    return _convolved(in1, in2, mode)
