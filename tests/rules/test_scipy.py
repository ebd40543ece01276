"""chainad.scipy: SciPy's own functions on plain arrays, differentiated on traced ones."""

import copy
import pickle
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from threading import Thread
from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.integrate
import scipy.interpolate
import scipy.linalg
import scipy.ndimage
import scipy.optimize
import scipy.signal
import scipy.sparse.linalg
import scipy.special
import scipy.stats

import chainad
from chainad import TraceError
from chainad.rules.scipy_wrappers import WRAPPERS

rng = np.random.default_rng(5)
X = np.array([0.6, 1.3, 0.4, 0.9])
A = rng.normal(size=(4, 4)) / 4 + 3 * np.eye(4)
SPD = A + A.T
MIXED = rng.normal(size=4)
ours, theirs = chainad.scipy.linalg, scipy.linalg


def matrix(x: Any) -> Any:
    return A + np.outer(x, x * x)


def one_sided(x: Any) -> Any:
    """A matrix of which each half alone stands for a positive definite one."""
    return SPD + np.outer(x, x) + np.outer(MIXED, x) / 9


FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "solve": lambda s, x: s.solve(matrix(x), x),
    "solve pos": lambda s, x: s.solve(one_sided(x), x, assume_a="pos"),
    "solve sym": lambda s, x: s.solve(one_sided(x), x, lower=True, assume_a="sym"),
    "triangular": lambda s, x: s.solve_triangular(matrix(x), np.outer(x, x), lower=True),
    "cholesky": lambda s, x: s.cho_solve(s.cho_factor(one_sided(x)), x),
    "cholesky, lower": lambda s, x: s.cho_solve(s.cho_factor(one_sided(x), lower=True), x),
    "cholesky, unpacked": lambda s, x: s.cho_solve(tuple(s.cho_factor(one_sided(x))), x),
    "cholesky of a constant": lambda s, x: s.cho_solve(theirs.cho_factor(SPD), x),
    "factor": lambda s, x: np.triu(s.cho_factor(one_sided(x))[0]),
    "lu": lambda s, x: s.lu_solve(s.lu_factor(matrix(x)[::-1]), x),
    "lu, transposed": lambda s, x: s.lu_solve(s.lu_factor(matrix(x)[::-1]), x, trans=1),
    "lu, unpacked": lambda s, x: s.lu_solve(tuple(s.lu_factor(matrix(x)[::-1])), x),
    "lu of a constant": lambda s, x: s.lu_solve(theirs.lu_factor(A[::-1]), x, trans=1),
    "lu factors": lambda s, x: s.lu_factor(matrix(x)[::-1])[0],
    "eigenvalues": lambda s, x: s.eigh(one_sided(x))[0],
    "eigenvectors": lambda s, x: np.einsum(
        "ik,jk->kij", s.eigh(one_sided(x))[1], s.eigh(one_sided(x))[1]
    ),
    "expm": lambda s, x: MIXED @ s.expm(matrix(x) / 3),
    "expm of many squarings": lambda s, x: s.expm(9 * matrix(x)) @ MIXED / 1e15,
    "sqrtm": lambda s, x: MIXED @ s.sqrtm(matrix(x)),
}  # fmt: skip


def differences(f: Callable[..., Any], h: float = 1e-6) -> Any:
    columns = [(np.asarray(f(X + h * e)) - f(X - h * e)) / (2 * h) for e in np.eye(4)]
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("mode", ["auto", "forward", "reverse"])
def test_wrappers_are_scipy_and_its_derivatives(name: str, mode: str) -> None:
    def f(x: Any) -> Any:
        return FUNCTIONS[name](ours, x)

    wanted = FUNCTIONS[name](theirs, X)
    np.testing.assert_array_equal(f(X), wanted)
    value, J = chainad.value_and_jacobian(f, mode=mode)(X)
    np.testing.assert_allclose(value, wanted, rtol=1e-11, atol=1e-12)
    expected = differences(lambda x: FUNCTIONS[name](theirs, x))
    np.testing.assert_allclose(J, expected, rtol=1e-6, atol=1e-6 * (1 + abs(expected).max()))


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n != "eigenvectors"])
def test_wrappers_have_second_derivatives(name: str) -> None:
    J = chainad.jacobian(lambda x: FUNCTIONS[name](ours, x))
    expected = differences(J, 1e-5)
    found = chainad.jacobian(J)(X)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * (1 + abs(expected).max()))


