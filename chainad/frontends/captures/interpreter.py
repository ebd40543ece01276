"""An abstract interpreter of the bytecode of CPython 3.11 to 3.13: what code reads elsewhere.

It computes with the places where values may come from, not with values, and knows nothing of what a
function makes itself. Names are flow-insensitive; arguments and results are followed from function
to function, until nothing new is found.
"""

from __future__ import annotations

import builtins
import dis
import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from chainad.frontends.captures.abstract_values import (
    NOTHING,
    NULL,
    CodeNames,
    Constant,
    Items,
    Routine,
    Super,
)
from chainad.frontends.captures.bytecode import bytecode
from chainad.frontends.captures.code_runs import Instruction
from chainad.frontends.captures.instructions import EFFECTS, JUMPS, OPAQUE
from chainad.frontends.captures.places import VALUES, Place, Step, is_plain_object
from chainad.frontends.captures.reader import Reader

# Passes over all code objects; each finds what flows on from one function to the next.
_MAX_PASSES = 50


def read_code(
    reader: Reader,
    f: Callable[..., Any],
    args: Sequence[Sequence[Any]],
    kwargs: Mapping[str, Sequence[Any]],
) -> None:
    """Find what a function reads; of its arguments, the objects inside that are no data."""
    names = _argument_names(f)
    given = [
        _objects_in(reader, x, names[k] if k < len(names) else f"argument {k}")
        for k, x in enumerate(args)
    ]
    named = {name: _objects_in(reader, x, name) for name, x in kwargs.items()}
    reader.enter(reader.routines_of(f), given, named)
    for _ in range(_MAX_PASSES):
        if not reader.stale_codes():
            reader.find_others()
        if not (stale := reader.stale_codes()):
            break
        for each in stale:
            each.is_stale = False
            _interpret(reader, each)
    for each in reader.codes.values():
        if each.is_callback:
            reader.take((each.returned,), None)
    reader.judge()


def _objects_in(reader: Reader, values: Sequence[Any], name: str) -> Items:
    return frozenset(reader.place("object", x, name, (), x) for x in values if is_plain_object(x))


def _interpret(reader: Reader, this: CodeNames) -> None:
    if {this.code.co_name, this.code.co_qualname} & reader.constant:
        return
    for constant in this.code.co_consts:
        if isinstance(constant, types.CodeType) and reader.ran(constant, this.globals):
            inner = reader.names_of(constant, this.globals)
            for name in constant.co_freevars:
                reader.add(inner, name, this.name(name))
    _Interpreter(reader, this).run()


def _argument_names(f: Any) -> tuple[str, ...]:
    is_bound = isinstance(f, types.MethodType)
    code = getattr(getattr(f, "__func__", f), "__code__", None)
    return code.co_varnames[is_bound : code.co_argcount] if code is not None else ()


