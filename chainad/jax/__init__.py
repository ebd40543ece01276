"""Jacobians of JAX functions at the lowest cost: `chainad.jax.jacobian` in the place of `jacfwd`.

It chooses forward mode, reverse mode or any hybrid by itself, says by `plan` which, and what it
costs, and composes with `jit`, `vmap`, `grad` and itself. Needs JAX: `pip install "chainad[jax]"`.

Examples
--------
>>> import jax
>>> import jax.numpy as jnp
>>> import chainad.jax
>>> f = lambda x: jnp.sin(x) * x[0]
>>> J = jax.jit(chainad.jax.jacobian(f))(jnp.ones(3))
>>> J.shape, bool(jnp.allclose(J, jax.jacfwd(f)(jnp.ones(3))))
((3, 3), True)
"""

from chainad.errors import MissingExtraError

try:
    import jax  # noqa: F401
except ImportError as error:
    raise MissingExtraError('chainad.jax needs JAX: pip install "chainad[jax]"') from error

from chainad.jax.jacobian_pytree import FactorPytree, JacobianPytree
from chainad.jax.jacobians import hessian, jacobian, plan, value_and_jacobian
from chainad.jax.xla_calibration import calibrate

__all__ = [
    "FactorPytree",
    "JacobianPytree",
    "calibrate",
    "hessian",
    "jacobian",
    "plan",
    "value_and_jacobian",
]
