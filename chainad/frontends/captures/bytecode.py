"""The instructions of code objects, decoded once."""

from __future__ import annotations

import dis
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import CodeType

from chainad.ir.cache import Cache

_MAX_CACHED_CODES = 512


@dataclass(frozen=True, slots=True)
class Bytecode:
    """The instructions of a code object, which is kept, so that no other one takes its id.

    Attributes
    ----------
    code : code
    instructions : tuple
        Each with whether it loads a number only to store it again, as by `self.calls += 1`.
    prefixes : tuple
        The offsets of prefixes, with that of the instruction that they belong to.
    """

    code: CodeType
    instructions: tuple[tuple[dis.Instruction, bool], ...]
    prefixes: tuple[tuple[int, int], ...]


_decoded: Cache[Bytecode] = Cache(_MAX_CACHED_CODES, "decoded code objects")


def bytecode(code: CodeType) -> Bytecode:
    """Return the instructions of a code object."""
    return _decoded.get(id(code), lambda: _decode(code))


def _decode(code: CodeType) -> Bytecode:
    found = list(dis.get_instructions(code))
    counters = (_is_counter(found[k : k + 6]) for k in range(len(found)))
    pairs = tuple(zip(found, counters, strict=True))
    return Bytecode(code, pairs, tuple(_prefixes(found)))


def _prefixes(instructions: Sequence[dis.Instruction]) -> Iterator[tuple[int, int]]:
    pending: list[int] = []
    for each in instructions:
        if each.opname == "EXTENDED_ARG":
            pending.append(each.offset)
        else:
            yield from ((offset, each.offset) for offset in pending)
            pending = []


def _is_counter(instructions: Sequence[dis.Instruction]) -> bool:
    names = [each.opname for each in instructions]
    if names[1:3] != ["LOAD_CONST", "BINARY_OP"] or not instructions[2].argrepr.endswith("="):
        return False
    following = next((name for name in names[3:] if name != "SWAP"), "")
    return (names[0], following) in _COUNTERS


_COUNTERS = {
    ("LOAD_GLOBAL", "STORE_GLOBAL"), ("LOAD_ATTR", "STORE_ATTR"), ("LOAD_DEREF", "STORE_DEREF"),
    ("BINARY_SUBSCR", "STORE_SUBSCR"),
}  # fmt: skip
