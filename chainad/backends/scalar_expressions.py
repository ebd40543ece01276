"""How generated code writes scalar functions: one row each, for Python floats and for machine code.

A template takes operands as `{0}`, `{1}`; an operand that it reads twice is kept in a variable.
Python's `math` raises where NumPy gives infinity or nan; then the point is computed by NumPy.
Functions without a template are left to NumPy altogether.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special as sp

from chainad.ir.scalar_graph import PREDICATES, Function, copy_scalar


def _sign(x: float) -> float:
    return 0.0 if x == 0 else x if math.isnan(x) else math.copysign(1.0, x)


def _logaddexp(x: float, y: float) -> float:
    if x == y:
        return x + math.log(2.0)
    return max(x, y) + math.log1p(math.exp(-abs(x - y)))


def _rint(x: float) -> float:
    return math.copysign(float(round(x)), x)


def _as_float(function: Callable[[float], int]) -> Callable[[float], float]:
    return lambda x: math.copysign(float(function(x)), x) if x else x


def _xlogy(x: float, y: float) -> float:
    return 0.0 if x == 0 and not math.isnan(y) else x * math.log(y)


def _expit(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


# What the templates of PYTHON_TEMPLATES name.
PYTHON_HELPERS: dict[str, Any] = {
    **{name: getattr(math, name) for name in dir(math) if not name.startswith("_")},
    "sign": _sign,
    "logaddexp": _logaddexp,
    "rint": _rint,
    "float_floor": lambda x: float(math.floor(x)) if x else x,
    "float_ceil": _as_float(math.ceil),
    "float_trunc": _as_float(math.trunc),
    "xlogy": _xlogy,
    "expit": _expit,
}

OPERATOR_TEMPLATES: dict[Function, str] = {
    np.add: "({0} + {1})",
    np.subtract: "({0} - {1})",
    np.multiply: "({0} * {1})",
    np.divide: "({0} / {1})",
    np.negative: "(-{0})",
    np.where: "({1} if {0} else {2})",
    np.less: "({0} < {1})",
    np.less_equal: "({0} <= {1})",
    np.equal: "({0} == {1})",
    np.not_equal: "({0} != {1})",
    np.logical_and: "({0} and {1})",
    np.logical_or: "({0} or {1})",
    np.logical_not: "(not {0})",
    np.maximum: "({0} if {0} >= {1} or {0} != {0} else {1})",
    np.minimum: "({0} if {0} <= {1} or {0} != {0} else {1})",
    np.fmax: "({0} if {0} >= {1} or {1} != {1} else {1})",
    np.fmin: "({0} if {0} <= {1} or {1} != {1} else {1})",
    np.isnan: "({0} != {0})",
}
_MATH_NAMES = {
    np.sqrt: "sqrt", np.exp: "exp", np.expm1: "expm1", np.log: "log", np.log2: "log2",
    np.log10: "log10", np.log1p: "log1p", np.sin: "sin", np.cos: "cos", np.tan: "tan",
    np.arcsin: "asin", np.arccos: "acos", np.arctan: "atan", np.arctan2: "atan2",
    np.sinh: "sinh", np.cosh: "cosh", np.tanh: "tanh", np.arcsinh: "asinh", np.arccosh: "acosh",
    np.arctanh: "atanh", np.hypot: "hypot", np.copysign: "copysign", np.power: "pow",
    np.isfinite: "isfinite", np.isinf: "isinf", sp.erf: "erf", sp.erfc: "erfc",
}  # fmt: skip
_CALL_TEMPLATES: dict[Function, str] = {
    function: f"{name}({', '.join(f'{{{k}}}' for k in range(function.nin))})"
    for function, name in _MATH_NAMES.items()
}

PYTHON_TEMPLATES: dict[Function, str] = {
    **OPERATOR_TEMPLATES,
    **_CALL_TEMPLATES,
    np.absolute: "abs({0})",
    np.sign: "sign({0})",
    np.floor: "float_floor({0})",
    np.ceil: "float_ceil({0})",
    np.trunc: "float_trunc({0})",
    np.rint: "rint({0})",
    np.fmod: "fmod({0}, {1})",
    np.cbrt: "cbrt({0})",
    np.exp2: "exp2({0})",
    np.logaddexp: "logaddexp({0}, {1})",
    sp.gamma: "gamma({0})",
    sp.gammaln: "(lgamma({0}) if {0} > -inf else -inf if {0} == -inf else {0})",
    sp.expit: "expit({0})",
    sp.xlogy: "xlogy({0}, {1})",
}

# In machine code nothing raises: division and functions give infinity and nan as NumPy does.
NUMBA_TEMPLATES: dict[Function, str] = {
    **OPERATOR_TEMPLATES,
    **_CALL_TEMPLATES,
    np.absolute: "abs({0})",
    np.sign: "(0.0 if {0} == 0.0 else {0} if {0} != {0} else copysign(1.0, {0}))",
    np.hypot: "np.hypot({0}, {1})",
    np.logaddexp: "np.logaddexp({0}, {1})",
    sp.gammaln: "(lgamma({0}) if {0} > -inf else -inf if {0} == -inf else {0})",
    np.floor: "np.floor({0})",
    np.ceil: "np.ceil({0})",
    np.trunc: "np.trunc({0})",
    np.rint: "np.rint({0})",
    sp.expit: "(1.0 / (1.0 + exp(-{0})))",
}

_LOOP_TEMPLATES: dict[Function, str] = {
    **NUMBA_TEMPLATES,
    copy_scalar: "{0}",
    np.greater: "({0} > {1})",
    np.greater_equal: "({0} >= {1})",
}


def loop_template(function: Function) -> str | None:
    """Return the template of an elementwise function in loops, None if it has none.

    Results that are True or False are written as 1.0 and 0.0.
    """
    text = _LOOP_TEMPLATES.get(function)
    return f"(1.0 if {text} else 0.0)" if text is not None and function in PREDICATES else text
