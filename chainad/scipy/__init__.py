"""SciPy's functions for traced values, under their names.

SciPy's ufuncs (`scipy.special.erf`) take traced values; most of its other functions need plain
arrays. Those here call SciPy on plain arrays, and are differentiated on traced values.
"""

from chainad.scipy import (
    fft,
    integrate,
    interpolate,
    linalg,
    optimize,
    signal,
    sparse,
    special,
    stats,
)

__all__ = [
    "fft",
    "integrate",
    "interpolate",
    "linalg",
    "optimize",
    "signal",
    "sparse",
    "special",
    "stats",
]
