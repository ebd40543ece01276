"""JAX functions from containers to containers as functions of flat lists of arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import tree_util

from chainad.api.function_of import parameter_names
from chainad.errors import InputError
from chainad.frontends.jax.jaxprs import is_mapped
from chainad.jax.jax_options import JaxOptions


@dataclass
class FlatFunction:
    """A function of the leaves of the arguments that are differentiated by, as lists of leaves.

    What its results are nested as is known after a call.
    """

    fun: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: JaxOptions

    def __post_init__(self) -> None:
        self.positions = self.options.positions(len(self.args))
        leaves, self.inputs = tree_util.tree_flatten(tuple(self.args[k] for k in self.positions))
        for leaf in leaves:
            _check_argument(leaf)
        self.leaves = [jnp.asarray(leaf) if not _is_spec(leaf) else leaf for leaf in leaves]
        self.outputs: Any = None
        self.aux: Any = None

    def __call__(self, *leaves: Any) -> list[Any]:
        args = list(self.args)
        chosen = tree_util.tree_unflatten(self.inputs, leaves)
        for k, value in zip(self.positions, chosen, strict=True):
            args[k] = value
        result, aux = self.fun(*args, **self.kwargs), None
        if self.options.has_aux:
            if not isinstance(result, (tuple, list)) or len(result) != 2:
                raise InputError(
                    "expected function with aux output to return a two-element tuple, but got type"
                    f" {type(result)}; return (result, aux), or leave has_aux=True out"
                )
            result, aux = result
        flat, self.outputs = tree_util.tree_flatten(result)
        extra, self.aux = tree_util.tree_flatten(aux)
        self.n_outputs = len(flat)
        # What is not traced is passed on as it is, of whatever type.
        self.extra = [None if isinstance(x, jax.core.Tracer) else x for x in extra]
        return [*flat, *(x for x in extra if isinstance(x, jax.core.Tracer))]

    def nested_aux(self, traced: Sequence[Any]) -> Any:
        """Return what a function returns besides its result; `traced` is what of it was traced."""
        given = iter(traced)
        return tree_util.tree_unflatten(
            self.aux, [next(given) if x is None else x for x in self.extra]
        )

    @property
    def is_mapped(self) -> bool:
        """Whether this is under `vmap`: one point of many."""
        return any(map(is_mapped, self.leaves))

    @property
    def argument_names(self) -> list[str]:
        """What the function calls the arguments that it is differentiated by."""
        known = dict(enumerate(parameter_names(self.fun)))
        return [known.get(k, f"x{k}") for k in self.positions]

    @property
    def leaf_names(self) -> list[str]:
        """What reports call the leaves of these arguments: `w['bias']`."""
        return [
            name + tree_util.keystr(path)
            for name, k in zip(self.argument_names, self.positions, strict=True)
            for path, _ in tree_util.tree_flatten_with_path(self.args[k])[0]
        ]

    def nested(self, rows: Sequence[Sequence[Any]]) -> Any:
        """Return blocks, by result and argument, nested as `jax.jacfwd` returns them."""
        is_single = isinstance(self.options.argnums, int)
        found = []
        for row in rows:
            blocks = tree_util.tree_unflatten(self.inputs, row)
            found.append(blocks[0] if is_single else blocks)
        return tree_util.tree_unflatten(self.outputs, found)


def _check_argument(leaf: Any) -> None:
    try:
        dtype = jax.typeof(leaf).dtype if not _is_spec(leaf) else leaf.dtype
    except TypeError as error:
        raise InputError(
            f"Argument {leaf!r} of type {type(leaf)} is not a valid JAX type; differentiate by"
            " others with argnums="
        ) from error
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(
            "jacobian requires real-valued inputs (input dtype that is a sub-dtype of np.floating),"
            f" but got {dtype.name}. {_instead(dtype, 'inputs')}"
        )


def check_result(result: Any) -> None:
    """Refuse a result that is not real and floating."""
    if not jnp.issubdtype(result.dtype, jnp.floating):
        raise InputError(
            "jacobian requires real-valued outputs (output dtype that is a sub-dtype of"
            f" np.floating), but got {result.dtype.name}. {_instead(result.dtype, 'outputs')}"
        )


def _instead(dtype: Any, ends: str) -> str:
    """Return what to do about inputs, or outputs, of a dtype."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return (
            "For holomorphic differentiation, use jax.jacfwd(fun, holomorphic=True). For"
            f" differentiation of non-holomorphic functions involving complex {ends}, use jax.jvp"
            " directly."
        )
    if ends == "outputs":
        return "Return it as auxiliary data with has_aux=True."
    return "Convert it with astype(float), or differentiate by other arguments with argnums=."


def _is_spec(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct)
