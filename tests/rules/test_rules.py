"""Every row of the rules against an independent oracle, from a table of examples.

A row without an example fails: whoever adds a row adds a line to EXAMPLES.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import pytest
import scipy
import scipy.special as sp
from numpy.lib import NumpyVersion

import chainad
import chainad.scipy.fft as sf
import chainad.scipy.linalg as sl
import chainad.scipy.signal as ssignal
import chainad.scipy.special as ss
import chainad.scipy.stats as sstats
from chainad.api import jacobian_program
from chainad.api.recorded_run import record_planned_run
from chainad.compiler.linearize import linear_graph
from chainad.frontends.numpy.trace import tracing
from chainad.frontends.numpy.tracers import Tracer
from chainad.ir.array_functions import place, segment_sum, sparse_dot
from chainad.ir.exact_zeros import masked_matmul
from chainad.ir.graph import identity
from chainad.ir.positions import positions
from chainad.planning.linear_graph import LinearGraph
from chainad.rules import (
    CONSTANT,
    DEFINED,
    RULES,
    banded,
    complexes,
    decompositions,
    linear_algebra,
    matrix_functions,
    scipy_fft,
    scipy_linalg,
    scipy_special,
    special_ufuncs,
    spectral,
)
from chainad.rules.base import Local, Rule, available, name_of
from chainad.rules.complex_definitions import signs_of_qr
from chainad.rules.decompositions import as_real
from chainad.rules.elementwise import EVEN, direction, displaced, elementwise, root_of
from chainad.rules.implicit import solve_regular
from chainad.rules.linear_algebra import cofactors, logabsdet, sign_of_det
from chainad.rules.movement import astype, getitem, set_items
from chainad.rules.odd_functions import OVER_OPERAND
from chainad.rules.sparse_solves import SquarePattern, sparse_solve
from chainad.rules.special_functions import polygamma
from chainad.structure import from_labels

Function = Callable[..., Any]
# Some arguments are newer than the oldest versions that we run on.
NUMPY, SCIPY = NumpyVersion(np.__version__), NumpyVersion(scipy.__version__)
SHAPE = "shape" if NUMPY >= "2.1.0" else "newshape"


class Operand(NamedTuple):
    """Marks an array of an example that may be traced, as a function of numbers in (0, 1)."""

    shape: tuple[int, ...]  # of these numbers
    of_uniform: Callable[[Any], Any]


class Example(NamedTuple):
    """One call of a function; the name seeds its numbers, so that no other example moves them."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    name: str = ""


def ex(*args: Any, **kwargs: Any) -> Example:
    """One call of a function; operands are marked by `v` or `at`."""
    return Example(args, kwargs)


def v(*shape: int, low: float = 0.2, high: float = 0.9) -> Operand:
    """An operand of numbers in (low, high)."""
    return Operand(shape, lambda uniform: low + (high - low) * uniform)


def at(value: Any) -> Operand:
    """An operand of given numbers."""
    return Operand((0,), lambda _: np.array(value, dtype=float))


def operands_in(value: Any) -> list[Operand]:
    """The operands of an example, in order."""
    if isinstance(value, Operand):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [found for item in value for found in operands_in(item)]
    return []


def arrays_of(example: Example) -> list[Any]:
    """The numbers of the operands, far enough apart that small steps keep their order."""
    rng = np.random.default_rng(crc32(example.name.encode()))
    operands = operands_in(example)
    if not operands:
        return []
    ends = np.cumsum([np.prod(each.shape, dtype=int) for each in operands])
    n = ends[-1]
    uniform = (rng.permutation(n) + rng.uniform(0.25, 0.75, size=n)) / max(n, 1)
    parts = zip(operands, np.split(uniform, ends[:-1]), strict=True)
    return [np.asarray(each.of_uniform(part.reshape(each.shape))) for each, part in parts]


def unary(low: float = 0.2, high: float = 0.9) -> list[Example]:
    return [
        ex(v(*shape, low=low, high=high))
        for shape in [(), (3,), (1,), (0,), (2, 3), (2, 1), (0, 3)]
    ]


PAIRS = [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((2, 1), (1, 3)),
    ((), (3,)),
    ((2, 3), ()),
    ((), ()),
    ((1,), (1,)),
    ((1, 3), (2, 3)),
    ((0, 3), (1, 3)),
    ((0,), (0,)),
    ((1,), (0,)),
]


def binary(
    one: tuple[float, float] = (0.2, 0.9), two: tuple[float, float] = (0.2, 0.9)
) -> list[Example]:
    return [ex(v(*a, low=one[0], high=one[1]), v(*b, low=two[0], high=two[1])) for a, b in PAIRS]


def ternary(*ranges: tuple[float, float]) -> list[Example]:
    shapes = [((3,),) * 3, ((2, 3), (3,), ()), ((), (2, 1), (1, 3)), ((0, 2), (1,), ())]
    return [
        ex(*(v(*s, low=low, high=high) for s, (low, high) in zip(triple, ranges, strict=True)))
        for triple in shapes
    ]


def reduced(**options: Any) -> list[Example]:
    return [
        ex(v(*shape), **choice, **options)
        for shape, choices in {
            (4,): [{}, {"axis": 0}, {"keepdims": True}, {"axis": -1, "keepdims": True}],
            (2, 3): [{}, {"axis": 0}, {"axis": 1}, {"axis": -1, "keepdims": True}],
            (2, 1, 3): [{}, {"axis": (0, 2)}, {"axis": (-1, 1), "keepdims": True}, {"axis": ()}],
            (1, 3): [{"axis": 0}, {"axis": 1}],
            (1,): [{}],
            (): [{}],
        }.items()
        for choice in choices
    ]


EXAMPLES: dict[Function, list[Example]] = {}


def examples(*functions: Function) -> Callable[[list[Example]], None]:
    def register(found: list[Example]) -> None:
        for function in functions:
            known = EXAMPLES.setdefault(function, [])
            for example in found:
                known.append(example._replace(name=f"{name_of(function)} {len(known)}"))

    return register


# --------------------------------------------------------------- elementwise

examples(
    np.negative, np.positive, np.square, np.sqrt, np.cbrt, np.reciprocal, np.exp, np.exp2,
    np.expm1,
    np.log, np.log2, np.log10, np.log1p, np.sin, np.cos, np.tan, np.arcsin, np.arccos, np.arctan,
    np.sinh, np.cosh, np.tanh, np.arcsinh, np.arctanh, np.deg2rad, np.radians, np.rad2deg,
    np.degrees, np.abs, np.fabs, np.conjugate, np.sinc, np.i0, np.real, np.modf,
    sp.erf, sp.erfc, sp.erfcx, sp.erfi, sp.erfinv, sp.erfcinv, sp.ndtr, sp.log_ndtr, sp.ndtri,
    sp.dawsn, sp.expit, sp.log_expit, sp.logit, sp.gamma, sp.gammaln, sp.loggamma, sp.rgamma,
    sp.digamma, sp.entr, sp.exprel, sp.exp2, sp.exp10, sp.cbrt, sp.expm1, sp.log1p, sp.cosm1,
    sp.sindg, sp.cosdg, sp.tandg, sp.j0, sp.j1, sp.y0, sp.y1, sp.i0, sp.i1, sp.i0e, sp.i1e, sp.k0,
    sp.k1, sp.k0e, sp.k1e, sp.exp1, sp.expi, sp.spence, sp.ellipk, sp.ellipe, sp.ellipkm1,
    sp.wrightomega,
)(unary())  # fmt: skip
examples(np.abs, np.fabs, np.sin, np.sinc, np.cbrt, sp.i0e, sp.i1e, sp.exprel, sp.dawsn, sp.erfcx)(
    unary(-0.9, -0.2)
)
examples(np.sinc, sp.exprel)([ex(at([-1e-3, 1e-5, 0.0, 0.3, 0.33, 2.5]))])
examples(sp.spence)([ex(at([0.94, 0.99, 1.0, 1.03, 1.06, 3.0]))])
examples(sp.ellipk, sp.ellipe)([ex(at([-2.0, -1e-4, 0.0, 1e-3, 0.5]))])
examples(sp.ellipkm1)([ex(at([0.2, 0.4, 0.6, 0.98, 1.0, 1.5]))])
examples(sp.j1)([ex(at([-1.0, 0.0, 1e-9]))])
examples(sp.erfcx, sp.dawsn)([ex(at([0.0, 5.0, 29.0, 31.0]))])
examples(np.arccosh)(unary(1.3, 2.5))
examples(sp.cotdg)(unary(20, 70))
examples(sp.gamma, sp.gammaln, sp.digamma, sp.rgamma)([ex(at([0.4, 3.0, 8.5]))])
examples(sp.gamma, sp.rgamma, sp.gammaln, sp.digamma)([ex(at([-0.6, -1.3]))])

examples(
    np.add, np.subtract, np.multiply, np.divide, np.power, np.float_power, np.logaddexp,
    np.logaddexp2, np.arctan2, np.hypot, np.maximum, np.minimum, np.fmax, np.fmin, np.copysign,
    sp.beta, sp.betaln, sp.xlogy, sp.xlog1py, sp.rel_entr, sp.kl_div, sp.pseudo_huber, sp.boxcox,
    sp.boxcox1p, sp.powm1, sp.poch,
)(binary())  # fmt: skip
examples(np.heaviside)(
    [
        ex(np.array([0.0, -0.7, 0.3]), at([0.2, 0.4, -0.6])),
        ex(np.zeros((2, 1)), at([0.2, 0.4, -0.6])),
        ex(at([0.3, -0.7]), at([0.5, 0.1])),
        ex(0.0, at(0.3)),
    ]
)
examples(np.nextafter)([ex(v(3), 1.0), ex(v(2, 1), np.zeros(3)), ex(v(), 1.0)])
examples(np.divide, np.multiply, np.maximum, np.copysign, np.arctan2, np.hypot)(
    binary((-0.9, -0.2), (0.2, 0.9))
)
examples(np.power)([ex(at([-1.5, 0.0, 2.0]), 2), ex(at([-1.5, 2.0]), 3), ex(at([-1.5, 2.0]), -1)])
examples(np.power)([ex(at([[1.0, 2.0]]), np.array([[1], [2]])), ex(2, at([-0.5, 0.5, 2.0]))])
examples(np.power)([ex(np.array([1, 2]), at([0.5, 1.5])), ex(at([0.5, 2.0]), 0)])
examples(np.divmod)(binary((0.2, 0.45), (0.5, 0.9)))
examples(np.fmod, np.remainder, np.divmod)(
    [
        ex(at([5.3, -5.3, 7.1]), at([2.0, 2.0, -3.0])),
        ex(at([[5.3], [2.2]]), at([2.0, 1.5])),
        ex(at(5.3), 2),
    ]
)
examples(np.ldexp)([ex(v(3), 2), ex(v(2, 1), np.array([1, -2, 3])), ex(v(), 1)])
examples(sp.binom)(binary((2.2, 4.1), (0.3, 1.7)))
examples(sp.huber)(
    [ex(at([0.5, 0.5, 1.0]), at([0.2, -2.0, 3.0])), ex(at(0.7), v(2, 3, low=-2, high=2))]
)
examples(sp.boxcox, sp.boxcox1p)([ex(at([0.5, 2.0, 3.0]), at([0.0, 1e-6, -0.3]))])
examples(sp.inv_boxcox, sp.inv_boxcox1p)([ex(v(3), 0.4), ex(v(2, 1), np.array([0.3, 0.7]))])
examples(sp.jv, sp.yv, sp.iv, sp.ive, sp.kv, sp.kve, sp.hyp0f1, sp.ellipkinc)([])
examples(sp.jv, sp.yv, sp.iv, sp.ive, sp.kv, sp.kve)(
    [ex(1.5, v(3)), ex(np.array([[0.5], [2.0]]), v(3)), ex(2, v())]
)
examples(sp.hyp0f1)([ex(1.5, v(3)), ex(np.array([[0.5], [2.0]]), v(3))])
examples(sp.kn, sp.yn, sp.expn)([ex(2, v(3)), ex(0, v(2)), ex(np.array([[0], [1], [3]]), v(2))])
examples(polygamma)([ex(1, v(3, low=0.5, high=3)), ex(2, v())])
examples(
    sp.gammainc, sp.gammaincc, sp.gammaincinv, sp.gammainccinv,
)([ex(1.7, v(3)), ex(np.array([[0.5], [2.0]]), v(3)), ex(1.0, v())])  # fmt: skip
examples(sp.betainc, sp.betaincc, sp.betaincinv)(
    [ex(1.7, 0.6, v(3)), ex(np.array([[0.5], [2.0]]), 1.0, v(3)), ex(1.0, 2.0, v())]
)
examples(sp.hyp1f1)([ex(0.7, 1.6, v(3)), ex(2.0, np.array([[0.5], [1.5]]), v(3))])
examples(sp.hyp2f1)([ex(0.7, 1.6, 2.2, v(3, low=0.1, high=0.6))])
examples(sp.ellipkinc, sp.ellipeinc)(
    [
        ex(v(3), 0.3),
        ex(v(2, 1), at([0.1, 0.8])),
        ex(at([-5.0, 0.4, 2.0, 7.0]), at([0.0, -1.0, 0.5, 0.9])),
    ]
)

