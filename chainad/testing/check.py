"""The check of derivatives against the complex step, or against differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chainad.api.compiled import CompiledFunction
from chainad.api.differentiator import Differentiator
from chainad.api.jacobian_functions import JacobianFunction
from chainad.api.options import checked_options
from chainad.errors import InputError
from chainad.frontends.numpy.trace import Key, argument_leaves, argument_name, holder_of, split_aux
from chainad.ir import trees
from chainad.planning.auto import Mode
from chainad.structure.results import StructuredJacobian
from chainad.testing.oracles import Array

# With more entries in the arguments, random directions are compared.
MAX_CHECKED_COLUMNS = 200
RANDOM_DIRECTIONS = 5

_COMPLEX_STEP = 1e-30
# Differences at two steps that differ by more, relative to the derivative, say nothing.
_MAX_DISAGREEMENT = 1e-5


@dataclass(frozen=True)
class Comparison:
    """One derivative beside the numbers that it should have.

    Attributes
    ----------
    request : str
        How it was asked for.
    compared, wrong : int
        How many entries were compared, and how many of them differ.
    output, argument : str
        Where the worst entry is: the names of its output and of its argument.
    indices : tuple of int
        The indices of the worst entry, those of the output first; for random directions, the number
        of the direction last.
    got, wanted : float
        The worst entry, and what it should be.
    """

    request: str
    compared: int
    wrong: int
    output: str
    argument: str
    indices: tuple[int, ...]
    got: float
    wanted: float

    @property
    def error(self) -> float:
        """By how much the worst entry differs."""
        return abs(self.got - self.wanted)

    def __str__(self) -> str:
        where = f"d({self.output})/d({self.argument})"
        values = f"at {self.indices}: got {self.got:.10g}, wanted {self.wanted:.10g}"
        if self.wrong:
            return (
                f"{self.request}: {where} differs in {self.wrong} of {self.compared} entries, most"
                f" {values}"
            )
        return (
            f"{self.request}: right; the largest difference is {self.error:.2g}, {where} {values}"
        )


@dataclass(frozen=True)
class CheckReport:
    """What `check_jacobian` found.

    Attributes
    ----------
    method : str
        What the derivatives were compared with.
    uncertain : int
        Entries that were left out, since differences at two steps disagree (at kinks, and where
        rounding is all there is).
    comparisons : tuple of Comparison
        One for every request.
    """

    method: str
    uncertain: int
    comparisons: tuple[Comparison, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing differs."""
        return not any(each.wrong for each in self.comparisons)

    @property
    def worst(self) -> Comparison:
        """The comparison with the largest difference, one that is wrong if there is any."""
        return max(self.comparisons, key=lambda each: (each.wrong > 0, each.error))

    def __str__(self) -> str:
        left_out = f", {self.uncertain} entries left out as uncertain" if self.uncertain else ""
        return "\n".join([f"compared with {self.method}{left_out}", *map(str, self.comparisons)])


def check_jacobian(
    f: Callable[..., Any],
    *args: Any,
    argnums: Key | Sequence[Key] = 0,
    modes: Sequence[Mode] = ("auto", "forward", "reverse"),
    rtol: float = 1e-7,
    atol: float = 1e-8,
    **kwargs: Any,
) -> CheckReport:
    """Compare derivatives with independent numbers: by the complex step, or by differences.

    Parameters
    ----------
    f : callable
        A function of arrays or containers of them, as `jacobian` takes it; its Jacobian is checked
        in every mode. Or what a verb returned (`jacobian`, `grad`, `hessian`, ..., compiled or
        not, of any output), which is checked as it is.
    *args, **kwargs
        Where to compare, near which `f` is smooth.
    argnums : int, str, or sequence of these
        The arguments to differentiate by, unless `f` is a derivative.
    modes : sequence
        Modes of `jacobian`, unless `f` is a derivative.
    rtol, atol : float
        Two entries agree if they differ by at most `atol + rtol * abs(wanted)`, and what the
        differences at two steps differ by.

    Returns
    -------
    CheckReport
        Print it.

    Raises
    ------
    AssertionError
        If shapes or entries differ, or no entry can be compared; the report is its text.

    Notes
    -----
    The complex step, f(x + ih), is used where `f` takes complex arrays and agrees with differences
    in a random direction; it is exact. Else five points per entry, f(x - 2h) to f(x + 2h), with h
    near 1e-3 and half of that: the error is of order h^4. Beyond 200 entries of the arguments, both
    are used in five random directions instead.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> from chainad.testing import check_jacobian
    >>> report = check_jacobian(np.sin, np.array([0.5, 1.0]))
    >>> report.passed, report.method
    (True, 'the complex step')
    >>> report = check_jacobian(chainad.hessian(lambda x: np.sum(x**4)), np.ones(3))
    >>> report.passed, report.method
    (True, 'differences at two steps')
    """
    requests: dict[str, Callable[..., Any]]
    if isinstance(f, (JacobianFunction, CompiledFunction)) and f._of.has_jacobian:
        of, requests = f._of, {repr(f): f}
    else:
        of = Differentiator(f, checked_options(argnums), has_value=False)
        modal = {mode: replace(of.options, mode=mode) for mode in modes}
        requests = {f"mode={m!r}": JacobianFunction(f, how) for m, how in modal.items()}
    point = _Point(of, args, kwargs)
    directions = point.directions()
    wanted, uncertainty, method = _reference(point, directions)
    is_certain = uncertainty <= _MAX_DISAGREEMENT * (1 + np.abs(wanted))
    limits = atol + rtol * np.abs(wanted) + uncertainty
    found = []
    for request, derivative in requests.items():
        blocks = _blocks(of, derivative(*args, **kwargs))
        got = point.products(request, blocks, directions)
        with np.errstate(invalid="ignore"):
            is_same = (np.abs(got - wanted) <= limits) | (np.isnan(got) & np.isnan(wanted))
        found.append(_comparison(request, point, got, wanted, is_same, is_certain))
    uncertain = int(np.count_nonzero(~is_certain))
    report = CheckReport(method, uncertain, tuple(found))
    if uncertain == wanted.size and wanted.size:
        raise AssertionError(f"nothing can be compared: {report}")
    if not report.passed:
        raise AssertionError(str(report))
    return report