def test_the_exponential_agrees_with_scipys_frechet_derivative() -> None:
    direction = np.random.default_rng(6).normal(size=(4, 4))
    for scale in (1e-6, 0.1, 1.0, 30.0):
        wanted = theirs.expm_frechet(scale * A, direction, compute_expm=False)
        J = chainad.jacobian(lambda t, s=scale: ours.expm(s * A + t * direction))
        np.testing.assert_allclose(J(np.float64(0.0)), wanted, rtol=1e-11)


def test_solves_by_factors_cost_what_their_triangles_have() -> None:
    n, rng = 30, np.random.default_rng(7)
    big, few = np.eye(n) * 9 + rng.normal(size=(n, n)) / 9, rng.normal(size=(n, 3))
    factor = theirs.cho_factor(big @ big.T)

    def cost(f: Callable[[Any], Any]) -> int:
        return chainad.plan(f, np.ones(3)).multiplications

    half = n * (n + 1) // 2
    assert cost(lambda x: ours.solve_triangular(big, few @ x)) == 3 * half
    assert cost(lambda x: ours.cho_solve(factor, few @ x)) == 3 * 2 * half
    assert cost(lambda x: ours.solve(big, few @ x)) == 3 * n * n


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_banded_solves_cost_what_their_bands_have(mode: str) -> None:
    n, width = 5000, 4
    bands = rng.normal(size=(width, n)) + 9 * (np.arange(width) == 1)[:, None]
    x, direction = rng.normal(size=(2, n))

    def f(t: Any) -> Any:
        return np.sum(ours.solve_banded((2, 1), bands + t * direction, x + t) ** 2)

    plan = chainad.plan(f, np.float64(0.0), mode=mode)
    assert plan.multiplications < 20 * width * n
    assert plan.peak.bytes < 80 * width * n
    wanted = (f(1e-5) - f(-1e-5)) / 2e-5
    np.testing.assert_allclose(chainad.jacobian(f, mode=mode)(np.float64(0)), wanted, rtol=1e-6)


def test_a_factor_used_as_a_whole_is_never_differentiated_itself() -> None:
    n = 12
    start = np.eye(n) * 9

    def f(x: Any) -> Any:
        factor = ours.cho_factor(start + np.outer(x, x))
        return np.sum(ours.cho_solve(factor, x) + ours.cho_solve(factor, x * x))

    # The Jacobian of a factor alone has n**4 numbers.
    assert chainad.plan(f, np.ones(n)).multiplications < n**4


KNOTS = np.array([0.0, 0.5, 1.0, 1.7, 2.2])
PLACES = np.array([-0.1, 0.2, 0.5, 1.1, 2.5])


def between(x: Any) -> Any:
    return np.concatenate([x, [1.0]])


SPLINES: dict[str, Callable[[Any, Any], Any]] = {
    "not-a-knot": lambda s, x: s.CubicSpline(KNOTS, between(x))(PLACES),
    "natural": lambda s, x: s.CubicSpline(KNOTS, between(x), bc_type="natural")(x, 1),
    "clamped": lambda s, x: s.CubicSpline(KNOTS, between(x), bc_type=("clamped", "natural"))(0.3),
    "periodic": lambda s, x: s.CubicSpline(KNOTS, [*x, x[0]], bc_type="periodic")(PLACES * 2),
    "an axis": lambda s, x: s.CubicSpline(KNOTS, np.outer(x, between(x)), 1)(x.reshape(2, 2)),
    "not extrapolated": lambda s, x: s.CubicSpline(KNOTS, between(x), 0, "natural", False)(x),
    "monotone": lambda s, x: s.PchipInterpolator(KNOTS, between(x))(PLACES) * x[0],
    "monotone, increasing": lambda s, x: s.PchipInterpolator(KNOTS, between(x).cumsum())(x, 1),
    "by slopes": lambda s, x: s.CubicHermiteSpline(KNOTS, between(x), between(x) ** 2)(x),
    "interpolating": lambda s, x: s.make_interp_spline(KNOTS, np.outer(between(x), x), 2)(x),
    "B-splines": lambda s, x: s.BSpline([0, 0, 0, 1, 2, 2, 2], x, 2)(x, nu=1) * x,
    "B-splines at a repeated knot": lambda s, x: s.BSpline([0, 0, 0, 1, 2, 2, 2], x, 2)(2.0),
    "pieces": lambda s, x: s.PPoly(x.reshape(2, 2), [0.0, 1.0, 2.0]).derivative()(x),
    "of constants": lambda s, x: s.CubicSpline(KNOTS, KNOTS**2).integrate(x[0], x[1]) * x,
}