# Even functions of a root whose square is given.
_roots = np.array([-0.7, 0.3, 0.9])
examples(direction)([ex(at(_roots), at([0.7, 0.5, 1.2])), ex(at(_roots), at(0.5))])
for _function in {root_of, *EVEN.values()} - {
    EVEN[f, k] for f, k in ((np.power, 0), (np.float_power, 0), (sp.huber, 1), (sp.pseudo_huber, 1))
}:
    examples(_function)([ex(at(_roots**2), at(_roots)), ex(at(0.25), at(-0.5))])
examples(*OVER_OPERAND.values())([ex(at([0.03, -0.2, 0.7]))])
examples(EVEN[np.power, 0], EVEN[np.float_power, 0])(
    [ex(at(_roots**2), at(abs(_roots)), at(2.5)), ex(at(0.25), at(0.5), at([3.0, 2.2]))]
)
examples(EVEN[sp.huber, 1], EVEN[sp.pseudo_huber, 1])(
    [ex(at(_roots**2), at(0.5), at(_roots)), ex(at(0.25), at([0.2, 0.9]), at(-0.5))]
)

# ------------------------------------------- the rarer functions of scipy.special

examples(sp.chdtr, sp.chdtrc, sp.chdtri, sp.pdtr, sp.pdtrc, sp.pdtri)(
    [ex(3, v(3)), ex(np.array([[1.0], [4.0]]), v(3))]
)
examples(sp.fdtr, sp.fdtrc, sp.fdtri)([ex(3.0, 4.5, v(3)), ex(2.0, 2.0, v(2, 1))])
examples(sp.bdtr, sp.bdtrc, sp.bdtri, sp.nbdtr, sp.nbdtrc, sp.nbdtri)([ex(2.0, np.array(5), v(3))])
examples(sp.betainccinv)([ex(1.7, 0.6, v(3)), ex(1.0, 2.0, v())])
examples(sp.stdtr, sp.stdtrit)([ex(3.0, v(3)), ex(np.array([[1.0], [4.5]]), at([0.2, 0.7]))])
examples(sp.gdtr, sp.gdtrc, sp.gdtrix)([ex(v(3), 1.7, v(3)), ex(v(2, 1), 2.5, v(3))])
examples(sp.ndtri_exp)([ex(at([-0.1, -2.0, -30.0]))])
examples(sp.kolmogorov)([ex(at([0.6, 0.9, 1.4]))])
examples(sp.kolmogi)([ex(v(3))])
examples(sp.smirnov, sp.smirnovi)([ex(5, at([0.15, 0.33, 0.61]))])
examples(sp.tklmbda)([ex(at([-0.5, 0.3, 0.9]), 0.3), ex(at([-9.0, 0.3]), 0.5)])
examples(sp.owens_t)(binary())
examples(sp.voigt_profile)(ternary((-0.9, 0.9), (0.2, 0.9), (0.2, 0.9)))
examples(sp.nrdtrimn, sp.nrdtrisd)(ternary((0.2, 0.4), (0.6, 0.9), (1.2, 1.9)))
_orders = [ex(0, v(2)), ex(3, v(2, 3, low=-0.8)), ex(np.array([[1], [4]]), v(3))]
examples(
    sp.eval_legendre, sp.eval_sh_legendre, sp.eval_chebyt, sp.eval_chebyu, sp.eval_chebyc,
    sp.eval_chebys, sp.eval_sh_chebyt, sp.eval_sh_chebyu, sp.eval_hermite, sp.eval_hermitenorm,
    sp.eval_laguerre,
)(_orders)  # fmt: skip
examples(sp.eval_legendre)([ex(3, at([-1.0, 1.0])), ex(2.5, v(3))])
examples(sp.eval_jacobi)([ex(n, 0.7, 1.3, v(3)) for n in (0, 1, 4)])
examples(sp.eval_sh_jacobi)([ex(n, 2.7, 1.3, v(3)) for n in (0, 1, 4)])
examples(sp.eval_gegenbauer, sp.eval_genlaguerre)([ex(n, 0.7, v(3)) for n in (0, 1, 4)])
examples(sp.lpmv)([ex(1, 2.0, v(3)), ex(0, 3.0, v(3, low=-0.8))])
examples(sp.jve, sp.yve, sp.struve, sp.modstruve)([ex(1.5, v(3)), ex(np.array([[1], [2]]), v(3))])
examples(
    sp.itstruve0, sp.itmodstruve0, sp.it2struve0, sp.ber, sp.bei, sp.ker, sp.kei, sp.berp,
    sp.beip, sp.kerp, sp.keip,
)([ex(v(3, low=0.5, high=2.5)), ex(v())])  # fmt: skip
examples(sp.hyperu)([ex(0.7, 1.6, v(3))])
examples(sp.wright_bessel, *available(sp, "log_wright_bessel"))([ex(0.7, 1.6, v(3))])
examples(sp.elliprc, sp.agm)(binary())
examples(sp.elliprf, sp.elliprg)(ternary((0.2, 0.9), (0.2, 0.9), (0.2, 0.9)))
examples(sp.radian)(ternary((0.2, 0.9), (0.2, 0.9), (0.2, 0.9)))
_of_two = {sp.ellipj: [ex(v(3), 0.4), ex(v(2, 1), np.array([0.1, 0.8]))]}
for _function, _parts in special_ufuncs.PARTS.items():
    if _function is sp.itairy:
        continue
    examples(_function, *_parts)(_of_two.get(_function, [ex(v(3, low=0.5, high=2.0)), ex(v())]))

examples(np.clip)(
    [
        *ternary((-1.0, 2.0), (0.1, 0.2), (0.8, 0.9)),
        ex(at([-1.0, 0.5, 2.0]), 0, 1),
        ex(at([-1.0, 0.5, 2.0]), None, 1.0),
        ex(at([-1.0, 0.5, 2.0]), at(0.0), None),
        ex(at([-1.0, 0.5, 2.0]), a_min=0.0, a_max=np.array([1.0, 1.0, 1.0])),
        ex(at([-1.0, 0.5, 2.0]), at(0.7), at(0.3)),  # bounds the wrong way round: always the upper
        ex(np.array([-1, 2, 5]), at(0.5), at(1.5)),
    ]
    + [ex(at([-1.0, 0.5, 2.0]), **{name: at(0.1)}) for name in ("min", "max") if NUMPY >= "2.1.0"]
)
_mask = np.array([[True, False, True], [False, False, True]])
examples(np.where)(
    [
        ex(_mask, v(2, 3), v(2, 3)),
        ex(_mask, v(3), v(2, 1)),
        ex(_mask[0], v(2, 3), v()),
        ex(True, v(3), v(3)),
        ex(_mask, v(2, 3), 0),
        ex(_mask.tolist(), 1.5, v(3)),
        ex(np.zeros((0, 3), bool), v(3), v(1, 3)),
        ex(v(3), v(3), v(3)),
    ]
)
examples(np.nan_to_num)(
    [ex(v(3)), ex(v(2, 1), nan=1.0), ex(at([0.5, -2.0]), posinf=3.0, neginf=-1.0)]
)

# --------------------------------------------------------------- contraction

_MATMUL = [
    ((2, 3), (3, 4)), ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)), ((5, 2, 3), (5, 3, 4)), ((5, 1, 2, 3), (1, 4, 3, 2)), ((5, 2, 3), (3,)),
    ((3,), (5, 3, 2)), ((1, 1), (1, 1)), ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((2, 1), (1, 3)),
]  # fmt: skip
examples(np.matmul, np.linalg.matmul)(
    [ex(v(*a), v(*b)) for a, b in _MATMUL if len(a) > 1 and len(b) > 1]
)
examples(np.matmul)([ex(v(*a), v(*b)) for a, b in _MATMUL if min(len(a), len(b)) == 1])
examples(np.vecdot, np.linalg.vecdot)(
    [ex(v(3), v(3)), ex(v(2, 3), v(3)), ex(v(2, 1, 3), v(4, 3)), ex(v(0, 3), v(3))]
)
examples(*available(np, "matvec"))([ex(v(2, 3), v(3)), ex(v(4, 2, 3), v(3)), ex(v(2, 3), v(4, 3))])
examples(*available(np, "vecmat"))([ex(v(2), v(2, 3)), ex(v(4, 2), v(2, 3)), ex(v(2), v(4, 2, 3))])
examples(np.dot)(
    [
        ex(v(*a), v(*b))
        for a, b in [
            ((3,), (3,)), ((2, 3), (3, 4)), ((2, 3), (3,)), ((), (2, 3)), ((2, 3), ()), ((), ()),
            ((2, 3), (4, 3, 2)), ((3,), (2, 3, 4)), ((0,), (0,)), ((5, 2, 3), (3,)), ((1,), (1,)),
        ]
    ]
)  # fmt: skip
examples(np.dot)([ex([[1.0, 2.0]], v(2)), ex(v(3), np.array([1, 2, 3]))])
examples(np.inner)(
    [
        ex(v(*a), v(*b))
        for a, b in [((3,), (3,)), ((2, 3), (4, 3)), ((2, 3), (3,)), ((), (3,)), ((2, 3), ())]
    ]
)
examples(np.outer, np.linalg.outer)([ex(v(2), v(3)), ex(v(1), v(3)), ex(v(0), v(3))])
examples(np.outer)([ex(v(2, 2), v(3)), ex(v(), v(3)), ex([1.0, 2.0], v(2))])
examples(np.vdot)([ex(v(3), v(3)), ex(v(2, 3), v(2, 3)), ex(v(), v())])
examples(np.tensordot, np.linalg.tensordot)(
    [
        ex(v(2, 3), v(3, 4), axes=1),
        ex(v(2, 3), v(2, 3)),
        ex(v(2, 3), v(4, 2), axes=((0,), (1,))),
        ex(v(2, 3, 4), v(4, 2), axes=([0, -1], [1, 0])),
        ex(v(2), v(3), axes=0),
        ex(v(2, 3), v(3, 2), axes=(1, 0)),
        ex(v(2, 3), v(3, 2), axes=(np.array([0, 1]), np.array([1, 0]))),
    ]
)
examples(np.einsum)(
    [
        ex("ij,jk->ik", v(2, 3), v(3, 4)),
        ex("ij,jk", v(2, 3), v(3, 4)),
        ex("ij->ji", v(2, 3)),
        ex("ij->j", v(2, 3)),
        ex("ij->", v(2, 3)),
        ex("ii->i", v(3, 3)),
        ex("ii", v(3, 3)),
        ex("ii,i->i", v(3, 3), v(3)),
        ex("i,i", v(3), v(3)),
        ex("i,j->ij", v(2), v(3)),
        ex("bij,bjk->bik", v(2, 3, 2), v(2, 2, 3)),
        ex("bhqd,bhkd->bhqk", v(1, 2, 3, 2), v(1, 2, 2, 2)),
        ex("...ij,...jk->...ik", v(2, 3, 2), v(2, 3)),
        ex("i...->...", v(2, 3)),
        ex("ij,jk,kl->il", v(2, 3), v(3, 2), v(2, 2)),
        ex("i,ij,j", v(2), v(2, 3), v(3)),
        ex("i,ij,j->", v(2), v(2, 3), v(3), optimize=True),
        ex("ij,ij->ij", v(1, 3), v(2, 3)),
        ex("ij,kj->k", v(2, 3), v(4, 3)),
        ex("a,b,c->cab", v(2), v(1), v(3)),
        ex("ij,j->i", v(0, 3), v(3)),
        ex(" i j , j k -> i k ", v(2, 3), [[1.0], [2.0], [3.0]]),
        ex(v(2, 3), [0, 1], v(3, 2), [1, 2], [0, 2]),
        ex(v(2, 3), [7, 3], v(3), [3]),
        ex(v(2, 3), [..., 1], v(3), [1], [...]),
    ]
)
examples(np.kron)([ex(v(2), v(3)), ex(v(2, 2), v(1, 3)), ex(v(3), v(2, 2)), ex(v(2, 1, 2), v(2))])
examples(np.cross)(
    [ex(v(3), v(3)), ex(v(2, 3), v(3)), ex(v(3, 2), v(3, 2), axis=0), ex(v(3, 2), v(3), axisa=0)]
)
examples(np.linalg.cross)([ex(v(3), v(3)), ex(v(2, 3), v(2, 3))])
examples(np.convolve)(
    [ex(v(n), v(m), *mode) for n, m in [(5, 3), (2, 4), (1, 3), (4, 4)]
     for mode in [(), ("same",), ("valid",)]]
)  # fmt: skip
examples(np.polyval)([ex(v(3), v(2)), ex([1.0, 2.0, 3.0], v()), ex(v(1), v(2, 2)), ex(v(2), v())])
examples(np.linalg.multi_dot)([ex([v(2, 3), v(3, 2), v(2)]), ex([v(2, 2), v(2, 2)])])
examples(np.linalg.matrix_power)([ex(v(2, 2), n) for n in range(6)] + [ex(v(3, 2, 2), 3)])

