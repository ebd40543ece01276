"""Kinks under smooth functions: values that depend on the square of a kinked one alone.

`norm(x)`, `abs(x)`, `hypot`, `std` and `maximum` have no second derivative where they are zero, yet
`norm(x)**2`, `cos(norm(x))` and `exp(-(norm(x) / s)**2)` are smooth there: they are functions of
the square, which has no kink. The Jacobian of a function that is differentiated again is that of
its tape with such values made from the square.

A value is *odd* if it is `factor * root`, entry by entry, where `root` has a kink and its square
and `factor` have none: the root itself, odd functions of it, such as its sine, and what scales or
moves the entries of an odd value. A value is smooth if it is the product of two odd ones with the
same root, or an even function of one. Whatever else is made from a root keeps the kink: second
derivatives there are nan if those nearby are unbounded (norm, hypot, std, the modulus), and 0 if
the root is piecewise linear.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from chainad.frontends.numpy.tape import MAX_COPIED_ENTRIES, Entry, Tape
from chainad.frontends.numpy.tape_rewriting import TapeRewriting
from chainad.frontends.numpy.traced_calls import refill
from chainad.frontends.numpy.tracers import Tracer
from chainad.ir.array_functions import is_ndarray
from chainad.ir.graph import freeze
from chainad.rules.base import RULES
from chainad.rules.elementwise import EVEN, root_of
from chainad.rules.kinds import Contraction, Conversion, Einsum, Elementwise, Movement
from chainad.rules.odd_functions import OVER_OPERAND
from chainad.rules.primitives import Primitive


@dataclass(frozen=True)
class _Odd:
    """An odd value: `root` tells roots apart; `factor` and `square` (of the root) compute these.

    `is_sign` says that the root is 1 or -1, so that its square is 1.
    """

    root: Hashable
    factor: Callable[[], Any]
    square: Callable[[], Any]
    is_sign: bool = False

    def times(self, other: _Odd) -> Any:
        """Return the product with an odd value of the same root, which is smooth."""
        return _product(self.factor(), other.factor(), self.square())

    def scaled(self, scale: Callable[[Any], Any]) -> _Odd:
        """Return the odd value of the same root with another factor."""
        return replace(self, factor=cache(lambda: scale(self.factor())))


def _product(*factors: Any) -> Any:
    """Return a product, without multiplying by the number 1."""
    found: Any = 1.0
    for x in factors:
        if not (type(x) is float and x == 1.0):
            found = x if type(found) is float and found == 1.0 else np.multiply(found, x)
    return found


def has_kinks(tape: Tape) -> bool:
    """Return whether a value with a kink may be under a smooth function."""
    rows = map(RULES.get, tape.functions)
    return any(row is not None and row.square is not None for row in rows)


def without_kinks(tape: Tape, outputs: Sequence[int | None]) -> list[int | None]:
    """Return the entries that stand for `outputs`, with smooth values made from squares of roots.

    What they are made from is recorded on the tape, which is open meanwhile.
    """
    return _Smooth(tape).run(outputs)


class _Smooth(TapeRewriting):
    """Replaces entries that are smooth; `odd` has the odd ones, `first` the first of equal ones."""

    def __init__(self, tape: Tape) -> None:
        super().__init__(tape)
        self.odd: dict[int, _Odd] = {}
        self.first: dict[int, int] = {}
        self._numbers: dict[Hashable, int] = {}

    def replacement(self, number: int, entry: Entry) -> int | None:
        call = _Call(self, entry)
        is_known = entry.sources and not isinstance(entry.function, Primitive)
        key = (entry.function, call.static, *call.keys) if is_known else number
        self.first[number] = self._numbers.setdefault(key, number)
        row = RULES.get(entry.function)
        odd = _odd_value(call) if any(call.odd) else None
        if odd is None and row is not None and row.square is not None:
            odd = self._root(number, call, row.square)
        if odd is not None:
            self.odd[number] = odd
        if not any(call.odd):
            return None
        try:
            return self._entry_of(_smooth_value(call, odd), entry)
        except NotImplementedError:  # other norms are no roots of sums of squares
            return None

    def _entry_of(self, value: Any, entry: Entry) -> int | None:
        """Return the entry of a smooth value, None if there is none of the same form."""
        if isinstance(value, Entry):
            return self.tape.append(value)
        if not isinstance(value, Tracer) or value.tape is not self.tape:
            return None
        is_alike = (value.shape, value.dtype) == (np.shape(entry.value), entry.value.dtype)
        return value.number if is_alike else None

    def _root(self, number: int, call: _Call, square: Callable[..., Any]) -> _Odd:
        """Return a value with a kink as an odd one."""
        odd = {id(x): each for x, each in zip(call.values, call.odd, strict=True) if each}

        def squared(x: Any) -> Any:
            return odd[id(x)].times(odd[id(x)]) if id(x) in odd else np.multiply(x, x)

        def make() -> Any:
            args, kwargs = call.arguments(call.values)
            return square(squared, self.value(number, call.entry.value), *args, **kwargs)

        if call.entry.function in _ABSOLUTE and not odd:
            # |x| is x times its sign, whose square is 1.
            return _Odd(("sign", *call.keys), lambda: call.values[0], _one, is_sign=True)
        return _Odd(self.first[number], _one, cache(make))


_ABSOLUTE = (np.abs, np.fabs)
# Where the result is 0, all entries are: elsewhere it is as smooth as its square.
_ROOTS_OF_SUMS = (np.linalg.norm, np.hypot, *_ABSOLUTE)


def _one() -> float:
    return 1.0


def _content(value: Any) -> Hashable:
    """Return what is equal for two constants only if they are."""
    if isinstance(value, Tracer):
        return (id(value.tape), value.number)
    small = not is_ndarray(value) or value.size <= MAX_COPIED_ENTRIES
    return freeze(value) if small else id(value)


class _Call:
    """A call some of whose operands are odd: its entry, its operands, and which are odd."""

    def __init__(self, smooth: _Smooth, entry: Entry) -> None:
        self.tape = smooth.tape
        self.entry = entry
        self.odd = [None if s is None else smooth.odd.get(s) for s in entry.sources]
        pairs = list(zip(entry.sources, entry.operands, strict=True))
        self.values = [smooth.value(source, operand) for source, operand in pairs]
        # Equal operands have equal keys.
        self.keys = [
            ("constant", _content(x)) if source is None else smooth.first[source]
            for source, x in pairs
        ]

    @property
    def static(self) -> Hashable:
        """What is no operand."""
        return None if self.entry.template is None else freeze(self.entry.template)

    @property
    def kind(self) -> Any:
        row = RULES.get(self.entry.function)
        return None if row is None else row.kind

    def arguments(self, operands: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with these operands."""
        if self.entry.template is None:
            return tuple(operands), {}
        args, kwargs = self.entry.template
        return refill(args, operands), refill(kwargs, operands)

    def __call__(self, operands: Sequence[Any]) -> Any:
        args, kwargs = self.arguments(operands)
        return self.entry.function(*args, **kwargs)

    @property
    def pair(self) -> tuple[_Odd, _Odd] | None:
        """Both operands, if these are odd with the same root."""
        if len(self.odd) != 2 or self.odd[0] is None or self.odd[1] is None:
            return None
        return (self.odd[0], self.odd[1]) if self.odd[0].root == self.odd[1].root else None

    @property
    def single(self) -> tuple[int, _Odd] | None:
        """The operand that is odd, and its position, if there is only one."""
        found = [(k, odd) for k, odd in enumerate(self.odd) if odd is not None]
        return found[0] if len(found) == 1 else None

    @property
    def exponent(self) -> float | None:
        """The exponent of a power of an odd value, if it is 1 or a plain number of at least 2."""
        if self.entry.function not in _POWERS or self.odd[0] is None:
            return None
        p = self.entry.operands[1]
        is_plain = isinstance(p, (int, float)) or (is_ndarray(p) and p.ndim == 0)
        return float(p) if is_plain and (p == 1 or p >= 2) else None


