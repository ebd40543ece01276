"""The statements that random programs are made of: templates, one per row, in families.

A row is an expression, or statements that give `{y}` a value (there, blank lines part the rows).
What stands in braces is drawn when a row is used, the same text wherever it occurs in the row:

`{y}` the new name, `{x}` the first input;
`{a}` a real value, `{d}` another one, `{b}` one that broadcasts with `{a}` (or a constant),
`{c}` one of the shape of `{a}`;
`{w}` a real value with axes and elements, `{v}` one with one axis, `{m}` with two, `{q}` square,
`{z}` a complex value;
`{axis}` an axis of `{w}`, `{j}` a position along it, `{i}` one along the first axis of `{w}` (or
`{v}`); `{over}` an axis option for reductions of `{w}`, `{keep}` a keepdims option;
`{ix}` an index of `{a}`, `{slices}` one without arrays, `{op}` an assignment, `{value}` what may be
assigned to `{a}[{ix}]`;
`{n}` and `{k}` small integers, `{n}` from 2, `{s}` the seed of a constant `K({s}, *shape)`.

A row that does not fit what was drawn (NumPy raises, or gives what is not finite) is dropped, so
that rows need no conditions.
"""

from __future__ import annotations

from textwrap import dedent


def _rows(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())


def _blocks(text: str) -> tuple[str, ...]:
    return tuple(block.strip() for block in dedent(text).strip().split("\n\n"))


ELEMENTWISE = _rows("""
    np.sin({a})
    np.cos({a})
    np.tan({a} / 3)
    np.tanh({a})
    np.sinh({a} / 2)
    np.cosh({a} / 2)
    np.arcsin(np.tanh({a}) * 0.9)
    np.arccos(np.tanh({a}) * 0.9)
    np.arctan({a})
    np.arcsinh({a})
    np.arccosh({a} ** 2 + 1.3)
    np.arctanh(np.tanh({a}) * 0.8)
    np.exp(-np.abs({a}))
    np.exp2({a} / 4)
    np.expm1({a} / 3)
    np.log(1.5 + np.square({a}))
    np.log2(1.5 + np.square({a}))
    np.log10(1.5 + np.square({a}))
    np.log1p({a} ** 2)
    np.sqrt(np.abs({a}) + 0.1)
    np.sqrt({a} * {a} + 1e-3)
    np.cbrt({a} + 5)
    np.reciprocal({a} + 3.7)
    np.square({a})
    np.power({a} ** 2 + 0.5, 1.5)
    np.power(2.0, {a})
    np.abs({a})
    np.fabs({a})
    np.sign({a}) * {a}
    np.floor({a}) + {a}
    np.rint({a}) + {a}
    np.trunc({a})
    np.round({a}, 2)
    np.heaviside({a}, 0.5) * {a}
    np.clip({a}, -0.5, 0.5)
    {a}.clip(-0.3, 0.4)
    np.sinc({a})
    np.i0({a})
    np.nan_to_num({a})
    np.deg2rad({a})
    np.degrees({a}) / 50
    np.positive({a})
    np.negative({a})
    np.real({a})
    np.conj({a})
    np.array({a})
    np.copy({a})
    np.asarray({a})
    np.ones_like({a}) * {a}
    np.zeros_like({a})
    np.full_like({a}, 2.0)
    np.multiply({a}, 3)
    np.float64(2) * {a}
    np.unwrap({a}.ravel())
    np.modf({a})[0]
    np.frexp({a})[0]
    np.ldexp({a}, 1)
    {a}.astype(np.float64)
    {a} * 0.0
    2.5 - {a}
    1 / (2 + {a} ** 2)
    {a} ** 3
    {a} ** -2 if np.all(np.abs({a}) > 0.3) else {a} ** 2
    -{a}
    +{a}
    abs({a})
""")