# ----------------------------------------------------------------- reduction

examples(np.sum, np.mean, np.max, np.min, np.amax, np.amin, np.prod, np.nansum, np.nanmean)(
    reduced()
)
examples(np.nanprod, np.var, np.std)(reduced())
examples(np.ptp)([e for e in reduced() if arrays_of(e)[0].ndim and e.kwargs.get("axis") != ()])
examples(np.sum, np.prod)([ex(v(0)), ex(v(0, 3), axis=0)])
examples(np.sum, np.prod, np.mean)([ex(v(0, 3), axis=1)])
examples(np.sum)([ex(v(3), initial=2.0), ex(v(2, 3), 1), ex(v(2, 3), -2, None, None, True)])
examples(np.nansum, np.nanmean, np.nanprod)([ex(at([0.5, np.nan, 2.0]))])
examples(np.prod)(
    [
        ex(at([2.0, 0.0, 3.0])),
        ex(at([0.0, 0.0, 3.0, 1.0, 2.0])),
        ex(at([[0.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), axis=1),
        ex(at([[0.0, 2.0, 3.0], [4.0, 0.0, 6.0]]), axis=0, keepdims=True),
        ex(at([[[0.0, 2.0], [3.0, 5.0]], [[4.0, 0.5], [6.0, 0.0]]]), axis=(2, 0)),
        ex(at([0.0])),
        ex(at(0.0)),
    ]
)
examples(np.var, np.std)([ex(v(4), ddof=1), ex(v(2, 4), axis=1, correction=1)])
examples(np.linalg.norm)(
    [
        ex(v(3)), ex(v(2, 3)), ex(v(2, 3), axis=1), ex(v(2, 3), axis=0, keepdims=True),
        ex(v(2, 3, 2), axis=(0, 2)), ex(v(2, 2), "fro"), ex(v(1)), ex(v(2, 2, 2)),
        *(ex(v(4, low=-0.9), p) for p in (1, 2, 3, 2.5, np.inf, -np.inf, 0, -1)),
        ex(v(2, 3, low=-0.9), 1, 1), ex(v(2, 3), ord=3, axis=0), ex(v(2, 3), keepdims=True),
    ]
)  # fmt: skip
examples(np.linalg.vector_norm)(
    [ex(v(3)), ex(v(2, 3)), ex(v(2, 3), axis=1, ord=3), ex(v(2, 3), keepdims=True)]
)
examples(np.linalg.matrix_norm)([ex(v(2, 3)), ex(v(4, 2, 3), keepdims=True)])
examples(np.cumsum)(
    [ex(v(4)), ex(v(2, 3)), ex(v(2, 3), axis=0), ex(v(2, 3), -1), ex(v(1)), ex(v(0)), ex(v())]
)
examples(np.cumprod)(
    [
        ex(v(5)),
        ex(v(2, 3)),
        ex(v(3, 2), axis=0),
        ex(v(1)),
        ex(at([2.0, 0.0, 3.0, 0.0, 1.0])),
        ex(v()),
    ]
)
examples(*available(np, "cumulative_sum"), *available(np, "cumulative_prod"))(
    [ex(v(4)), ex(v(2, 3), axis=1), ex(v(3), include_initial=True)]
)
examples(np.trace)([ex(v(3, 3)), ex(v(2, 3)), ex(v(3, 3), 1), ex(v(2, 3, 2), 0, 0, 2)])
examples(np.linalg.trace)([ex(v(3, 3)), ex(v(2, 3, 3), offset=-1)])
examples(np.average)(
    [
        ex(v(4)), ex(v(2, 3), axis=0), ex(v(4), weights=v(4)), ex(v(2, 3), weights=v(2, 3)),
        ex(v(3, 3), axis=0, weights=v(3)), ex(v(3, 3), 1, v(3)), ex(v(2, 3), -1, [1, 2, 3]),
        ex(v(2, 3), axis=1, weights=v(2, 3), keepdims=True), ex(v(2, 3), keepdims=True),
    ]
)  # fmt: skip
examples(np.trapezoid)(
    [ex(v(4)), ex(v(4), dx=0.5), ex(v(4), v(4)), ex(v(3, 2), np.arange(3.0) ** 2, axis=0),
     ex(v(2, 3), v(2, 3))]
)  # fmt: skip

# ------------------------------------------------------------------ movement

_idx = np.array([2, 0, 2, 1])
examples(getitem)(
    [
        ex(v(5), 2), ex(v(5), -1), ex(v(5), slice(1, 4)), ex(v(5), slice(None, None, -1)),
        ex(v(5), slice(4, 1, -2)), ex(v(5), slice(3, 3)), ex(v(5), slice(None, None, 2)),
        ex(v(3, 4), 1), ex(v(3, 4), (slice(None), 2)), ex(v(3, 4), (..., 0)), ex(v(3, 4), (1, 2)),
        ex(v(3, 4), None), ex(v(3), (None, slice(None), None)), ex(v(), ()), ex(v(), ...),
        ex(v(), None), ex(v(3, 4), ...), ex(v(3, 4), (slice(None, None, -1), slice(1, None, 2))),
        ex(v(5), _idx), ex(v(5), [0, 0, 3]), ex(v(3, 4), _idx),
        ex(v(3, 4), (_idx[:3], [3, 1, 0])),
        ex(v(3, 4), (slice(None), _idx)), ex(v(3, 4), (_idx, slice(1, 3))), ex(v(5), np.int64(2)),
        ex(v(3, 4), (_idx[:, None], np.array([0, 3]))), ex(v(5), np.array(3)),
        ex(v(2, 3), _mask), ex(v(3), _mask[0]), ex(v(2, 3), np.zeros((2, 3), bool)),
        ex(v(3), [True, False, True]), ex(v(3), True), ex(v(3), np.array([], int)), ex(v(0), ...),
        ex(v(2, 3, 4), (0, ..., [1, 1])), ex(v(2, 3, 4), ([0, 1], slice(None), [1, 2])),
        ex(v(1, 3), (0, slice(None))), ex(v(1), 0),
    ]
)  # fmt: skip
examples(place)([ex(v(2), 0, positions([3, 1]), 5), ex(v(2, 3), 1, range(0, 6, 2), 6)])
examples(segment_sum)(
    [
        ex(v(4), 0, positions([0, 2, 0, 1]), 4),
        ex(v(2, 4), 1, positions([0, 1, 1, 0]), 2),
        ex(v(3, 2), 0, range(3), 3),
    ]
)
examples(np.reshape)(
    [
        ex(v(6), (2, 3)), ex(v(2, 3), 6), ex(v(2, 3), -1), ex(v(2, 3), (3, 2)),
        ex(v(4, 3), (2, -1)),
        ex(v(), (1, 1)), ex(v(1), ()), ex(v(2, 1, 3), (2, 3)), ex(v(0, 3), (3, 0)),
        ex(v(0), (0, 2)),
        ex(v(2, 3), (3, 2), "F"), ex(v(2, 3), -1, order="F"),
        ex(v(6), **{SHAPE: (3, 2)}, order="F"),
        ex(v(2, 3, 4), (4, 6)), ex(v(6), [2, 3]), ex(v(6), (np.int64(2), 3)),
        ex(v(2, 3), 6, **{"copy": True} if NUMPY >= "2.1.0" else {}),
    ]
)  # fmt: skip
examples(np.ravel)([ex(v(2, 3)), ex(v(2, 3), "F"), ex(v()), ex(v(0, 2)), ex(v(2, 3), order="F")])
examples(np.copy, np.real_if_close)([ex(v(2, 3)), ex(v(1)), ex(v(0))])
examples(astype)([ex(v(2, 3), np.float64), ex(v(), np.dtype(float))])
examples(np.astype)([ex(v(2, 3), np.float64)])
examples(np.transpose)(
    [ex(v(2, 3)), ex(v(2, 3, 4)), ex(v(2, 3, 4), (1, 2, 0)), ex(v(3)), ex(v()), ex(v(2, 1), [1, 0])]
)
examples(np.matrix_transpose, np.linalg.matrix_transpose)([ex(v(2, 3)), ex(v(4, 2, 3))])
examples(np.swapaxes)([ex(v(2, 3), 0, 1), ex(v(2, 3, 4), -1, 0)])
examples(np.moveaxis)([ex(v(2, 3, 4), 0, -1), ex(v(2, 3, 4), [0, 1], [-1, 0])])
examples(np.rollaxis)([ex(v(2, 3, 4), 2), ex(v(2, 3, 4), 0, 2)])
examples(np.expand_dims)([ex(v(3), 0), ex(v(3), (0, 2)), ex(v(), 0)])
examples(np.squeeze)([ex(v(1, 3)), ex(v(1, 3, 1), 2), ex(v(1, 1))])
examples(np.broadcast_to)([ex(v(3), (2, 3)), ex(v(), (2, 2)), ex(v(2, 1), (2, 3)), ex(v(1), (0,))])
examples(np.broadcast_arrays)([ex(v(3), v(2, 1)), ex(v(), v(2))])
examples(np.atleast_1d, np.atleast_2d, np.atleast_3d)([ex(v()), ex(v(3)), ex(v(2, 3))])
examples(np.diagonal)([ex(v(3, 3)), ex(v(2, 3), 1), ex(v(2, 3, 2), 0, 0, 2)])
examples(np.linalg.diagonal)([ex(v(3, 3)), ex(v(2, 3, 3), offset=1)])
examples(np.diag)([ex(v(3)), ex(v(3), 1), ex(v(3, 3)), ex(v(2, 3), -1)])
examples(np.diagflat)([ex(v(3)), ex(v(2, 2), 1)])
examples(np.tile)([ex(v(3), 2), ex(v(2, 3), (2, 1)), ex(v(3), (2, 2)), ex(v(), 3), ex(v(2), 0)])
examples(np.repeat)([ex(v(3), 2), ex(v(2, 3), 2, axis=1), ex(v(3), [1, 0, 2]), ex(v(2, 2), 2)])
examples(np.take)(
    [ex(v(5), _idx), ex(v(3, 4), _idx, axis=1), ex(v(3, 4), [5, 1]), ex(v(5), 2),
    ex(v(5), [-1, 7], mode="clip")]
)  # fmt: skip
examples(np.take_along_axis)(
    [ex(v(2, 3), np.array([[2, 0], [1, 1]]), axis=1), ex(v(4), _idx, 0), ex(v(2, 3), _idx, None)]
)
examples(np.compress)([ex([True, False, True], v(3)), ex(np.array([0, 1]), v(2, 3), axis=0)])
examples(np.extract)([ex(_mask, v(2, 3)), ex([1, 0, 1], v(3))])
examples(np.delete)([ex(v(5), 1), ex(v(5), [0, 3]), ex(v(3, 4), slice(1, 3), axis=1)])
examples(np.resize)([ex(v(3), 5), ex(v(2, 3), (4, 2))])
examples(np.flip)([ex(v(3)), ex(v(2, 3)), ex(v(2, 3), 1), ex(v(2, 3), axis=(0, 1))])
examples(np.fliplr, np.flipud)([ex(v(2, 3))])
examples(np.rot90)([ex(v(2, 3)), ex(v(2, 3), 2), ex(v(2, 3, 2), 1, (1, 2))])
examples(np.roll)(
    [ex(v(5), 2), ex(v(5), -1), ex(v(2, 3), 1), ex(v(2, 3), 1, axis=0), ex(v(2, 3), (1, 2), (0, 1))]
)
examples(np.tril, np.triu)([ex(v(3, 3)), ex(v(2, 3), 1), ex(v(2, 3, 3), -1), ex(v(3))])
examples(np.lib.stride_tricks.sliding_window_view)(
    [ex(v(6), 3), ex(v(3, 4), (2, 2)), ex(v(3, 4), 2, axis=1)]
)
examples(np.append)([ex(v(3), v(2)), ex(v(2, 3), v(1, 3), axis=0), ex(v(3), 5.0), ex([1.0], v(2))])
examples(np.insert)(
    [ex(v(3), 1, v()), ex(v(3), [0, 2], v(2)), ex(v(2, 3), 1, v(2), axis=1), ex(v(3), 1, 5.0)]
)
examples(np.concatenate)(
    [
        ex([v(2), v(3)]), ex((v(2, 3), v(1, 3)), axis=0), ex([v(2, 3), v(2, 1)], 1),
        ex([v(2), [1.0]]),
        ex([v(2, 2), v(3)], axis=None), ex([v(0), v(3)]), ex([v(2), np.array([1, 2])]),
        ex(v(2, 3)),
    ]
)  # fmt: skip
examples(np.stack)(
    [ex([v(3), v(3)]), ex([v(3), v(3)], 1), ex([v(), v()]), ex([v(2), [1.0, 2.0]], -1)]
)
examples(np.vstack, np.column_stack, np.dstack)([ex([v(3), v(3)]), ex([v(2, 2), v(2, 2)])])
examples(np.hstack)([ex([v(3), v(2)]), ex([v(2, 2), v(2, 1)]), ex([v(), v()])])
examples(np.pad)(
    [
        ex(v(3), 2), ex(v(2, 3), ((1, 0), (0, 2))), ex(v(3), 1, constant_values=5.0),
        ex(v(3), (1, 2), "constant", constant_values=np.array([1.5, 2.5])),
        ex(v(3), 2, mode="edge"),
        ex(v(3), 2, "reflect"), ex(v(3), 2, mode="symmetric"), ex(v(3), 4, mode="wrap"),
        ex(v(2, 3), 1, "wrap"), ex(v(0), 2),
    ]
)  # fmt: skip
examples(np.sort)(
    [
        ex(v(5)),
        ex(v(2, 3)),
        ex(v(2, 3), axis=0),
        ex(v(2, 3), None),
        ex(v(4), kind="stable"),
        ex(v(0)),
    ]
)
examples(np.block)(
    [ex([v(2), v(3)]), ex([[v(2, 2), v(2, 1)], [v(1, 2), v(1, 1)]]), ex([[v(2)], [v(2)]])]
)
examples(np.full_like)([ex(v(2, 3), v()), ex(v(2), v(2)), ex(v(2), 3.0), ex(v(), v())])
examples(np.diff)(
    [ex(v(4)), ex(v(2, 4), 2), ex(v(3, 2), axis=0), ex(v(3), 0), ex(v(3), prepend=v()),
    ex(v(3), append=v(2))]
)  # fmt: skip
examples(np.ediff1d)([ex(v(4)), ex(v(2, 2))])
examples(np.median)(
    [ex(v(4)), ex(v(5)), ex(v(2, 3)), ex(v(2, 3), axis=1), ex(v(2, 4), axis=0, keepdims=True),
    ex(v(2, 3), keepdims=True)]
)  # fmt: skip
examples(np.array_split)([ex(v(5), 2), ex(v(2, 4), [1, 3], 1)])
examples(np.split)([ex(v(4), 2), ex(v(2, 4), [1, 3], axis=1)])
examples(np.hsplit)([ex(v(4), 2), ex(v(2, 4), 2)])
examples(np.vsplit)([ex(v(4, 2), 2)])
examples(np.dsplit)([ex(v(2, 2, 4), 2)])
examples(*available(np, "unstack"))([ex(v(2, 3)), ex(v(2, 3), axis=1)])
examples(np.meshgrid)([ex(v(2), v(3)), ex(v(2), v(3), indexing="ij"), ex(v(), v(2))])
examples(np.select)(
    [ex([_mask[0], ~_mask[0]], [v(3), v(3)]), ex([_mask, _mask], [v(2, 3), v()], 0.5),
    ex([_mask], [v(3)], v())]
)  # fmt: skip
examples(np.linspace)([ex(v(), v(), 5), ex(0.0, v(), 3), ex(v(2), v(2), 4), ex(v(), 2.0, 4, False)])

_rows, _cols = positions([0, 1, 1, 0]), positions([2, 0, 2, 2])
examples(sparse_dot)([ex(v(4), _rows, _cols, 2, v(3, 2)), ex(v(4), _rows, _cols, 3, v(3, 1))])
examples(set_items)(
    [ex(v(4), (slice(1, 3),), [v(2)]), ex(v(2, 3), (0, (1, slice(2))), [v(3), v()]),
    ex(v(4), ([0, 0, 2],), [v(3)]), ex(v(3), (..., 1), [0.5, v()])]
)  # fmt: skip

# ---------------------------------------------------------------- statistics

_knots = np.array([0.0, 0.25, 0.6, 1.0])

examples(np.quantile)(
    [ex(v(5), 0.3), ex(v(5), [0.1, 0.7]), ex(v(2, 4), 0.4, axis=1), ex(v(2, 3), 0.6),
    ex(v(3, 4), [0.2, 0.9], axis=0, keepdims=True), ex(v(2, 3), 0.5, keepdims=True)]
)  # fmt: skip
examples(np.percentile)([ex(v(5), 30), ex(v(2, 5), [10, 75], axis=1)])
examples(np.nanmax, np.nanmin)([ex(v(4)), ex(v(2, 3), axis=1), ex(v(2, 3), keepdims=True)])
examples(np.nancumsum, np.nancumprod)([ex(v(4)), ex(v(2, 3), axis=1), ex(v(2, 3))])
_spread = [[0.1, 0.9, 0.4], [0.8, 0.2, 0.6]]
examples(np.nanvar, np.nanstd)([ex(at(_spread)), ex(at(_spread), axis=1), ex(at(_spread), ddof=1)])
examples(np.cov)([ex(v(3, 5)), ex(v(5)), ex(v(2, 4), rowvar=False), ex(v(4), v(4), bias=True)])
examples(np.corrcoef)([ex(v(3, 5)), ex(v(4), v(4))])
examples(np.correlate)([ex(v(5), v(3)), ex(v(4), v(4), "full"), ex(v(3), v(5), "same")])
examples(np.bincount)([ex(np.array([0, 2, 2, 1]), v(4)), ex(np.array([1, 1]), v(2), 4)])
examples(np.interp)(
    [ex(v(3), at(_knots), v(4)), ex(v(), _knots, v(4)), ex(v(2, 2), _knots, v(4)),
    ex(at([-0.5, 0.4, 1.5]), _knots, v(4)), ex(at([-0.5, 1.5]), _knots, v(4), -1.0, 2.0),
    ex(at([-0.5, 1.5]), np.array([0.3]), v(1))]
)  # fmt: skip
examples(np.gradient)(
    [ex(v(5)), ex(v(5), 0.5), ex(v(4, 3)), ex(v(4, 3), 0.5, 2.0), ex(v(4, 3), axis=1),
    ex(v(4), at(_knots)), ex(v(5), edge_order=2), ex(v(4), _knots, edge_order=2)]
)  # fmt: skip
examples(np.piecewise)(
    [ex(at([-0.5, 0.5, 0.8]), [np.array([True, False, False])], [np.sin, np.exp]),
    ex(v(2), [np.array([True, False]), np.array([False, True])], [0.5, np.square])]
)  # fmt: skip
examples(np.choose)([ex(np.array([0, 1, 0]), [v(3), v(3)]), ex(np.array([[1], [0]]), [v(3), v()])])
examples(np.unwrap)([ex(at([0.1, 3.0, 6.5, 0.2])), ex(at([[0.1, 6.0], [3.0, 9.0]]), axis=0)])
examples(np.apply_along_axis)(
    [ex(np.sum, 1, v(2, 3)), ex(np.cumsum, 0, v(2, 3)), ex(lambda x: x[:2] * x[0], 1, v(2, 3, 2))]
)
examples(np.apply_over_axes)([ex(np.sum, v(2, 3, 2), [0, 2])])
examples(np.polyder)([ex(v(4)), ex(v(4), 2), ex(v(1))])
examples(np.polyint)([ex(v(3)), ex(v(3), 2)])
examples(np.polyadd, np.polysub)([ex(v(3), v(3)), ex(v(2), v(4))])
examples(np.polymul)([ex(v(3), v(2))])
examples(np.vander)([ex(v(3)), ex(v(3), 2), ex(v(3), increasing=True)])
examples(np.polyfit)([ex(_knots, v(4), 2), ex(at(_knots), v(4), 1), ex(_knots, v(4, 2), 1)])
examples(np.unique)([ex(at([0.5, 0.2, 0.7, 0.9])), ex(v(2, 2))])
examples(np.partition)([ex(v(5), 2), ex(v(2, 4), 1, axis=0)])
examples(np.trim_zeros)([ex(v(3)), ex(v(3), "b")])
examples(np.logspace, np.geomspace)([ex(v(), v(), 4), ex(0.5, v(), 3)])
examples(np.geomspace)([ex(at(-0.5), at(-2.5), 4)])

# ------------------------------------------------------------ linear algebra


def square(*shape: int) -> Operand:
    """Well-conditioned matrices."""
    return Operand(shape, lambda uniform: uniform - 0.5 + 2 * np.eye(shape[-1]))


def positive(*shape: int) -> Operand:
    """Symmetric matrices with eigenvalues that are positive and far apart."""
    far_apart = np.diag(np.arange(1.0, shape[-1] + 1))
    return Operand(shape, lambda u: (u - 0.5) @ np.matrix_transpose(u - 0.5) + far_apart)


_matrices = np.random.default_rng(3)
_square, _positive = (
    kind(3, 3).of_uniform(_matrices.uniform(size=(3, 3))) for kind in (square, positive)
)
_singular = np.diag([1.0, 2.0, 0.0]) @ _matrices.uniform(size=(3, 3))

examples(np.linalg.solve)(
    [ex(square(3, 3), v(3)), ex(square(3, 3), v(3, 2)), ex(square(2, 3, 3), v(2, 3, 1)),
    ex(square(3, 3), v(2, 3, 2)), ex(square(2, 3, 3), v(3, 2)), ex(square(1, 1), v(1)),
    ex(square(1, 1), v(1, 2)), ex(square(1, 3, 3), v(2, 3, 2))]
)  # fmt: skip
examples(solve_regular)([ex(square(3, 3), v(3, 2)), ex(square(3, 3), v(3, 1))])
examples(np.linalg.inv)([ex(square(3, 3)), ex(square(2, 3, 3)), ex(square(1, 1))])
examples(np.linalg.det, cofactors)(
    [ex(square(3, 3)), ex(square(2, 3, 3)), ex(square(1, 1)), ex(at(_singular))]
)
examples(np.linalg.slogdet, logabsdet)([ex(square(3, 3)), ex(square(2, 2, 2))])
_tall = np.array([[1.1, 0.2], [0.3, 1.1], [0.5, 0.2], [0.1, 0.4]])
examples(np.linalg.pinv)(
    [ex(square(3, 3)), ex(at(_tall)), ex(at(_tall.T)), ex(at([_tall, 2 * _tall + 0.1]))]
)
examples(np.linalg.cholesky)(
    [ex(positive(3, 3)), ex(positive(2, 3, 3)), ex(positive(3, 3), upper=True), ex(positive(1, 1))]
)
examples(np.linalg.eigvalsh)([ex(positive(3, 3)), ex(positive(2, 3, 3)), ex(positive(3, 3), "U")])
examples(np.linalg.eigh)([ex(positive(3, 3)), ex(positive(2, 3, 3)), ex(positive(3, 3), "U")])
examples(np.linalg.svdvals)([ex(square(3, 3)), ex(v(4, 2)), ex(v(2, 4)), ex(v(2, 3, 2))])
examples(np.linalg.svd)(
    [ex(v(4, 2), compute_uv=False), ex(square(3, 3)), ex(v(4, 2), full_matrices=False),
    ex(v(2, 4), full_matrices=False), ex(v(2, 3, 2), full_matrices=False)]
)  # fmt: skip
examples(np.linalg.qr)(
    [ex(square(3, 3)), ex(at(_tall)), ex(at(_tall.T)), ex(at([_tall, 2 * _tall + 0.1])),
    ex(at(_tall), "r"),
    ex(square(3, 3), "complete")]
)  # fmt: skip
_real = np.diag([1.0, 2.0, 4.0]) + _matrices.uniform(-0.2, 0.2, size=(2, 3, 3))
examples(np.linalg.eig, np.linalg.eigvals)([ex(at(_real[0])), ex(at(_real))])

_some = at([0.3, np.nan, 0.9, 0.1, 0.5])
_holes = at([[0.3, np.nan, 0.9], [0.2, 0.1, 0.6]])
examples(np.nanmedian)([ex(_some), ex(_holes, axis=0), ex(_holes, axis=1, keepdims=True)])
examples(np.nanquantile)([ex(_some, 0.3), ex(_holes, [0.2, 0.6], axis=1, keepdims=True)])
examples(np.nanpercentile)([ex(_some, [10, 40]), ex(_holes, 30, axis=-2, keepdims=True)])
examples(np.poly)([ex(v(3)), ex(v(0)), ex(at(_real[0]))])
examples(np.polydiv)([ex(v(5), v(3)), ex(v(2), v(2)), ex(v(2), v(3)), ex(v(3), v(1))])
examples(np.unique_values)([ex(at([0.5, 0.2, 0.7, 0.9])), ex(at([[0.6, 0.2], [0.3, 0.8]]))])
examples(np.unique_all, np.unique_counts, np.unique_inverse)([ex(at([0.5, 0.2, 0.7]))])
_set = np.array([0.2, 0.8, 0.4])
_three, _two = at([0.5, 0.3, 0.9]), at([0.6, 0.1])
examples(np.intersect1d, np.setdiff1d)([ex(_three, _two), ex(np.array([0.4, 0.2]), _set)])
examples(np.union1d, np.setxor1d)([ex(_three, _two), ex(_two, _set)])

# --------------------------------------------------------------------- SciPy

_triangle = at(np.tril(_square))
examples(scipy_linalg.triangular_solve)(
    [ex(np.tril(_square), v(3), True), ex(np.triu(_square), v(3, 2), False)]
)
examples(scipy_linalg.positive_solve)([ex(_positive, v(3)), ex(np.eye(1), v(1, 2))])
examples(sl.solve_triangular)(
    [ex(square(3, 3), v(3)), ex(square(3, 3), v(3, 2), lower=True), ex(square(3, 3), v(3), trans=1),
    ex(square(3, 3), v(3), "T", True, True), ex(square(1, 1), v(1))]
)  # fmt: skip
examples(sl.solve)(
    [ex(square(3, 3), v(3)), ex(square(3, 3), v(3, 2), transposed=True)]
    + [ex(positive(3, 3), v(3), assume_a=kind) for kind in ("pos", "sym", "her", "gen")]
    + [ex(positive(3, 3), v(3), assume_a="pos", lower=True)]
    + [ex(_triangle, v(3), assume_a="lower triangular")] * (SCIPY >= "1.15.0")
)
_chol = np.linalg.cholesky(_positive)
examples(sl.cho_solve)([ex((at(_chol), True), v(3)), ex((at(_chol.T), False), v(3, 2))])
_rows = at(_square[[2, 0, 1]])
examples(scipy_linalg.packed_factors)([ex(_rows), ex(square(1, 1))])
_pivots = np.array([2, 2, 2])
examples(sl.lu_solve)([ex((square(3, 3), _pivots), v(3)), ex((square(3, 3), _pivots), v(3, 2), 1)])
examples(sl.inv, sl.det, sl.pinv, sl.svdvals, sl.norm)([ex(square(3, 3))])
examples(sl.cholesky)([ex(positive(3, 3)), ex(positive(3, 3), lower=True)])
examples(sl.eigvalsh)([ex(positive(3, 3)), ex(positive(3, 3), lower=False)])
examples(sl.expm, matrix_functions.exponential)(
    [ex(square(3, 3)), ex(v(1, 1)), ex(v(2, 2, low=9e-4, high=1e-3))]
)
examples(sl.expm)([ex(v(2, 2, 2)), ex(v(3, 3, low=2.0, high=5.0))])
examples(sl.sqrtm, matrix_functions.square_root, sl.logm, matrix_functions.logarithm)(
    [ex(square(3, 3)), ex(v(1, 1))]
)
examples(matrix_functions.square_root, matrix_functions.logarithm)([ex(square(2, 3, 3))])
if SCIPY >= "1.16.0":  # which takes stacks
    examples(sl.sqrtm, sl.logm)([ex(square(2, 3, 3))])
examples(sl.block_diag)([ex(v(2, 3), v(2), v(1, 1))])
examples(sl.toeplitz)([ex(v(3)), ex(v(3), v(2))])
examples(sl.circulant)([ex(v(3))])
examples(sl.solve_sylvester, matrix_functions.sylvester_solution)(
    [ex(square(3, 3), square(2, 2), v(3, 2))]
)
examples(scipy_special.log_of_sum, ss.logsumexp)(
    [ex(v(4)), ex(v(2, 3), axis=1), ex(v(2, 1, 3), axis=(0, 2), keepdims=True), ex(v(1)), ex(v())]
)
examples(ss.logsumexp)([ex(v(3), b=v(3)), ex(at([0.5, -np.inf, 800.0]))])
examples(ss.softmax, ss.log_softmax)([ex(v(4)), ex(v(2, 3), axis=1), ex(at([0.5, 700.0, -700.0]))])
examples(ss.multigammaln)([ex(v(low=2.1, high=4), 3), ex(v(2, low=2.1, high=4), 2)])
examples(ss.factorial)([ex(v(3))])
examples(ss.comb)([ex(v(3, low=3.1, high=5), v(3)), ex(v(3, low=3.1, high=5), 2, repetition=True)])
examples(sp._ufuncs._zeta)([ex(2.5, v(3)), ex(np.array([[1.5], [3.0]]), v(2))])
for _wrapper, _row in scipy_special.SPHERICAL.items():
    examples(_row)([ex(0, v(3)), ex(np.array([[1], [3]]), v(2))])
    examples(_wrapper)([ex(2, v(3)), ex(0, v(3), derivative=True), ex(2, v(), derivative=True)])
_lengths = [
    ex(v(4), kind, -1, norm) for kind in (1, 2, 3, 4) for norm in (None, "ortho", "forward")
]
examples(scipy_fft.cosine_transform, scipy_fft.sine_transform)(
    [*_lengths, ex(v(3, 2), 2, 0, None), ex(v(1), 2, 0, None)]
)
examples(sf.dct, sf.idct, sf.dst, sf.idst)(
    [ex(v(4)), ex(v(3, 2), axis=0), ex(v(5), type=3, norm="forward"), ex(v(4), 4, norm="ortho")]
)
examples(sf.dctn, sf.idctn, sf.dstn, sf.idstn)([ex(v(3, 2)), ex(v(3, 2), axes=(1,), norm="ortho")])
examples(np.linalg.lstsq)(
    [ex(v(4, 2), v(4)), ex(v(4, 2), v(4, 3)), ex(square(3, 3), v(3)), ex(v(2, 4), v(2)),
    ex(v(3, 2), v(3), rcond=1e-9), ex(v(1, 1), v(1))]
)  # fmt: skip
examples(np.linalg.cond)([ex(square(3, 3)), ex(square(3, 3), -2), ex(square(3, 3), "fro")])
_cube = (_matrices.uniform(size=(6, 6)) + 2 * np.eye(6)).reshape(2, 3, 6)
examples(np.linalg.tensorinv)([ex(at(_cube))])
examples(np.linalg.tensorsolve)([ex(at(_cube), v(2, 3))])
examples(np.linalg.matrix_power)([ex(square(3, 3), -2)])

# ------------------------------------------------------------------- options

_part = np.array([[True, False, True], [True, True, False]])
examples(np.sum, np.prod, np.mean, np.var, np.std)(
    [
        ex(v(2, 3), where=_part),
        ex(v(2, 3), axis=1, where=_part, keepdims=True),
        ex(v(3), where=_part[0]),
    ]
)
examples(np.var, np.std)([ex(v(2, 3), axis=0, dtype=np.float64)])  # fmt: skip
examples(np.sum, np.prod)(
    [ex(v(2, 3), axis=1, where=_part, initial=2.5), ex(v(0), where=np.ones(0, bool), initial=1.5)]
)
examples(np.max, np.min, np.amax, np.amin)(
    [ex(v(2, 3), axis=0, initial=0.5), ex(v(3), initial=v(), where=_part[0]),
    ex(v(0, 2), axis=0, initial=v(), keepdims=True), ex(v(0), initial=2.0)]
)  # fmt: skip
examples(np.var, np.std)([ex(v(3), mean=v()), ex(v(2, 3), axis=1, mean=v(2, 1), correction=1)])
examples(np.linalg.norm)(
    [
        case
        for ord_ in ("nuc", 1, -1, 2, -2, np.inf, -np.inf)
        for case in (ex(v(2, 3), ord_), ex(v(2, 3, 4), ord_, axis=(2, 0), keepdims=True))
    ]
)
examples(np.linalg.matrix_norm)([ex(v(2, 3), ord="nuc"), ex(v(4, 2, 3), ord=1, keepdims=True)])
examples(np.linalg.vector_norm)(
    [ex(v(2, 3, 2), axis=(0, 2), ord=3), ex(v(2, 3, 2), axis=(2, 1), keepdims=True)]
)
examples(np.average)(
    [ex(v(2, 3, 4), axis=(2, 0), weights=v(4, 2)), ex(v(2, 3), 0, v(2), keepdims=True),
    ex(v(2, 3), 0, v(2, 3), returned=True), ex(v(2, 3), returned=True)]
)  # fmt: skip
_methods = (
    "inverted_cdf", "averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf",
    "hazen", "weibull", "linear", "median_unbiased", "normal_unbiased", "lower", "higher",
    "midpoint", "nearest",
)  # fmt: skip
for _method in _methods:
    examples(np.quantile)(
        [ex(v(5), 0.37, method=_method), ex(v(2, 5), [0.2, 0.9], axis=1, method=_method)]
    )
_of_axes = {"axis": (0, 2), "keepdims": True}
examples(np.quantile, np.nanquantile)(
    [ex(v(2, 3, 2), 0.3, **_of_axes), ex(v(4), [[0.1, 0.4], [0.5, 1.0]])]
)
examples(np.percentile)([ex(v(2, 3, 2), 30.0, **_of_axes), ex(v(4), [[10.0, 40.0], [50.0, 100.0]])])
examples(np.quantile)(
    [ex(v(4), [0.3, 0.7], method="inverted_cdf", weights=np.arange(1.0, 5.0)),
    ex(v(2, 4), 0.4, 1, method="inverted_cdf", weights=np.arange(1.0, 5.0), keepdims=True)]
)  # fmt: skip
examples(np.median, np.nanmedian)([ex(v(2, 3, 2), **_of_axes), ex(v(2, 3, 2), (2, 1))])
for _mode in ("linear_ramp", "maximum", "mean", "median", "minimum"):
    examples(np.pad)([ex(v(3), (2, 1), _mode), ex(v(2, 3), ((1, 0), (2, 3)), mode=_mode)])
    if _mode != "linear_ramp":
        examples(np.pad)([ex(v(3, 4), 1, _mode, stat_length=((2, 1), (3, 2)))])
for _mode in ("reflect", "symmetric"):
    examples(np.pad)(
        [ex(v(4), n, _mode, reflect_type="odd") for n in (1, 2, 9)]
        + [ex(v(2, 3), ((1, 0), (2, 1)), _mode, reflect_type="odd")]
    )
examples(np.pad)(
    [
        ex(v(3), 2, "linear_ramp", end_values=v()),
        ex(v(2, 3), 2, "linear_ramp", end_values=((1.0, 2.0), (3.0, 4.0))),
        ex(v(3), (1, 2), constant_values=v()),
        ex(v(2, 3), 1, constant_values=(v(), 2.0)),
    ]
)
if NUMPY >= "2.4.0":
    examples(np.pad)([ex(v(2, 3), {-1: (1, 2)}), ex(v(2, 3), {0: 1}, mode="mean")])
examples(np.interp)(
    [ex(at([-0.4, 0.3, 1.78, 2.2]), at([0.2, 1.3, 0.9]), v(3), period=1.5),
    ex(at([5.3]), np.array([0.2, 0.9, 2.6]), v(3), 0.0, 1.0, -2.0)]
)  # fmt: skip
_bands = at([[0, 0.5, 0.3], [2.0, 3.0, 2.5], [0.4, 0.1, 0]])
_half_bands = at([[2.0, 3.0, 2.5], [0.4, 0.1, 0], [0.7, 0, 0]])
examples(sl.solve_banded)([ex((1, 1), _bands, v(3)), ex((2, 0), _half_bands, v(3, 2))])
examples(banded.banded_solve)(
    [ex(_bands, v(3), 1, 1), ex(_half_bands, v(3, 1), 2, 0), ex(at([[2.0]]), v(1), 0, 0)]
)
_places = (positions([0, 0, 1, 2, 2]), positions([0, 2, 1, 0, 2]))
_pattern = SquarePattern(*_places, 3)
_whole = at([2.0, 0.3, 3.0, 0.4, 2.5])
examples(sparse_solve)(
    [ex(_whole, v(3), _pattern), ex(_whole, v(3, 2), _pattern.transpose),
    ex(at([2.0]), v(1), SquarePattern(range(1), range(1), 1))]
)  # fmt: skip
examples(ssignal.convolve, ssignal.fftconvolve)(
    [ex(v(5), v(3)), ex(v(4), v(2), "same"), ex(v(3), v(5), mode="valid"),
    ex(v(3, 4), v(2, 3)), ex(v(4, 3), v(2, 2), mode="same"), ex(v(2, 2), v(4, 3), mode="valid")]
)  # fmt: skip
for _name, _shapes in {
    "norm": 0,
    "t": 1,
    "gamma": 1,
    "beta": 2,
    "expon": 0,
    "laplace": 0,
    "cauchy": 0,
    "logistic": 0,
    "uniform": 0,
    "halfnorm": 0,
    "chi2": 1,
    "lognorm": 1,
    "invgamma": 1,
    "weibull_min": 1,
}.items():
    _of = getattr(sstats, _name)
    for _density in (_of.logpdf, _of.pdf):
        examples(_density)(
            [ex(v(3), *(v(low=1.5, high=3) for _ in range(_shapes))),
            ex(v(2, 1), *(v(3, low=1.5, high=3) for _ in range(_shapes)), v(low=0, high=0.1),
            scale=v(low=2, high=3))]
        )  # fmt: skip
for _tail in (sstats.norm.cdf, sstats.norm.logcdf, sstats.norm.sf, sstats.norm.logsf):
    examples(_tail)([ex(v(3)), ex(v(2, 1), v(3), scale=v(low=2, high=3))])
for _density in (sstats.poisson.logpmf, sstats.poisson.pmf):
    examples(_density)([ex(np.array([0, 2, 3]), v(low=1, high=3)), ex(2, v(3, low=1, high=3))])
for _density in (sstats.binom.logpmf, sstats.binom.pmf):
    examples(_density)([ex(np.array([0, 2, 3]), 4, v(low=0.2, high=0.8)), ex(2, 3, v(3, low=0.2))])
for _density in (sstats.multivariate_normal.logpdf, sstats.multivariate_normal.pdf):
    examples(_density)(
        [ex(v(3), v(3), np.diag([1.0, 2.0, 0.5]) + 0.1), ex(v(4, 2), v(2), 2.0), ex(v(3), v(), 1.5)]
    )
_counts, _reliability = np.array([1, 2, 1, 3]), np.array([0.5, 1.0, 0.7, 1.2])
examples(np.cov)(
    [ex(v(2, 4), fweights=_counts), ex(v(2, 4), aweights=_reliability, ddof=0),
    ex(v(2, 4), fweights=_counts, aweights=_reliability), ex(v(4), bias=True, aweights=v(4))]
)  # fmt: skip
examples(np.ediff1d)([ex(v(4), to_end=v(2), to_begin=v()), ex(v(2, 2), to_end=[1.0, 2.0])])
examples(np.meshgrid)([ex(v(2), v(3), sparse=True), ex(v(2), v(3), v(), indexing="ij")])

# -------------------------------------------------- complex numbers, transforms
# Rows of complex functions are tested inside real functions, in test_complex.py.

FACTORS = {
    scipy_linalg.symmetric_factors_of_scipy, linear_algebra.least_squares,
    *(f for f in RULES if getattr(f, "__module__", "") == decompositions.__name__),
}  # fmt: skip
# What solvers find has rows of its own: see the tests of the solvers.
SOLVERS = {
    f for f in {*RULES, *DEFINED}
    if name_of(f).startswith(("chainad.scipy.integrate.", "implicit"))
}  # fmt: skip
ELSEWHERE = {
    *SOLVERS,
    complexes.real, complexes.imag, complexes.conj, complexes.modulus, complexes.argument,
    np.fft.fft, np.fft.ifft, np.fft.rfft, np.fft.irfft, np.fft.fft2,
    np.fft.ifft2, np.fft.rfft2, np.fft.irfft2, np.fft.fftn, np.fft.ifftn, np.fft.rfftn,
    np.fft.irfftn, np.fft.hfft, np.fft.ihfft,
    sf.fft, sf.ifft, sf.rfft, sf.irfft, sf.fft2, sf.ifft2, sf.rfft2, sf.irfft2, sf.fftn, sf.ifftn,
    sf.rfftn, sf.irfftn,
    # These give more than arrays of floats, or signs that jump: see test_scipy.py.
    sl.cho_factor, sl.lu_factor, sl.eigh,
    # Factors have no derivative, and their parts have it by the matrix: see their functions.
    *FACTORS,
    # Derivatives, of second arguments that go with the first: see test_linear_algebra.py.
    linear_algebra.slopes_of_det,
    # It does not depend on its last operand, but for the derivative.
    displaced,
    # What vectors contribute to functions of matrices: see test_spectral.py.
    *spectral.OF_EIGENVALUES.values(), *spectral.OF_SINGULAR_VALUES.values(),
    *spectral.OF_GRAM_MATRIX.values(),
    # SciPy computes these to six digits only.
    sp.itairy, *special_ufuncs.PARTS[sp.itairy],
}  # fmt: skip
examples(np.fft.fftshift, np.fft.ifftshift)([ex(v(4)), ex(v(3, 2)), ex(v(3, 2), axes=0)])
_ones = np.ones((3, 4))
examples(masked_matmul)(
    [ex(v(2, 3), v(3, 4), np.ones((2, 3)), _ones), ex(v(3), v(3, 4), np.ones(3), _ones),
    ex(v(2, 3), v(3), np.ones((2, 3)), np.ones(3)),
    ex(v(2, 2, 3), v(3, 4), np.ones((2, 2, 3)), _ones)]
)  # fmt: skip

# -------------------------------------------------------------------- oracle

# Analytic, and implemented by NumPy for complex numbers: the complex step is exact to rounding.
COMPLEX = {
    np.negative, np.positive, np.square, np.sqrt, np.reciprocal, np.exp, np.exp2, np.expm1,
    np.log,
    np.log2, np.log10, np.log1p, np.sin, np.cos, np.tan, np.arcsin, np.arctan, np.sinh, np.cosh,
    np.tanh, np.arcsinh, np.add, np.subtract, np.multiply, np.divide, np.power, np.matmul, np.dot,
    np.inner, np.outer, np.tensordot, np.einsum, np.kron, np.convolve, np.polyval, np.sum,
    np.mean,
    np.prod, np.cumsum, np.cumprod, np.trace, np.where, np.reshape, np.transpose, np.concatenate,
    np.stack, getitem, np.roll, np.flip, np.diag, np.take, np.repeat, np.tile, np.squeeze,
    sp.erf,
}  # fmt: skip


def fill(value: Any, arrays: Sequence[Any]) -> Any:
    """The same arguments with arrays in the places of the operands."""
    left = list(arrays)

    def put(item: Any) -> Any:
        if isinstance(item, Operand):
            return left.pop(0)
        if isinstance(item, dict):
            return {k: put(x) for k, x in item.items()}
        return type(item)(map(put, item)) if isinstance(item, (list, tuple)) else item

    return put(value)


def as_function(function: Function, example: Example) -> Function:
    """The example as a function of its operands, which are handed over by position."""

    def f(*arrays: Any) -> Any:
        args, kwargs = fill((example.args, example.kwargs), arrays)
        result = function(*args, **kwargs)
        if function is np.linalg.eig:
            return tuple(map(as_real, result))
        if function in (np.linalg.eigvals, sl.sqrtm):
            return as_real(result, tolerance=1e-6)
        if isinstance(result, (tuple, list)):
            # Ranks and counts have no derivative, and are refused as results.
            return tuple(
                x for x in result if np.asarray(chainad.stop_gradient(x)).dtype.kind in "fc"
            )
        return result

    return f


def step(f: Function, arrays: list[Any], which: int, is_complex: bool) -> list[Any]:
    """The Jacobian of every output of f by one operand, entry by entry."""
    x = arrays[which]
    columns = []
    for place_of in np.ndindex(*x.shape):
        move = np.zeros(x.shape)
        move[place_of] = 1

        def value_at(t: complex, move: Any = move) -> list[Any]:
            moved = [*arrays[:which], x + t * move, *arrays[which + 1 :]]
            y = f(*moved)
            return [np.asarray(part) for part in (y if isinstance(y, tuple) else (y,))]

        if is_complex:
            columns.append([np.imag(y) / 1e-100 for y in value_at(1e-100j)])
        else:  # the five-point formula: error h**4
            h = 1e-3
            parts = zip(*(value_at(k * h) for k in (-2, -1, 1, 2)), strict=True)
            columns.append([(a - 8 * b + 8 * c - d) / (12 * h) for a, b, c, d in parts])
    if not columns:
        y = f(*arrays)
        outputs = y if isinstance(y, tuple) else (y,)
        return [np.zeros(np.shape(part) + x.shape) for part in outputs]
    return [
        np.stack(each, axis=-1).reshape(each[0].shape + x.shape)
        for each in zip(*columns, strict=True)
    ]


def check(function: Function, example: Example) -> None:
    """Compare value and Jacobian, by every operand alone and by all of them together."""
    f = as_function(function, example)
    arrays = arrays_of(example)
    numbers = range(len(arrays))
    plain = f(*arrays)
    expected = [step(f, arrays, k, function in COMPLEX) for k in numbers]
    subsets = [(k,) for k in numbers] + ([tuple(numbers)] if len(arrays) > 1 else [])
    for subset in subsets:
        value, found = chainad.value_and_jacobian(f, argnums=subset)(*arrays)
        values, plains = (x if isinstance(x, tuple) else (x,) for x in (value, plain))
        rows = found if isinstance(plain, tuple) else (found,)
        assert len(values) == len(plains)
        for y, want, row, output in zip(values, plains, rows, range(len(plains)), strict=True):
            assert np.shape(y) == np.shape(want)
            assert y.dtype == np.asarray(want).dtype
            np.testing.assert_allclose(y, want, rtol=1e-13, atol=1e-14)
            for k, jacobian in zip(subset, row, strict=True):
                wanted = expected[k][output]
                assert jacobian.shape == wanted.shape
                # Differences lose digits; steps across a kink are avoided by the examples.
                atol = 1e-13 if function in COMPLEX else 3e-8 * (1 + abs(wanted).max(initial=0))
                np.testing.assert_allclose(jacobian, wanted, rtol=1e-8, atol=atol)


def examples_of(function: Function) -> list[Example]:
    if not EXAMPLES.get(function):
        pytest.fail(f"no example for {name_of(function)}: add one to EXAMPLES")
    return EXAMPLES[function]


# Other tests make primitives, which register rows of their own.
PRIMITIVES = {f for f in RULES if isinstance(f, chainad.Primitive)}
ROWS = sorted({*RULES, *DEFINED} - ELSEWHERE - PRIMITIVES, key=name_of)


@pytest.mark.parametrize("function", ROWS, ids=name_of)
def test_every_row_agrees_with_an_independent_oracle(function: Function) -> None:
    for example in examples_of(function):
        check(function, example)


@pytest.mark.parametrize("function", ROWS, ids=name_of)
def test_formulas_are_recorded_call_by_call_and_replayed(function: Function) -> None:
    """Only an operator is made by one call: it is no array, but what applies a factorisation."""
    examples = examples_of(function)
    if isinstance(function, np.ufunc) and function not in (np.sin, np.hypot):
        # How shapes broadcast is the same for all: one example for each choice of scalar operands.
        kinds = [tuple((x.size == 1, (x > 0).all()) for x in arrays_of(e)) for e in examples]
        examples = [*dict(zip(reversed(kinds), reversed(examples), strict=True)).values()]
    for example in examples:
        f = as_function(function, example)
        arrays = tuple(arrays_of(example))
        if not arrays:
            continue
        J = chainad.jacobian(f)
        run = record_planned_run(J._of, arrays, {})
        called = {call.function for call in run.recording.calls}
        for edge, recipe in zip(run.linearized.graph.edges, run.linearized.recipes, strict=True):
            assert recipe.formula not in called or edge.structure.action is not None
        compiled = J.compile(*arrays)
        compiled(*arrays)
        found, wanted = compiled(*arrays), J(*arrays)
        for one, other in zip(leaves(found), leaves(wanted), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)


def leaves(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def test_every_example_is_of_a_row() -> None:
    assert {name_of(f) for f in EXAMPLES} == {name_of(f) for f in ROWS}


@pytest.mark.parametrize("function", [f for f in ROWS if not isinstance(f, np.ufunc)], ids=name_of)
def test_rows_of_array_functions_are_functions_that_numpy_dispatches(function: Function) -> None:
    is_ours = function.__module__.startswith("chainad")
    assert is_ours or type(function).__name__ == "_ArrayFunctionDispatcher"


# ------------------------------------------- a wrong row fails the same check


def _wrong_slope(y: Any, x: Any) -> Any:
    return np.cos(x) + 0.01


def _nothing_said(y: Any, *args: Any, **kwargs: Any) -> dict[Any, Any]:
    return {}


def _always_zero(y: Any, x: Any, *args: Any, **kwargs: Any) -> dict[Any, Any]:
    return {x: None}


def _sum_twice(y: Any, x: Any, *args: Any, **kwargs: Any) -> dict[Any, Any]:
    cols = [(n, (k,)) for k, n in enumerate(x.shape)]
    return {x: Local(from_labels([], cols, dict(enumerate(x.shape)), scale=2), None)}


@pytest.fixture
def _fresh_cache() -> Any:
    jacobian_program._programs.clear()
    yield
    jacobian_program._programs.clear()


@pytest.mark.usefixtures("_fresh_cache")
def test_a_wrong_formula_fails_the_check(monkeypatch: Any) -> None:
    right = RULES[np.sin]
    elementwise(np.sin, _wrong_slope)
    wrong = RULES[np.sin]
    RULES[np.sin] = right
    monkeypatch.setitem(RULES, np.sin, wrong)
    with pytest.raises(AssertionError):
        check(np.sin, ex(v(3)))


@pytest.mark.usefixtures("_fresh_cache")
@pytest.mark.parametrize(
    ("locals_", "error"),
    [
        (_always_zero, AssertionError),
        (_sum_twice, AssertionError),
        (_nothing_said, chainad.TraceError),
    ],
)
def test_a_wrong_structure_fails_the_check(monkeypatch: Any, locals_: Any, error: Any) -> None:
    monkeypatch.setitem(RULES, np.sum, Rule(locals_))
    with pytest.raises(error):
        check(np.sum, ex(v(3)))


@pytest.mark.usefixtures("_fresh_cache")
def test_a_wrong_permutation_fails_the_check(monkeypatch: Any) -> None:
    monkeypatch.setitem(RULES, np.roll, RULES[np.flip])
    with pytest.raises((AssertionError, chainad.TraceError, ValueError, IndexError)):
        check(np.roll, ex(v(4), 1))


def test_a_row_without_example_fails() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"no example for np\.spacing"):
        examples_of(np.spacing)


# -------------------------------------------------- structures of local Jacobians


def local_graph(function: Function, example: Example, which: int = 0) -> LinearGraph:
    f = as_function(function, example)
    arrays = arrays_of(example)
    with tracing(f, arrays, (which,)) as run:
        return linear_graph(run.graph()).graph


MOVEMENT = [
    getitem, place, np.reshape, np.transpose, np.matrix_transpose, np.swapaxes, np.moveaxis,
    np.rollaxis, np.expand_dims, np.squeeze, np.broadcast_to, np.diagonal, np.diag, np.diagflat,
    np.tile, np.repeat, np.take, np.take_along_axis, np.compress, np.extract, np.delete,
    np.resize,
    np.flip, np.fliplr, np.flipud, np.rot90, np.roll, np.tril, np.triu, np.append, np.insert,
    np.pad,
    np.concatenate, np.stack, np.vstack, np.hstack, np.dstack, np.column_stack, np.copy,
    segment_sum,
    np.lib.stride_tricks.sliding_window_view, np.atleast_2d, np.linalg.diagonal,
]  # fmt: skip


@pytest.mark.parametrize("function", MOVEMENT, ids=name_of)
def test_movement_stores_nothing_and_claims_no_more_than_the_true_entries(
    function: Function,
) -> None:
    for example in examples_of(function):
        f = as_function(function, example)
        arrays = arrays_of(example)
        args, kwargs = fill((example.args, example.kwargs), arrays)
        rewrite = RULES[function].rewrite
        if rewrite is not None and rewrite(*args, **kwargs) is not NotImplemented:
            continue
        true = np.count_nonzero(chainad.jacobian(f)(*arrays))
        edges = local_graph(function, example).edges
        assert all(edge.structure.scale == 1 for edge in edges)
        assert sum(edge.structure.nonzeros for edge in edges) == true


ELEMENTWISE = [f for f in ROWS if isinstance(f, np.ufunc) and f in RULES and f.signature is None]


@pytest.mark.parametrize("function", ELEMENTWISE, ids=name_of)
def test_elementwise_functions_have_one_entry_per_result(function: Function) -> None:
    for example in examples_of(function):
        f = as_function(function, example)
        arrays = arrays_of(example)
        size = np.size(f(*arrays))
        for which in range(len(arrays)):
            for edge in local_graph(function, example, which).edges:
                assert edge.structure.nonzeros == size
                assert size == 0 or edge.structure.count <= size


X34, X4 = at(np.ones((3, 4))), at(np.ones(4))
KINDS: list[tuple[Function, Example, str, int]] = [
    (np.tanh, ex(X34), "diagonal", 12),
    (np.negative, ex(X34), "-identity", 0),
    (np.add, ex(X34, 1.0), "identity", 0),
    (np.add, ex(X4, np.ones((3, 4))), "broadcast", 0),
    (np.subtract, ex(1.0, X4), "-identity", 0),
    (np.multiply, ex(X34, 2.0), "diagonal", 1),  # a scalar times a matrix stays one number
    (np.multiply, ex(X34, np.ones(4)), "diagonal", 4),
    (np.multiply, ex(X34, np.ones((3, 1))), "diagonal", 3),
    (np.where, ex(np.ones(4, bool), X34, 0.0), "diagonal", 4),
    (np.transpose, ex(X34), "rearrangement", 0),
    (np.reshape, ex(X34, (2, 6)), "selection", 0),
    (np.reshape, ex(X34, (12,)), "rearrangement", 0),
    (np.broadcast_to, ex(X4, (3, 4)), "broadcast", 0),
    (np.sum, ex(X34), "sum", 0),
    (np.sum, ex(X34, 1), "sum", 0),
    (getitem, ex(X4, slice(1, 3)), "selection", 0),
    (getitem, ex(X4, np.array([2, 0, 3])), "selection", 0),
    (np.roll, ex(X4, 1), "selection", 0),
    (np.concatenate, ex([X4, np.ones(2)]), "selection", 0),
    (np.pad, ex(X4, 1), "selection", 0),
    (np.matmul, ex(np.ones((2, 3)), X34), "kronecker", 6),
    (np.matmul, ex(X34, np.ones((4, 5))), "kronecker", 20),
    (np.matmul, ex(np.ones((2, 4)), X4), "dense", 8),
    (np.dot, ex(np.ones(4), X4), "dense", 4),
    (np.max, ex(X34, 1), "block diagonal", 12),
    (np.cumsum, ex(X34, 1), "operator", 0),
    (np.einsum, ex("bij,bjk->bik", np.ones((2, 3, 4)), at(np.ones((2, 4, 5)))),
    "block diagonal", 24),
    (np.einsum, ex("ii->i", at(np.ones((3, 3)))), "rearrangement", 0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "example", "kind", "count"), KINDS, ids=lambda x: getattr(x, "__name__", None)
)
def test_the_structure_is_as_sparse_as_promised(
    function: Function, example: Example, kind: str, count: int
) -> None:
    (edge,) = local_graph(function, example).edges
    assert (edge.structure.kind, edge.structure.count) == (kind, count)


# ------------------------------------------------------------------ constants

X = np.array([0.3, -1.2, 2.5, 0.7])
M = np.array([[0.3, -1.2], [2.5, 0.7]])
CONSTANT_CALLS: dict[Function, tuple[Function, Any]] = {
    **dict.fromkeys(
        (np.floor_divide, np.greater, np.greater_equal, np.less, np.less_equal,
         np.equal, np.not_equal, np.isclose, np.allclose, np.array_equal, np.array_equiv, np.isin,
         np.result_type, np.may_share_memory, np.shares_memory, np.digitize, np.searchsorted,
         np.logical_and, np.logical_or, np.logical_xor),
        (lambda f, x: f(x, np.array([0.1, 0.2, 0.3, 0.4])), X),
    ),
    np.heaviside: (lambda f, x: f(x, 0.5), X),
    np.can_cast: (lambda f, x: f(x.dtype, np.float32) or x.shape, X),
    np.argpartition: (lambda f, x: f(x, 2), X),
    np.lexsort: (lambda f, x: f((x, x)), X),
    np.triu_indices_from: (lambda f, x: f(x), M),
    np.tril_indices_from: (lambda f, x: f(x), M),
    np.diag_indices_from: (lambda f, x: f(x), M),
    np.einsum_path: (lambda f, x: f("ij,jk->ik", x, x), M),
    np.unravel_index: (lambda f, x: f(np.argmax(x), x.shape), M),
    np.linalg.matrix_rank: (lambda f, x: f(x), M),
    sign_of_det: (lambda f, x: f(x), M),
    scipy_linalg.places_of_rows: (lambda f, x: f(x), M),
    signs_of_qr: (lambda f, x: f(x), M),
}  # fmt: skip


def tracers_inside(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(tracers_inside, value))
    return isinstance(value, Tracer)


@pytest.mark.filterwarnings("ignore:numpy.fix is deprecated")
@pytest.mark.parametrize("function", sorted(CONSTANT, key=name_of), ids=name_of)
def test_constant_functions_give_plain_values_with_exactly_zero_derivative(
    function: Function,
) -> None:
    how, x = CONSTANT_CALLS.get(function, (lambda f, x: f(x), X))
    seen = []

    def f(z: Any) -> Any:
        seen.append(how(function, z))
        return seen[-1]

    result = how(function, x)
    is_numeric = isinstance(result, (np.ndarray, np.generic)) and result.dtype.kind in "fiub"
    if is_numeric:
        np.testing.assert_array_equal(f(x), result)
        J = chainad.jacobian(lambda z: np.asarray(f(z), float))(x)
        assert J.shape == result.shape + x.shape
        assert J.dtype == np.float64
        assert not J.any()
    else:
        chainad.jacobian(lambda z: (f(z), z)[1])(x)
    assert not tracers_inside(seen[-1])


# --------------------------------------------------------------- kinks and ties


def jac(f: Function, *x: Any, **options: Any) -> Any:
    return chainad.jacobian(f, **options)(*(np.asarray(a, dtype=float) for a in x))


def grad(f: Function, *x: Any) -> list[float]:
    """Diagonal of the Jacobian of an elementwise function, by its first argument."""
    return [float(n) for n in np.diag(jac(f, *x))]


def test_abs_has_derivative_zero_at_zero() -> None:
    assert grad(np.abs, [-2, 0, 3]) == [-1, 0, 1]
    assert grad(np.fabs, [-2, 0, 3]) == [-1, 0, 1]
    assert grad(abs, [-2, 0, 3]) == [-1, 0, 1]


@pytest.mark.parametrize("f", [np.max, np.min, np.amax])
def test_ties_of_max_and_min_share_evenly(f: Function) -> None:
    assert jac(f, [2, 2, 2, 2]).tolist() == [0.25] * 4
    x = [[1, 3, 3], [0, 0, 0]]
    expected = {np.min: [[1, 0, 0], [1 / 3] * 3]}.get(f, [[0, 0.5, 0.5], [1 / 3] * 3])
    J = jac(lambda z: f(z, axis=1), x)
    np.testing.assert_allclose(J[0, 0], expected[0])
    np.testing.assert_allclose(J[1, 1], expected[1])
    assert not J[0, 1].any()


@pytest.mark.parametrize("f", [np.maximum, np.minimum, np.fmax, np.fmin])
def test_ties_of_maximum_and_minimum_share_evenly(f: Function) -> None:
    one, two = chainad.jacobian(f, argnums=(0, 1))(np.ones(2), np.ones(2))
    assert np.diag(one).tolist() == np.diag(two).tolist() == [0.5, 0.5]
    # Both operands are the same value: the halves add up.
    assert grad(lambda x: f(x, x), [1, 2]) == [1, 1]
    assert grad(lambda x: f(x, 0.0), [0]) == [0.5]


def test_fmax_and_fmin_follow_the_operand_that_is_a_number() -> None:
    x, y = np.array([np.nan, 1.0, np.nan]), np.array([1.0, np.nan, np.nan])
    for f in (np.fmax, np.fmin):
        one, two = chainad.jacobian(f, argnums=(0, 1))(x, y)
        assert np.diag(one).tolist() == [0, 1, 1]
        assert np.diag(two).tolist() == [1, 0, 0]


def test_clip_has_derivative_one_on_its_bounds() -> None:
    assert grad(lambda x: np.clip(x, 0, 1), [-1, 0, 0.5, 1, 2]) == [0, 1, 1, 1, 0]
    assert grad(lambda b: np.clip(np.array([-1.0, 0.0, 1.0]), b, 5.0), [0, 0, 0]) == [1, 0, 0]
    assert grad(lambda x: x.clip(max=1), [0, 1, 2]) == [1, 1, 0]


def test_the_norm_has_derivative_zero_at_zero() -> None:
    for p in (None, 1, 2, 3, np.inf):
        assert not jac(lambda x, p=p: np.linalg.norm(x, p), [0, 0, 0]).any()
    assert not jac(np.linalg.norm, [[0, 0], [0, 0]]).any()
    assert not jac(np.std, [2, 2, 2]).any()
    assert grad(lambda x: np.hypot(x, np.zeros(2)), [0, 3]) == [0, 1]


def test_ties_of_the_infinity_norm_share_evenly() -> None:
    J = jac(lambda x: np.linalg.norm(x, np.inf), [-2, 2, 1])
    assert J.tolist() == [-0.5, 0.5, 0]


def test_sort_follows_the_stable_order() -> None:
    assert jac(np.sort, [2, 1, 2, 1]).tolist() == [
        [0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0],
    ]  # fmt: skip


def test_powers_of_zero() -> None:
    assert grad(lambda x: x**2, [0]) == [0]
    assert grad(lambda x: x**1, [0]) == [1]
    assert grad(lambda x: x**0, [0]) == [0]
    assert grad(lambda x: x**2.0, [-3]) == [-6]
    assert grad(lambda p: 0.0**p, [2, 0.5]) == [0, 0]
    assert grad(lambda p: np.power(0.0, p), [0]) == [0]
    assert np.isinf(grad(lambda x: x**0.5, [0])).all()


@pytest.mark.parametrize("p", [2, 3, 2.0, 3.0])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_slopes_of_squares_and_cubes_are_those_of_powers(p: Any, dtype: type) -> None:
    x = np.array([0.0, -0.0, 1.5, -3.25, 1e30, -np.inf, np.nan]).astype(dtype)
    with np.errstate(all="ignore"):
        J = chainad.jacobian(lambda x: x**p)(x)
        wanted = p * x ** (p - 1)
    np.testing.assert_array_equal(J.diagonal(), wanted)


def test_products_with_zeros() -> None:
    assert jac(np.prod, [0, 2, 3]).tolist() == [6, 0, 0]
    assert jac(np.prod, [0, 0, 3]).tolist() == [0, 0, 0]
    hessian = chainad.jacobian(chainad.jacobian(np.prod))(np.array([0.0, 2.0, 0.0, 5.0]))
    expected = np.zeros((4, 4))
    expected[0, 2] = expected[2, 0] = 10
    np.testing.assert_array_equal(hessian, expected)


def test_a_product_that_underflows_is_differentiated_without_division() -> None:
    J = jac(np.prod, [1e-200, 1e-200, 1e200])
    np.testing.assert_allclose(J, [1, 1, 0], rtol=1e-12)


def test_an_operand_that_occurs_twice_counts_twice() -> None:
    x = [0.5, -2.0]
    assert grad(lambda x: x * x, x) == [1, -4]
    assert grad(lambda x: x + x, x) == [2, 2]
    assert grad(lambda x: x - x, x) == [0, 0]
    np.testing.assert_allclose(grad(lambda x: x / x, x), [0, 0], atol=1e-15)
    assert jac(lambda x: x @ x, x).tolist() == [1, -4]
    assert jac(lambda x: np.concatenate([x, x]), x).sum(axis=0).tolist() == [2, 2]
    np.testing.assert_array_equal(
        jac(np.outer, x, x, argnums=(0, 1))[0] + jac(np.outer, x, x, argnums=(0, 1))[1],
        jac(lambda x: np.outer(x, x), x),
    )


def test_an_intersection_moves_with_the_entries_that_are_in_both() -> None:
    # Differences cannot tell: an entry of one operand that moves alone is in both no more.
    J = jac(lambda x: np.intersect1d(x, x[1:]), [0.7, 0.4, 0.1])
    assert J.tolist() == [[0, 0, 1], [0, 1, 0]]


def test_arcsinh_is_right_for_large_negative_numbers() -> None:
    np.testing.assert_allclose(grad(np.arcsinh, [-1e8, 0, 1e8]), [1e-8, 1, 1e-8], rtol=1e-12)


def test_entropies_follow_their_limits_at_zero() -> None:
    assert jac(lambda x: sp.xlogy(x, 3.0), [0.0]).item() == np.log(3)
    assert jac(lambda x: sp.xlogy(x, x), [0.0]).item() == -np.inf
    assert jac(lambda y: sp.xlogy(0.0, y), [0.0]).item() == 0
    assert jac(lambda x: sp.xlog1py(x, 3.0), [0.0]).item() == np.log1p(3)
    assert jac(sp.entr, [0.0]).item() == np.inf


def test_slopes_do_not_cancel_far_out() -> None:
    x = 1e6
    np.testing.assert_allclose(jac(sp.erfcx, x), -1 / (np.sqrt(np.pi) * x**2), rtol=1e-10)
    np.testing.assert_allclose(jac(sp.dawsn, -x), -1 / (2 * x**2), rtol=1e-10)
    np.testing.assert_allclose(jac(sp.log_ndtr, -1e3), 1e3, rtol=1e-5)


def test_nan_stays_nan() -> None:
    for f in (np.sin, np.max, lambda x: np.maximum(x, 0.0), np.median, np.prod):
        assert np.isnan(jac(f, [np.nan, 1.0])).any(), f


def test_the_median_of_nan_is_nan() -> None:
    value, _ = chainad.value_and_jacobian(np.median)(np.array([1.0, np.nan, 3.0]))
    assert np.isnan(value)


# ---------------------------------------------------------------- dtypes, refusals

FLOAT32 = [f for f in ROWS if f not in {
    np.float_power, astype, np.astype, sp.hyp0f1, polygamma,
    sl.logm,  # SciPy warns of its own accuracy here
}]  # fmt: skip


@pytest.mark.parametrize("function", FLOAT32, ids=name_of)
def test_float32_stays_float32(function: Function) -> None:
    example = examples_of(function)[0]
    f = as_function(function, example)
    arrays = [x.astype(np.float32) for x in arrays_of(example)]
    plain = f(*arrays)
    value, J = chainad.value_and_jacobian(f, argnums=tuple(range(len(arrays))))(*arrays)
    is_tuple = isinstance(plain, tuple)
    for y, want, row in zip(
        *((value, plain, J) if is_tuple else ((value,), (plain,), (J,))), strict=True
    ):
        assert y.dtype == np.asarray(want).dtype
        kind = np.asarray(want).dtype.kind  # a rank is an integer, its Jacobian is not
        wanted = np.asarray(want).dtype if kind == "f" else np.float32
        assert all(block.dtype == wanted for block in row)
    if not is_tuple:
        wide = arrays_of(example)
        expected = chainad.jacobian(f, argnums=tuple(range(len(arrays))))(*wide)
        for block, want in zip(J, expected, strict=True):
            np.testing.assert_allclose(block, want, rtol=2e-3, atol=2e-5)


# Where values of these dtypes are of another than SciPy's or NumPy's, which depends on versions.
OTHER_DTYPES: set[tuple[Function, Any]] = {
    (sp.agm, np.float16), (sp.radian, np.float16), (np.poly, np.float16), (sl.expm, np.float16),
    (ss.comb, np.float16), (ss.comb, np.float32), (np.polyder, np.float16),
    (np.polyder, np.float32), (sl.logm, np.float32), (sl.logm, np.longdouble),
}  # fmt: skip


@pytest.mark.parametrize("function", ROWS, ids=name_of)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.longdouble])
@pytest.mark.filterwarnings("ignore")
def test_values_and_jacobians_are_of_the_dtype_of_the_plain_result(
    function: Function, dtype: Any
) -> None:
    if (function, dtype) in OTHER_DTYPES:
        pytest.skip("of another dtype")
    examples = examples_of(function)
    for example in examples if dtype is np.float32 else examples[:2]:
        f = as_function(function, example)
        arrays = [x.astype(dtype) for x in arrays_of(example)]
        argnums = tuple(range(len(arrays)))
        if not arrays:
            continue
        try:
            plain = f(*arrays)
        except Exception:  # it takes no such numbers
            continue
        try:
            value, J = chainad.value_and_jacobian(f, argnums=argnums)(*arrays)
        except TypeError:
            if dtype is np.float32:
                raise
            continue  # SciPy converts what LAPACK does not take, but not in derivatives
        is_tuple = isinstance(plain, tuple)
        rows = (value, plain, J) if is_tuple else ((value,), (plain,), (J,))
        for y, want, row in zip(*rows, strict=True):
            wanted = np.asarray(want).dtype
            assert y.dtype == wanted
            assert {block.dtype for block in row} <= {
                wanted if wanted.kind == "f" else np.dtype(dtype)
            }


