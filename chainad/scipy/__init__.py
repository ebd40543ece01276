"""SciPy's names for traced values: chainad.scipy.linalg, .special, .fft, .signal, .stats.

SciPy's ufuncs (`scipy.special.erf`) take traced values; most of its other functions need plain
arrays. Those here call SciPy on plain arrays, and are differentiated on traced values.
"""

from chainad.scipy import fft, linalg, signal, special, stats

__all__ = ["fft", "linalg", "signal", "special", "stats"]