BINARY = _rows("""
    {a} + {b}
    {a} - {b}
    {a} * {b}
    {a} / (3.1 + {b} ** 2)
    {b} / ({a} + 4.0)
    ({a} ** 2 + 0.3) ** {b}
    np.power({a} ** 2 + 0.3, {b})
    np.float_power({a} ** 2 + 0.2, {b})
    np.add({a}, {b}) * {a}
    np.subtract({b}, {a})
    np.divide({a}, {b} + 4.0)
    np.maximum({a}, {b})
    np.minimum({a}, {b})
    np.fmax({a}, {b})
    np.fmin({a}, {b})
    np.hypot({a}, {b} + 2.3)
    np.arctan2({a}, {b} + 2.3)
    np.logaddexp({a}, {b})
    np.logaddexp2({a}, {b})
    np.copysign({a}, {b})
    np.mod({a}, 0.7) + {b}
    np.remainder({a}, np.abs({b}) + 0.9)
    np.fmod({a}, np.abs({b}) + 0.9)
    np.floor_divide({a}, {b} + 4.0)
    np.divmod({a}, np.abs({b}) + 0.9)[1]
    np.heaviside({a}, {b})
    np.clip({a}, {b} - 0.3, {b} + 0.4)
    np.outer({a}, {b})
    np.expand_dims({a}, 0) * {b}
    np.expand_dims({a}, -1) - {b}
    np.nextafter({a}, {b})
    np.ldexp({a}, np.array({k}))
""")

CONDITIONALS = _rows("""
    np.where({a} > {b}, {a}, {b})
    np.where({b} < 0.2, np.sin({a}), {b} * 2)
    np.where({a} > 0.1, {a}, 0.0)
    np.where({a} > {b}, 1.0, {b}) * {a}
    np.where(np.isfinite({a}), {a} * {b}, 0)
    np.where(np.abs({a}) > 1e-9, np.sin({a}) / {a}, 1.0)
    np.where([[True], [False]], {a}, 0.1)
    np.select([{a} > 0.5, {a} > 0], [np.sin({a}), {c}], 0.3)
    np.choose(({a} > 0).astype(int), [{a}, {c}])
    np.piecewise({a}, [{a} < 0], [0.0, 1.0]) * {a}
    np.piecewise({a}, [{a} < 0, {a} > 0.5], [np.sin, np.cos, 0.3])
    np.extract({a} > 0, {c})
    np.clip({a}, None, 0.3)
    np.clip({a}, {b}, None)
    np.interp({a}, [-1.0, 0.1, 1.0], [0.0, 2.0, 1.0])
    np.maximum({a}, 0) - np.minimum({b}, 0)
    np.maximum(np.maximum({a}, {b}), 0.2)
    ({a} > 0) * {b}
    ({a} > {b}) * {a} + ({a} <= {b}) * np.cos({b})
    {a} * np.isclose({a}, {b})
""")

