"""Functions of JAX, and a point of each: what `chainad.jax` is tried on."""

import jax
import jax.experimental.ode
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.workloads.blocks import softmax_loss, transformer
from benchmarks.workloads.points import TASKS

jax.config.update("jax_enable_x64", True)

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape)


x4, x6, X = normal(4) + 2, normal(6), normal(5, 3)
W, A = normal(7, 4), normal(4, 4) + 4 * np.eye(4)


@jax.custom_jvp
def custom_jvp(x):
    return jnp.sin(x)


custom_jvp.defjvp(lambda p, t: (jnp.sin(p[0]), 2.0 * t[0] * jnp.cos(p[0])))


@jax.custom_vjp
def custom_vjp(x):
    return jnp.sin(x)


custom_vjp.defvjp(lambda x: (jnp.sin(x), x), lambda r, g: (3.0 * g * jnp.cos(r),))
L5 = np.tril(normal(5, 5)) + 4 * np.eye(5)
KERNEL = normal(2, 1, 2, 1)
idx = np.array([0, 3, 3, 1])
CASES = {
    "mlp": (lambda x: jnp.tanh(W @ jnp.tanh(A @ x)), x4),
    "softmax": (lambda x: jax.nn.softmax(x), x6),
    "logsumexp": (lambda x: jax.nn.logsumexp(X * x, axis=0), normal(3)),
    "gelu": (lambda x: jax.nn.gelu(x), X),
    "silu": (lambda x: jax.nn.silu(x), X),
    "relu": (lambda x: jax.nn.relu(x), x6),
    "layernorm": (
        lambda X: (X - X.mean(-1, keepdims=True)) / jnp.sqrt(X.var(-1, keepdims=True) + 1e-5),
        X,
    ),
    "gather": (lambda x: x[idx] * x[2:].sum(), x4),
    "slice": (lambda x: x[1:] * x[:-1] + x[::-1][1:], x4),
    "roll": (lambda x: jnp.roll(x, 2) * x, x6),
    "at_set": (lambda x: jnp.zeros(8).at[2:6].set(x).at[0].add(x[1] ** 2), x4),
    "concat": (lambda x: jnp.concatenate([x, x**2, jnp.ones(2)]), x4),
    "stack": (lambda x: jnp.stack([x[0] * x[1], jnp.sin(x[2]), x[3]]), x4),
    "where": (lambda x: jnp.where(x > 2, x * x, 0.0), x4),
    "max": (lambda x: jnp.max(x * jnp.arange(4.0)), x4),
    "sort": (lambda x: jnp.sort(x) * 2, x4),
    "cumsum": (lambda x: jnp.cumsum(x**2), x4),
    "cumsum_rows": (lambda X: jnp.cumsum(X**2, axis=1), X),
    "cumsum_columns": (lambda X: jnp.tanh(jnp.cumsum(X**2, axis=0)) * X, X),
    "triangular": (lambda X: jnp.sin(lax.linalg.triangular_solve(L5, X**2, left_side=True)), X),
    "triangular_right": (lambda X: lax.linalg.triangular_solve(L5[:3, :3], jnp.sin(X)) * X, X),
    "conv_batch": (
        lambda X: lax.conv(jnp.sin(X).T.reshape(3, 1, 5, 1), KERNEL, (1, 1), "SAME") ** 2,
        X,
    ),
    "cumprod": (lambda x: jnp.cumprod(x), x4),
    "solve": (lambda x: jnp.linalg.solve(A * x, x), x4),
    "inv": (lambda x: jnp.linalg.inv(A * x), x4),
    "chol": (lambda x: jnp.linalg.cholesky(A @ A.T + jnp.diag(x**2)), x4),
    "eigh": (lambda x: jnp.linalg.eigh(A @ A.T + jnp.diag(x))[0], x4),
    "det": (lambda x: jnp.linalg.slogdet(A + jnp.diag(x))[1], x4),
    "svd": (lambda x: jnp.linalg.svd(A + jnp.diag(x), compute_uv=False), x4),
    "expm": (lambda x: jax.scipy.linalg.expm(A * x * 0.1), x4),
    "fft": (lambda x: jnp.abs(jnp.fft.rfft(x)) ** 2, x6),
    "conv": (lambda x: jnp.convolve(x, jnp.ones(3), mode="same"), x6),
    "conv2": (lambda x: lax.conv(x.reshape(1, 1, 5, 3), jnp.ones((2, 1, 2, 2)), (1, 1), "SAME"), X),
    "scan": (lambda x: lax.scan(lambda c, _: (jnp.sin(A @ c) * x, c[0]), x, None, length=3), x4),
    "fori": (lambda x: lax.fori_loop(0, 3, lambda i, c: jnp.sin(c) * x, x), x4),
    "while": (lambda x: lax.while_loop(lambda c: c[0] < 50, lambda c: c * 2, x), x4),
    "cond": (lambda x: lax.cond(x[0] > 0, jnp.sin, jnp.cos, x), x4),
    "switch": (lambda x: lax.switch(1, [jnp.sin, jnp.cos], x), x4),
    "map": (lambda x: lax.map(lambda v: jnp.sin(v) * v, X * x), normal(3)),
    "custom_jvp": (lambda x: custom_jvp(x) * x, x4),
    "custom_vjp": (lambda x: custom_vjp(A @ x), x4),
    "remat": (lambda x: jax.checkpoint(lambda x: jnp.sin(A @ x) * 2)(x), x4),
    "jit": (lambda x: jax.jit(lambda x: jnp.sin(A @ x) * x)(x), x4),
    "vmap": (lambda X: jax.vmap(lambda x: jnp.tanh(x) * x.sum())(X), X),
    "einsum": (lambda X: jnp.einsum("ij,kj->ik", X, X), X),
    "attn": (lambda X: jax.nn.softmax(X @ X.T) @ X, X),
    "grad": (jax.grad(lambda x: jnp.sum(jnp.sin(A @ x) ** 2)), x4),
    "norm": (lambda x: x / jnp.linalg.norm(x), x4),
    "var": (lambda x: jnp.var(x), x4),
    "dynslice": (lambda x: lax.dynamic_slice(x, (jnp.argmax(x) // 2,), (2,)), x4),
    "dynupd": (lambda x: lax.dynamic_update_slice(x, x[:1] * 2, (1,)), x4),
    "tracedidx": (lambda x: x[jnp.argmax(x)] * x, x4),
    "at_set_both": (lambda X: X.at[1:3].set(X[:2] ** 2).at[:, 1].set(X[:, 0]), X),
    "at_add_again": (lambda X: X.at[np.array([0, 0, 7]), 1].add(X[:3, 0] ** 2, mode="drop"), X),
    "split": (lambda x: jnp.split(x**2, [1, 3])[1] * x[0], x4),
    "stack_columns": (lambda X: jnp.stack([X[:, 0] ** 2, X[:, 2]], axis=1), X),
    "segsum": (lambda x: jax.ops.segment_sum(x**2, idx, 5), x4),
    "interp": (lambda x: jnp.interp(x, jnp.arange(5.0), jnp.arange(5.0) ** 2), x4),
    "take_along": (lambda X: jnp.take_along_axis(X, jnp.argsort(X, 0), 0) * 2, X),
    "kron": (lambda x: jnp.kron(x, x), x4),
    "outer": (lambda x: jnp.outer(x, jnp.sin(x)), x4),
    "scalar": (lambda x: jnp.sin(x) * x, 1.3),
    "scalar_out": (lambda x: jnp.sum(x * x), x4),
    "const": (lambda x: jnp.ones(3), x4),
    "ident": (lambda x: x, x4),
    "zero_part": (lambda x: (jnp.ones(3), x * 2), x4),
    "pytree": (lambda d: {"u": d["a"] * d["b"].sum(), "v": (d["b"] ** 2,)}, {"a": x4, "b": X}),
    "f32": (lambda x: jnp.tanh(W.astype(np.float32) @ x), x4.astype(np.float32)),
    "hess": (jax.grad(lambda x: jnp.prod(jnp.sin(x))), x4),
    "erf": (lambda x: jax.scipy.special.erf(x) * x, x4),
    "gamma": (lambda x: jax.scipy.special.gammaln(x), x4),
    "pow": (lambda x: x**x, x4),
    "arctan2": (lambda x: jnp.arctan2(x[0], x[1]), x4),
    "clip": (lambda x: jnp.clip(x, 1.9, 2.2), x4),
    "prod": (lambda x: jnp.prod(x), x4),
    "median": (lambda x: jnp.median(x), x4),
    "complex_inside": (lambda x: jnp.real(jnp.exp(1j * x) * jnp.conj(1 + 1j * x)), x4),
    "bessel": (lambda x: jax.scipy.special.i0(x), x4),
    "lstsq": (lambda x: jnp.linalg.lstsq(W, normal(7) * 0 + 1.0)[0] * x, x4),
    "odeint": (
        lambda x: jax.experimental.ode.odeint(lambda y, t, x: -y * x, x, jnp.linspace(0, 1, 4), x),
        x4,
    ),
}
# The example functions of graphax and AlphaGrad.
CASES |= {
    task.name: (task.make(jnp, jax.scipy.special.erf), np.asarray(task.points(1)[0]))
    for task in TASKS
}


def encoder(x):
    """Return the loss of two layers of attention, each with a perceptron behind it."""
    block = transformer(3, 2, *WEIGHTS, jnp)
    return jnp.sum(jnp.tanh(block(block(x))[:4]) ** 2)


def perceptron(parameters):
    hidden = jnp.tanh(parameters["W1"] @ x4 + parameters["b1"])
    scores = parameters["W2"] @ hidden + parameters["b2"]
    return jax.nn.logsumexp(scores) - scores[1]


WEIGHTS = [normal(4, 4) for _ in range(4)] + [normal(4, 8), normal(8, 4)]
CASES |= {
    "transformer": (transformer(3, 2, *WEIGHTS, jnp), normal(12)),
    "encoder": (encoder, normal(12)),
    "perceptron": (
        perceptron,
        {"W1": normal(5, 4), "b1": normal(5), "W2": normal(3, 5), "b2": normal(3)},
    ),
    "softmax_loss": (softmax_loss(normal(6, 4), np.array([0, 2, 1, 1, 0, 2]), jnp), normal(4, 3)),
}
