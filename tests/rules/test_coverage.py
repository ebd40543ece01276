"""The coverage table is true: every function does what the table says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy

import chainad
from chainad.errors import TraceError
from chainad.frontends.numpy.tracers import Tracer
from chainad.rules.base import REFUSED
from chainad.testing.coverage import MODULES, functions, status, table

PAGE = Path(__file__).parents[2] / "notebooks" / "coverage.md"
EVERY = [(module, name, f) for module in MODULES for name, f in functions(module)]
WITHOUT_RULES = {
    f"{module}.{name}": f for module, name, f in EVERY if status(f) in ("refused", "not yet")
}
SQUARE = np.array([[2.0, 0.3], [0.1, 1.5]])

# What autograd 1.8 differentiates: autograd.numpy, .linalg, .fft and scipy.special.
AUTOGRAD_NAMES = """
abs absolute add amax amin angle arccos arccosh arcsin arcsinh arctan arctan2 arctanh array_split
atleast_1d atleast_2d atleast_3d broadcast_to clip column_stack concatenate conj conjugate cos cosh
cross cumsum deg2rad degrees diag diagonal diff divide dot dsplit einsum exp exp2 expand_dims expm1
fabs fft.fft fft.fft2 fft.fftn fft.fftshift fft.ifft fft.ifft2 fft.ifftn fft.ifftshift fft.irfft
fft.irfft2 fft.irfftn fft.rfft fft.rfft2 fft.rfftn fliplr flipud float_power fmax fmin full gradient
hsplit hstack imag inner kron linalg.cholesky linalg.det linalg.eig linalg.eigh linalg.inv
linalg.norm linalg.pinv linalg.slogdet linalg.solve linalg.svd linspace log log10 log1p log2
logaddexp logaddexp2 matmul max maximum mean min minimum mod moveaxis multiply nan_to_num negative
outer partition power prod rad2deg radians ravel real real_if_close reciprocal remainder repeat
reshape roll rollaxis rot90 select sign sin sinc sinh sort split sqrt square squeeze stack std
subtract sum swapaxes take tan tanh tensordot tile trace transpose tril triu true_divide var vsplit
vstack where special.beta special.betainc special.betaln special.digamma special.erf special.erfc
special.erfcinv special.erfinv special.expit special.gamma special.gammainc special.gammaincc
special.gammaln special.i0 special.i1 special.iv special.ive special.j0 special.j1 special.jn
special.logit special.psi special.rgamma special.y0 special.y1 special.yn
"""
AUTOGRAD = AUTOGRAD_NAMES.split()


def test_the_page_is_up_to_date() -> None:
    text = PAGE.read_text()
    if f"NumPy {np.__version__}, SciPy {scipy.__version__}." not in text:
        pytest.skip("the page was made with other versions of NumPy and SciPy")
    assert text == table()


def calls(function: Any, x: Any) -> list[tuple[Any, ...]]:
    """Return argument lists with which a function may be called."""
    if isinstance(function, np.ufunc):
        return [(x,) * function.nin]
    return [(x,), (x, x), (x, 1), (x, x, x), (lambda z: z, x)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("function", WITHOUT_RULES.values(), ids=WITHOUT_RULES)
def test_no_function_loses_a_derivative_in_silence(function: Any) -> None:
    """What is refused or has no rule raises; only constant functions return plain values."""
    errors = []
    for shape in ((), (2,), (2, 2)):
        x = SQUARE if shape == (2, 2) else np.full(shape, 0.5)
        for args in calls(function, None):
            places = [k for k, a in enumerate(args) if a is None]

            def f(z: Any, args: Any = args, places: Any = places) -> Any:
                full = [z if k in places else a for k, a in enumerate(args)]
                found = function(*full)
                assert isinstance(found, Tracer) or not places, f"plain {type(found)}"
                return np.sum(z)

            try:
                chainad.jacobian(f)(x)
            except TraceError as error:
                errors.append(str(error))
            except (TypeError, ValueError, IndexError, AttributeError, NotImplementedError):
                pass  # NumPy's own, for arguments that do not fit
    assert errors, "no call reached chainad"
    if status(function) == "refused":
        assert any(REFUSED[function] in text for text in errors)


def test_what_autograd_differentiates_is_differentiated() -> None:
    found = {
        f"{module}.{name}".removeprefix("numpy.").removeprefix("scipy.")
        for module, name, f in EVERY
        if status(f) in ("differentiated", "constant", "makes")
    }
    plain = set(dir(np)) | set(dir(scipy.special))
    lacking = {name for name in AUTOGRAD if name not in found}
    assert {n for n in lacking if n.split(".")[-1] in plain or "." in n} <= {"full"}