REDUCTIONS = _rows("""
    np.sum({w}, {over}{keep})
    np.mean({w}, {over}{keep})
    np.prod({w}, {over}{keep})
    np.max({w}, {over}{keep})
    np.min({w}, {over}{keep})
    np.var({w}, {over}{keep})
    np.std({w}, {over}{keep})
    np.ptp({w}, {over}{keep})
    np.median({w}, {over}{keep})
    np.average({w}, {over}{keep})
    np.nansum({w}, {over}{keep})
    np.nanmean({w}, {over}{keep})
    np.nanmax({w}, {over}{keep})
    np.nanmin({w}, {over}{keep})
    np.nanvar({w}, {over}{keep})
    np.nanprod({w}, {over}{keep})
    np.nanmedian({w}, {over}{keep})
    np.sum({w}, {over}, initial=1.5)
    np.sum({w}, {over}{keep}, where=np.reshape(np.arange(np.size({w})) % 2 == 0, np.shape({w})))
    np.max({w}, {over}, initial=0.1)
    np.var({w}, {over}{keep}, ddof=1)
    np.std({w}, axis={axis}{keep}, ddof=1)
    np.quantile({w}, 0.3, {over}{keep})
    np.quantile({w}, [0.25, 0.5], axis={axis}{keep})
    np.quantile({w}, 0.77, axis={axis}, method='nearest')
    np.percentile({w}, 30, axis={axis}, method='hazen')
    np.average({w}, axis={axis}, weights=np.arange(np.shape({w})[{axis}]) + 1.0)
    np.linalg.norm({w})
    np.linalg.norm({w}, axis={axis}{keep})
    np.linalg.norm({w}, ord=1, axis={axis}{keep})
    np.linalg.norm({w}, ord=3, axis={axis}{keep})
    np.linalg.norm({w}, ord=np.inf, axis={axis}{keep})
    np.linalg.norm({w}, ord=-np.inf, axis={axis})
    np.linalg.norm({w}, ord=0.5, axis={axis})
    np.log(np.sum(np.exp({w}), {over}{keep}))
    np.take_along_axis({w}, np.argmax({w}, axis={axis}, keepdims=True), axis={axis})
    np.sum({a})
    np.mean({a})
    np.max({a})
    np.prod({a})
    {w}.sum({over}{keep})
    {w}.mean({over}{keep})
    {w}.max({over}{keep})
    {w}.prod({over})
    {w}.std({over}{keep})
    {w}.var({over})
    {w}.min()
""")

SCANS = _rows("""
    np.cumsum({w}, axis={axis})
    np.cumsum({w})[::-1]
    np.cumprod({w} + 1.1, axis={axis})
    np.cumprod({w})
    np.cumulative_sum({w}, axis={axis})
    np.cumulative_sum({w}, axis={axis}, include_initial=True)
    np.nancumsum({w}, axis={axis})
    np.add.accumulate({w}, axis={axis})
    np.multiply.accumulate({w}, axis={axis})
    np.maximum.accumulate({w}, axis={axis})
    np.minimum.accumulate({w}, axis={axis})
    np.trapezoid({w}, dx=0.3, axis={axis})
    np.diff({w}, axis={axis})
    np.diff({w}, 2, axis={axis})
    np.gradient({w}, axis={axis})
    np.gradient({v}, 0.5)
    np.ediff1d({w})
    {w}.cumsum(axis={axis})
    {w}.cumprod()
""")

UFUNC_METHODS = _rows("""
    np.add.reduce({a}, axis=None)
    np.add.reduce({w}, axis={axis}{keep})
    np.multiply.reduce({a}, axis=None)
    np.maximum.reduce({w}, axis={axis})
    np.minimum.reduce({w}, axis=None)
    np.hypot.reduce({w}, axis=None)
    np.logaddexp.reduce({w}, axis={axis})
    np.add.outer({a}, {d})
    np.multiply.outer({a}, K({s}, 2))
    np.subtract.outer(K({s}, 2), {a})
    np.power.outer({a} ** 2 + 1, [1, 2])
    np.add.reduceat({w}.ravel(), [0])
    np.add({a}, 1.0, dtype=np.float64)
""")

