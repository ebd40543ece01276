"""Functions of matrices written by eigenvectors or singular vectors, found on the tape.

`(V * f(w)) @ V.T` with V and w of one `eigh`, and `(U * f(s)) @ Vh` of one `svd`, are smooth where
eigenvalues coincide, although the vectors are not. So are projectors, `V[:, -k:] @ V[:, -k:].T` and
`U[:, :k] @ U[:, :k].T`, which are functions that are 0 of all other eigenvalues. Such products are
followed through scaling, choices of vectors, transposes and contractions, however they are written,
and so is what such a matrix is multiplied by: `V @ (f(w) * (V.T @ b))`. They are differentiated
with constant vectors, and what these would contribute is added by `chainad.rules.spectral`.
Whatever else is made from the vectors is differentiated by theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from chainad.frontends.numpy.entry_patterns import (
    chosen_entries,
    is_plain_diagonal,
    is_transpose,
    slope_of,
)
from chainad.frontends.numpy.tape import Entry, Tape
from chainad.frontends.numpy.tape_rewriting import TapeRewriting
from chainad.frontends.numpy.tracers import Tracer
from chainad.ir.array_functions import place
from chainad.ir.positions import positions
from chainad.rules.base import RULES
from chainad.rules.decompositions import (
    check_triangle,
    eigenvalues,
    eigenvectors,
    left_vectors,
    right_vectors,
    singular_values,
    symmetric_factors,
)
from chainad.rules.kinds import Contraction, Label
from chainad.rules.spectral import OF_EIGENVALUES, OF_GRAM_MATRIX, OF_SINGULAR_VALUES, SAME_ENTRIES

_VECTORS = {eigenvectors, left_vectors, right_vectors}
_VALUES = {eigenvalues, np.linalg.eigvalsh, singular_values, np.linalg.svdvals}
LEFT, RIGHT = "left", "right"
EIGEN, SINGULAR = "eigenvalues", "singular values"


# Which vectors of a factorisation, or which of its eigenvalues, one by one; None: all in order.
_Choice: TypeAlias = tuple[int, ...] | None


@dataclass(frozen=True)
class _Weights:
    """Numbers by which vectors are scaled: plain, as values to calculate with, and their slope."""

    values: Any
    traced: Callable[[], Any]
    slope: Any

    def chosen(self, positions: Sequence[int]) -> _Weights:
        """Return those of some vectors."""
        at = [*positions]

        def part(x: Any) -> Any:
            return x[..., at] if np.ndim(x) and np.shape(x)[-1] > 1 else x

        return _Weights(part(self.values), lambda: part(self.traced()), part(self.slope))


@dataclass(frozen=True)
class _Vectors:
    """Scaled vectors of a factorisation, all or some, as columns or rows.

    `constant` is the entry that is made from constant vectors, None if it is constant.
    """

    factorisation: tuple[Any, ...]
    side: str
    is_rows: bool
    weights: tuple[_Weights, ...]
    constant: int | None
    choice: _Choice = None


@dataclass(frozen=True)
class _Diagonal:
    """A diagonal matrix, made by this entry."""

    entry: Entry


@dataclass(frozen=True)
class _Projected:
    """Scaled inner products of all vectors with a vector or a matrix, along its axis `axis`.

    `is_rows` says that there is a row for every vector, not a column.
    """

    vectors: _Vectors
    source: int | None
    operand: Any
    axis: int
    is_rows: bool


_Form: TypeAlias = _Vectors | _Diagonal | _Projected


@dataclass(frozen=True)
class _Operand:
    """An operand of a contraction."""

    form: _Form | None
    number: int
    labels: tuple[Label, ...]

    @property
    def free_and_tied(self) -> tuple[Label, Label]:
        """The label along a vector, or what it was multiplied with, and that of the vectors."""
        assert isinstance(self.form, (_Vectors, _Projected))
        if len(self.labels) == 1:
            return _NOTHING, self.labels[0]
        one, two = self.labels[-2:]
        return (two, one) if self.form.is_rows else (one, two)


_NOTHING = -1  # in the place of a label


def has_spectral_functions(tape: Tape) -> bool:
    """Return whether there may be functions of matrices to recognise."""
    return not _VECTORS.isdisjoint(tape.functions)


def with_spectral_functions(tape: Tape, outputs: Sequence[int | None]) -> list[int | None]:
    """Return the entries that stand for `outputs`, with functions of matrices recognised."""
    return _Spectral(tape).run(outputs)


class _Spectral(TapeRewriting):
    """By entry its form, and its slope by some eigenvalues of every factorisation, one by one.

    `found` has the plain parts of the factorisations.
    """

    def __init__(self, tape: Tape) -> None:
        super().__init__(tape)
        self.forms: dict[int, _Form] = {}
        self.slopes: dict[int, dict[tuple[tuple[Any, ...], _Choice], Any]] = {}
        self.found: dict[tuple[Any, ...], dict[str, Any]] = {}

    def replacement(self, number: int, entry: Entry) -> int | None:
        self._follow_slopes(number, entry)
        if entry.function in _VECTORS:
            self.forms[number] = self._of_factorisation(entry)
            return None
        if all(s not in self.forms for s in entry.sources):
            if entry.function in (np.diag, np.diagflat) and is_plain_diagonal(entry):
                self.forms[number] = _Diagonal(entry)
            return None
        row = RULES.get(entry.function)
        if row is not None and isinstance(row.kind, Contraction):
            result = self._contracted(entry, row.kind)
        else:
            result = self._scaled_or_turned(entry)
        if isinstance(result, (_Vectors, _Diagonal, _Projected)):
            self.forms[number] = result
            return None
        return result

    def _form(self, source: int | None) -> _Form | None:
        return None if source is None else self.forms.get(source)

    # --------------------------------------------------------------- eigenvalues

    def _of_factorisation(self, entry: Entry) -> _Vectors:
        key = self._factorisation(entry)
        parts = self.found.setdefault(key, {})
        parts["matrix"] = (entry.sources[0], entry.operands[0])
        side = RIGHT if entry.function is right_vectors else LEFT
        parts[side] = entry.value
        if side == LEFT and key[0] == EIGEN:
            parts["values"] = eigenvalues(*entry.operands, key[-1])
        else:
            parts["values"] = singular_values(*entry.operands)
        return _Vectors(key, side, False, (), None)

    def _factorisation(self, entry: Entry) -> tuple[Any, ...]:
        """Return what calls have in common that take parts of one factorisation."""
        if entry.function in (np.linalg.svdvals, singular_values, left_vectors, right_vectors):
            return (SINGULAR, entry.sources[0])
        made_by: Callable[..., Any] = symmetric_factors
        if entry.function is not np.linalg.eigvalsh and entry.sources[1] is not None:
            made_by = self.tape.entries[entry.sources[1]].function
        static = () if entry.template is None else entry.template[0][1:]
        uplo = next((x for x in static if isinstance(x, str)), "L")
        return (EIGEN, entry.sources[0], made_by, uplo)

    def _follow_slopes(self, number: int, entry: Entry) -> None:
        """Find how an entry depends on eigenvalues, one by one; nan where it does otherwise."""
        if entry.function in _VALUES:
            key = self._factorisation(entry)
            self.slopes[number] = {(key, None): np.ones(np.shape(entry.value), entry.value.dtype)}
            return
        of_operands = [self.slopes.get(s, {}) if s is not None else {} for s in entry.sources]
        keys = dict.fromkeys(key for each in of_operands for key in each)
        if not keys:
            return
        chosen = chosen_entries(entry, -1)
        if chosen is not None:
            (slopes,) = of_operands
            shape = np.shape(entry.operands[0])
            self.slopes[number] = {
                (key, _chosen_of(choice, chosen)): np.broadcast_to(slope, shape)[..., [*chosen]]
                if choice is None or len(choice) == shape[-1]
                else np.nan
                for (key, choice), slope in slopes.items()
            }
            return
        self.slopes[number] = {
            key: slope_of(entry, [each.get(key) for each in of_operands]) for key in keys
        }

    def _weights(self, entry: Entry, at: int, vectors: _Vectors) -> _Weights:
        """Return an operand as weights of vectors."""
        source, operand = entry.sources[at], entry.operands[at]
        slopes = {} if source is None else self.slopes.get(source, {})
        own = vectors.factorisation, vectors.choice
        # What depends on other eigenvalues of the same matrix is no function of the vectors' own.
        is_other = any(key == own[0] and choice != own[1] for key, choice in slopes)
        slope = np.nan if is_other else slopes.get(own, 0.0)
        return _Weights(operand, lambda: self.value(source, operand), slope)

    # -------------------------------------------------------- scaled and transposed

    def _scaled_or_turned(self, entry: Entry) -> _Form | None:
        """Return the form of a call that is no contraction."""
        function, form = entry.function, self._form(entry.sources[0])
        if function in (np.multiply, np.divide):
            at = 0 if form is not None else 1
            form = self._form(entry.sources[at])
            if form is None or self._form(entry.sources[1 - at]) is not None:
                return None
            if function is np.divide and at == 1:
                return None
            if isinstance(form, _Diagonal):
                return None
            weights = self._weights_beside(entry, 1 - at, form)
            return None if weights is None else self._with(form, weights, entry)
        if len(entry.sources) != 1 or form is None:
            return None
        if function in SAME_ENTRIES:
            return form
        if isinstance(form, _Projected) and is_transpose(entry):
            return replace(form, is_rows=not form.is_rows)
        if isinstance(form, _Vectors) and is_transpose(entry):
            return replace(form, is_rows=not form.is_rows, constant=self._moved(entry, form))
        if isinstance(form, _Vectors):
            chosen = chosen_entries(entry, -2 if form.is_rows else -1)
            if chosen is not None and len({*chosen}) == len(chosen):
                return replace(
                    form,
                    weights=tuple(x.chosen(chosen) for x in form.weights),
                    choice=_chosen_of(form.choice, chosen),
                    constant=self._moved(entry, form),
                )
        return None

    def _moved(self, entry: Entry, form: _Vectors) -> int | None:
        """Return the entry of a movement of constant vectors; None if it is constant."""
        if form.constant is None:
            return None
        return self.copy(entry, lambda s: form.constant)

    def _weights_beside(
        self, entry: Entry, at: int, form: _Vectors | _Projected
    ) -> _Weights | None:
        """Return what multiplies every vector by a number of its own, or all by one."""
        x, ndim = entry.operands[at], np.ndim(entry.value)
        along: tuple[Any, ...] | None = None
        if np.ndim(x) == 0:
            along = ()
        elif ndim == 1 or (np.ndim(x) == 1 and not form.is_rows):
            along = (...,)
        elif form.is_rows and np.ndim(x) > 1 and np.shape(x)[-1] == 1:
            along = (..., 0)
        elif not form.is_rows and np.shape(x)[-2] == 1:
            along = (..., 0, slice(None))
        if along is None:
            return None
        vectors = form.vectors if isinstance(form, _Projected) else form
        whole = self._weights(entry, at, vectors)

        def part(y: Any) -> Any:
            return y[along] if along and np.ndim(y) else y

        found = _Weights(part(x), lambda: part(whole.traced()), part(whole.slope))
        if entry.function is np.multiply:
            return found
        inverse = 1 / found.values
        return _Weights(inverse, lambda: 1 / found.traced(), -found.slope * inverse * inverse)

    def _with(self, form: _Vectors | _Projected, weights: _Weights, entry: Entry) -> _Form:
        if isinstance(form, _Projected):
            vectors = replace(form.vectors, weights=(*form.vectors.weights, weights))
            return replace(form, vectors=vectors)
        constant = self._copy_with_constants(entry)
        return replace(form, weights=(*form.weights, weights), constant=constant)

    def _copy_with_constants(self, entry: Entry) -> int | None:
        """Append a call on constant vectors; return None if it is constant."""

        def source(k: int | None) -> int | None:
            form = self._form(k)
            return form.constant if isinstance(form, _Vectors) else self.source(k)

        if all(source(k) is None for k in entry.sources):
            return None
        return self.copy(entry, source)

    # -------------------------------------------------------------- contractions

    def _contracted(self, entry: Entry, kind: Contraction) -> _Form | int | None:
        """Return the form of a contraction, or the entry that stands for it."""
        node = self.tape.node(entry)
        einsum = kind.einsum(*node.args, **node.kwargs)
        operands = [
            _Operand(self._form(entry.sources[x.number]), x.number, labels)
            for x, labels in einsum.operands
        ]
        vectors = [x for x in operands if isinstance(x.form, _Vectors)]
        plain = [x for x in operands if x.form is None]
        if len(vectors) == 2 and len(plain) == len(operands) - 2:
            return self._product(entry, vectors, plain, einsum.result)
        if len(operands) != 2:
            return None
        if all(isinstance(x.form, (_Vectors, _Projected)) for x in operands):
            return self._applied(entry, operands, einsum.result)
        if len(vectors) != 1:
            return None
        (one,) = vectors
        (other,) = [x for x in operands if x is not one]
        return self._scaled_or_projected(entry, one, other, einsum.result)

    def _product(
        self,
        entry: Entry,
        vectors: Sequence[_Operand],
        others: Sequence[_Operand],
        result: tuple[Label, ...],
    ) -> int | None:
        """Return the entry of a function of a matrix: vectors, weights, and vectors."""
        one, two = vectors
        (i, tied), (k, also), batch = one.free_and_tied, two.free_and_tied, one.labels[:-2]
        if also != tied or i == k or two.labels[:-2] != batch or None in (i, k, tied):
            return None
        if result not in ((*batch, i, k), (*batch, k, i)):
            return None
        if any(x.labels not in ((), (tied,), (*batch, tied)) for x in others):
            return None
        first, second = (one, two) if result[-1] == k else (two, one)
        assert isinstance(first.form, _Vectors)
        assert isinstance(second.form, _Vectors)
        more = [self._weights(entry, x.number, first.form) for x in others]
        found = self._matrix(first.form, second.form, more)
        if found is None:
            return None
        return self._append(found, self._copy_with_constants(entry), entry.value)

    def _scaled_or_projected(
        self, entry: Entry, one: _Operand, other: _Operand, result: tuple[Label, ...]
    ) -> _Form | None:
        """Return the form of vectors times something else."""
        form, (free, tied) = one.form, one.free_and_tied
        assert isinstance(form, _Vectors)
        if isinstance(other.form, _Diagonal):
            new = [x for x in other.labels if x != tied]
            if len(new) != 1 or result != tuple(new[0] if x == tied else x for x in one.labels):
                return None
            weights = self._weights(other.form.entry, 0, form)
            return self._with(form, weights, entry)
        if other.form is not None:
            return None
        if other.labels == (tied,) and result == one.labels:
            return self._with(form, self._weights(entry, other.number, form), entry)
        left = [x for x in other.labels if x != free]
        if len(one.labels) != 2 or len(left) != len(other.labels) - 1 or len(left) > 1:
            return None
        if tied in left or {*result} != {tied, *left} or len(result) != len(left) + 1:
            return None
        at = other.labels.index(free)
        operand = entry.operands[other.number]
        return _Projected(form, entry.sources[other.number], operand, at, result[0] == tied)

    def _applied(
        self, entry: Entry, operands: Sequence[_Operand], result: tuple[Label, ...]
    ) -> int | None:
        """Return the entry of a function of a matrix between vectors or matrices."""
        (i, tied), (k, also) = (x.free_and_tied for x in operands)
        if also != tied or tied in result or None in (i, k) or (i == k and i != _NOTHING):
            return None
        order = tuple(x for x in (i, k) if x != _NOTHING)
        if result not in (order, order[::-1]) or any(len(x.labels) > 2 for x in operands):
            return None
        forms = [x.form for x in operands]
        pair = [x.vectors if isinstance(x, _Projected) else x for x in forms]
        assert isinstance(pair[0], _Vectors)
        assert isinstance(pair[1], _Vectors)
        found = self._composed(pair[0], pair[1])
        if found is None:
            return None
        one, two = forms
        if isinstance(two, _Projected):
            found = np.matmul(found, self._beside(two))
        if isinstance(one, _Projected):
            found = np.matmul(np.transpose(self._beside(one)), found)
        if result != order:
            found = np.transpose(found)
        is_here = isinstance(found, Tracer) and found.tape is self.tape
        return found.number if is_here and found.shape == np.shape(entry.value) else None

    def _beside(self, form: _Projected) -> Any:
        """Return what vectors were multiplied with, its axis along these in front."""
        found = self.value(form.source, form.operand)
        return np.transpose(found) if form.axis else found

    def _composed(self, first: _Vectors, second: _Vectors) -> Any:
        """Return the matrix that vectors and scaled products with vectors make, as a value."""
        found = self._matrix(first, second, [])
        if found is None:
            return None
        left, right = found.sides
        g: Any = 1.0
        for weights in (*first.weights, *second.weights):
            g = np.multiply(g, weights.traced())
        whole = np.matmul(left * g, np.matrix_transpose(right))
        is_traced = isinstance(whole, Tracer) and whole.tape is self.tape
        value, constant = (whole.value, whole.number) if is_traced else (whole, None)
        return self.tape.box(value, self.tape, self._append(found, constant, value))

    def _matrix(
        self, first: _Vectors, second: _Vectors, more: Sequence[_Weights]
    ) -> _Matrix | None:
        """Return first @ diag(more) @ second^T, vectors as columns; None if it is not smooth."""
        key = first.factorisation
        parts = self.found[key]
        if (second.factorisation, second.choice) != (key, first.choice):
            return None
        (source, matrix), w = parts["matrix"], parts["values"]
        g, slope = np.ones((), w.dtype), np.zeros((), w.dtype)
        for weights in (*first.weights, *second.weights, *more):
            g, slope = g * weights.values, slope * weights.values + g * weights.slope
        count = np.shape(w)[-1] if first.choice is None else len(first.choice)
        shape = (*np.shape(w)[:-1], count)
        g, slope = (np.broadcast_to(x, shape) * np.ones((), w.dtype) for x in (g, slope))
        of_vectors: tuple[Any, ...] = (parts[first.side], parts[second.side])
        if first.choice is not None:  # vectors that are not chosen have weight 0
            chosen, n, last = [*first.choice], np.shape(w)[-1], np.ndim(w) - 1
            of_vectors = tuple(v[..., chosen] for v in of_vectors)
            g, slope = (place(x, last, positions(chosen), n) for x in (g, slope))
        if key[0] == EIGEN:
            v = parts[LEFT]
            function = OF_EIGENVALUES[check_triangle(key[-1])]
            return _Matrix(function, source, (matrix, v, w, g, slope), of_vectors)
        operands = (matrix, parts[LEFT], parts[RIGHT], w, g, slope)
        rows = OF_GRAM_MATRIX if first.side == second.side else OF_SINGULAR_VALUES
        return _Matrix(rows[first.side == RIGHT], source, operands, of_vectors)

    def _append(self, found: _Matrix, constant: int | None, value: Any) -> int:
        """Append a function of a matrix, given the entry made with constant vectors."""
        sources = (constant, self.source(found.source), *[None] * (len(found.operands) - 1))
        operands = (value, *found.operands)
        key = (found.function, sources, *[(np.shape(x), x.dtype) for x in operands])
        entry = Entry(found.function, None, sources, operands, value, key, None)
        return self.tape.append(entry)


@dataclass(frozen=True)
class _Matrix:
    """A function of the matrix `source`: the row, its operands, and vectors at both sides."""

    function: Callable[..., Any]
    source: int | None
    operands: tuple[Any, ...]
    sides: tuple[Any, Any]


def _chosen_of(choice: _Choice, positions: tuple[int, ...]) -> tuple[int, ...]:
    """Return a choice of what was chosen, where that is still one by one."""
    if choice is None:
        return positions
    return tuple([choice[k] for k in positions if k < len(choice)])
