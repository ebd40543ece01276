"""Functions of generated modules, translated from their source to LLVM without numba's front end.

numba infers types and lowers about a thousand statements per second. Generated functions need
little of it: they are made of floats, integers, truth values and C-contiguous arrays of floats,
parameters are annotated, and functions of `math` and NumPy are taken from numba.

| annotation | of parameters |
|---|---|
| `float`, `int` | a number |
| `list` | vectors of floats by their addresses, as `addresses_of` returns them |
| `(3, 4)`, `(None, 4)` | an array of that shape; with None, the call gives the length |

Result: `bool`, `float` or none. Arrays of different arguments must not overlap.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_COMPARISONS = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
_FLOAT_METHODS = {ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv"}
_INT_METHODS = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.BitAnd: "and_"}

Value = Any  # of llvmlite, which has no types


def llvm_function(function: Callable[..., Any]) -> Any:
    """Return a function of a generated module for functions that numba compiles to call.

    The text of the module is `__source__` in its globals. Without compilation (NUMBA_DISABLE_JIT)
    the function remains what it is.
    """
    from numba import types
    from numba.core import cgutils, config
    from numba.extending import intrinsic

    if config.DISABLE_JIT:
        return function
    text, name = function.__globals__["__source__"], function.__name__

    def typed(typing_context: Any, *args: Any) -> Any:
        results = {None: types.void, "bool": types.boolean, "float": types.float64}
        returned = results[function.__annotations__.get("return")]

        def codegen(context: Any, builder: Any, signature: Any, packed: Sequence[Value]) -> Value:
            values = []
            for k, kind in enumerate(args):
                value = builder.extract_value(packed[0], k)
                if isinstance(kind, types.Array):
                    array = context.make_array(kind)(context, builder, value)
                    lengths = cgutils.unpack_tuple(builder, array.shape)
                    value = _Array(array.data, tuple(lengths))
                values.append(value)
            found = _Translator(context, builder.module, text).call(builder, name, values)
            return context.get_dummy_value() if returned is types.void else found

        return returned(types.StarArgTuple.from_types(args)), codegen

    return intrinsic(typed)


def addresses_of(arrays: Sequence[npt.NDArray[np.float64]]) -> Any:
    """Return what a parameter of kind `list` takes; the arrays must stay where they are."""
    return np.array([x.ctypes.data for x in arrays], np.int64)


@dataclass(frozen=True)
class _Array:
    """An array: the address of its first element, and the lengths of its axes.

    With `of_addresses`, its elements are addresses of vectors.
    """

    pointer: Value
    shape: tuple[Any, ...]
    of_addresses: bool = False


class _Translator:
    """Translates the functions of a text into an LLVM module, each when it is first called."""

    def __init__(self, context: Any, module: Any, text: str) -> None:
        self.context = context
        self.module = module
        self.statements = ast.parse(text).body
        self.definitions = {x.name: x for x in self.statements if isinstance(x, ast.FunctionDef)}
        self.functions: dict[str, Any] = {}
        self.tables: dict[str, Value] = {}
        self.libraries: dict[tuple[str, int], Callable[[Any, Sequence[Value]], Value]] = {}

    def call(self, builder: Any, name: str, args: Sequence[Any]) -> Value:
        """Emit a call of one of the functions."""
        function = self.functions.get(name) or self._translated(name)
        values: list[Value] = []
        parameters = self.definitions[name].args.args
        for parameter, value in zip(parameters, args, strict=True):
            kind = _kind(parameter)
            if kind == "list":
                values.append(value.pointer)
                continue
            if not isinstance(kind, tuple):
                values.append(_converted(builder, value, kind))
                continue
            values.append(value.pointer)
            if kind[:1] == (None,):
                values.append(_integer(value.shape[0]))
        return builder.call(function, values)

    def _translated(self, name: str) -> Any:
        from llvmlite import ir

        definition = self.definitions[name]
        types: list[Any] = []
        for parameter in definition.args.args:
            kind = _kind(parameter)
            if isinstance(kind, tuple):
                types.append(ir.DoubleType().as_pointer())
                types += [ir.IntType(64)] if kind[:1] == (None,) else []
            else:
                types.append(_type_of(kind))
        returns = definition.returns
        returned = ir.VoidType() if returns is None else _type_of(ast.unparse(returns))
        function = ir.Function(self.module, ir.FunctionType(returned, types), f"chainad.{name}")
        function.linkage = "internal"
        for attribute in ("noinline", "nounwind"):  # its size is what the text's author chose
            function.attributes.add(attribute)
        if all(isinstance(x, ast.Expr) for x in definition.body):
            function.attributes.add("optnone")  # of calls alone there is nothing to optimize
        self.functions[name] = function
        _Body(self, function, definition).emit()
        return function

    def library_call(self, builder: Any, name: str, args: Sequence[Value]) -> Value:
        """Emit a call of a function of floats, of `math` or NumPy, as numba implements it."""
        key = name, len(args)
        if key not in self.libraries:
            self.libraries[key] = self._library_function(name, len(args))
        return self.libraries[key](builder, args)

    def _library_function(self, name: str, arity: int) -> Any:
        from llvmlite import ir
        from numba import float64
        from numba.core.typing import signature

        context, types = self.context, [float64] * arity
        library, attribute = (np, name[3:]) if name.startswith("np.") else (math, name)
        emit = context.get_function(getattr(library, attribute), signature(float64, *types))
        if library is math:
            return emit
        # It may call what numba compiles: then errors are handed on in its calling convention.
        convention = context.call_conv
        kind = convention.get_function_type(float64, types)
        function = ir.Function(self.module, kind, f"chainad.{name}")
        function.linkage = "internal"
        inner = ir.IRBuilder(function.append_basic_block("entry"))
        given = convention.get_arguments(function)
        convention.return_value(inner, emit(inner, given))

        def call(builder: Any, args: Sequence[Value]) -> Value:
            return convention.call_function(builder, function, float64, types, args)[1]

        return call

    def table(self, name: str) -> Value:
        """Return the address of a constant array of integers, which a text assigns to a name."""
        from llvmlite import ir

        if name not in self.tables:
            assigned = next(
                x for x in self.statements
                if isinstance(x, ast.Assign) and ast.unparse(x.targets[0]) == name
            )  # fmt: skip
            assert isinstance(assigned.value, ast.Call)
            elements = ast.literal_eval(assigned.value.args[0])
            kind = ir.ArrayType(ir.IntType(64), len(elements))
            variable = ir.GlobalVariable(self.module, kind, f"chainad.{name}")
            variable.linkage, variable.global_constant = "internal", True
            variable.initializer = ir.Constant(kind, list(elements))
            self.tables[name] = variable
        return self.tables[name]


class _Body:
    """Emits the statements of one function."""

    def __init__(self, module: _Translator, function: Any, definition: ast.FunctionDef) -> None:
        from llvmlite import ir

        self.module = module
        self.function = function
        self.definition = definition
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self.names: dict[str, Any] = {}
        self.variables = {*_assigned_repeatedly(definition)}
        self.constants = ir.Constant
        self.double, self.int64 = ir.DoubleType(), ir.IntType(64)

    def emit(self) -> None:
        args = iter(self.function.args)
        for parameter in self.definition.args.args:
            kind, value = _kind(parameter), next(args)
            if isinstance(kind, tuple):
                value.add_attribute("noalias")
                lengths = [next(args) if n is None else n for n in kind]
                value = _Array(value, tuple(lengths))
            elif kind == "list":
                value = _Array(value, (0,), of_addresses=True)
            self.names[parameter.arg] = value
        self._statements(self.definition.body)
        if not self.builder.block.is_terminated:
            self.builder.ret_void()

    # --------------------------------------------------------------- statements

    def _statements(self, body: Sequence[ast.stmt]) -> None:
        for statement in body:
            emit: Callable[[Any], None] = getattr(self, f"_emit_{type(statement).__name__}")
            emit(statement)

    def _emit_Pass(self, statement: ast.Pass) -> None:
        pass

    def _emit_Expr(self, statement: ast.Expr) -> None:
        if not isinstance(statement.value, ast.Constant):  # a docstring
            self._value(statement.value)

    def _emit_Return(self, statement: ast.Return) -> None:
        if statement.value is None:
            self.builder.ret_void()
        else:
            kind = ast.unparse(self.definition.returns) if self.definition.returns else ""
            self.builder.ret(_converted(self.builder, self._value(statement.value), kind))

    def _emit_Assign(self, statement: ast.Assign) -> None:
        (target,) = statement.targets
        if isinstance(target, ast.Name):
            self._assign(target.id, self._value(statement.value))
        else:
            assert isinstance(target, ast.Subscript)
            if isinstance(target.slice, ast.Slice):
                self._fill(self._view(target), self._value(statement.value))
            else:
                self._store(self._address(target), self._value(statement.value))

    def _emit_AugAssign(self, statement: ast.AugAssign) -> None:
        target = statement.target
        value = self._value(statement.value)
        if isinstance(target, ast.Name):
            own = self.builder.load(self.names[target.id])
            self._assign(target.id, self._operation(statement.op, own, value))
        else:
            address = self._address(target)
            own = self.builder.load(address)
            self._store(address, self._operation(statement.op, own, value))

    def _emit_For(self, statement: ast.For) -> None:
        assert isinstance(statement.iter, ast.Call)
        assert isinstance(statement.target, ast.Name)
        bounds = [self._integer(x) for x in statement.iter.args]
        if len(bounds) == 1:
            bounds.insert(0, self.int64(0))
        step = bounds[2] if len(bounds) == 3 else self.int64(1)
        stays_rolled = ast.unparse(statement.iter.func) == "rolled"
        with self._loop(bounds[0], bounds[1], step, stays_rolled) as counter:
            self.names[statement.target.id] = counter
            self._statements(statement.body)

    def _emit_If(self, statement: ast.If) -> None:
        condition = _truth(self.builder, self._value(statement.test))
        with self.builder.if_else(condition) as (then, otherwise):
            with then:
                self._statements(statement.body)
            with otherwise:
                self._statements(statement.orelse)

    @contextmanager
    def _loop(
        self, start: Value, stop: Value, step: Value, stays_rolled: bool = False
    ) -> Iterator[Value]:
        """Emit a loop around what is emitted inside; steps may be negative constants.

        With `stays_rolled` it is not written out before it is vectorized, however short it is.
        """
        builder, before = self.builder, self.builder.block
        head = builder.append_basic_block("head")
        body, end = builder.append_basic_block("body"), builder.append_basic_block("end")
        builder.branch(head)
        builder.position_at_end(head)
        counter = builder.phi(self.int64)
        counter.add_incoming(start, before)
        is_less = "<" if step.constant > 0 else ">"
        builder.cbranch(builder.icmp_signed(is_less, counter, stop), body, end)
        builder.position_at_end(body)
        yield counter
        following = builder.add(counter, step, flags=["nsw"])
        counter.add_incoming(following, builder.block)
        back = builder.branch(head)
        if stays_rolled:
            module = self.function.module
            disabled = module.add_metadata(["llvm.loop.unroll.disable"])
            loop = module.add_metadata([disabled, self.int64(len(module.metadata))])
            loop.operands = (loop, disabled)  # which is how a loop is identified
            back.set_metadata("llvm.loop", loop)
        builder.position_at_end(end)

    def _assign(self, name: str, value: Any) -> None:
        if name not in self.variables:
            self.names[name] = value
            return
        if name not in self.names:
            with self.builder.goto_entry_block():
                self.names[name] = self.builder.alloca(value.type)
        self.builder.store(value, self.names[name])

    def _store(self, address: Value, value: Value) -> None:
        self.builder.store(_converted(self.builder, value, "float"), address)

    def _fill(self, to: _Array, source: Any) -> None:
        """Fill an array with a number, or with the elements of an array."""
        count = self.int64(1)
        for length in to.shape:
            count = self._operation(ast.Mult(), count, _integer(length))
        with self._loop(self.int64(0), count, self.int64(1)) as k:
            value = source
            if isinstance(source, _Array):
                value = self.builder.load(self.builder.gep(source.pointer, [k], inbounds=True))
            self._store(self.builder.gep(to.pointer, [k], inbounds=True), value)

    # -------------------------------------------------------------- expressions

    def _value(self, node: ast.expr) -> Any:
        emit: Callable[[Any], Any] = getattr(self, f"_value_of_{type(node).__name__}")
        return emit(node)

    def _integer(self, node: ast.expr) -> Value:
        return _converted(self.builder, self._value(node), "int")

    def _value_of_Constant(self, node: ast.Constant) -> Value:
        return self._constant(node.value)

    def _constant(self, value: Any) -> Value:
        from llvmlite import ir

        if isinstance(value, bool):
            return ir.IntType(1)(int(value))
        return self.int64(value) if isinstance(value, int) else self.double(value)

    def _value_of_Name(self, node: ast.Name) -> Any:
        found = self.names.get(node.id)
        if found is None:
            return self._constant(getattr(math, node.id))
        return self.builder.load(found) if node.id in self.variables else found

    def _value_of_Subscript(self, node: ast.Subscript) -> Any:
        if isinstance(node.slice, ast.Slice):
            return self._view(node)
        if isinstance(node.value, ast.Attribute):  # x.shape[0]
            array = self._value(node.value.value)
            assert isinstance(node.slice, ast.Constant)
            return _integer(array.shape[node.slice.value])
        found = self.builder.load(self._address(node))
        if isinstance(node.value, ast.Name) and self._is_of_addresses(node.value.id):
            return _Array(self.builder.inttoptr(found, self.double.as_pointer()), (0,))
        return found

    def _is_of_addresses(self, name: str) -> bool:
        found = self.names.get(name)
        return isinstance(found, _Array) and found.of_addresses

    def _address(self, node: ast.expr) -> Value:
        """Return the address of an element."""
        assert isinstance(node, ast.Subscript)
        if isinstance(node.value, ast.Name) and node.value.id not in self.names:
            table = self.module.table(node.value.id)
            zero = self.int64(0)
            return self.builder.gep(table, [zero, self._integer(node.slice)], inbounds=True)
        array = self._value(node.value)
        indices = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        assert len(indices) == len(array.shape)
        address = self.int64(0)
        for index, length in zip(indices, array.shape, strict=True):
            row = self._operation(ast.Mult(), address, _integer(length))
            address = self._operation(ast.Add(), row, self._integer(index))
        return self.builder.gep(array.pointer, [address], inbounds=True)

    def _view(self, node: ast.Subscript) -> _Array:
        """Return a part of a vector, or all of an array."""
        assert isinstance(node.slice, ast.Slice)
        array = self._value(node.value)
        assert isinstance(array, _Array)
        if node.slice.lower is None:
            return array
        (length,) = array.shape
        low = self._integer(node.slice.lower)
        high = _integer(length) if node.slice.upper is None else self._integer(node.slice.upper)
        pointer = self.builder.gep(array.pointer, [low], inbounds=True)
        return _Array(pointer, (self._operation(ast.Sub(), high, low),))

    def _value_of_UnaryOp(self, node: ast.UnaryOp) -> Value:
        value = self._value(node.operand)
        if isinstance(node.op, ast.Not):
            return self.builder.not_(_truth(self.builder, value))
        if isinstance(value, self.constants):  # -0.0 among them
            return value.type(-value.constant)
        if value.type == self.int64:
            return self.builder.neg(value)
        return self.builder.fneg(_converted(self.builder, value, "float"))

    def _value_of_BinOp(self, node: ast.BinOp) -> Value:
        return self._operation(node.op, self._value(node.left), self._value(node.right))

    def _operation(self, operator: ast.operator, left: Value, right: Value) -> Value:
        kind = type(operator)
        if left.type == right.type == self.int64 and kind is not ast.Div:
            folded = _folded(kind, left, right)
            if folded is not None:
                return folded
            return getattr(self.builder, _INT_METHODS[kind])(left, right)
        floats = [_converted(self.builder, x, "float") for x in (left, right)]
        return getattr(self.builder, _FLOAT_METHODS[kind])(*floats)

    def _value_of_Compare(self, node: ast.Compare) -> Value:
        left, right = self._value(node.left), self._value(node.comparators[0])
        symbol = _COMPARISONS[type(node.ops[0])]
        if left.type == right.type == self.int64:
            return self.builder.icmp_signed(symbol, left, right)
        floats = [_converted(self.builder, x, "float") for x in (left, right)]
        if symbol == "!=":  # nan differs from everything
            return self.builder.fcmp_unordered(symbol, *floats)
        return self.builder.fcmp_ordered(symbol, *floats)

    def _value_of_BoolOp(self, node: ast.BoolOp) -> Value:
        combine = self.builder.and_ if isinstance(node.op, ast.And) else self.builder.or_
        found, *others = [_truth(self.builder, self._value(x)) for x in node.values]
        for other in others:
            found = combine(found, other)
        return found

    def _value_of_IfExp(self, node: ast.IfExp) -> Value:
        condition = _truth(self.builder, self._value(node.test))
        if not any(isinstance(x, ast.Call) for x in ast.walk(node)):
            branches = [self._value(node.body), self._value(node.orelse)]
            return self.builder.select(condition, *_alike(self.builder, *branches))
        # What takes long is computed only where it is needed.
        values = []
        with self.builder.if_else(condition) as (then, otherwise):
            for branch, expression in ((then, node.body), (otherwise, node.orelse)):
                with branch:
                    value = _converted(self.builder, self._value(expression), "float")
                    values.append((value, self.builder.block))
        phi = self.builder.phi(self.double)
        for value, block in values:
            phi.add_incoming(value, block)
        return phi

    def _value_of_Call(self, node: ast.Call) -> Any:
        name = ast.unparse(node.func)
        if name == "np.empty":
            assert isinstance(node.args[0], ast.Constant)
            size = node.args[0].value
            with self.builder.goto_entry_block():
                return _Array(self.builder.alloca(self.double, size), (size,))
        args = [self._value(x) for x in node.args]
        if name in self.module.definitions:
            return self.module.call(self.builder, name, args)
        if name == "int":
            return self.builder.fptosi(args[0], self.int64)
        if name == "min":
            return self.builder.select(self.builder.icmp_signed("<", *args), *args)
        floats = [_converted(self.builder, x, "float") for x in args]
        return self.module.library_call(self.builder, "fabs" if name == "abs" else name, floats)


def _integer(length: Any) -> Value:
    from llvmlite import ir

    return ir.IntType(64)(length) if isinstance(length, int) else length


def _kind(parameter: ast.arg) -> str | tuple[int | None, ...]:
    """Return the shape of an array, or the name of a type."""
    assert parameter.annotation is not None
    if isinstance(parameter.annotation, ast.Tuple):
        shape: tuple[int | None, ...] = ast.literal_eval(parameter.annotation)
        return shape
    return ast.unparse(parameter.annotation)


def _type_of(kind: str) -> Any:
    from llvmlite import ir

    return {
        "float": ir.DoubleType(), "int": ir.IntType(64), "bool": ir.IntType(1),
        "list": ir.IntType(64).as_pointer(),
    }[kind]  # fmt: skip


def _converted(builder: Any, value: Value, kind: str) -> Value:
    """Return a value as a float, an integer, or a truth value."""
    from llvmlite import ir

    wanted = _type_of(kind)
    if value.type == wanted:
        return value
    if kind == "bool":
        return _truth(builder, value)
    if kind == "float":
        if isinstance(value, ir.Constant):
            return wanted(float(value.constant))
        is_truth = value.type == ir.IntType(1)
        return builder.uitofp(value, wanted) if is_truth else builder.sitofp(value, wanted)
    return builder.zext(value, wanted)


def _truth(builder: Any, value: Value) -> Value:
    from llvmlite import ir

    if value.type == ir.IntType(1):
        return value
    if value.type == ir.DoubleType():
        return builder.fcmp_unordered("!=", value, value.type(0.0))
    return builder.icmp_signed("!=", value, value.type(0))


def _alike(builder: Any, left: Value, right: Value) -> tuple[Value, Value]:
    """Return values of one type."""
    if left.type == right.type:
        return left, right
    return _converted(builder, left, "float"), _converted(builder, right, "float")


def _folded(kind: type[ast.operator], left: Value, right: Value) -> Value | None:
    """Return the result for constants, and operations that do nothing, as one of the operands."""
    from llvmlite import ir

    a, b = (x.constant if isinstance(x, ir.Constant) else None for x in (left, right))
    if a is not None and b is not None:
        results = {ast.Add: a + b, ast.Sub: a - b, ast.Mult: a * b, ast.BitAnd: a & b}
        return left.type(results[kind])
    if (kind is ast.Add and a == 0) or (kind is ast.Mult and (a == 1 or b == 0)):
        return right
    if (kind in (ast.Add, ast.Sub) and b == 0) or (kind is ast.Mult and (b == 1 or a == 0)):
        return left
    return None


def _assigned_repeatedly(definition: ast.FunctionDef) -> Iterator[str]:
    """Yield the names that are variables: they take several values."""
    seen: set[str] = set()
    for node in ast.walk(definition):
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in seen:
                yield name
            seen.add(name)