MOVEMENT = _rows("""
    np.reshape({a}, -1)
    np.reshape({w}, (np.shape({w})[{axis}], -1))
    np.reshape({w}, (-1, np.shape({w})[{axis}]), order='F')
    {w}.reshape(np.shape({w})[::-1])
    np.reshape({a}, (2, -1))[:, ::-1]
    {a}.ravel()
    {a}.flatten()
    np.ravel({a}, order='F')
    np.transpose({a})
    {a}.T
    {m}.mT
    np.matrix_transpose({m})
    np.swapaxes({w}, {axis}, 0)
    np.moveaxis({w}, {axis}, 0)
    np.moveaxis({w}, 0, {axis})
    np.rollaxis({w}, {axis})
    np.expand_dims({a}, 0)
    np.expand_dims({a}, -1)
    np.squeeze({a})
    np.atleast_1d({a})
    np.atleast_2d({a})
    np.atleast_3d({a})
    np.broadcast_to({a}, (2, *np.shape({a})))
    np.broadcast_arrays({a}, {b})[1]
    np.tile({a}, 2)
    np.tile({a}, ({n}, 2))
    np.repeat({a}, 2)
    np.repeat({w}, {k}, axis={axis})
    np.repeat({v}, np.arange(np.size({v})) % 3)
    np.resize({w}, (3, 2))
    np.flip({a})
    np.flip({w}, {axis})
    np.fliplr({m})
    np.flipud({w})
    np.rot90({m}, {k})
    np.roll({w}, {k} - 2)
    np.roll({w}, {k} - 2, axis={axis})
    np.pad({w}, {k})
    np.pad({w}, 1, constant_values=0.7)
    np.pad({w}, 1, mode='edge')
    np.pad({w}, 1, mode='wrap')
    np.pad({w}, 1, mode='reflect')
    np.pad({w}, 1, mode='symmetric')
    np.pad({w}, 1, mode='mean')
    np.pad({w}, 1, mode='maximum')
    np.pad({w}, 1, mode='linear_ramp')
    np.pad({m}, ((1, 2), (0, 1)))
    np.sort({w}, axis={axis})
    np.sort({w}, axis=None)
    np.sort({w}, axis={axis})[::-1]
    np.partition({w}, 0, axis={axis})
    np.take_along_axis({w}, np.argsort({w}, axis={axis}), axis={axis})
    np.take({w}, [{j}, 0], axis={axis})
    np.take({w}, {j}, axis={axis})
    np.take({w}, [[0, -1]])
    np.compress([True, False, True], {w}, axis={axis})
    np.delete({w}, {j}, axis={axis})
    np.insert({w}, 0, 0.5, axis={axis})
    np.insert({v}, {i}, {v}[0])
    np.append({w}, {w}, axis={axis})
    np.split({w}, [1], axis={axis})[1]
    np.array_split({w}, 2, axis={axis})[{k} % 2]
    np.unstack({w}, axis={axis})[0]
    np.lib.stride_tricks.sliding_window_view({w}, 1, axis={axis})
    np.lib.stride_tricks.sliding_window_view({v}, 2)
    np.tril({m})
    np.triu({m}, 1)
    np.diag({m})
    np.diag({v})
    np.diag({v}, 1)
    np.diagflat({a})
    np.diagonal({m})
    np.diagonal({m}, 1)
    np.trace({m})
    np.vander({v}[:3], 3)
    np.meshgrid({v}, {v})[0]
    np.trim_zeros({v})
""")

INDEXING = _rows("""
    {a}[{ix}]
    {a}[{ix}]
    {a}[{ix}]
    {a}[{ix}] * 2
    {a}[{slices}]
    {a}[{slices}]
    {w}[{i}]
    {w}[[{i}, 0, {i}]]
    {w}[::-1][..., None]
    {a}.ravel()[np.argsort({a}.ravel())]
    {a}.ravel()[np.nonzero({a}.ravel() > 0)]
    {a}[{a} > 0.1]
    {m}[np.arange(len({m})), 0]
    {m}[:, [0, -1]] @ np.ones(2)
    {m}[np.ix_([0, -1], [-1, 0])]
    {m}[np.triu_indices(len({m}), m={m}.shape[1])]
    {w}.flat[{i}]
    {w}.take([0, {i}])
    {w}.item({i}) * {a}
    {v}[np.searchsorted([-0.5, 0, 0.5], {v}) % np.size({v})]
""")

