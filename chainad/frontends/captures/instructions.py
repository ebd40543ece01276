"""Instructions of CPython 3.11 to 3.13, and functions, by what they do with what they are given."""

from __future__ import annotations

import builtins
import sys
from typing import Any

import numpy as np

from chainad.rules.base import VIEWS

# Of instructions: how many values they take from the stack (None: as many as their argument says)
# and put there, and whether they do more with those than to pass them on.
EFFECTS: dict[str, tuple[int | None, int, bool]] = {
    **dict.fromkeys(
        ("NOP", "RESUME", "CACHE", "EXTENDED_ARG", "MAKE_CELL", "COPY_FREE_VARS", "PRECALL",
         "LIST_TO_TUPLE", "SETUP_ANNOTATIONS", "DELETE_FAST", "DELETE_DEREF", "DELETE_NAME",
         "DELETE_GLOBAL", "JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT",
         "RETURN_CONST", "POP_BLOCK", "EXIT_INIT_CHECK", "INTERPRETER_EXIT"),
        (0, 0, False),
    ),
    **dict.fromkeys(
        ("LOAD_CLOSURE", "LOAD_ASSERTION_ERROR", "LOAD_BUILD_CLASS", "LOAD_LOCALS",
         "RETURN_GENERATOR", "GET_LEN", "WITH_EXCEPT_START"),
        (0, 1, False),
    ),
    **dict.fromkeys(
        ("POP_TOP", "POP_EXCEPT", "POP_JUMP_IF_NONE", "POP_JUMP_IF_NOT_NONE",
         "POP_JUMP_FORWARD_IF_NONE", "POP_JUMP_FORWARD_IF_NOT_NONE", "POP_JUMP_BACKWARD_IF_NONE",
         "POP_JUMP_BACKWARD_IF_NOT_NONE", "DELETE_ATTR", "RERAISE"),
        (1, 0, False),
    ),
    **dict.fromkeys(
        ("POP_JUMP_IF_TRUE", "POP_JUMP_IF_FALSE", "POP_JUMP_FORWARD_IF_TRUE",
         "POP_JUMP_FORWARD_IF_FALSE", "POP_JUMP_BACKWARD_IF_TRUE", "POP_JUMP_BACKWARD_IF_FALSE",
         "PRINT_EXPR"),
        (1, 0, True),
    ),
    **dict.fromkeys(
        ("UNARY_NEGATIVE", "UNARY_POSITIVE", "UNARY_INVERT", "UNARY_NOT", "FORMAT_SIMPLE",
         "CONVERT_VALUE", "TO_BOOL"),
        (1, 1, True),
    ),
    "END_FOR": (1 if sys.version_info >= (3, 13) else 2, 0, False),
    **dict.fromkeys(("COMPARE_OP", "CONTAINS_OP", "FORMAT_WITH_SPEC"), (2, 1, True)),
    "BUILD_STRING": (None, 1, True),
    "RAISE_VARARGS": (None, 0, True),
    "DELETE_SUBSCR": (2, 0, True),
    "BEFORE_WITH": (1, 2, True),
    "PUSH_EXC_INFO": (1, 2, False),
    "CHECK_EXC_MATCH": (1, 1, False),
    "CALL_INTRINSIC_2": (2, 1, True),
}  # fmt: skip

# All that is on the stack counts as used by these, and nothing is known of it afterwards.
OPAQUE = frozenset({
    "ASYNC_GEN_WRAP", "BEFORE_ASYNC_WITH", "CHECK_EG_MATCH", "CLEANUP_THROW", "END_ASYNC_FOR",
    "END_SEND", "GET_AITER", "GET_ANEXT", "GET_AWAITABLE", "GET_YIELD_FROM_ITER",
    "IMPORT_STAR", "MATCH_CLASS", "MATCH_KEYS", "MATCH_MAPPING", "MATCH_SEQUENCE",
    "PREP_RERAISE_STAR", "SEND", "ENTER_EXECUTOR",
})  # fmt: skip

# After these the target is reached with the same stack as the next instruction; the others that
# jump do so in ways of their own.
JUMPS = frozenset(name for name in EFFECTS if name.startswith(("POP_JUMP", "JUMP_FORWARD")))

# Attributes of arrays that tell nothing of the entries.
QUERIES = frozenset({
    "shape", "ndim", "size", "dtype", "itemsize", "nbytes", "strides", "flags", "format", "nnz",
})  # fmt: skip

# They give views of arrays (or copies, which no recorded call takes for the array).
VIEW_METHODS = frozenset({"view", *(f.__name__ for f in VIEWS if hasattr(np.ndarray, f.__name__))})

# Methods of containers that change them, and tell nothing of what was in there.
WRITERS = frozenset({
    "append", "extend", "insert", "add", "update", "appendleft", "extendleft", "clear", "discard",
})  # fmt: skip

# Functions that read no entries, beside those that ask for shapes.
PASSIVE: tuple[Any, ...] = (
    builtins.len, builtins.isinstance, builtins.issubclass, builtins.type, builtins.id,
    builtins.callable, builtins.range,
)  # fmt: skip
