"""scipy.interpolate: splines at constant knots, under SciPy's names and signatures."""

from chainad.rules.scipy_interpolate import (
    BSpline,
    CubicHermiteSpline,
    CubicSpline,
    PchipInterpolator,
    PPoly,
    make_interp_spline,
)

__all__ = [
    "BSpline",
    "CubicHermiteSpline",
    "CubicSpline",
    "PPoly",
    "PchipInterpolator",
    "make_interp_spline",
]
