"""Jacobians on four devices beside those of JAX: run in a process that has so many."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import chainad.jax as cj

jax.config.update("jax_enable_x64", True)
x = jnp.arange(1.0, 6.0) / 7
rows = jnp.arange(8.0)[:, None] * x  # (8, 5)
line = jnp.arange(8.0) / 7
A = np.random.default_rng(0).normal(size=(4, 5))
planned = partial(cj.jacobian, mode="hybrid")


def assert_same(found, wanted):
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert (one.shape, one.dtype) == (two.shape, two.dtype)
        assert one.sharding.is_equivalent_to(two.sharding, one.ndim)
        np.testing.assert_allclose(one, two, 1e-9, 1e-9)


def layers(x):
    return jnp.tanh(A @ jnp.sin(x)) * x[0]


mesh = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Auto,))
on_devices = partial(jax.shard_map, mesh=mesh, in_specs=P("i"), out_specs=P("i"))

# Inputs that are sharded, and constraints inside.
spread = jax.device_put(line, NamedSharding(mesh, P("i")))
for f in (
    lambda x: jnp.tanh(x) * x.sum(),
    lambda x: jnp.cumsum(lax.with_sharding_constraint(x * x, NamedSharding(mesh, P("i")))),
    lambda x: on_devices(lambda b: jnp.sin(b) * 2)(x * x),
):
    np.testing.assert_allclose(jax.jit(planned(f))(spread), jax.jit(jax.jacfwd(f))(spread), 1e-9)
    np.testing.assert_allclose(planned(f)(spread), jax.jacfwd(f)(spread), 1e-9)
laid_out = jax.jit(planned(jnp.sin), out_shardings=NamedSharding(mesh, P("i", None)))(spread)
np.testing.assert_allclose(laid_out, jax.jacfwd(jnp.sin)(spread), 1e-9)
batch = jax.device_put(rows, NamedSharding(mesh, P("i", None)))
assert_same(jax.jit(jax.vmap(planned(layers)))(batch), jax.jit(jax.vmap(jax.jacfwd(layers)))(batch))

# On every device by itself, and by collectives.
for f in (
    layers,
    lambda a: jnp.ones(3),
    lambda a: a,
    lambda a: jnp.cumsum(a) * 2,
    lambda a: (a[1:], 3 * a),
    lambda a: jnp.concatenate([a, jnp.ones(2)]),
    lambda a: lax.psum(jnp.sin(a), "i") * a,
):

    def of_shards(J, f=f):
        return on_devices(lambda b: jax.tree.map(lambda block: block[None], J(f)(b[0])))(rows)

    assert_same(of_shards(planned), of_shards(jax.jacfwd))
found = on_devices(jax.vmap(planned(layers)))(rows)
assert_same(found, on_devices(jax.vmap(jax.jacfwd(layers)))(rows))

# Arrays whose types say how they lie.
mesh = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Explicit,))
spread = jax.device_put(line, NamedSharding(mesh, P("i")))
for J in (planned, cj.jacobian):
    found = jax.jit(J(lambda x: jnp.tanh(x) * x.sum()))(spread)
    assert_same(found, jax.jit(jax.jacfwd(lambda x: jnp.tanh(x) * x.sum()))(spread))
print("all are those of JAX")
