"""W4: bundle adjustment, reprojection errors of points seen by cameras; the Jacobian is sparse.

Source of the objective: ADBench, as in `gmm`; the data are synthetic, of the published sizes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.goals import GAIN, at_least
from benchmarks.peers import csr_of, jitted
from benchmarks.workload import Array, Function, Library, Maker, OwnPeer, Workload, spelled

SIZES = (49, 7776, 31843)  # cameras, points, observations
QUICK = (3, 20, 60)
AWAY = np.array([0.0, 0.0, 6.0])  # every point is well in front of its camera


def project(c: Any, p: Any, np: Any) -> Any:
    """Return where cameras c, (..., 11), see points p, (..., 3).

    A camera is a rotation vector, a centre, a focal length, a principal point and two numbers of
    radial distortion.
    """
    r, centre, focal = c[..., :3], c[..., 3:6], c[..., 6:7]
    theta = np.sqrt(np.sum(r * r, axis=-1))[..., None]
    axis = r / theta
    cos, sin = np.cos(theta), np.sin(theta)
    d = p - centre + AWAY
    along = np.sum(axis * d, axis=-1)[..., None]
    turned = d * cos + np.cross(axis, d) * sin + axis * along * (1 - cos)
    flat = turned[..., :2] / turned[..., 2:]
    size = np.sum(flat * flat, axis=-1)[..., None]
    distorted = flat * (1 + c[..., 9:10] * size + c[..., 10:] * size * size)
    return focal * distorted + c[..., 7:9]


def residuals(
    n_cameras: int, n_points: int, camera: Any, point: Any, seen: Any, np: Any
) -> Function:
    """Return the residuals of one flat vector: cameras, points and a weight per observation."""
    ends = 11 * n_cameras, 11 * n_cameras + 3 * n_points

    def f(x: Any) -> Any:
        cameras, points = x[: ends[0]].reshape(-1, 11), x[ends[0] : ends[1]].reshape(-1, 3)
        w = x[ends[1] :]
        error = w[:, None] * (project(cameras[camera], points[point], np) - seen)
        return np.concatenate([error.ravel(), 1 - w * w])

    return f


def vmapped(camera: Array, point: Array, seen: Array, n_cameras: int, n_points: int) -> OwnPeer:
    """Return the peer that a user of JAX writes by hand: one small Jacobian per observation.

    jit(vmap(jacrev)) of one observation's residual, as a fresh CSR whose pattern is known.
    """
    places, shape = _places(camera, point, n_cameras, n_points)
    compress = csr_of(places, shape)
    ends = 11 * n_cameras, 11 * n_cameras + 3 * n_points

    def make(library: Library, workload: Workload) -> Function:
        jax, jnp = library.module, library.np
        at, of, where = (library.array(each) for each in (camera, point, seen))

        def one(c: Any, p: Any, w: Any, target: Any) -> Any:
            return w * (project(c, p, jnp) - target)

        blocks = jax.vmap(jax.jacrev(one, argnums=(0, 1, 2)))

        def numbers(x: Any) -> Any:
            cameras, points = x[: ends[0]].reshape(-1, 11), x[ends[0] : ends[1]].reshape(-1, 3)
            w = x[ends[1] :]
            found = blocks(cameras[at], points[of], w, where)
            return jnp.concatenate([*(block.ravel() for block in found), -2 * w])

        return jitted(library, numbers, compress)

    return make


def _places(camera: Array, point: Array, n_cameras: int, n_points: int) -> Any:
    """Return (row, column) of all numbers, camera blocks first, and the shape."""
    n = camera.size
    ends = 11 * n_cameras, 11 * n_cameras + 3 * n_points
    rows = 2 * np.arange(n)[:, None, None] + np.arange(2)[:, None]  # (n, 2, 1)
    own = np.arange(n)
    blocks = [
        (rows, 11 * camera[:, None, None] + np.arange(11)),
        (rows, ends[0] + 3 * point[:, None, None] + np.arange(3)),
        (rows, ends[1] + own[:, None, None]),
        (2 * n + own, ends[1] + own),
    ]
    broadcast = [np.broadcast_arrays(*block) for block in blocks]
    places = [np.concatenate([pair[k].ravel() for pair in broadcast]) for k in range(2)]
    return np.stack(places, axis=1), (3 * n, ends[1] + n)


def by_hand(camera: Array, point: Array, seen: Array, n_cameras: int, n_points: int) -> Function:
    """Return the Jacobian derived by hand: rotations camera by camera, then rows of 15 numbers.

    Source of a rotation's derivative by its vector: Gallego & Yezzi 2015.
    """
    n = camera.size
    ends = 11 * n_cameras, 11 * n_cameras + 3 * n_points
    place = np.concatenate([11 * camera, ends[0] + 3 * point, ends[1] + np.arange(n)])
    columns = place.reshape(3, n).T[:, [0] * 11 + [1] * 3 + [2]]
    columns += np.array([*range(11), *range(3), 0])
    rows = np.arange(2 * n).repeat(15)
    places = np.stack([rows, columns.repeat(2, axis=0).ravel()], 1)
    last = np.stack([2 * n + np.arange(n), ends[1] + np.arange(n)], 1)
    compress = csr_of(np.concatenate([places, last]), (3 * n, ends[1] + n))
    one = np.eye(3)

    def crossed(v: Array) -> Array:
        """Return the matrices that multiply by vectors as `np.cross` does."""
        return np.cross(v[:, None, :], -one)

    def jacobian(x: Array) -> Any:
        c, p, w = x[: ends[0]].reshape(-1, 11), x[ends[0] : ends[1]].reshape(-1, 3), x[ends[1] :]
        r = c[:, :3]
        squared = np.sum(r * r, axis=1)[:, None, None]
        theta = np.sqrt(squared)
        K, outer = crossed(r), r[:, :, None] * r[:, None, :]
        R = np.cos(theta) * one + np.sin(theta) / theta * K + (1 - np.cos(theta)) / squared * outer
        M = (outer + (R.transpose(0, 2, 1) - one) @ K) / squared
        d = p[point] - c[camera, 3:6] + AWAY
        X = (R[camera] @ d[:, :, None])[:, :, 0]
        flat, (focal, k1, k2) = X[:, :2] / X[:, 2:], c[camera, 6:11][:, [0, 3, 4]].T[:, :, None]
        size = np.sum(flat * flat, axis=1)[:, None]
        scale = 1 + k1 * size + k2 * size * size
        weight = w[:, None]
        by_flat = (2 * weight * focal * (k1 + 2 * k2 * size))[:, :, None] * (
            flat[:, :, None] * flat[:, None, :]
        )
        by_flat[:, 0, 0] += (weight * focal * scale)[:, 0]
        by_flat[:, 1, 1] += (weight * focal * scale)[:, 0]
        by_flat /= X[:, 2:, None]
        by_X = np.empty((n, 2, 3))
        by_X[:, :, :2] = by_flat
        by_X[:, :, 2] = -(by_flat @ flat[:, :, None])[:, :, 0]
        by_d = by_X @ R[camera]
        data = np.empty(33 * n - 2 * n)
        block = data[: 30 * n].reshape(n, 2, 15)
        block[:, :, :3] = np.cross(d[:, None, :], by_d) @ M[camera]
        np.negative(by_d, out=block[:, :, 3:6])
        block[:, :, 6] = weight * (flat * scale)
        block[:, :, 7:9] = weight[:, :, None] * one[:2, :2]
        block[:, :, 9] = weight * focal * flat * size
        block[:, :, 10] = block[:, :, 9] * size
        block[:, :, 11:14] = by_d
        block[:, :, 14] = focal * flat * scale + c[camera, 7:9] - seen
        data[30 * n :] = -2 * w
        return compress(data)

    return jacobian


def make(is_quick: bool) -> Workload:
    """Return the workload on random cameras and points."""
    n_cameras, n_points, n = QUICK if is_quick else SIZES
    rng = np.random.default_rng(0)
    camera, point = rng.integers(0, n_cameras, n), rng.integers(0, n_points, n)
    seen = rng.normal(size=(n, 2))

    function, spell = spelled(partial(residuals, n_cameras, n_points), camera, point, seen)
    peer = "jax vmap(jacrev) by hand"
    return Workload(
        name="W4-bundle",
        title=f"{n_cameras} cameras, {n_points} points, {n} observations",
        function=function,
        point=rng.uniform(0.2, 1.0, size=11 * n_cameras + 3 * n_points + n),
        spell=spell,
        rivals=(peer,),
        others=("jax asdex",),
        own={peer: vmapped(camera, point, seen, n_cameras, n_points)},
        limit=partial(by_hand, camera, point, seen, n_cameras, n_points),
        numba=True,
        output="sparse",
        goals=(at_least(GAIN, 1.6),),
    )


WORKLOADS: dict[str, Maker] = {"W4-bundle": make}