WRITES = _blocks("""
    {y} = {a} * 1.0
    {y}[{ix}] {op} {value}

    {y} = {a} * 1.0
    {y}[{ix}] {op} {value}

    {y} = {a}.copy()
    {y}[{ix}] {op} {value}
    {y}[{slices}] *= 0.5

    {y} = np.copy({a})
    {y}_view = {y}[{slices}]
    {y}_view {op} 0.5
    {y}[{ix}] *= 0.5

    {y} = {a} + 0.0
    {y}_view = {y}.T
    {y}_view {op} 2.0
    {y} = {y} * {y}

    {y} = {a} * 1.0
    {y}_same = {y}
    {y}_same {op} 2.0
    {y} = {y} + {y}_same

    {y} = {a} * 1.0
    {y}[{ix}] = {y}[{ix}]

    {y} = {a} * 1.0
    {y}[...] = np.mean({d})

    {y} = np.zeros((2, *np.shape({a})), like={x})
    {y}[0] = {a}
    {y}[1] = {y}[0] * 0.5

    {y} = np.empty((2, *np.shape({a})), like={x})
    {y}[:] = {a}
    {y}[0, ...] += np.sum({d})

    {y} = np.zeros_like({a})
    {y}[{ix}] = {value}

    {y} = {w}.copy()
    {y}.flat[{i}] = np.mean({d})

    {y} = {w}.copy()
    np.add.at({y}, [0, 0, {i}], np.mean({d}))

    {y} = {a} * 1.0
    {y}[{y} > 0.2] = 0.25

    {y} = {a} * 1.0
    {y}[{y} > 0.2] *= np.mean({d})

    {y} = {a} * 1.0
    np.copyto({y}, np.mean({d}), where={y} < 0.1)

    {y} = {a} * 1.0
    np.put({y}, [0], [0.5])

    {y} = {a} * 1.0
    np.putmask({y}, {y} < 0, -{y})

    {y} = {m} * 1.0
    np.fill_diagonal({y}, np.mean({d}))

    {y} = {m} * 1.0
    {y}[:, 0], {y}[:, -1] = {y}[:, -1], {y}[:, 0].copy()

    {y} = {w} * 1.0
    {y}.sort()

    {y} = {w} * 1.0
    {y}.fill(0.5)

    {y} = {a} * 1.0
    np.sin({y}, out={y})

    {y} = {a} * 1.0
    np.multiply({y}, {c}, out={y})

    {y} = {w} * 1.0
    {y}[0] += {y}[-1]
    {y}[-1] -= 0.5 * {y}[0]

    {y} = {a} * 1.5
    {a} {op} 0.7
""")

JOINING = _rows("""
    np.stack([{a}, {c}])
    np.stack([{c}, {a}, {c}], axis=-1)
    np.array([{a}, {c}])
    np.array([[{a}, {c}], [{c}, {a}]])
    np.array([np.sum({a}), 1.0, np.mean({d})])
    np.concatenate([{w}, {w}], axis={axis})
    np.concatenate([{w}, K({s}, *np.shape({w}))], axis={axis})
    np.concatenate([{a}, {c}], axis=None)
    np.concatenate([np.ravel(r) for r in ({a}, {d})])
    np.hstack([{a}, {c}])
    np.vstack([{a}, {c}])
    np.dstack([{a}, {c}])
    np.column_stack([{v}, {v} * 2])
    np.block([{a}, {c}])
    np.block([[{m}, {m}], [{m} * 2, {m}]])
    np.r_[{v}, 0.5, {v}]
    np.c_[{v}, {v}]
    np.append({a}, {d})
    np.full((2, 2), np.mean({a}))
    np.linspace(np.min({w}), np.max({w}), 4)
    np.stack([r * 2 for r in {w}])
    np.sum([r for r in {v}])
    np.mean(list({v}))
    np.max([{v}[0], {v}[-1]])
    np.array([{v}[0], {v}[-1] * 2, 1.0])
    np.array([[{v}[0], 0], [1, {v}[-1]]])
""")

