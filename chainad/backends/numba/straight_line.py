"""Long straight-line code as several functions of bounded length.

A compiler takes time that grows with the square of the length of a function.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

Lines = list[str]

MAX_STATEMENTS_PER_FUNCTION = 128

_WORD = re.compile(r"[A-Za-z_]\w*")
_NAME = re.compile(r"\bv\d+\b")


def parts_of(statements: Lines) -> list[Lines]:
    """Return statements in parts of bounded length."""
    step = MAX_STATEMENTS_PER_FUNCTION
    return [statements[k : k + step] for k in range(0, len(statements), step)]


def names_in(text: str) -> Lines:
    """Return the registers that are named in a text."""
    return _NAME.findall(text)


def parts_handing_on(
    statements: Lines, elements: dict[str, str], slot: str
) -> tuple[list[Lines], int]:
    """Return statements in parts of bounded length, and how many values these hand on.

    Parts load what they read: elements of the inputs, and values of earlier parts from slots.
    """
    chunks = parts_of(statements)
    slots: dict[str, str] = {}
    loads = []
    for chunk in chunks:
        own = {line.partition(" = ")[0] for line in chunk}
        read = dict.fromkeys(name for line in chunk for name in _NAME.findall(line))
        read = {name: None for name in read if name not in own}
        for name in read:
            if name not in elements and name not in slots:
                slots[name] = slot.format(len(slots))
        loads.append([f"{name} = {elements.get(name) or slots[name]}" for name in read])
    parts = []
    for chunk, first in zip(chunks, loads, strict=True):
        part = first
        for line in chunk:
            part.append(line)
            name = line.partition(" = ")[0]
            if name in slots:
                part.append(f"{slots[name]} = {name}")
        parts.append(part)
    return parts, len(slots)


def part_functions(
    parts: Sequence[Lines], parameters: Sequence[str], name: str = "part", result: str = ""
) -> tuple[list[str], Lines]:
    """Return a function for every part, and lines that call them; the last one has a result.

    Every part has those parameters that it reads.
    """
    functions, calls = [], []
    for k, part in enumerate(parts):
        is_last = k == len(parts) - 1
        read = {word for line in part for word in _WORD.findall(line)}
        own = [x for x in parameters if x.partition(":")[0] in read]
        functions.append(function_source(f"{name}{k}", own, part, result if is_last else ""))
        call = f"{name}{k}({', '.join(x.partition(':')[0] for x in own)})"
        calls.append(f"return {call}" if is_last and result else call)
    return functions, calls


def indented(lines: Sequence[str]) -> Lines:
    """Return the body of what stands before it."""
    return [f"    {line}" for statement in lines for line in statement.split("\n")]


def function_source(
    name: str, parameters: Sequence[str], body: Sequence[str], result: str = ""
) -> str:
    """Return a definition; `result` is the annotation of what it returns, with its arrow."""
    head = f"def {name}({', '.join(parameters)}){result}:"
    return "\n".join([head, *indented(body or ["pass"])])