UNKNOWN_OPERANDS = [
    (sp.jv, (1.5, 0.5)), (sp.kn, (2.0, 0.5)), (sp.expn, (2.0, 0.5)), (sp.gammainc, (1.5, 0.5)),
    (sp.betainc, (1.5, 0.5, 0.5)), (sp.hyp2f1, (0.5, 1.5, 2.0, 0.3)), (sp.stdtr, (2.5, 0.5)),
    (sp.eval_legendre, (2.5, 0.5)),
]  # fmt: skip


@pytest.mark.parametrize(("function", "args"), UNKNOWN_OPERANDS, ids=lambda x: str(x)[:20])
def test_operands_without_a_closed_form_are_refused(function: Function, args: Any) -> None:
    with pytest.raises(chainad.TraceError, match=r"no closed form.*stop_gradient"):
        chainad.jacobian(function)(*args)


OPTIONS: list[tuple[Function, str]] = [
    (lambda x: np.pad(x, 1, mode="empty"), "empty"),
    (lambda x: np.add(x, 1.0, dtype=np.float32), "dtype="),
    (lambda x: np.einsum("i,i", x, x, dtype=np.float32), "dtype="),
    (lambda x: np.clip(x, 0, 1, dtype=np.float32), "dtype="),
    (lambda x: np.ravel(np.outer(x, x).T, order="K"), "memory"),
    (lambda x: np.reshape(np.outer(x, x).T, -1, order="A"), "memory"),
    (lambda x: np.nan_to_num(x, copy=False), "copy="),
    (lambda x: np.full_like(x, x[0], dtype=int), "cuts the derivative"),
    (lambda x: np.where(x, 1, 2), "cuts the derivative"),
    (lambda x: np.matmul(x, x, dtype=np.float32), "dtype"),
]  # fmt: skip


