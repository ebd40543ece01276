"""SciPy's functions for traced values, under their names.

SciPy's ufuncs (`scipy.special.erf`) take traced values; most of its other functions need plain
arrays. Those here call SciPy on plain arrays, and are differentiated on traced values. A function
that is traced calls them under SciPy's own names, too.
"""

from types import ModuleType

from chainad.frontends.numpy.proxies import replace_functions_of_scipy
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


def _register(*modules: ModuleType) -> None:
    for each in modules:
        replace_functions_of_scipy(each.__name__.removeprefix("chainad."), each)


_register(fft, integrate, interpolate, linalg, optimize, signal, special, stats)
_register(sparse, sparse.linalg)