PRODUCTS = _rows("""
    {w} @ K({s}, np.shape({w})[-1], 3)
    {w} @ K({s}, np.shape({w})[-1])
    K({s}, 2, np.shape({v})[0]) @ {v}
    {m} @ {m}.T
    {m}.T @ {m}
    {m}.T @ ({m} @ {m}.T)
    np.matmul({w}, K({s}, np.shape({w})[-1], 2))
    np.dot({w}, K({s}, np.shape({w})[-1], 2))
    np.dot({m}, {m}.T)
    np.dot({v}, {v})
    np.vdot({w}, {w})
    np.inner({w}, K({s}, 2, np.shape({w})[-1]))
    np.outer({v}, np.sin({v}))
    np.tensordot({m}, {m}, 2)
    np.tensordot({w}, K({s}, 2, np.shape({w})[-1]), axes=([-1], [1]))
    np.einsum('...i,ij->...j', {w}, K({s}, np.shape({w})[-1], 2))
    np.einsum('...i,...i->...', {w}, {w})
    np.einsum('ij,ik->jk', {m}, {m})
    np.einsum('ij,ij->i', {m}, {m})
    np.einsum('ij->', {m})
    np.einsum('ij,ij', {m}, {m})
    np.einsum('ii->i', {q})
    np.einsum('ij,kj->ik', {m}, K({s}, 2, np.shape({m})[1]))
    np.einsum('ij...->ji...', {m})
    np.vecdot({w}, {w})
    np.matvec(K({s}, 2, np.shape({v})[0]), {v})
    np.vecmat({v}, K({s}, np.shape({v})[0], 2))
    np.kron({m}, np.eye(2))
    np.kron({v}, [1.0, -0.5])
    np.cross({v}[:3], [1.0, 2.0, 3.0])
    np.linalg.multi_dot([{m}, K({s}, np.shape({m})[1], 2), K({s}, 2, np.shape({m})[0])])
    np.convolve({v}, [1.0, -0.5, 0.2])
    np.convolve({v}, {v}, mode='same')
    np.convolve({v}, [1.0, -0.5], mode='valid')
    np.correlate({v}, {v}, mode='full')
    np.correlate({v}, [0.5, 1.0], mode='same')
    np.polyval({v}, 0.7)
    np.polyval([1.0, 0.5, 2.0], {a})
    np.polyadd({v}, [1.0, 2.0])
    np.polymul({v}, {v})
    np.sum({v}[:, None] * {v}[None, :], axis=1)
""")

LINEAR_ALGEBRA = _rows("""
    np.linalg.solve({q} * 0.3 + 2 * np.eye(len({q})), K({s}, len({q})))
    np.linalg.solve({q} * 0.3 + 2 * np.eye(len({q})), {q})
    np.linalg.solve(({q} * 0.3 + 2 * np.eye(len({q})))[None], {q}[None, :, :1])
    np.linalg.inv({q} * 0.3 + 2 * np.eye(len({q})))
    np.linalg.det({q} + np.eye(len({q})))
    np.linalg.slogdet({q} * 0.3 + 2 * np.eye(len({q})))[1]
    np.linalg.cholesky({q} @ {q}.T + np.eye(len({q})))
    np.linalg.eigh({q} @ {q}.T + np.diag(np.arange(len({q})) * 1.0))[0]
    np.abs(np.linalg.eigh({q} @ {q}.T + np.diag(np.arange(len({q})) * 1.0))[1])
    np.linalg.eigvalsh({q} + {q}.T + np.diag(np.arange(len({q})) * 3.0))
    np.linalg.svd({q} * 0.3 + np.diag(np.arange(len({q})) + 1.0), compute_uv=False)
    np.linalg.svdvals({q} * 0.3 + np.diag(np.arange(len({q})) + 1.0))
    np.linalg.pinv({q} * 0.3 + 2 * np.eye(len({q})))
    np.linalg.matrix_power({q} / 3, 3)
    np.linalg.matrix_power({q} * 0.3 + 2 * np.eye(len({q})), -2)
    np.linalg.qr({q} * 0.3 + 2 * np.eye(len({q})))[1]
    np.abs(np.linalg.qr({q} * 0.3 + 2 * np.eye(len({q})))[0])
    np.linalg.lstsq({q} * 0.3 + 2 * np.eye(len({q})), K({s}, len({q})), rcond=None)[0]
    np.linalg.tensorinv(({q} * 0.3 + 2 * np.eye(len({q}))), ind=1)
    np.linalg.norm({q} * 0.3 + 2 * np.eye(len({q})))
    np.linalg.norm({q} * 0.3 + np.diag(np.arange(len({q})) + 1.0), 2)
    np.linalg.norm({q} * 0.3 + np.diag(np.arange(len({q})) + 1.0), 'nuc')
    np.linalg.cond({q} * 0.3 + np.diag(np.arange(len({q})) + 1.0))
    np.trace({q} @ {q})
""")