class _Interpreter:
    """One pass over the instructions of a code object."""

    def __init__(self, reader: Reader, this: CodeNames) -> None:
        self.reader = reader
        self.this = this
        self.stack: list[Items] = []
        self.waiting: dict[int, list[Items]] = {}
        self.keywords: tuple[str, ...] = ()
        self.at: Instruction = (0, 0)

    def run(self) -> None:
        is_reached = True
        for instruction, is_counter in bytecode(self.this.code).instructions:
            self.reader.is_counting = is_counter
            self.at = id(self.this.code), instruction.offset
            self.reader.at = self.this.code, instruction.offset
            self.reader.uses.pop(self.at, None)  # what an earlier pass has found
            waiting = self.waiting.get(instruction.offset)
            if waiting is not None:
                self._merge(waiting, is_reached)
            elif not is_reached:  # by an exception: nothing is known of the stack
                self.stack = []
            self._step(instruction)
            is_reached = instruction.opname not in _ENDS

    def _merge(self, other: list[Items], is_reached: bool) -> None:
        if not is_reached:
            self.stack = list(other)
            return
        self.stack = _joined(self.stack, other)

    def _jump(self, target: int, stack: list[Items]) -> None:
        known = self.waiting.get(target)
        self.waiting[target] = list(stack) if known is None else _joined(known, stack)

    def pop(self) -> Items:
        return self.stack.pop() if self.stack else NOTHING

    def pops(self, n: int) -> list[Items]:
        return [self.pop() for _ in range(n)][::-1]

    def push(self, *items: Items) -> None:
        self.stack.extend(items)

    def use(self, *slots: Items) -> None:
        self.reader.take(slots, self.at)

    def write(self, items: Iterable[Any], step: Step | None = None) -> None:
        for place in items:
            if isinstance(place, Place):
                self.reader.write(place, step)

    # ------------------------------------------------------------------ names

    def store(self, name: str, items: Items) -> None:
        self.reader.add(self.this, name, items)

    def load_global(self, name: str) -> Items:
        space = self.this.globals
        if name in space:
            place = self.reader.place("global", space, name, (), space[name])
            return frozenset({place})
        found = getattr(builtins, name, None)
        return NOTHING if found is None else self.reader.fixed(found, name)

    # ------------------------------------------------------------------- steps

    def _step(self, i: dis.Instruction) -> None:
        name = i.opname
        own = getattr(self, f"op_{name.lower()}", None)
        if own is not None:
            own(i)
        elif name in EFFECTS:
            pops, pushes, is_use = EFFECTS[name]
            taken = self.pops(i.arg or 0 if pops is None else pops)
            if is_use:
                self.use(*taken)
            self.push(*[NOTHING] * pushes)
        elif name in OPAQUE:
            self.use(*self.stack)
            self.stack = []
        else:
            self.reader.refuse(
                f"{self.this.code.co_qualname} holds the instruction {name}, which chainad does not"
                " know",
                self.this.code.co_qualname,
            )
        if name in JUMPS:
            self._jump(i.argval, self.stack)

    def op_load_const(self, i: dis.Instruction) -> None:
        is_code = isinstance(i.argval, types.CodeType)
        self.push(frozenset({Routine(i.argval) if is_code else Constant(i.argval)}))

    def op_load_fast(self, i: dis.Instruction) -> None:
        self.push(self.this.name(i.argval))

    op_load_fast_check = op_load_fast_and_clear = op_load_fast

    def op_load_fast_load_fast(self, i: dis.Instruction) -> None:
        self.push(*map(self.this.name, i.argval))

    def op_store_fast(self, i: dis.Instruction) -> None:
        self.store(i.argval, self.pop())

    op_store_fast_maybe_null = op_store_fast

    def op_store_fast_load_fast(self, i: dis.Instruction) -> None:
        self.store(i.argval[0], self.pop())
        self.push(self.this.name(i.argval[1]))

    def op_store_fast_store_fast(self, i: dis.Instruction) -> None:
        self.store(i.argval[0], self.pop())
        self.store(i.argval[1], self.pop())

    def op_load_deref(self, i: dis.Instruction) -> None:
        items = self.this.name(i.argval)
        for item in items:
            if isinstance(item, Place):
                self.reader.watch(item)
        self.push(items)

    op_load_classderef = op_load_deref

    def op_load_from_dict_or_deref(self, i: dis.Instruction) -> None:
        self.pop()
        self.push(self.this.name(i.argval))

    def op_load_from_dict_or_globals(self, i: dis.Instruction) -> None:
        self.pop()
        self.push(self.load_global(i.argval))

    def op_store_deref(self, i: dis.Instruction) -> None:
        places = (x for x in self.this.name(i.argval) if isinstance(x, Place))
        self.write(x for x in places if x.kind == "cell" and not x.path)
        self.store(i.argval, self.pop())

    def op_load_global(self, i: dis.Instruction) -> None:
        found = self.load_global(i.argval)
        if not (i.arg or 0) & 1:
            self.push(found)
        elif sys.version_info >= (3, 13):
            self.push(found, NULL)
        else:
            self.push(NULL, found)

    def op_load_name(self, i: dis.Instruction) -> None:
        self.push(self.this.name(i.argval) or self.load_global(i.argval))

    def op_store_name(self, i: dis.Instruction) -> None:
        self.store(i.argval, self.pop())

    def op_store_global(self, i: dis.Instruction) -> None:
        self.use(self.pop())
        self.write(self.load_global(i.argval))

    def op_push_null(self, i: dis.Instruction) -> None:
        self.push(NULL)

    def op_copy(self, i: dis.Instruction) -> None:
        k = i.arg or 1
        self.push(self.stack[-k] if k <= len(self.stack) else NOTHING)

    def op_swap(self, i: dis.Instruction) -> None:
        k = i.arg or 1
        while len(self.stack) < k:
            self.stack.insert(0, NOTHING)
        self.stack[-1], self.stack[-k] = self.stack[-k], self.stack[-1]

    def op_load_attr(self, i: dis.Instruction) -> None:
        found = self.reader.attribute(self.pop(), i.argval, self.at)
        self.push(found)
        if i.opname == "LOAD_METHOD" or (sys.version_info >= (3, 12) and (i.arg or 0) & 1):
            self.push(NULL)

    op_load_method = op_load_attr

    def op_load_super_attr(self, i: dis.Instruction) -> None:
        _, _, this = self.pops(3)
        items = frozenset(Super(x) for x in this if isinstance(x, Place))
        self.push(self.reader.attribute(items, i.argval, self.at))
        if (i.arg or 0) & 1:
            self.push(NULL)

    op_load_super_method = op_load_zero_super_attr = op_load_zero_super_method = op_load_super_attr

    def op_store_attr(self, i: dis.Instruction) -> None:
        value, target = self.pops(2)
        self.reader.take((value,), None)
        self.write(target, ("attribute", i.argval))

    def op_store_subscr(self, i: dis.Instruction) -> None:
        value, target, *index = self.pops(4 if i.opname == "STORE_SLICE" else 3)
        self.use(value, *index)
        self.write(target)

    op_store_slice = op_store_subscr

    def op_binary_op(self, i: dis.Instruction) -> None:
        left, right = self.pops(2)
        self.use(left, right)
        if i.argrepr.endswith("="):
            places = (x for x in left if isinstance(x, Place))
            self.write(x for x in places if not isinstance(x.value, VALUES))
            self.push(left)
        else:
            self.push(NOTHING)

    def op_binary_subscr(self, i: dis.Instruction) -> None:
        container, index = self.pops(2)
        self.push(self.reader.entry(container, index, self.at))

    def op_binary_slice(self, i: dis.Instruction) -> None:
        container, start, stop = self.pops(3)
        self.use(start, stop)
        self.push(self.reader.entry(container, NOTHING, self.at))

    def op_is_op(self, i: dis.Instruction) -> None:
        for slot in self.pops(2):
            for place in slot:
                if isinstance(place, Place):
                    place.is_watched = True
        self.push(NOTHING)

    def op_jump_if_false_or_pop(self, i: dis.Instruction) -> None:
        if self.stack:
            self.use(self.stack[-1])
            self._jump(i.argval, self.stack)
            self.pop()

    op_jump_if_true_or_pop = op_jump_if_false_or_pop

    def op_build_tuple(self, i: dis.Instruction) -> None:
        self.push(frozenset().union(*self.pops(i.arg or 0)) - NULL)

    op_build_list = op_build_set = op_build_tuple

    def op_build_slice(self, i: dis.Instruction) -> None:
        slots = self.pops(i.arg or 0)
        if all(isinstance(x, Constant) for slot in slots for x in slot) and all(
            len(slot) == 1 for slot in slots
        ):
            self.push(frozenset({Constant(slice(*[x.value for (x,) in slots]))}))
        else:
            self.use(*slots)
            self.push(NOTHING)

    def op_build_map(self, i: dis.Instruction) -> None:
        self.push(frozenset().union(*self.pops(2 * (i.arg or 0))))

    def op_build_const_key_map(self, i: dis.Instruction) -> None:
        self.push(frozenset().union(*self.pops((i.arg or 0) + 1)[:-1]))

    def _extend(self, k: int, items: Items) -> None:
        if k <= len(self.stack):
            self.stack[-k] = self.stack[-k] | items
        else:
            self.use(items)

    def op_list_extend(self, i: dis.Instruction) -> None:
        items = self.pop()
        self._extend(i.arg or 1, self.reader.elements(items, self.at)[0])

    op_set_update = op_dict_update = op_dict_merge = op_list_extend

    def op_list_append(self, i: dis.Instruction) -> None:
        items = frozenset().union(*self.pops(2 if i.opname == "MAP_ADD" else 1))
        self._extend(i.arg or 1, items)

    op_set_add = op_map_add = op_list_append

    def op_unpack_sequence(self, i: dis.Instruction) -> None:
        self.push(*self.reader.elements(self.pop(), self.at, i.arg or 0)[::-1][: i.arg])

    def op_unpack_ex(self, i: dis.Instruction) -> None:
        count = ((i.arg or 0) & 255) + ((i.arg or 0) >> 8) + 1
        (items,) = self.reader.elements(self.pop(), self.at)
        self.push(*[items] * count)

    def op_get_iter(self, i: dis.Instruction) -> None:
        self.push(self.reader.elements(self.pop(), self.at)[0])

    def op_for_iter(self, i: dis.Instruction) -> None:
        iterator = self.stack[-1] if self.stack else NOTHING
        if sys.version_info >= (3, 12):
            self._jump(i.argval, [*self.stack, NOTHING])
        else:
            self._jump(i.argval, self.stack[:-1])
        self.push(iterator)

    def op_call_intrinsic_1(self, i: dis.Instruction) -> None:
        self.push(self.pop())

    def op_import_name(self, i: dis.Instruction) -> None:
        self.pops(2)
        module = sys.modules.get(i.argval.split(".")[0])
        self.push(NOTHING if module is None else self.reader.fixed(module))

    def op_import_from(self, i: dis.Instruction) -> None:
        top = self.stack[-1] if self.stack else NOTHING
        self.push(self.reader.attribute(top, i.argval, self.at))

    def op_kw_names(self, i: dis.Instruction) -> None:
        self.keywords = self.this.code.co_consts[i.arg or 0]

    def op_call(self, i: dis.Instruction) -> None:
        keywords, self.keywords = self.keywords, ()
        self._call(i.arg or 0, keywords)

    def op_call_kw(self, i: dis.Instruction) -> None:
        (names,) = self.pop() or (Constant(()),)
        self._call(i.arg or 0, names.value)

    def _call(self, n: int, keywords: tuple[str, ...]) -> None:
        args = self.pops(n)
        deeper, upper = self.pops(2)
        if deeper == NULL:
            callee = upper
        elif upper == NULL or not (deeper or upper):
            callee = deeper
        else:
            callee, args = deeper, [upper, *args]
        count = len(args) - len(keywords)
        named = dict(zip(keywords, args[count:], strict=True))
        self.push(self.reader.call(callee - NULL, args[:count], named, self.at))

    def op_call_function_ex(self, i: dis.Instruction) -> None:
        named = self.pop() if (i.arg or 0) & 1 else NOTHING
        args = self.pop()
        deeper, upper = self.pops(2)
        items = self.reader.elements(args | named, self.at)[0]
        items |= frozenset(x for x in args | named if not isinstance(x, Place))
        self.push(self.reader.call((deeper | upper) - NULL, [], {"*": items}, self.at))

    def op_make_function(self, i: dis.Instruction) -> None:
        code = self.pop()
        flags = 0 if sys.version_info >= (3, 13) else i.arg or 0
        self.pops(bool(flags & 8) + bool(flags & 4))
        for flag in (2, 1):
            if flags & flag:
                self._defaults(code, self.pop())
        self.push(code)

    def op_set_function_attribute(self, i: dis.Instruction) -> None:
        value, code = self.pops(2)
        if i.arg in (1, 2):
            self._defaults(code, value)
        self.push(code)

    def _defaults(self, functions: Items, items: Items) -> None:
        given = frozenset(x for x in items if not isinstance(x, Constant))
        for function in functions:
            if isinstance(function, Routine):
                self.reader.enter(frozenset({function}), (), {"*": given})

    def op_return_value(self, i: dis.Instruction) -> None:
        items = frozenset(x for x in self.pop() if not isinstance(x, (str, Constant)))
        if not items <= self.this.returned:
            self.this.returned |= items
            self.reader.call_again(self.this)

    def op_format_value(self, i: dis.Instruction) -> None:
        self.use(*self.pops(1 + bool((i.arg or 0) & 4)))
        self.push(NOTHING)

    def op_yield_value(self, i: dis.Instruction) -> None:
        self.reader.take((self.pop(),), None)
        self.push(NOTHING)


def _joined(one: list[Items], other: list[Items]) -> list[Items]:
    """Return what two stacks have in common at the top."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return [a | b for a, b in pairs][::-1]


# What follows these is reached by a jump.
_ENDS = frozenset({
    "RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE", "JUMP_FORWARD", "JUMP_BACKWARD",
    "JUMP_BACKWARD_NO_INTERRUPT", "INTERPRETER_EXIT",
})  # fmt: skip
