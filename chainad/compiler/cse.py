"""Common-subexpression elimination: equal calls become one, in graphs, recordings and programs.

All three clients number values: a call whose key (its function and the numbers of its operands) was
met before gets the number of the first. A graph is cleaned before planning, so that what it has
twice is one vertex, whose local Jacobians are made once and whose elimination is paid for once. In
a recording, formulas of local Jacobians reuse what the function has computed: the slope of a sine
is a cosine. In a program, slots may turn out to hold the very same array.
Source: value numbering, Aho, Sethi & Ullman 1986, ch. 9.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chainad.compiler.recording.recording import RecordedCall, Recording
from chainad.frontends.numpy.recorder import Ref
from chainad.ir.graph import Argument, Graph, Node, freeze
from chainad.ir.ops import Copy, Scatter
from chainad.ir.program import Instruction, Program

_COMMUTATIVE = (np.add, np.multiply)
_PURE_LIBRARIES = ("numpy", "scipy", "chainad")


class ValueNumbers(dict[int, int]):
    """By number of a value that is computed again, the first one that is equal to it.

    A value that was not entered stands for itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self._first: dict[Hashable, int] = {}

    def __missing__(self, number: int) -> int:
        return number

    def first(self, key: Hashable, number: int) -> int:
        """Return the first value with this key: `number`, if there was none."""
        return self._first.setdefault(key, number)


# --------------------------------------------------------------------- graphs


def eliminate_common_calls(graph: Graph) -> Graph:
    """Return a graph in which the later of two equal calls is not used any more.

    Only calls whose operands all depend on the inputs are compared, since a graph knows no array
    elements; and only functions of NumPy, SciPy and chainad, which give the same result twice.
    Calls keep their numbers, so that the tape still has the values of those that are used.
    """
    numbers = ValueNumbers()
    nodes = list(graph.nodes)
    for k in range(graph.n_inputs, len(nodes)):
        node = nodes[k]
        sources = tuple(None if s is None else numbers[s] for s in node.sources)
        if sources != node.sources:
            nodes[k] = node = node._replace(sources=sources)
        key = _key_of_node(node)
        if key is not None:
            numbers[k] = numbers.first(key, k)
    outputs = tuple(None if k is None else numbers[k] for k in graph.outputs)
    return replace(graph, nodes=tuple(nodes), outputs=outputs)


def _key_of_node(node: Node) -> Hashable | None:
    """Return what equal calls have in common; None for a call that is never eliminated."""
    if not node.sources or None in node.sources or not _is_pure(node):
        return None
    sources: tuple[int | None, ...] = node.sources
    if node.function in _COMMUTATIVE and not node.kwargs and len(node.args) == 2:
        one, two = node.args
        if isinstance(one, Argument) and isinstance(two, Argument):
            sources = tuple(sorted(s for s in sources if s is not None))
            if (one.shape, one.dtype) != (two.shape, two.dtype) and sources != node.sources:
                return None
    if node.is_alone:  # equal arguments are the very same
        return (node.function, id(node.args), sources, node.shape, node.dtype)
    try:
        return (
            node.function,
            freeze(node.args),
            freeze(node.kwargs),
            sources,
            node.shape,
            node.dtype,
        )
    except TypeError:  # an argument that cannot be compared
        return None


def _is_pure(node: Node) -> bool:
    if isinstance(node.function, np.ufunc):
        return True
    module = getattr(node.function, "__module__", None) or ""
    return module.partition(".")[0] in _PURE_LIBRARIES


# ----------------------------------------------------------------- recordings


def eliminate_common_formulas(recording: Recording) -> Recording:
    """Return a recording without the calls of formulas whose result is known already.

    Calls of the function itself stay: what it returns twice is two arrays.
    """
    numbers = ValueNumbers()
    calls: list[RecordedCall] = []
    for call in recording.calls:
        args = _renumbered(call.args, numbers)
        key = _key_of_call(call, args)
        first = call.number if key is None else numbers.first(key, call.number)
        if first != call.number and call.number >= recording.first_formula:
            numbers[call.number] = first
            continue
        calls.append(replace(call, args=args, kwargs=_renumbered(call.kwargs, numbers)))
    guards = [replace(each, number=numbers[each.number]) for each in recording.guards]
    slots = tuple(_renumbered(slot, numbers) for slot in recording.slots)
    return replace(recording, calls=tuple(calls), guards=tuple(guards), slots=slots)


def _key_of_call(call: RecordedCall, args: tuple[Any, ...]) -> Hashable | None:
    """Return what equal calls have in common; None for a call that may do more than compute.

    The state of np.errstate is no part of it: the first call has given all warnings.
    """
    if not isinstance(call.function, np.ufunc) or call.kwargs:
        return None
    operands: list[Hashable] = []
    for arg in args:
        if isinstance(arg, Ref):
            operands.append(arg.number)
        elif type(arg) in (int, float):
            operands.append((type(arg), repr(arg)))
        else:
            return None
    return call.function, tuple(operands)


def _renumbered(value: Any, numbers: Mapping[int, int]) -> Any:
    """Return a value with every `Ref` to an eliminated call as one to the first equal call."""
    if isinstance(value, Ref):
        return Ref(numbers[value.number]) if value.number in numbers else value
    if not numbers:
        return value
    if isinstance(value, (list, tuple)):
        items = [_renumbered(item, numbers) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        return {k: _renumbered(item, numbers) for k, item in value.items()}
    if isinstance(value, slice):
        return slice(*(_renumbered(x, numbers) for x in (value.start, value.stop, value.step)))
    return value


# ------------------------------------------------------------------- programs


def eliminate_common_instructions(
    program: Program, same_slots: Sequence[int], kept: Collection[int]
) -> list[Instruction]:
    """Return the instructions of a program without those whose result is known already.

    `same_slots` tells, for every slot, the first one that always holds the very same array. What
    makes the registers `kept` stays.
    """
    numbers = ValueNumbers()
    for k in program.used_slots:
        numbers[k] = numbers.first(same_slots[k], k)
    instructions = []
    for i in program.instructions:
        inputs = tuple(numbers[k] for k in i.inputs)
        # A copy must be one; the positions of a scatter are long to compare.
        if i.output not in kept and not isinstance(i.op, (Copy, Scatter)):
            numbers[i.output] = numbers.first((i.op, inputs), i.output)
        if numbers[i.output] == i.output:
            instructions.append(Instruction(i.op, inputs, i.output))
    return instructions
