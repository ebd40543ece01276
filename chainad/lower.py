"""Lowering: from a plan to a program; every choice of a kernel is made here.

An einsum of two arrays becomes `multiply` where nothing is added up, else one `matmul` over
(batch, rows, inner) and (batch, inner, cols): NumPy's own einsum is several times slower there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from chainad.algebra import (
    Kernels,
    Product,
    Total,
    flat_places,
    lay_out,
    to_dense,
    to_vector,
)
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
    Pull,
    Push,
    Reshape,
    Scatter,
    SegmentSum,
    SparseDot,
    Take,
    Transpose,
)
from chainad.pattern import Positions
from chainad.plan import Plan
from chainad.program import Instruction, Program
from chainad.results import Dense, Form, Sparse, Structured
from chainad.structure import Structure

Labels = Sequence[int]
Shape = tuple[int, ...]


class _Writer:
    """Appends instructions, and remembers which registers have memory of their own.

    `fresh` are the registers whose memory no result has taken yet; `viewed` says whose memory a
    view looks at.
    """

    def __init__(self, n_slots: int) -> None:
        self.instructions: list[Instruction] = []
        self.next = n_slots
        self.fresh: set[int] = set()
        self.viewed: dict[int, int] = {}

    def emit(self, kernel: Kernel, *inputs: int) -> int:
        output, self.next = self.next, self.next + 1
        self.instructions.append(Instruction(kernel, inputs, output))
        is_view = isinstance(kernel, (Reshape, Transpose)) or (
            isinstance(kernel, Take) and isinstance(kernel.positions, range)
        )
        if is_view:
            self.viewed[output] = self.owner(inputs[0])
        elif not isinstance(kernel, Broadcast):
            self.fresh.add(output)
        return output

    def owner(self, register: int) -> int:
        """Return the register whose memory this one looks at."""
        return self.viewed.get(register, register)

    def apply(self, kernels: Kernels, register: int | None) -> int | None:
        """Apply unary kernels one after the other; None stands for a structure without numbers."""
        for kernel in kernels:
            if isinstance(kernel, Full):
                register = self.emit(kernel)
            else:
                assert register is not None
                register = self.emit(kernel, register)
        return register

    def order(self, register: int, have: Labels, want: Labels) -> int:
        """Bring axes from the order `have` into the order `want`."""
        if list(have) == list(want):
            return register
        return self.emit(Transpose(tuple(list(have).index(x) for x in want)), register)

    def arrange(
        self, register: int, have: Labels, want: Labels, shape: Shape, size: dict[int, int]
    ) -> int:
        """Bring axes from the order `have` into the order `want`, then into `shape`."""
        register = self.order(register, have, want)
        if tuple(size[x] for x in want) == shape:
            return register
        return self.emit(Reshape(shape), register)


@dataclass(frozen=True)
class Lowered:
    """A program, and the form of every result; None stands for a zero one.

    The outputs of the program are the registers of all results, one after the other.
    """

    program: Program
    forms: tuple[Form | None, ...]


def lower(plan: Plan, arrangements: Sequence[Kernels], output: str = "dense") -> Lowered:
    """Return the program of a plan.

    Parameters
    ----------
    plan : Plan
    arrangements : sequence of Kernels
        For every local Jacobian, the kernels that bring the array of its rule into the kept form.
    output : str
        The form of the results: "dense", "sparse" or "structured".
    """
    edges = plan.graph.edges
    writer = _Writer(len(edges))
    registers: list[int | None] = []
    for k, (edge, kernels) in enumerate(zip(edges, arrangements, strict=True)):
        slot = k if edge.structure.scale is None else None
        registers.append(None if slot is None else writer.apply(kernels, slot))
    for step in plan.steps:
        left, right = registers[step.left], registers[step.right]
        if isinstance(step.algebra, Product):
            registers.append(_product(writer, step.algebra, left, right))
        else:
            registers.append(_total(writer, step.algebra, left, right))
    outputs: list[int | None] = []
    forms: list[Form | None] = []
    for numbers in plan.results:
        if not numbers:
            forms.append(None)
            continue
        form, found = _FORMS[output](writer, plan, numbers, registers)
        forms.append(form)
        outputs += found
    program = prune(Program(len(edges), tuple(writer.instructions), tuple(outputs)))
    return Lowered(program, tuple(forms))


def _product(writer: _Writer, product: Product, left: int | None, right: int | None) -> int | None:
    if product.structure.scale is not None and not product.after:
        return None
    sparse = _sparse_product(writer, product, left, right)
    if sparse is not None:
        return sparse
    a = writer.apply(product.left, left)
    b = writer.apply(product.right, right)
    if product.labels is None:
        return writer.apply(product.after, b if a is None else a)
    assert a is not None
    assert b is not None
    return writer.apply(product.after, contract(writer, product, a, b))


def _sparse_product(
    writer: _Writer, product: Product, left: int | None, right: int | None
) -> int | None:
    """Emit a product that gathers, multiplies and adds up segments as one sparse product.

    The vector of a pattern times an array gathered along the same label, added up along it, is a
    sparse matrix times that array: nothing of the size of the gathered array is ever made.
    Returns None if the product is not of this form.
    """
    if product.labels is None or not product.after or not isinstance(product.after[0], SegmentSum):
        return None
    segments = product.after[0]
    one, two, out = product.labels
    label = out[segments.axis]
    sides = [(one, product.left, left, two, product.right, right)]
    sides.append((two, product.right, right, one, product.left, left))
    for vector, on_vector, values, labels, on_array, array in sides:
        take = on_array[-1] if on_array else None
        if vector != (label,) or not isinstance(take, Take) or labels[take.axis] != label:
            continue
        assert values is not None
        assert array is not None
        data, x = writer.apply(on_vector, values), writer.apply(on_array[:-1], array)
        assert data is not None
        assert x is not None
        size = dict(product.sizes)
        rest = [y for y in labels if y != label]
        width = prod(size[y] for y in rest)
        x = writer.order(x, labels, [label, *rest])
        if len(rest) != 1:
            x = writer.emit(Reshape((-1, width)), x)
        y = writer.emit(SparseDot(segments.segments, take.positions, segments.size), data, x)
        y = writer.emit(Reshape((segments.size, *(size[z] for z in rest))), y)
        y = writer.order(y, [label, *rest], out)
        return writer.apply(product.after[1:], y)
    return None


def contract(writer: _Writer, product: Product, a: int, b: int) -> int:
    """Emit the einsum of a product; return the register of its result."""
    assert product.labels is not None
    left, right, out = product.labels
    size = dict(product.sizes)
    inner = [x for x in left if x in right and x not in out]
    if product.action:
        return _apply_operator(writer, product, a, b)
    if not inner:
        return writer.emit(
            Multiply(),
            _stretch(writer, a, left, out, size),
            _stretch(writer, b, right, out, size),
        )
    batch = [x for x in out if x in left and x in right]
    rows = [x for x in out if x not in right]
    cols = [x for x in out if x not in left]
    shape = tuple(size[x] for x in batch)
    total = prod(size[x] for x in inner)
    is_dot = bool(batch) and not rows and not cols
    has_rows = bool(rows) or (bool(batch) and not is_dot)
    has_cols = bool(cols) or (bool(batch) and not is_dot)
    m = (prod(size[x] for x in rows),) if has_rows else ()
    n = (prod(size[x] for x in cols),) if has_cols else ()
    a = writer.arrange(a, left, [*batch, *rows, *inner], (*shape, *m, total), size)
    if is_dot:
        b = writer.arrange(b, right, [*batch, *inner], (*shape, total), size)
        result = writer.emit(Dot(), a, b)
    else:
        b = writer.arrange(b, right, [*batch, *inner, *cols], (*shape, total, *n), size)
        result = writer.emit(MatMul(), a, b)
    labels = [*batch, *rows, *cols]
    wanted = tuple(size[x] for x in labels)
    if not is_dot and (*shape, *m, *n) != wanted:
        result = writer.emit(Reshape(wanted), result)
    return writer.order(result, labels, out)


def _apply_operator(writer: _Writer, product: Product, a: int, b: int) -> int:
    """Emit the product with an operator, on the side that `product.action` names."""
    assert product.labels is not None
    is_push = product.action == "push"
    (operator, other) = product.labels[:2] if is_push else product.labels[1::-1]
    out, size = product.labels[2], dict(product.sizes)
    batch = [x for x in operator if x in other and x in out]
    taken = [x for x in operator if x in other and x not in out]
    made = [x for x in operator if x not in other]
    free = [x for x in other if x not in operator]
    shape = tuple(size[x] for x in batch)
    n, k = prod(size[x] for x in taken), prod(size[x] for x in free)
    if is_push:
        b = _as_block(writer, b, other, [*batch, *taken, *free], (*shape, n, k))
        result, labels = writer.emit(Push(), a, b), [*batch, *made, *free]
    else:
        a = _as_block(writer, a, other, [*batch, *free, *taken], (*shape, k, n))
        result, labels = writer.emit(Pull(), a, b), [*batch, *free, *made]
    result = writer.emit(Reshape(tuple(size[x] for x in labels)), result)
    return writer.order(result, labels, out)


def _as_block(
    writer: _Writer, register: int, have: Labels, want: Labels, shape: tuple[int, ...]
) -> int:
    return writer.emit(Reshape(shape), writer.order(register, have, want))


def _stretch(
    writer: _Writer, register: int, have: Labels, want: Labels, size: dict[int, int]
) -> int:
    """Give an array one axis for every label of `want`, of size 1 where it has none."""
    shape = tuple(size[x] if x in have else 1 for x in want)
    while shape and shape[0] == 1:  # NumPy adds leading axes by itself
        shape = shape[1:]
    return writer.arrange(register, have, [x for x in want if x in have], shape, size)


def _total(writer: _Writer, total: Total, left: int | None, right: int | None) -> int | None:
    if total.structure.scale is not None:
        return None
    (base, one), (other, two) = (total.left, left), (total.right, right)
    if base and isinstance(base[-1], Place):
        (base, one), (other, two) = (other, two), (base, one)
    a = writer.apply(base, one)
    last = other[-1] if other else None
    assert a is not None
    if isinstance(last, Place) and not (base and isinstance(base[-1], Place)) and total.fills:
        b = writer.apply(other[:-1], two)
        assert b is not None
        result = writer.emit(AddAt(last.axis, last.positions), a, b)
    else:
        b = writer.apply(other, two)
        assert b is not None
        result = writer.emit(Add(), a, b)
    return writer.apply(total.after, result)


Registers = Sequence[int | None]


def _dense(
    writer: _Writer, plan: Plan, numbers: Sequence[int], registers: Registers
) -> tuple[Form, list[int | None]]:
    terms = [plan.structures[k] for k in numbers]
    shape = (*terms[0].row_shape, *terms[0].col_shape)
    if len(terms) == 1:
        register = writer.apply(to_dense(terms[0]), registers[numbers[0]])
        assert register is not None
    else:
        places = tuple(flat_places(term) for term in terms)
        register = _scattered(writer, terms, [registers[k] for k in numbers], places, prod(shape))
        register = writer.emit(Reshape(shape), register)
    return Dense(shape), [_own(writer, register)]


def _sparse(
    writer: _Writer, plan: Plan, numbers: Sequence[int], registers: Registers
) -> tuple[Form, list[int | None]]:
    terms = [plan.structures[k] for k in numbers]
    layout = lay_out(terms)
    size = layout.indices.size
    if layout.places == (range(size),) and terms[0].scale is None:
        register = writer.apply(to_vector(terms[0]), registers[numbers[0]])
        assert register is not None
    else:
        held = [registers[k] for k in numbers]
        register = _scattered(writer, terms, held, layout.places, size, layout.covers)
    return Sparse(layout), [_own(writer, register)]


def _structured(
    writer: _Writer, plan: Plan, numbers: Sequence[int], registers: Registers
) -> tuple[Form, list[int | None]]:
    terms = tuple(_factors(plan, k) for k in numbers)
    found: list[int | None] = []
    for number in (k for term in terms for k in term):
        register = registers[number]
        found.append(None if register is None else _own(writer, register))
    ends = plan.structures[numbers[0]]
    shape = (*ends.row_shape, *ends.col_shape)
    spelled = tuple(tuple(plan.structures[k] for k in term) for term in terms)
    return Structured(spelled, shape, len(ends.row_shape)), found


_FORMS: dict[
    str,
    Callable[[_Writer, Plan, Sequence[int], Registers], tuple[Form, list[int | None]]],
] = {"dense": _dense, "sparse": _sparse, "structured": _structured}


def _factors(plan: Plan, number: int) -> tuple[int, ...]:
    """Return the Jacobians whose product is the given one: two if they are thin dense ones."""
    n = len(plan.graph.edges)
    if number < n:
        return (number,)
    step = plan.steps[number - n]
    factors = [plan.structures[k] for k in (step.left, step.right)]
    are_thin = step.structure.count > sum(factor.count for factor in factors)
    # With ties, the product is what a user thinks in: blocks, one per sample.
    if step.via is None or not are_thin or any(f.kind != "dense" for f in factors):
        return (number,)
    return (step.left, step.right)


def _scattered(
    writer: _Writer,
    terms: Sequence[Structure],
    registers: Registers,
    places: tuple[Positions, ...],
    size: int,
    covers: bool = False,
) -> int:
    """Emit the entries of several structures as one vector."""
    vectors = []
    for term, register in zip(terms, registers, strict=True):
        vector = writer.apply(to_vector(term), register)
        assert vector is not None
        vectors.append(vector)
    return writer.emit(Scatter(places, size, covers), *vectors)


def _own(writer: _Writer, register: int) -> int:
    """Return a register whose memory no other result has."""
    owner = writer.owner(register)
    if owner not in writer.fresh:
        return writer.emit(Copy(), register)
    writer.fresh.discard(owner)  # a second output of the same numbers gets a copy
    return register


def prune(program: Program) -> Program:
    """Drop instructions whose results are never read."""
    needed = {k for k in program.outputs if k is not None}
    kept = []
    for instruction in reversed(program.instructions):
        if instruction.output in needed:
            needed.update(instruction.inputs)
            kept.append(instruction)
    return Program(program.n_slots, tuple(reversed(kept)), program.outputs)