class _Point:
    """A function at a point, as one of a vector, and the names of its parts."""

    def __init__(self, of: Differentiator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.of, self.args, self.kwargs = of, args, kwargs
        self.keys = of.options.selected(of.function, args, kwargs)
        leaves, self.arguments, trees_of = [], [], {}
        for key in self.keys:
            given = holder_of(key, args, kwargs)[key]
            found, tree = argument_leaves(of.wrapped, key, given)
            leaves += [np.asarray(x, np.float64) for x in found]
            names = [tree.place(n, argument_name(key)) for n in range(len(found))]
            self.arguments += names
            trees_of[key] = tree
        self.trees = trees_of
        self.shapes = [x.shape for x in leaves]
        self.vector: Array = np.concatenate([x.ravel() for x in leaves]) if leaves else np.zeros(0)
        values, tree = trees.flatten_arrays(self._result(self.vector))
        self.value_shapes = [np.shape(y) for y in values]
        self.outputs = [_output_name(tree, n) for n in range(len(values))]

    def directions(self) -> Array:
        """Return the columns that are compared: of the identity, or random ones."""
        n = self.vector.size
        if n <= MAX_CHECKED_COLUMNS:
            return np.eye(n)
        return np.random.default_rng(0).normal(size=(n, RANDOM_DIRECTIONS))

    def at(self, vector: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return all outputs as one vector."""
        values, _ = trees.flatten_arrays(self._result(vector))
        if [np.shape(y) for y in values] != self.value_shapes:
            raise InputError("the shapes of the outputs change near the point")
        flat = [np.ravel(np.asarray(y)) for y in values]
        return np.concatenate(flat) if flat else np.zeros(0)

    def _result(self, vector: npt.NDArray[Any]) -> Any:
        ends = np.cumsum([0, *map(prod, self.shapes)])
        pieces = [
            vector[a:b].reshape(shape)[()].copy()
            for a, b, shape in zip(ends[:-1], ends[1:], self.shapes, strict=True)
        ]
        args, kwargs, rest = list(self.args), dict(self.kwargs), iter(pieces)
        for key, tree in self.trees.items():
            holder_of(key, args, kwargs)[key] = tree.unflatten(
                [next(rest) for _ in range(tree.num_leaves)]
            )
        result = self.of.function(*args, **kwargs)
        return split_aux(result)[0] if self.of.options.has_aux else result

    def products(self, request: str, blocks: Sequence[Any], directions: Array) -> Array:
        """Return the products of a Jacobian, given by its blocks, with the columns."""
        ends = np.cumsum([0, *map(prod, self.shapes)])
        given = iter(blocks)
        rows = []
        for output, rows_shape in zip(self.outputs, self.value_shapes, strict=True):
            total = np.zeros((prod(rows_shape), directions.shape[1]))
            for k, cols_shape in enumerate(self.shapes):
                what = f"{request}: d({output})/d({self.arguments[k]})"
                part = directions[ends[k] : ends[k + 1]]
                total += _product(what, next(given), rows_shape, cols_shape, part)
            rows.append(total)
        return np.concatenate(rows) if rows else np.zeros((0, directions.shape[1]))

    def place(self, row: int, column: int) -> tuple[str, str, tuple[int, ...]]:
        """Return the output, the argument, and the indices of an entry of the products."""
        output, at = _located(row, self.value_shapes)
        if self.vector.size > MAX_CHECKED_COLUMNS:
            return self.outputs[output], "a random direction", (*at, column)
        argument, place = _located(column, self.shapes)
        return self.outputs[output], self.arguments[argument], (*at, *place)


def _output_name(tree: trees.Tree, number: int) -> str:
    is_one = tree is trees.LEAF or tree.is_flat_tuple
    return f"output {number}" if is_one else tree.place(number, "the result")


def _located(number: int, shapes: Sequence[tuple[int, ...]]) -> tuple[int, tuple[int, ...]]:
    """Return in which of some raveled arrays an entry is, and its indices there."""
    for k, shape in enumerate(shapes):
        if number < prod(shape):
            return k, tuple(int(i) for i in np.unravel_index(number, shape)) if shape else ()
        number -= prod(shape)
    raise AssertionError


def _blocks(of: Differentiator, result: Any) -> list[Any]:
    """Return the blocks of what a derivative returned, result over argument."""
    if of.has_value:
        result = result[1]
    elif of.options.has_aux:
        result = result[0]
    return trees.flatten(result)[0]


def _product(
    what: str, block: Any, rows: tuple[int, ...], cols: tuple[int, ...], right: Array
) -> Array:
    """Return the product of a block of any form with columns."""
    is_full = isinstance(block, (np.ndarray, np.generic, StructuredJacobian))
    shape = (*rows, *cols) if is_full else (prod(rows), prod(cols))
    if block.shape != shape:
        raise AssertionError(f"{what} has shape {block.shape}, but must have {shape}")
    if is_full:
        matrix = np.asarray(block, np.float64).reshape(prod(rows), prod(cols))
        is_unit = right.shape[0] == 1 or np.count_nonzero(right) == right.shape[0]
        return _columns(matrix, right) if is_unit else matrix @ right
    product: Array = block @ right
    return product


def _columns(matrix: Array, right: Array) -> Array:
    """Return the product with columns of the identity: nan stays in its column."""
    found = np.zeros((matrix.shape[0], right.shape[1]))
    places, columns = np.nonzero(right)
    found[:, columns] = matrix[:, places] * right[places, columns]
    return found


def _comparison(
    request: str, point: _Point, got: Array, wanted: Array, is_same: Any, is_certain: Any
) -> Comparison:
    compared = int(np.count_nonzero(is_certain))
    is_wrong = is_certain & ~is_same
    if not wanted.size:
        return Comparison(request, 0, 0, "nothing", "nothing", (), 0.0, 0.0)
    gap = np.nan_to_num(np.abs(got - wanted), nan=0.0, posinf=np.inf)
    gap = np.where(is_wrong & ~np.isfinite(got - wanted), np.inf, gap)
    gap = np.where(is_wrong if is_wrong.any() else is_certain, gap, -1.0)
    row, column = (int(k) for k in np.unravel_index(np.argmax(gap), gap.shape))
    at = float(got[row, column]), float(wanted[row, column])
    wrong = int(np.count_nonzero(is_wrong))
    return Comparison(request, compared, wrong, *point.place(row, column), *at)


class _Reference(NamedTuple):
    wanted: Array
    uncertainty: Array
    method: str


def _reference(point: _Point, directions: Array) -> _Reference:
    """Return the derivatives along the columns, how far they are from sure, and the method."""
    of_complex = _by_complex_step(point, directions)
    if of_complex is not None:
        return _Reference(of_complex, np.zeros_like(of_complex), "the complex step")
    wanted, uncertainty = _by_differences(point, directions.T)
    return _Reference(wanted, uncertainty, "differences at two steps")


def _by_complex_step(point: _Point, directions: Array) -> Array | None:
    """Return the derivatives by the complex step, if the function takes it."""
    x = point.vector
    if not x.size:
        return None

    def along(direction: Array) -> Array:
        found = point.at(x + 1j * _COMPLEX_STEP * direction)
        return np.imag(found) / _COMPLEX_STEP

    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("error")
            trial = np.random.default_rng(1).normal(size=x.size)
            exact = along(trial)
            columns = [along(direction) for direction in directions.T]
        near, uncertainty = _by_differences(point, [trial])
    except Exception:  # whatever a function does with complex numbers
        return None
    is_close = np.abs(exact - near[:, 0]) <= 1e-5 * (1 + np.abs(exact)) + 2 * uncertainty[:, 0]
    is_sure = uncertainty[:, 0] <= _MAX_DISAGREEMENT * (1 + np.abs(exact))
    return np.stack(columns, axis=1) if is_close.all() and is_sure.any() else None


def _by_differences(point: _Point, directions: Iterable[Array]) -> tuple[Array, Array]:
    """Return central differences, and what they differ by from those at twice the step."""
    found, gaps = [], []
    x = point.vector
    for direction in directions:
        moved = np.abs(direction) > 0
        size = max(1.0, float(np.max(np.abs(x[moved]), initial=0.0)))
        h = 1e-3 * size / float(np.max(np.abs(direction), initial=1e-300))
        far, near = (_central(point, direction, step) for step in (h, h / 2))
        found.append(near)
        gaps.append(np.nan_to_num(np.abs(far - near), nan=0.0, posinf=np.inf))
    if not found:
        empty = np.zeros((sum(prod(shape) for shape in point.value_shapes), 0))
        return empty, empty
    return np.stack(found, axis=1), np.stack(gaps, axis=1)


def _central(point: _Point, direction: Array, h: float) -> Array:
    a, b, c, d = (
        np.asarray(point.at(point.vector + k * h * direction), float) for k in (-2, -1, 1, 2)
    )
    slope: Array = (a - 8 * b + 8 * c - d) / (12 * h)
    return slope
