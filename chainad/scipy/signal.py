"""scipy.signal: convolutions, under SciPy's names and signatures."""

from chainad.rules.scipy_signal import convolve, fftconvolve

__all__ = ["convolve", "fftconvolve"]