COMPLEX = _rows("""
    np.fft.fft({w}, axis={axis})
    np.fft.rfft({w}, axis={axis})
    np.fft.rfft({w}, n={n} + 1, axis={axis})
    np.fft.ifft({w}, axis={axis}, norm='ortho')
    np.fft.fftn({w})
    np.fft.rfftn({w})
    np.fft.fft2({m})
    np.fft.ihfft({w}, axis={axis})
    np.fft.hfft({w}, axis={axis})
    np.fft.fftshift({w})
    np.fft.irfft({w}, n=4, axis={axis})
    np.fft.irfft(np.fft.rfft({w}, axis={axis}), n={n} + 1, axis={axis})
    np.real(np.fft.ifft(np.fft.fft({w}, axis={axis}) * 2.0, axis={axis}))
    np.abs(np.fft.fft({w}, axis={axis})) ** 2
    {a} * (1 + 2j)
    {a} + 1j * np.cos({a})
    np.exp(1j * {a})
    np.angle(np.exp(1j * {a}))
    np.real({z})
    np.imag({z})
    {z}.real
    {z}.imag + {z}.real
    np.abs({z} + 3)
    np.angle({z} + 5)
    np.conj({z}) * {z}
    {z} * {z}
    1 / ({z} + 6j)
    np.exp({z} / 4)
    np.sqrt({z} + 6)
    np.sum({z})
    np.transpose({z})
    {z}[...] * 2
    np.real({z} * np.conj({z}))
""")

LOOPS = _blocks("""
    {y} = {a}
    for k in range({n}):
        {y} = np.sin({y}) * 0.9 + k * 0.1

    {y} = {a} * 1.0
    for k in range({n}):
        {y} = {y} + 0.1 * np.cos({y} * np.mean({d}))

    {y} = {a} * 1.0
    for k in range({n}):
        {y} += 0.1 * np.sin({y})

    {y} = []
    r = np.sum({d})
    for k in range({n}):
        r = 0.5 * r + np.sum({a}) * 0.1
        {y}.append(r)
    {y} = np.array({y})

    {y} = np.zeros(({n}, *np.shape({a})), like={x})
    {y}[0] = {a}
    for k in range({n} - 1):
        {y}[k + 1] = np.tanh({y}[k]) + np.sum({d}) * 0.05

    {y} = {a} * 1.0
    for k in range({n}):
        if np.sum({y}) > 0.3:
            {y} = {y} * 0.7
        else:
            {y} = {y} + 0.2

    {y} = 0.0
    for r in np.ravel({a}):
        {y} = {y} * 0.5 + np.sin(r)

    {y} = {w} * 1.0
    for k in range(1, len({w})):
        {y}[k] = {y}[k - 1] * 0.5 + {w}[k]

    {y} = {v} * 1.0
    for k in range(len({v})):
        {y}[k] = {v}[k] * {v}[k - 1] - {v}[-k]

    {y} = {a} * 0.0
    for k, r in enumerate({v}):
        {y} = {y} + k * r * {a}

    {y} = {m} * 1.0
    for k in range(len({m})):
        {y}[k] = {y}[k] / (2 + np.sum({y}[k] ** 2))

    {y} = {a}
    while np.max(np.abs({y}), initial=0) > 0.6:
        {y} = {y} * 0.7

    {y} = sum({v})

    {y} = np.array([r * r if r > 0 else -r for r in {v}])
""")

