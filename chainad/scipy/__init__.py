"""SciPy's names for traced values: chainad.scipy.linalg, .special and .fft.

SciPy hands its ufuncs (`scipy.special.erf`) over to traced values; most of its other functions ask
for plain numbers. Those here are SciPy's own on plain arrays; traced values are differentiated.
"""

from chainad.scipy import fft, linalg, special

__all__ = ["fft", "linalg", "special"]