@pytest.mark.parametrize(("f", "message"), OPTIONS)
def test_options_that_a_rule_does_not_know_are_refused(f: Function, message: str) -> None:
    with pytest.raises(chainad.TraceError, match=rf"test_rules\.py:\d+: .*{message}"):
        chainad.jacobian(f)(np.array([0.1, 0.5, 0.9]))


def test_what_a_ufunc_does_not_compute_is_nan_and_has_no_derivative() -> None:
    where, x = np.array([True, False, True]), np.array([0.1, 0.5, 0.9])
    value, J = chainad.value_and_jacobian(lambda x: np.sin(x, where=where))(x)
    np.testing.assert_array_equal(value, np.where(where, np.sin(x), np.nan))
    np.testing.assert_array_equal(J, np.diag(np.where(where, np.cos(x), 0.0)))


def test_names_are_those_that_users_write() -> None:
    names = [np.tanh, sp.erf, np.concatenate, np.linalg.norm, getitem, astype, identity]
    assert [name_of(f) for f in names] == [
        "np.tanh", "scipy.special.erf", "np.concatenate", "np.linalg.norm", "x[...]", "x.astype",
        "identity",
    ]  # fmt: skip


@pytest.mark.parametrize("n", [3, 9000])
def test_columns_of_any_length_are_stacked(n: int) -> None:
    """`np.unravel_index` of NumPy 2.4 is wrong for long columns; nothing here may rest on it."""
    x = np.arange(float(n))
    J = chainad.jacobian(lambda x: np.stack([2 * x, 3 * x], axis=1), output="sparse")(x)
    np.testing.assert_array_equal(J @ x, np.stack([2 * x, 3 * x], axis=1).ravel())
    J = chainad.jacobian(lambda x: np.sin(x)[np.arange(n)[:, None]], output="sparse")(x)
    np.testing.assert_array_equal(J @ x, np.cos(x) * x)