_POWERS = (np.power, np.float_power)


# --------------------------------------------------------------- what is smooth


def _smooth_value(call: _Call, result: _Odd | None) -> Any:
    """Return the result of a call made from squares of roots, None if it is not smooth.

    `result` is the result as an odd value.
    """
    function, p = call.entry.function, call.exponent
    if function in _ROOTS_OF_SUMS and result is not None:
        square = result.times(result)
        return _even(call.entry, root_of, square, (call.entry.value,), (None,))
    if function is np.multiply and call.pair is not None:
        return call.pair[0].times(call.pair[1])
    if isinstance(call.kind, Contraction):
        return _contraction(call, call.kind)
    if call.single is None:
        return None
    position, odd = call.single
    if p == 1:
        return None
    if function is np.square or p == 2:
        return odd.times(odd)
    if p is not None and p % 2 == 0:
        return np.power(odd.times(odd), p / 2)
    if (function, position) in EVEN and (p or function not in _POWERS):
        others = [
            None if source is None or k == position else x.number
            for k, (source, x) in enumerate(zip(call.entry.sources, call.values, strict=True))
        ]
        of_square = EVEN[function, position]
        return _even(call.entry, of_square, odd.times(odd), call.entry.operands, others)
    return None


def _even(
    entry: Entry,
    of_square: Callable[..., Any],
    square: Any,
    operands: Sequence[Any],
    sources: Sequence[int | None],
) -> Entry | None:
    """Return an even function of an odd value, whose square is given in front of its operands."""
    if not isinstance(square, Tracer):
        return None
    values = (square.value, *operands)
    numbers = (square.number, *sources)
    key = (of_square, numbers, *[(np.shape(x), _dtype(x)) for x in operands])
    return Entry(of_square, None, numbers, values, entry.value, key, entry.raw_site)


