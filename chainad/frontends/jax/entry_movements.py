"""Equations that only move entries, evaluated on numbers of entries: where these come from."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainad.frontends.jax.complex_regions import is_real
from chainad.frontends.jax.function_operators import transposed
from chainad.frontends.jax.jaxprs import Equation


def entries_from(eqn: Equation, values: list[Any], k: int, numbers: Any) -> Any:
    """Return the result of an equation that only moves the entries of operand k."""
    params = dict(eqn.params)
    if eqn.primitive.name == "gather":
        params["fill_value"] = 0
    with jax.ensure_compile_time_eval():
        given = _without_others(eqn, values, np.int32)
        given[k] = jnp.asarray(numbers, np.int32)
        return eqn.primitive.bind(*given, **params)


def entries_to(eqn: Equation, values: list[Any], k: int, numbers: Any) -> Any:
    """Return what is pulled back to operand k of an equation that only moves and adds entries."""
    dtype = np.float32
    with jax.ensure_compile_time_eval():
        given = _without_others(eqn, values, dtype)

        def push(tangent: Any) -> Any:
            return eqn.primitive.bind(*given[:k], tangent, *given[k + 1 :], **eqn.params)

        operand = jax.ShapeDtypeStruct(eqn.invars[k].aval.shape, dtype)
        return transposed(push, operand)(jnp.asarray(numbers, dtype))


def _without_others(eqn: Equation, values: list[Any], dtype: Any) -> list[Any]:
    """Return the operands of an equation: indices as they are, zeros for real ones."""
    return [
        jnp.zeros(var.aval.shape, dtype) if is_real(var.aval) else jnp.asarray(value)
        for value, var in zip(values, eqn.invars, strict=True)
    ]