@pytest.mark.parametrize("name", SPLINES)
@pytest.mark.parametrize("mode", ["auto", "forward", "reverse"])
def test_splines_are_those_of_scipy(name: str, mode: str) -> None:
    f = SPLINES[name]
    J = chainad.value_and_jacobian(lambda x: f(chainad.scipy.interpolate, x), mode=mode)
    for run in (J, J.compile()):
        value, found = run(X)
        np.testing.assert_allclose(value, f(scipy.interpolate, X), rtol=1e-12, atol=1e-12)
        expected = differences(lambda x: f(scipy.interpolate, x))
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_a_constant_spline_of_scipy_takes_traced_values() -> None:
    cubic = scipy.interpolate.CubicSpline(KNOTS, np.stack([KNOTS, KNOTS**3], 1))
    spline = scipy.interpolate.make_interp_spline(KNOTS, KNOTS**4)

    def f(x: Any) -> Any:
        return cubic(x, 1)[:, 1] * spline(3 * x, extrapolate="periodic") + cubic(PLACES)[1:, 0]

    expected = differences(f)
    for run in (chainad.jacobian(f), chainad.jacobian(f).compile()):
        np.testing.assert_allclose(run(X), expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(chainad.compile(f)(X), f(X))


def filled(x: Any) -> Any:
    z = np.zeros((4, 4))
    z[0], z[1, 1], z[2, 2], z[3, 3] = x, x[1], 2.0, 1.0
    return z


def test_arrays_that_a_function_fills_are_traced_values_to_wrappers() -> None:
    cube = chainad.primitive(lambda z: z**3)
    cube.jacobian(structure="diagonal")(lambda y, z: 3 * z**2)
    for f, plain in (
        (lambda x: ours.expm(filled(x)), lambda x: theirs.expm(filled(x))),
        (lambda x: chainad.scipy.special.logsumexp(filled(x), axis=0),) * 2,
        (lambda x: cube(filled(x)), lambda x: filled(x) ** 3),
    ):
        np.testing.assert_allclose(chainad.jacobian(f)(X), differences(plain), rtol=1e-6, atol=1e-7)


def test_memory_of_traced_arrays_is_not_read_in_silence() -> None:
    with pytest.raises(TraceError, match=r"does not depend on x: .* chainad\.scipy"):
        chainad.jacobian(lambda x, expm: expm(filled(x)))(X, theirs.expm)
    with pytest.raises(ValueError, match="NaN") as caught:
        chainad.jacobian(lambda x, solve: solve(filled(x), X))(X, theirs.solve)
    assert "chainad.scipy" in caught.value.__notes__[0]


def test_softmax_is_planned_without_its_square() -> None:
    n = 1000
    plan = chainad.plan(lambda x: np.sum(x * chainad.scipy.special.softmax(x)), np.ones(n))
    assert plan.multiplications < 20 * n


def imports(x: Any) -> Any:
    from scipy.special import log_softmax

    return log_softmax(x)


FROZEN, PLANE = scipy.stats.gamma(2.0, scale=0.5), scipy.stats.multivariate_normal([1.0, 2.0], 2.0)

# Written as for SciPy: what is traced there is bound to these names.
UNCHANGED: dict[str, Callable[[Any], Any]] = {
    "logsumexp": lambda x: scipy.special.logsumexp(x) * scipy.special.softmax(x),
    "polygamma": lambda x: scipy.special.polygamma(1, x),
    "jn": lambda x: scipy.special.spherical_jn(1, x),
    "expm": lambda x: theirs.expm(filled(x)),
    "solve": lambda x: theirs.solve(filled(x), x),
    "lu_solve": lambda x: theirs.lu_solve(theirs.lu_factor(filled(x)), x),
    "cho_solve": lambda x: theirs.cho_solve((A, True), x),
    "dct": lambda x: scipy.fft.dct(x),
    "norm.logpdf": lambda x: scipy.stats.norm.logpdf(x, x[0], scale=2.0),
    "frozen": lambda x: scipy.stats.norm(x[0], 2.0).logpdf(x) + FROZEN.logpdf(x),
    "frozen, several": lambda x: PLANE.logpdf(x[:2]),
    "fftconvolve": lambda x: scipy.signal.fftconvolve(x, x),
    "CubicSpline": lambda x: scipy.interpolate.CubicSpline(X.cumsum(), x)(0.5),
    "simpson": lambda x: scipy.integrate.simpson(x**2),
    "quad": lambda x: scipy.integrate.quad(lambda t: t * x[0], 0, 1)[0],
    "solve_ivp": lambda x: (
        scipy.integrate.solve_ivp(lambda t, y: -y * x, (0, 1), x, rtol=1e-9, atol=1e-9).y[:, -1]
    ),
    "odeint": lambda x: scipy.integrate.odeint(lambda y, t: -y, x, [0, 1], rtol=1e-9, atol=1e-9),
    "brentq": lambda x: scipy.optimize.brentq(lambda y: y - x[0], 0, 9),
    "root": lambda x: scipy.optimize.root(lambda y: y**3 - x, X).x,
    "fsolve": lambda x: scipy.optimize.fsolve(lambda y: y**3 - x, X),
    "splu": lambda x: scipy.sparse.linalg.splu(scipy.sparse.csc_array(A)).solve(x),
    "csr_array": lambda x: scipy.sparse.csr_array((x, [0, 1, 2, 3], [0, 2, 2, 3, 4])) @ x,
    "imported": imports,
}  # fmt: skip


@pytest.mark.parametrize("name", UNCHANGED)
@pytest.mark.filterwarnings("ignore")
def test_functions_of_scipy_are_traced_under_their_own_names(name: str) -> None:
    f = UNCHANGED[name]
    found = chainad.jacobian(f)(X)
    np.testing.assert_allclose(found, differences(f), rtol=2e-5, atol=2e-5)


def test_classes_of_scipy_have_their_instances_while_a_function_is_traced() -> None:
    K = scipy.sparse.csr_array(A)

    def f(x: Any) -> Any:
        assert isinstance(K, scipy.sparse.csr_array)
        assert issubclass(scipy.sparse.csr_array, scipy.sparse.sparray)
        return scipy.sparse.csr_array(A) @ x

    np.testing.assert_allclose(chainad.jacobian(f)(X), A, rtol=1e-12)


def test_names_are_those_of_scipy_afterwards_and_in_other_threads() -> None:
    logsumexp = scipy.special.logsumexp
    seen: list[Any] = []

    def f(x: Any) -> Any:
        thread = Thread(target=lambda: seen.append(scipy.special.logsumexp))
        thread.start()
        thread.join()
        return scipy.special.logsumexp(x)

    chainad.grad(f)(X)
    assert seen == [logsumexp]
    assert type(scipy) is type(np)
    assert scipy.special.logsumexp is logsumexp


def test_functions_that_are_arguments_are_traced_as_those_that_are_named() -> None:
    def f(x: Any, g: Any) -> Any:
        return g(x)

    for g in (UNCHANGED["logsumexp"], Squares()):
        np.testing.assert_allclose(
            chainad.jacobian(f)(X, g), differences(lambda x, g=g: g(x)), rtol=1e-6, atol=1e-7
        )


class Squares:
    def __call__(self, x: Any) -> Any:
        return scipy.special.softmax(x**2)


# Functions that are none of the user's code, and what is given to them.
TABLE: dict[str, tuple[Callable[[Any], Any], str]] = {
    **{
        f"{home}.{name}": (getattr(getattr(scipy, home.split(".")[1]), name), f"use {instead},")
        for (home, name), instead in WRAPPERS.items()
        if name in ("logsumexp", "softmax", "expm", "det", "inv", "cholesky", "dct", "fft2")
    },
    "norm.logpdf": (scipy.stats.norm.logpdf, "chainad.scipy.stats"),
    "interp1d": (scipy.interpolate.interp1d(X.cumsum(), X), "plain numbers"),
    "nnls": (partial(scipy.optimize.nnls, A), "chainad.implicit.solver, residual"),
    "lfilter": (partial(scipy.signal.lfilter, [1.0], [1.0, 0.5]), "make it a chainad.primi"),
    "gaussian_filter": (partial(scipy.ndimage.gaussian_filter, sigma=1), "np.convolve"),
    "zscore": (scipy.stats.zscore, "scipy.stats.*asks for plain numbers"),
}


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.filterwarnings("ignore")
def test_functions_of_scipy_that_need_plain_arrays_are_refused_with_the_next_move(
    name: str,
) -> None:
    f, words = TABLE[name]
    with pytest.raises(TraceError, match=rf"test_scipy\.py:\d+: .*{words}"):
        chainad.jacobian(lambda x, f: f(np.outer(x, x) + A if ".linalg" in name else x))(X, f)


@pytest.mark.filterwarnings("ignore")
def test_errors_in_callbacks_of_compiled_code_are_loud() -> None:
    # Compiled code may go on with an error set, and meet others.
    for f, g in (
        (lambda x, quad: quad(lambda t: t * x[0], 0, 1)[0], scipy.integrate.quad),
        (lambda x, brentq: brentq(lambda y: y - x[0], 0, 2), scipy.optimize.brentq),
        (lambda x, fsolve: fsolve(lambda y: y**3 - x, np.ones(4)), scipy.optimize.fsolve),
        (lambda x, lu: lu.solve(x), scipy.sparse.linalg.splu(scipy.sparse.csc_array(A))),
        (lambda x, eigsh: eigsh(np.outer(x, x), 1), scipy.sparse.linalg.eigsh),
        (lambda x, circulant: circulant(x), theirs.circulant),
    ):
        with pytest.raises(Exception, match=r"array|type|strides|plain numbers|__getitem__|signs"):
            chainad.jacobian(f)(X, g)


OPTIONS: list[tuple[Callable[[Any], Any], str]] = [
    (lambda x: ours.solve(np.stack([matrix(x)] * 2), x), "batches"),
    (lambda x: ours.solve(matrix(x), x, assume_a="banded"), "assume_a="),
    (lambda x: ours.inv(matrix(x), assume_a="pos"), "assume_a="),
    (lambda x: ours.eigh(matrix(x), SPD), "only eigh"),
    (lambda x: ours.pinv(matrix(x), rtol=0.1), "only pinv"),
    (lambda x: ours.sqrtm(-matrix(x)), "complex"),
    (lambda x: ours.toeplitz(matrix(x)), "vectors"),
    (lambda x: chainad.scipy.special.logsumexp(x, b=-x), "negative weights"),
    (lambda x: chainad.scipy.special.logsumexp(x, return_sign=True), "return_sign"),
    (lambda x: chainad.scipy.fft.dct(x, n=7), "n="),
    (lambda x: chainad.scipy.special.factorial(x, exact=True), "only factorial"),
    (lambda x: np.linalg.svd(matrix(x)[:2]), "full_matrices=False"),
    (lambda x: np.linalg.qr(matrix(x)[:, :2], "complete"), "mode="),
    (lambda x: np.linalg.eig(np.array([[0.0, -1.0], [1.0, 0.0]]) * x[0]), "complex"),
]


@pytest.mark.parametrize(("f", "words"), OPTIONS)
def test_options_that_a_wrapper_does_not_know_are_refused(f: Any, words: str) -> None:
    with pytest.raises(TraceError, match=rf"test_scipy\.py:\d+: .*{words}"):
        chainad.jacobian(f)(X)


def test_coinciding_eigenvalues_are_refused() -> None:
    for f in (np.linalg.eigvals, lambda a: np.linalg.eig(a)[1]):
        with pytest.raises(np.linalg.LinAlgError, match="occurs twice"):
            chainad.jacobian(f)(np.eye(3))


def test_fourier_transforms_of_scipy_are_those_of_numpy() -> None:
    f = chainad.scipy.fft
    for name in ("fft", "ifft", "rfft", "fft2", "ifft2", "rfft2", "fftn", "ifftn", "rfftn"):
        mine = chainad.jacobian(lambda x, n=name: np.abs(getattr(f, n)(np.outer(x, x))) ** 2)
        wanted = chainad.jacobian(lambda x, n=name: np.abs(getattr(np.fft, n)(np.outer(x, x))) ** 2)
        np.testing.assert_allclose(mine(X), wanted(X), atol=1e-12)
    for name in ("irfft", "irfft2", "irfftn"):
        mine = chainad.jacobian(lambda x, n=name: getattr(f, n)(np.outer(x, x) + 0j))
        wanted = chainad.jacobian(lambda x, n=name: getattr(np.fft, n)(np.outer(x, x) + 0j))
        np.testing.assert_allclose(mine(X), wanted(X), atol=1e-12)


def test_integrals_of_airy_functions_are_differentiated() -> None:
    # SciPy computes them to six digits only.
    for k in range(4):
        found = chainad.jacobian(lambda x, k=k: scipy.special.itairy(x)[k])(X)
        expected = differences(lambda x, k=k: scipy.special.itairy(x)[k], 1e-2)
        np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize(
    "name", ["solve", "inv", "det", "cholesky", "eigvalsh", "svdvals", "pinv", "expm", "sqrtm"]
)
@pytest.mark.parametrize("dtype", [np.float16, np.longdouble])
@pytest.mark.filterwarnings("ignore:Calling .* is deprecated in SciPy:DeprecationWarning")
def test_precisions_that_lapack_lacks_are_converted_as_scipy_does(name: str, dtype: Any) -> None:
    if dtype == np.longdouble and name in ("det", "expm"):
        pytest.skip("SciPy refuses these")
    a = SPD.astype(dtype)

    def f(s: Any, a: Any) -> Any:
        return s.solve(a, a[0]) if name == "solve" else getattr(s, name)(a)

    value, J = chainad.value_and_jacobian(lambda a: f(ours, a))(a)
    expected = f(theirs, a)
    assert value.dtype == expected.dtype
    loose, exact = (1e-2, 1e-5) if dtype == np.float16 else (1e-12, 1e-12)
    np.testing.assert_allclose(value, expected, rtol=exact, atol=exact)
    plain = chainad.jacobian(lambda a: f(ours, a))(a.astype(np.float64))
    np.testing.assert_allclose(J.astype(float), plain, rtol=loose, atol=loose * abs(plain).max())


def test_the_facade_of_special_can_replace_the_import_of_scipys() -> None:
    from chainad.scipy import special

    for name in scipy.special.__all__:
        assert hasattr(special, name)
    assert special.erf is scipy.special.erf
    with pytest.raises(AttributeError, match="has no attribute"):
        _ = special.no_such_function


@pytest.mark.parametrize(
    ("name", "shapes"),
    [("norm", ()), ("t", (2.5,)), ("gamma", (1.5,)), ("beta", (2.0, 1.5)), ("expon", ()),
     ("laplace", ()), ("cauchy", ()), ("logistic", ()), ("uniform", ()), ("halfnorm", ()),
     ("chi2", (2.5,)), ("lognorm", (0.7,)), ("invgamma", (1.5,)), ("weibull_min", (1.3,))],
)  # fmt: skip
def test_densities_are_those_of_scipy(name: str, shapes: tuple[float, ...]) -> None:
    theirs = getattr(scipy.stats, name).logpdf
    x = np.array([-1.5, -0.3, 0.0, 0.4, 0.9, 2.5])
    with np.errstate(divide="ignore"):
        expected = theirs(x, *shapes, 0.0, 1.5)
    value = chainad.value_and_jacobian(lambda scale: theirs(x, *shapes, 0.0, scale))(
        np.float64(1.5)
    )[0]
    np.testing.assert_allclose(value, expected, rtol=1e-12)

    def f(p: Any) -> Any:
        return theirs(p[0], *p[1:-2], p[-2], p[-1])

    at = np.array([0.8, *shapes, 0.1, 1.5])
    slopes = [(f(at + 1e-6 * e) - f(at - 1e-6 * e)) / 2e-6 for e in np.eye(at.size)]
    np.testing.assert_allclose(chainad.jacobian(f)(at), slopes, rtol=1e-6, atol=1e-8)


def test_the_binomial_distribution_is_that_of_scipy() -> None:
    k = np.array([-1.0, 0.0, 0.5, 2.0, 5.0, 6.0])
    for p in (0.3, 0.0, 1.0, -0.1):
        value = chainad.value_and_jacobian(lambda q: scipy.stats.binom.logpmf(k, 5, q))(
            np.float64(p)
        )[0]
        np.testing.assert_allclose(value, scipy.stats.binom.logpmf(k, 5, p), rtol=1e-12)
    slope = chainad.jacobian(lambda q: scipy.stats.binom.pmf(2, 5, q))(np.float64(0.3))
    np.testing.assert_allclose(slope, 10 * (2 * 0.3 * 0.7**3 - 3 * 0.3**2 * 0.7**2), rtol=1e-12)


def test_densities_outside_of_their_support_and_frozen_ones() -> None:
    from chainad.scipy import stats

    x = np.array([-0.5, 0.25, 1.5])
    for of in (
        stats.gamma(2.0),
        stats.beta(2.0, 3.0),
        stats.expon(scale=2.0),
        stats.norm(1.0, 2.0),
    ):
        plain = of.logpdf(x)
        value, J = chainad.value_and_jacobian(of.logpdf)(x)
        np.testing.assert_allclose(value, plain, rtol=1e-13)
        assert np.isfinite(J).all()
        assert not J[np.isneginf(plain)].any()
    for scale in (2.0, -2.0):
        for tail in ("cdf", "logcdf", "sf", "logsf"):
            plain, ours = (getattr(each.norm(1.0, scale), tail) for each in (scipy.stats, stats))
            far = np.array([-40.0, 0.5, 40.0])
            value, slope = chainad.value_and_jacobian(ours)(far)
            np.testing.assert_allclose(value, plain(far), rtol=1e-13)
            assert np.isfinite(slope).all() or scale <= 0
    assert stats.norm.mean(3.0) == 3.0
    with pytest.raises(TraceError, match="multiple values for argument 'loc'"):
        chainad.jacobian(lambda x: stats.norm.logpdf(x, 1.0, loc=2.0))(x)
    assert pickle.loads(pickle.dumps(stats.norm)) is copy.copy(stats.norm) is stats.norm
    assert pickle.loads(pickle.dumps(stats.gamma(2.0))).logpdf(1.0) == -1.0
    k = np.array([-1.0, 0.5, 2.0])
    value = chainad.value_and_jacobian(lambda mu: stats.poisson.logpmf(k, mu))(np.float64(2.5))[0]
    np.testing.assert_allclose(value, scipy.stats.poisson.logpmf(k, 2.5))


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(
    ("name", "first", "rest"),
    [("t.logpdf", 2.0, ()), ("gamma.pdf", 1.5, ()), ("beta.logpdf", 2.0, (3.0,)),
     ("poisson.logpmf", 1.5, ())],
)  # fmt: skip
def test_densities_of_invalid_shapes_and_of_nan_are_nan_as_scipys_are(
    name: str, first: float, rest: tuple[float, ...], sign: float
) -> None:
    from chainad.scipy import stats

    x = np.array([np.nan, 0.0, 0.25, 1.0, 1.5])
    f = lambda a: attrgetter(name)(stats)(x, a, *rest)
    with np.errstate(invalid="ignore"):
        value, _ = chainad.value_and_jacobian(f)(np.float64(sign * first))
    expected = attrgetter(name)(scipy.stats)(x, sign * first, *rest)
    np.testing.assert_allclose(value, expected, rtol=1e-13)