def _dtype(value: Any) -> Any:
    return getattr(value, "dtype", type(value))


def _contraction(call: _Call, kind: Contraction) -> Any:
    """Return a contraction of two odd operands that run along together, and smooth ones."""
    node = call.tape.node(call.entry)
    operands = kind.einsum(*node.args, **node.kwargs).operands
    result = kind.einsum(*node.args, **node.kwargs).result
    at = [k for k, (x, _) in enumerate(operands) if call.odd[x.number] is not None]
    if len(at) != 2:
        return None
    (x, labels), (y, others) = operands[at[0]], operands[at[1]]
    one, two = call.odd[x.number], call.odd[y.number]
    assert one is not None
    assert two is not None
    if one.root != two.root or labels != others or x.shape != y.shape:
        return None
    square = np.broadcast_to(one.times(two), x.shape)
    rest = [each for k, each in enumerate(operands) if k not in at]
    found = Einsum(((x, labels), *rest), result).evaluate(
        [square, *(call.values[each.number] for each, _ in rest)]
    )
    return np.reshape(found, np.shape(call.entry.value))


# ------------------------------------------------------------------ what is odd


def _odd_value(call: _Call) -> _Odd | None:
    """Return the result of a call as an odd value, None if it is none."""
    function, p = call.entry.function, call.exponent
    if isinstance(call.kind, (Movement, Conversion)) or function is np.where:
        return _moved(call)
    if call.pair is not None and function in (np.add, np.subtract):
        one, two = call.pair
        return one.scaled(lambda factor: function(factor, two.factor()))
    position, odd = next((k, each) for k, each in enumerate(call.odd) if each is not None)
    if function is np.multiply and call.pair is None:
        return odd.scaled(lambda factor: _product(factor, call.values[1 - position]))
    if function is np.divide and position == 0:
        return odd.scaled(lambda factor: np.divide(factor, call.values[1]))
    if call.single is None:
        return None
    if function in (np.negative, np.positive):
        return odd.scaled(function)
    if p == 1:
        return odd
    if p is not None and p % 2 == 1:
        half = (p - 1) / 2
        return odd.scaled(lambda factor: _product(factor, np.power(odd.times(odd), half)))
    if isinstance(call.kind, Elementwise) and call.kind.is_odd and odd.is_sign:
        return odd.scaled(function)
    if function in OVER_OPERAND:
        return odd.scaled(lambda factor: _product(factor, _over_operand(call, odd)))
    return None


def _over_operand(call: _Call, odd: _Odd) -> Any:
    """Return f(x) / x, an even function of the odd operand x, from the square of x."""
    over_operand, argument = OVER_OPERAND[call.entry.function], call.entry.operands[0]
    entry = call.entry._replace(value=over_operand(argument))
    even = _even(entry, EVEN[over_operand, 0], odd.times(odd), (argument,), (None,))
    if even is None:
        return entry.value
    return call.tape.box(entry.value, call.tape, call.tape.append(even))


def _moved(call: _Call) -> _Odd | None:
    """Return entries of odd and other values, moved."""
    entry = call.entry
    if entry.function is np.pad and entry.template and "constant_values" in entry.template[1]:
        return None
    first = int(entry.function is np.where)  # whose first operand is the condition
    triples = list(zip(call.values, entry.sources, call.odd, strict=True))
    roots = tuple(
        key if odd is None else odd.root for key, odd in zip(call.keys, call.odd, strict=True)
    )
    is_sign = all(odd.is_sign for odd in call.odd if odd is not None)

    def moved(of_odd: Callable[[_Odd], Any], of_other: Callable[[Any], Any]) -> Any:
        found = [of_other(x) if odd is None else of_odd(odd) for x, _, odd in triples[first:]]
        if all(type(x) is float and x == 1.0 for x in found):
            return 1.0
        whole = [
            np.broadcast_to(new, np.shape(x)) * np.ones((), _dtype(x))
            for new, (x, *_) in zip(found, triples[first:], strict=True)
        ]
        return call([*call.values[:first], *whole])

    return _Odd(
        (entry.function, call.static, roots),
        lambda: moved(lambda odd: odd.factor(), lambda x: x),
        _one if is_sign else lambda: moved(lambda odd: odd.square(), lambda x: 1.0),
        is_sign,
    )
