"""Helpers for tests: random structures, chains and graphs, slow and obvious oracles, one check.

Everything here is plain on purpose: an oracle is a loop that anyone can read. Numbers are small
integers held as floats, so that products of a few Jacobians are exact and tests can ask for
equality. `rng` is a `random.Random`, so that hypothesis can draw from it (`st.randoms()`).

Nothing imports `chainad.api` but the face of the package and this file, which is a user like any
other: no file of chainad imports it in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod
from random import Random
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from chainad.algebra import Product, Total, arrange
from chainad.api import jacobian
from chainad.kernels import (
    Add,
    AddAt,
    Broadcast,
    Copy,
    Dot,
    Full,
    Kernel,
    MatMul,
    Multiply,
    Place,
    Reshape,
    Scale,
    SegmentSum,
    SparseDot,
    Sum,
    Take,
    Transpose,
)
from chainad.linear import Edge, LinearGraph, Vertex
from chainad.pattern import Positions, as_array, positions
from chainad.planners.auto import Mode
from chainad.program import Program
from chainad.structure import Axis, Structure

Array: TypeAlias = npt.NDArray[np.float64]
Shape: TypeAlias = tuple[int, ...]

SIZES = (1, 2, 3, 4, 6, 6, 12)


class Sample(NamedTuple):
    """A random Jacobian: its structure, the kept array (None if it keeps no numbers), in full.

    `dense` has the shape rows + cols, and is made without any of the library's algebra.
    """

    structure: Structure
    numbers: Array | None
    dense: Array


# -------------------------------------------------------------------- oracles


def to_array(structure: Structure, numbers: Array | None) -> Array:
    """Return the full Jacobian, of shape rows + cols, entry by entry.

    Parameters
    ----------
    structure : Structure
    numbers : array of shape `structure.stored_shape`, or None
        The kept array; None if the structure keeps none.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> from chainad.algebra import diagonal
    >>> to_array(diagonal((2,)), np.array([3.0, 5.0]))
    array([[3., 0.],
           [0., 5.]])
    """
    kept = np.asarray(structure.scale if numbers is None else numbers, np.float64)
    stored = [n if k in structure.stored else 1 for k, n in enumerate(structure.sizes)]
    values = np.broadcast_to(kept.reshape(stored), structure.sizes).ravel()
    full = np.zeros(structure.matrix_shape)
    for row, col, value in zip(*structure.entries(), values, strict=True):
        full[row, col] += value
    return full.reshape((*structure.row_shape, *structure.col_shape))


def dense_product(left: Array, right: Array, n_inner: int) -> Array:
    """Return left @ right, where `n_inner` axes meet.

    Examples
    --------
    >>> dense_product(np.ones((2, 3)), np.ones((3, 4)), 1).shape
    (2, 4)
    """
    return np.asarray(np.tensordot(left, right, n_inner), np.float64)


def path_sum(graph: LinearGraph, numbers: Sequence[Array | None]) -> list[Array]:
    """Return the Jacobians of a linear graph as sums over all paths of products of dense arrays.

    Parameters
    ----------
    graph : LinearGraph
    numbers : sequence
        The kept array of every edge, None where there is none.

    Returns
    -------
    list of ndarray
        One for every pair (output, input), outputs first.

    Examples
    --------
    >>> graph, numbers = random_chain(Random(0), 3)
    >>> [block.shape == (*graph.shapes[-1], *graph.shapes[0]) for block in path_sum(graph, numbers)]
    [True]
    """
    dense = [to_array(e.structure, a) for e, a in zip(graph.edges, numbers, strict=True)]

    def along_all_paths(v: Vertex, end: Vertex) -> Array:
        if v == end:
            size = graph.size(v)
            return np.eye(size).reshape((*graph.shapes[v], *graph.shapes[v]))
        total = np.zeros((*graph.shapes[end], *graph.shapes[v]))
        for edge, local in zip(graph.edges, dense, strict=True):
            if edge.tail == v:
                rest = along_all_paths(edge.head, end)
                total += dense_product(rest, local, len(graph.shapes[edge.head]))
        return total

    return [along_all_paths(i, o) for o in graph.outputs for i in graph.inputs]


def apply_kernel(kernel: Kernel, *arrays: Array) -> Array:
    """Do what a kernel says, in the plainest way.

    Examples
    --------
    >>> apply_kernel(Sum((0,)), np.ones((2, 3)))
    array([2., 2., 2.])
    """
    match kernel, arrays:
        case Full(value), ():
            return np.array(float(value))
        case Reshape(shape), (a,):
            return a.reshape(shape)
        case Transpose(order), (a,):
            return a.transpose(order)
        case Broadcast(shape), (a,):
            return np.broadcast_to(a, shape)
        case Take(axis, where), (a,):
            return a.take(as_array(where), axis)
        case Place(axis, where, size), (a,):
            return _placed(np.zeros(_with_size(a.shape, axis, size)), axis, where, a)
        case SegmentSum(axis, segments, size), (a,):
            return _placed(np.zeros(_with_size(a.shape, axis, size)), axis, segments, a)
        case Sum(axes), (a,):
            return np.asarray(a.sum(axes))
        case Scale(factor), (a,):
            return a * factor
        case Copy(), (a,):
            return a.copy()
        case Add(), (a, b):
            return a + b
        case AddAt(axis, where), (a, b):
            return _placed(a.copy(), axis, where, b)
        case Multiply(), (a, b):
            return a * b
        case MatMul(), (a, b):
            return a @ b
        case Dot(), (a, b):
            return np.asarray((a * b).sum(-1))
        case SparseDot(rows, cols, size), (a, b):
            matrix = np.zeros((size, b.shape[0]))
            np.add.at(matrix, (as_array(rows), as_array(cols)), a)
            return matrix @ b
    raise TypeError(f"{kernel} does not take {len(arrays)} arrays")


def _with_size(shape: Shape, axis: int, size: int) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _placed(out: Array, axis: int, where: Positions, a: Array) -> Array:
    for k, place in enumerate(as_array(where)):
        out[(slice(None),) * axis + (place,)] += a[(slice(None),) * axis + (k,)]
    return out


def apply_kernels(kernels: Iterable[Kernel], array: Array | None) -> Array | None:
    """Apply kernels one after the other; None stands for a structure that keeps no numbers.

    Examples
    --------
    >>> apply_kernels([Reshape((3,)), Scale(2)], np.ones((1, 3)))
    array([2., 2., 2.])
    """
    for kernel in kernels:
        if isinstance(kernel, Full):
            array = apply_kernel(kernel)
        else:
            assert array is not None
            array = apply_kernel(kernel, array)
    return array


def run_program(program: Program, slots: Sequence[Array | None]) -> list[Array | None]:
    """Execute a program with `apply_kernel`, one instruction after the other.

    Examples
    --------
    >>> from chainad.program import Instruction
    >>> run_program(Program(1, (Instruction(Scale(2), (0,), 1),), (1,)), [np.ones(2)])
    [array([2., 2.])]
    """
    registers: dict[int, Array] = {k: a for k, a in enumerate(slots) if a is not None}
    for instruction in program.instructions:
        operands = [registers[k] for k in instruction.inputs]
        registers[instruction.output] = apply_kernel(instruction.kernel, *operands)
    return [None if k is None else registers[k] for k in program.outputs]


def product_numbers(product: Product, left: Array | None, right: Array | None) -> Array | None:
    """Return the kept array of a product, from those of its factors.

    Examples
    --------
    >>> from chainad.algebra import diagonal, multiply
    >>> D = diagonal((2,))
    >>> product_numbers(multiply(D, D), np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    array([3., 8.])
    """
    if product.structure.scale is not None:
        return None
    a = apply_kernels(product.left, left)
    b = apply_kernels(product.right, right)
    if product.labels is None:
        return apply_kernels(product.after, b if a is None else a)
    letter = {x: chr(ord("a") + k) for k, (x, _) in enumerate(product.sizes)}
    left_word, right_word, word = ("".join(letter[x] for x in labels) for labels in product.labels)
    assert a is not None
    assert b is not None
    result = np.einsum(f"{left_word},{right_word}->{word}", a, b)
    return apply_kernels(product.after, np.asarray(result))


def total_numbers(total: Total, left: Array | None, right: Array | None) -> Array | None:
    """Return the kept array of a sum, from those of its terms.

    Examples
    --------
    >>> from chainad.algebra import add, diagonal, identity
    >>> total_numbers(add(diagonal((2,)), identity((2,))), np.array([1.0, 2.0]), None)
    array([2., 3.])
    """
    if total.structure.scale is not None:
        return None
    a = apply_kernels(total.left, left)
    b = apply_kernels(total.right, right)
    assert a is not None
    assert b is not None
    return apply_kernels(total.after, a + b)


# --------------------------------------------------------- random structures


def random_shape(rng: Random, most_axes: int = 2, sizes: Sequence[int] = SIZES) -> Shape:
    """Return a shape of at most `most_axes` axes.

    Examples
    --------
    >>> len(random_shape(Random(0), most_axes=3)) <= 3
    True
    """
    return tuple(rng.choice(sizes) for _ in range(rng.randint(0, most_axes)))


def random_numbers(rng: Random, shape: Shape) -> Array:
    """Return an array of small integers, none of them zero.

    Examples
    --------
    >>> bool(np.all(random_numbers(Random(0), (2, 2)) != 0))
    True
    """
    values = np.random.default_rng(rng.getrandbits(32)).integers(1, 4, shape)
    signs = np.random.default_rng(rng.getrandbits(32)).choice([-1, 1], shape)
    return np.asarray(values * signs, np.float64)


def random_structure(
    rng: Random,
    row_shape: Shape,
    col_shape: Shape,
    *,
    tied: float = 0.6,
    positioned: float = 0.3,
    split: float = 0.4,
    unit: float = 0.35,
) -> Sample:
    """Return a random Jacobian of the given shape.

    Axes are spelled by one or several labels, some of which return (ties), some through positions
    (slices, permutations, gathers with repeats); any subset of the labels is stored.

    Parameters
    ----------
    rng : random.Random
    row_shape, col_shape : tuple of int
        The shapes of output and input.
    tied, positioned, split, unit : float
        How likely a label returns, an axis is spelled through positions or by several labels, no
        number is kept.

    Returns
    -------
    Sample
        The structure, its kept array or None, and the full array.

    Examples
    --------
    >>> structure, numbers, dense = random_structure(Random(1), (2, 3), (6,))
    >>> dense.shape
    (2, 3, 6)
    >>> bool(np.array_equal(to_array(structure, numbers), dense))
    True
    """
    sizes: dict[int, int] = {}
    axes = []
    for n in (*row_shape, *col_shape):
        through = n > 0 and rng.random() < positioned
        count = rng.randint(1, n + 1) if through else n
        labels = _random_labels(rng, count, sizes, tied, split)
        axes.append(Axis(n, labels, _random_positions(rng, count, n) if through else None))
    rows, cols = axes[: len(row_shape)], axes[len(row_shape) :]
    if rng.random() < unit:
        return sample(rng, rows, cols, sizes, scale=rng.choice([1, -1, 1, 2.5]))
    stored = [label for label in sizes if rng.random() < 0.7]
    rng.shuffle(stored)
    return sample(rng, rows, cols, sizes, stored)


def _random_labels(
    rng: Random, n: int, sizes: dict[int, int], tied: float, split: float
) -> tuple[int, ...]:
    """Spell `n` places by labels, old ones where these fit and chance says so."""
    labels: list[int] = []
    for size in _random_factors(rng, n, split):
        old = [x for x in sizes if sizes[x] == size and x not in labels]
        if old and rng.random() < tied:
            labels.append(rng.choice(old))
        else:
            labels.append(len(sizes))
            sizes[labels[-1]] = size
    return tuple(labels)


def _random_factors(rng: Random, n: int, split: float) -> list[int]:
    factors: list[int] = []
    while n > 1 and len(factors) < 2 and rng.random() < split:
        factors.append(rng.choice([d for d in range(2, n + 1) if n % d == 0]))
        n //= factors[-1]
    return [*factors, n] if n != 1 or rng.random() < 0.3 else factors


def _random_positions(rng: Random, count: int, n: int) -> Positions:
    """Return `count` places below `n`: a slice, distinct places, or any."""
    kind = rng.choice(["slice", "distinct", "any"])
    if kind == "slice" and count <= n:
        start = rng.randint(0, n - count)
        where = range(start, start + count)
        return where if rng.random() < 0.7 else positions(where[::-1])
    if kind == "distinct" and count <= n:
        return positions(rng.sample(range(n), count))
    return positions([rng.randrange(n) for _ in range(count)])


def sample(
    rng: Random,
    rows: Sequence[Axis],
    cols: Sequence[Axis],
    sizes: dict[int, int],
    stored: Sequence[int] = (),
    scale: float | None = None,
) -> Sample:
    """Give a structure as a rule may state it random numbers, and work it out in full.

    Examples
    --------
    >>> i = Axis(2, (0,))
    >>> sample(Random(0), [i], [i], {0: 2}, scale=-1).dense
    array([[-1.,  0.],
           [ 0., -1.]])
    """
    arrangement = arrange(rows, cols, sizes, stored, scale)
    numbers = None
    if scale is None:
        numbers = random_numbers(rng, tuple(sizes[x] for x in stored))
    dense = _scattered(rows, cols, sizes, stored, scale if numbers is None else numbers)
    kept = apply_kernels(arrangement.kernels, numbers)
    return Sample(arrangement.structure, kept, dense)


def _scattered(
    rows: Sequence[Axis],
    cols: Sequence[Axis],
    sizes: dict[int, int],
    stored: Sequence[int],
    values: Any,
) -> Array:
    """Return the full array: every assignment of the labels adds its number to one place."""
    full = np.zeros([axis.size for axis in (*rows, *cols)])
    labels = list(sizes)
    at = dict(zip(labels, np.indices([sizes[x] for x in labels]), strict=True))
    place = []
    for axis in (*rows, *cols):
        number = np.zeros([sizes[x] for x in labels], np.int64)
        for label in axis.labels:
            number = number * sizes[label] + at[label]
        if axis.positions is not None:
            number = as_array(axis.positions)[number]
        place.append(number)
    each = np.asarray(values)[tuple(at[x] for x in stored)]
    np.add.at(full, tuple(place), each)
    return full


# ------------------------------------------------------------ typical Jacobians


def _plain(shape: Shape, first: int = 0) -> tuple[list[Axis], dict[int, int]]:
    labels = range(first, first + len(shape))
    axes = [Axis(n, (x,)) for x, n in zip(labels, shape, strict=True)]
    return axes, dict(zip(labels, shape, strict=True))


def _dense(rng: Random, shape: Shape) -> Sample:
    rows, new = _plain(random_shape(rng), len(shape))
    cols, sizes = _plain(shape)
    return sample(rng, rows, cols, sizes | new, [*new, *sizes])


def _diagonal(rng: Random, shape: Shape) -> Sample:
    axes, sizes = _plain(shape)
    return sample(rng, axes, axes, sizes, [*sizes])


def _unit(rng: Random, shape: Shape) -> Sample:
    axes, sizes = _plain(shape)
    return sample(rng, axes, axes, sizes, scale=rng.choice([1, -1]))


def _kronecker(rng: Random, shape: Shape) -> Sample:
    return _matmul(rng, shape, batched=False)


def _block_diagonal(rng: Random, shape: Shape) -> Sample:
    return _matmul(rng, shape, batched=True)


def _matmul(rng: Random, shape: Shape, batched: bool) -> Sample:
    if not shape:
        return _diagonal(rng, shape)
    cols, sizes = _plain(shape)
    new, k = len(shape), rng.randrange(len(shape))
    sizes[new] = rng.choice(SIZES)
    rows = [*cols[:k], Axis(sizes[new], (new,)), *cols[k + 1 :]]
    return sample(rng, rows, cols, sizes, [*sizes] if batched else [new, k])


def _sum(rng: Random, shape: Shape) -> Sample:
    cols, sizes = _plain(shape)
    k = rng.randint(0, len(shape))
    return sample(rng, [*cols[:k], *cols[k + 1 :]], cols, sizes, scale=1)


def _broadcast(rng: Random, shape: Shape) -> Sample:
    cols, sizes = _plain(shape)
    new, k = len(shape), rng.randint(0, len(shape))
    sizes[new] = rng.choice((2, 3))
    return sample(rng, [*cols[:k], Axis(sizes[new], (new,)), *cols[k:]], cols, sizes, scale=1)


def _transpose(rng: Random, shape: Shape) -> Sample:
    cols, sizes = _plain(shape)
    return sample(rng, rng.sample(cols, len(cols)), cols, sizes, scale=1)


def _ravel(rng: Random, shape: Shape) -> Sample:
    cols, sizes = _plain(shape)
    return sample(rng, [Axis(prod(shape), tuple(sizes))], cols, sizes, scale=1)


def _selection(
    rng: Random, shape: Shape, choose: Callable[[Random, int, int], Positions]
) -> Sample:
    if not shape:
        return _unit(rng, shape)
    cols, sizes = _plain(shape)
    k = rng.randrange(len(shape))
    n = shape[k]
    where = choose(rng, rng.randint(1, n), n)
    sizes[k] = len(where)
    rows = [*cols[:k], Axis(len(where), (k,)), *cols[k + 1 :]]
    return sample(rng, rows, [*cols[:k], Axis(n, (k,), where), *cols[k + 1 :]], sizes, scale=1)


def _slice(rng: Random, shape: Shape) -> Sample:
    def choose(rng: Random, count: int, n: int) -> Positions:
        start = rng.randint(0, n - count)
        return range(start, start + count)

    return _selection(rng, shape, choose)


def _gather(rng: Random, shape: Shape) -> Sample:
    def choose(rng: Random, count: int, n: int) -> Positions:
        return positions([rng.randrange(n) for _ in range(count)])

    return _selection(rng, shape, choose)


def _pad(rng: Random, shape: Shape) -> Sample:
    if not shape:
        return _unit(rng, shape)
    cols, sizes = _plain(shape)
    k = rng.randrange(len(shape))
    start, after = rng.randint(0, 2), rng.randint(0, 2)
    where = range(start, start + shape[k])
    rows = [*cols[:k], Axis(start + shape[k] + after, (k,), where), *cols[k + 1 :]]
    return sample(rng, rows, cols, sizes, scale=1)


Kind: TypeAlias = Callable[[Random, Shape], Sample]

KINDS: dict[str, Kind] = {
    "dense": _dense,
    "diagonal": _diagonal,
    "unit": _unit,
    "kronecker": _kronecker,
    "block diagonal": _block_diagonal,
    "sum": _sum,
    "broadcast": _broadcast,
    "transpose": _transpose,
    "ravel": _ravel,
    "slice": _slice,
    "gather": _gather,
    "pad": _pad,
}
GROWING = ("broadcast", "pad")
LARGE = 40


def random_local(rng: Random, col_shape: Shape, kinds: Sequence[str] = tuple(KINDS)) -> Sample:
    """Return a random local Jacobian of an operation on arrays of `col_shape`.

    Parameters
    ----------
    rng : random.Random
    col_shape : tuple of int
        The shape of the input; the operation settles that of the output.
    kinds : sequence of str
        Names from `KINDS`; those that only enlarge are left out for large shapes.

    Examples
    --------
    >>> random_local(Random(0), (2, 3), ["diagonal"]).structure.kind
    'diagonal'
    """
    if prod(col_shape) > LARGE:
        kinds = [kind for kind in kinds if kind not in GROWING] or ["unit"]
    return KINDS[rng.choice(kinds)](rng, col_shape)


# ------------------------------------------------------ random linear graphs


def random_chain(
    rng: Random, n_factors: int, kinds: Sequence[str] = tuple(KINDS)
) -> tuple[LinearGraph, list[Array | None]]:
    """Return a path of `n_factors` typical local Jacobians, and the kept array of every one.

    Parameters
    ----------
    rng : random.Random
    n_factors : int
        At least one.
    kinds : sequence of str
        Names from `KINDS`.

    Examples
    --------
    >>> graph, numbers = random_chain(Random(0), 4)
    >>> len(graph.chain), len(numbers)
    (4, 4)
    """
    shapes = [random_shape(rng)]
    edges, numbers = [], []
    for k in range(n_factors):
        structure, kept, _ = random_local(rng, shapes[-1], kinds)
        edges.append(Edge(k, k + 1, structure))
        numbers.append(kept)
        shapes.append(structure.row_shape)
    return LinearGraph(tuple(shapes), (0,), (n_factors,), tuple(edges)), numbers


def random_graph(
    rng: Random,
    n_inner: int,
    *,
    n_inputs: int = 1,
    n_outputs: int = 1,
    more: float = 1.0,
    shapes: Callable[[Random], Shape] = random_shape,
    local: Callable[[Random, Shape, Shape], Sample] = random_structure,
) -> tuple[LinearGraph, list[Array | None]]:
    """Return a random linear graph, and the kept array of every edge.

    Every inner vertex lies between an input and an output. Edges may be parallel, skip vertices,
    and join an input to an output; they come in any order.

    Parameters
    ----------
    rng : random.Random
    n_inner, n_inputs, n_outputs : int
        The numbers of vertices.
    more : float
        Edges per inner vertex beyond those that connect the graph.
    shapes : callable
        Makes the shape of a vertex.
    local : callable
        Makes the Jacobian of an edge from the shapes of its head and of its tail.

    Examples
    --------
    >>> graph, numbers = random_graph(Random(0), 3, n_inputs=2)
    >>> graph.inner, len(numbers) == len(graph.edges)
    ((2, 3, 4), True)
    """
    n = n_inputs + n_inner + n_outputs
    first_output = n_inputs + n_inner
    vertices = tuple(shapes(rng) for _ in range(n))
    ends = [(rng.randrange(v), v) for v in range(n_inputs, first_output)]
    ends += [(rng.randrange(first_output), v) for v in range(first_output, n)]
    for v in range(first_output):
        if all(tail != v for tail, _ in ends):
            ends.append((v, rng.randrange(max(v + 1, n_inputs), n)))
    for _ in range(round(more * n_inner)):
        tail = rng.randrange(first_output)
        ends.append((tail, rng.randrange(max(tail + 1, n_inputs), n)))
    rng.shuffle(ends)
    edges, numbers = [], []
    for tail, head in ends:
        structure, kept, _ = local(rng, vertices[head], vertices[tail])
        edges.append(Edge(tail, head, structure))
        numbers.append(kept)
    inputs, outputs = tuple(range(n_inputs)), tuple(range(first_output, n))
    return LinearGraph(vertices, inputs, outputs, tuple(edges)), numbers


def random_dense(rng: Random, row_shape: Shape, col_shape: Shape) -> Sample:
    """Return a Jacobian without any structure; a `local` for `random_graph`.

    Examples
    --------
    >>> random_dense(Random(0), (2,), (3,)).structure.kind
    'dense'
    """
    rows, new = _plain(row_shape, len(col_shape))
    cols, sizes = _plain(col_shape)
    return sample(rng, rows, cols, sizes | new, [*new, *sizes])


# --------------------------------------------------------- checking a function


def check_jacobian(
    f: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] = 0,
    modes: Sequence[Mode] = ("auto", "forward", "reverse"),
    rtol: float = 1e-7,
    atol: float = 1e-8,
) -> None:
    """Compare `chainad.jacobian` with central differences; every mode must agree.

    Parameters
    ----------
    f : callable
        A function of arrays, smooth near `args`; returns an array or a tuple of arrays.
    *args
        Where to compare; the arguments differentiated by are taken as float64.
    argnums : int or sequence of int
        The arguments to differentiate by.
    modes : sequence
        Modes of `chainad.jacobian`.
    rtol, atol : float
        Two entries agree if they differ by at most `atol + rtol * abs(wanted)`, where `wanted` is
        the central difference.

    Raises
    ------
    AssertionError
        If shapes or entries differ; it says in which mode, where, and by how much.

    Notes
    -----
    Five points per entry, f(x - 2h) to f(x + 2h) with h near 1e-3: the error is of order h^4.

    Examples
    --------
    >>> check_jacobian(np.sin, np.array([0.5, 1.0]))
    >>> check_jacobian(lambda a, b: (a @ b, a * 2), np.ones((2, 2)), np.ones(2), argnums=(0, 1))
    """
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    point = list(args)
    for k in numbers:
        point[k] = np.array(args[k], np.float64)
    wanted = [_central_difference(f, point, k) for k in numbers]
    for mode in modes:
        got = jacobian(f, argnums, mode)(*point)
        for o, row in enumerate(got if isinstance(f(*point), tuple) else (got,)):
            for k, block, blocks in zip(
                numbers, (row,) if isinstance(argnums, int) else row, wanted, strict=True
            ):
                what = f"mode={mode!r}: d(output {o})/d(argument {k})"
                _compare(what, np.asarray(block), blocks[o], rtol, atol)


def _central_difference(f: Callable[..., Any], point: Sequence[Any], number: int) -> list[Array]:
    """Return the Jacobian of every output with respect to one argument."""
    x: Array = point[number]

    def outputs(moved: Array) -> list[Array]:
        value = f(*[moved if k == number % len(point) else a for k, a in enumerate(point)])
        return [np.array(v, np.float64) for v in (value if isinstance(value, tuple) else (value,))]

    def at(place: Shape, step: float) -> list[Array]:
        moved = x.copy()
        moved[place] += step
        return outputs(moved)

    jacobians = [np.zeros((*value.shape, *x.shape)) for value in outputs(x.copy())]
    for place in np.ndindex(x.shape):
        h = 1e-3 * max(1.0, abs(float(x[place])))
        values = zip(*(at(place, step * h) for step in (-2, -1, 1, 2)), strict=True)
        for J, (a, b, c, d) in zip(jacobians, values, strict=True):
            J[(..., *place)] = (a - 8 * b + 8 * c - d) / (12 * h)
    return jacobians


def _compare(what: str, got: npt.NDArray[Any], wanted: Array, rtol: float, atol: float) -> None:
    if got.shape != wanted.shape:
        raise AssertionError(f"{what} has shape {got.shape}, but must have {wanted.shape}")
    wrong = ~np.isclose(got, wanted, rtol, atol, equal_nan=True)
    if not wrong.any():
        return
    gap = np.where(wrong, np.nan_to_num(np.abs(got - wanted), nan=np.inf), -1.0)
    worst = tuple(int(k) for k in np.unravel_index(np.argmax(gap), gap.shape))
    raise AssertionError(
        f"{what} differs from central differences in {np.count_nonzero(wrong)} of {wrong.size}"
        f" entries, most at {worst}: got {got[worst]:.10g}, wanted {wanted[worst]:.10g}"
    )
