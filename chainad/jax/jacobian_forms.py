"""The forms in which Jacobians of JAX functions are returned: dense, structured, BCOO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from chainad.ir.positions import coordinates
from chainad.ir.shapes import Shape
from chainad.jax.jacobian_pytree import FactorPytree, JacobianPytree
from chainad.structure.results import ResultForm, SparseForm, StructuredForm

JaxOutput: TypeAlias = Literal["dense", "structured", "bcoo"]

# From the arrays that a program returns for a block, and the type of the result, to the block.
Assemble: TypeAlias = Callable[[Sequence[Any], Any], Any]


def of_type(value: Any, wanted: Any) -> Any:
    """Return an array that has the shape, the dtype, and the weak type of another one."""
    found, weak = jnp.asarray(value, wanted.dtype), jnp.asarray(0.0)
    is_weak = getattr(wanted, "weak_type", False) and weak.dtype == wanted.dtype
    if is_weak and not jax.typeof(found).weak_type:
        return lax.full_like(weak, 0, shape=found.shape).at[...].set(found)
    return found


@dataclass(frozen=True)
class JacobianForm:
    """A form of Jacobians.

    Attributes
    ----------
    lowered : str
        The output that programs are lowered for.
    assembler : callable
        From the form that a program gives a block (None: it is zero), the shapes of result and
        argument, to what assembles the block.
    """

    lowered: str
    assembler: Callable[[ResultForm | None, Shape, Shape], Assemble]


def _dense(form: ResultForm | None, rows: Shape, cols: Shape) -> Assemble:
    def assemble(arrays: Sequence[Any], result: Any) -> Any:
        return of_type(arrays[0] if arrays else jnp.zeros((*rows, *cols), result.dtype), result)

    return assemble


def _structured(form: ResultForm | None, rows: Shape, cols: Shape) -> Assemble:
    terms = form.terms if isinstance(form, StructuredForm) else ()

    def assemble(arrays: Sequence[Any], result: Any) -> JacobianPytree:
        given, dtype = iter(arrays), result.dtype
        made = tuple(
            tuple(
                FactorPytree(
                    s, None if (a := next(given)) is None else jnp.asarray(a, dtype), dtype
                )
                for s in term
            )
            for term in terms
        )
        return JacobianPytree((*rows, *cols), len(rows), made, dtype)

    return assemble


def _bcoo(form: ResultForm | None, rows: Shape, cols: Shape) -> Assemble:
    from jax.experimental.sparse import BCOO

    entries = form.layout.entries if isinstance(form, SparseForm) else (np.zeros(0, int),) * 2
    along = [
        place for flat, shape in zip(entries, (rows, cols), strict=True)
        for place in coordinates(flat, shape)
    ]  # fmt: skip
    indices = np.zeros((entries[0].size, len(along)), np.int32)
    for axis, places in enumerate(along):
        indices[:, axis] = places
    make = partial(BCOO, shape=(*rows, *cols), indices_sorted=True, unique_indices=True)

    def assemble(arrays: Sequence[Any], result: Any) -> BCOO:
        data = arrays[0] if arrays else jnp.zeros(0)
        return make((jnp.asarray(data, result.dtype), indices))

    return assemble


FORMS: dict[str, JacobianForm] = {
    "dense": JacobianForm("dense", _dense),
    "structured": JacobianForm("structured", _structured),
    "bcoo": JacobianForm("sparse", _bcoo),
}