BRANCHES = _blocks("""
    if np.sum({d}) > 0.1:
        {y} = np.sin({a})
    else:
        {y} = {a} * 2

    {y} = {a} if np.all({d} < 0.5) else -{a}

    {y} = {a} * int(np.size({a}) > 2)

    {y} = {a} * float(np.argmax({w}))

    {y} = max({v})

    {y} = min({v}) * {a}

    {y} = sorted({v})[0]

    {y} = {a} * bool({v}[0] > 0)

    {y} = {a} * round(float({v}[0]))

    {y} = {a} * len({v})

    {y} = {a} * int(np.count_nonzero({d} > 0))
""")

STATISTICS = _rows("""
    np.interp([0.1, 0.6], np.linspace(0, 1, np.size({v})), {v})
    np.bincount(np.arange(np.size({v})) % 2, weights={v})
    np.apply_along_axis(np.sin, 0, {w})
    np.cov(np.vstack([{v}, np.sin({v}) + np.arange(np.size({v}))]))
    np.corrcoef(np.vstack([{v} + np.arange(np.size({v})), np.cos({v} * 3)]))
    np.histogram({v}, bins=3)[0] * {v}[0]
    np.digitize({a}, [0.0]) * {a}
    np.roots([1.0, 3.0, 1.0]) * {v}[0]
    np.geomspace(np.abs({v}[0]) + 1, 9.0, 3)
    np.poly({v}[:2])
    np.unique({v})
    np.polyfit(np.arange(np.size({v})) * 1.0, {v}, 1)
    np.nanquantile({w}, 0.4, axis={axis})
""")

SPECIAL = _rows("""
    special.expit({a})
    special.logit(0.5 + 0.3 * np.tanh({a}))
    special.erf({a})
    special.erfinv(np.tanh({a}) * 0.8)
    special.log_ndtr({a})
    special.ndtr({a})
    special.gammaln({a} ** 2 + 1)
    special.gamma({a} ** 2 + 1)
    special.digamma({a} ** 2 + 1)
    special.beta({a} ** 2 + 1, {b} ** 2 + 0.5)
    special.xlogy({a} ** 2 + 0.1, {b} ** 2 + 0.2)
    special.entr({a} ** 2 + 0.1)
    special.j0({a})
    special.i1({a})
    special.exprel({a})
    special.hyp2f1(0.5, 1.5, 2.0, np.tanh({a}) / 2)
    chainad.scipy.special.logsumexp({w}, axis={axis})
    chainad.scipy.special.softmax({w}, axis={axis})
    chainad.scipy.special.log_softmax({w}, axis={axis})
    chainad.scipy.fft.dct({w}, axis={axis})
    chainad.scipy.linalg.expm({q} / 3)
    chainad.scipy.linalg.solve_triangular(np.tril({q}) + 3 * np.eye(len({q})), {q}, lower=True)
""")

# The families, and how often one of them gives a statement, in parts of all.
FAMILIES: dict[str, tuple[int, tuple[str, ...]]] = {
    "elementwise": (10, ELEMENTWISE),
    "binary": (13, BINARY),
    "conditionals": (5, CONDITIONALS),
    "reductions": (10, REDUCTIONS),
    "scans": (4, SCANS),
    "ufunc methods": (2, UFUNC_METHODS),
    "movement": (11, MOVEMENT),
    "indexing": (9, INDEXING),
    "in-place writes": (10, WRITES),
    "joining": (6, JOINING),
    "products": (6, PRODUCTS),
    "linear algebra": (3, LINEAR_ALGEBRA),
    "Fourier transforms and complex values": (5, COMPLEX),
    "loops": (4, LOOPS),
    "branches": (2, BRANCHES),
    "statistics and polynomials": (3, STATISTICS),
    "scipy.special and chainad.scipy": (3, SPECIAL),
}
