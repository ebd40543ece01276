"""Random NumPy programs as source text, grown statement by statement from a table of templates.

Every candidate statement is first run by NumPy on plain arrays, together with those before it; it
stays if what it makes is a small array of finite floats or complex numbers. A program is known by
its seed.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any, TypeAlias

import numpy as np
from scipy import special

import chainad
from chainad.testing.oracles import Array
from chainad.testing.statements import FAMILIES

Function: TypeAlias = Callable[..., Any]

# What a program may hold: more would only make the checks slow, or differences inaccurate.
MAX_ELEMENTS = 60
MAX_MAGNITUDE = 30.0
MAX_STATEMENTS = 8

_FIELD = re.compile(r"\{(\w+)\}")


def K(seed: int, *shape: int) -> Array:
    """Return a constant array of numbers between -1 and 1, as programs write it.

    Examples
    --------
    >>> K(3, 2).tolist() == K(3, 2).tolist()
    True
    """
    return np.random.default_rng(seed).uniform(-1, 1, shape)


@dataclass(frozen=True)
class RandomProgram:
    """A function of NumPy arrays as source text, and a point.

    Attributes
    ----------
    seed : int
        What it was grown from.
    inputs : tuple of ndarray
        The point; the arguments are called x0, x1, ...
    statements : tuple of str
        One or more lines each; the k-th that was drawn gives v<k> a value.
    results : tuple of str
        The names that are returned; a tuple of several.
    """

    seed: int
    inputs: tuple[Array, ...]
    statements: tuple[str, ...]
    results: tuple[str, ...]

    @property
    def source(self) -> str:
        """The definition of `f`."""
        names = ", ".join(f"x{k}" for k in range(len(self.inputs)))
        returned = self.results[0] if len(self.results) == 1 else f"({', '.join(self.results)})"
        lines = "\n".join([*self.statements, f"return {returned}"]).splitlines()
        return "\n".join([f"def f({names}):", *(f"    {line}" for line in lines)]) + "\n"

    def function(self) -> Function:
        """Return `f`; its errors name the lines of `source` in the file <random program>."""
        space = _namespace()
        _run(self.source, space)
        function: Function = space["f"]
        return function

    def point(self) -> list[Array]:
        """Return copies of the inputs, as a call takes them: numbers where they have no axes."""
        return _copies(self.inputs)

    def shorter(self) -> Iterator[RandomProgram]:
        """Yield programs with one thing less: a result, a statement, an input, a step between."""
        if len(self.results) > 1:
            for name in self.results:
                yield replace(self, results=(name,))
        for k in reversed(range(len(self.statements))):
            yield from self._without_statement(k)
        text = "\n".join(self.statements)
        for k in range(len(self.inputs)):
            if len(self.inputs) > 1 and not re.search(rf"\bx{k}\b", text):
                yield self._without_input(k)
        for k, statement in enumerate(self.statements):
            for name in sorted({*re.findall(r"\bv\d+\b", statement)} - {_given(statement)}):
                for x in range(len(self.inputs)):
                    direct = re.sub(rf"\b{name}\b", f"x{x}", statement)
                    statements = (*self.statements[:k], direct, *self.statements[k + 1 :])
                    yield replace(self, statements=statements)

    def _without_statement(self, k: int) -> Iterator[RandomProgram]:
        """Drop a statement; an earlier one gives the result if this one did."""
        rest, gone = self.statements[:k] + self.statements[k + 1 :], _given(self.statements[k])
        if gone not in self.results:
            yield replace(self, statements=rest)
            return
        for other in reversed([_given(statement) for statement in rest[:k]]):
            results = tuple(other if name == gone else name for name in self.results)
            yield replace(self, statements=rest, results=results)

    def _without_input(self, k: int) -> RandomProgram:
        def renamed(statement: str) -> str:
            return re.sub(r"\bx(\d+)\b", lambda x: f"x{int(x[1]) - (int(x[1]) > k)}", statement)

        inputs = self.inputs[:k] + self.inputs[k + 1 :]
        return replace(self, inputs=inputs, statements=tuple(map(renamed, self.statements)))


def random_program(seed: int) -> RandomProgram:
    """Return the program of a seed: always the same one for the same version of the table.

    Examples
    --------
    >>> print(random_program(15).source, end="")
    def f(x0):
        v0 = np.hypot(x0, x0 + 2.3)
        return v0
    """
    draft = _ProgramDraft(seed)
    for _ in range(draft.rng.randint(1, MAX_STATEMENTS)):
        draft.grow()
    return draft.finish()


def program_of(template: str, seed: int) -> RandomProgram | None:
    """Return a program whose last statement is of the given row; None if this seed has none."""
    draft = _ProgramDraft(seed)
    for _ in range(draft.rng.randint(0, 2)):
        draft.grow()
    return draft.finish() if draft.try_template(template) else None


class _ProgramDraft:
    """A growing program: its statements, and the values of all names after the last one."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = Random(seed)
        numbers = np.random.default_rng(seed)
        shapes = [self._shape() for _ in range(self.rng.choice([1, 1, 1, 2, 2, 3]))]
        # Of three decimals, so that what is printed can be read.
        self.inputs = tuple(np.round(numbers.uniform(-1.2, 1.2, s), 3) for s in shapes)
        self.statements: list[str] = []
        self.values: dict[str, Array] = {f"x{k}": x.copy() for k, x in enumerate(self.inputs)}

    def grow(self, attempts: int = 20) -> None:
        """Add a statement; none if all attempts fail."""
        families = [*FAMILIES.values()]
        for _ in range(attempts):
            (_, rows) = self.rng.choices(families, [weight for weight, _ in families])[0]
            if self.try_template(self.rng.choice(rows)):
                return

    def try_template(self, template: str) -> bool:
        """Add a statement of this row, unless it does not fit; return whether it was added."""
        name = f"v{len(self.statements)}"
        drawn = _DrawnFields(self.rng, self.values, name)
        try:
            text = _FIELD.sub(lambda field: drawn[field[1]], template)
        except LookupError:
            return False
        statement = text if "{y}" in template else f"{name} = {text}"
        values = self._values_after(statement, name)
        if values and values[name].dtype.kind == "f" and _magnitude(values[name]) > MAX_MAGNITUDE:
            statement += f"\n{name} = np.tanh({name} / 20)"
            values = self._values_after(statement, name)
        if values is None or _magnitude(values[name]) > MAX_MAGNITUDE:
            return False
        self.statements.append(statement)
        self.values = values
        return True

    def finish(self) -> RandomProgram:
        """Return the program; it returns its last real value, sometimes another one with it."""
        real = [k for k, value in self.values.items() if value.dtype.kind == "f"]
        made = [name for name in real if name.startswith("v")]
        if not made:
            self.statements.append(f"v{len(self.statements)} = x0 * 1.0")
            made = [f"v{len(self.statements) - 1}"]
        results = [made[-1]]
        if self.rng.random() < 0.25:
            results.append(self.rng.choice(made))
        return RandomProgram(
            self.seed, self.inputs, tuple(self.statements), tuple(dict.fromkeys(results))
        )

    def _shape(self) -> tuple[int, ...]:
        ndim = self.rng.choice([0, 1, 1, 1, 2, 2, 3])
        sizes = self.rng.choices([0, 1, 2, 3, 4, 5], [3, 20, 22, 32, 15, 8], k=ndim)
        return tuple(min(size, 3) if ndim == 3 else size for size in sizes)

    def _values_after(self, statement: str, name: str) -> dict[str, Array] | None:
        """Return all values after one more statement; None if some are not fit to go on with."""
        # All statements run anew: writes through views reach what they reached in f itself.
        space = _namespace()
        space |= {f"x{k}": x for k, x in enumerate(_copies(self.inputs))}
        try:
            _run("\n".join([*self.statements, statement]), space)
        except Exception:  # a random statement may raise anything
            return None
        found = {each: space.get(each) for each in (*self.values, name)}
        if not all(isinstance(x, (np.ndarray, np.generic, float)) for x in found.values()):
            return None
        values = {each: np.asarray(x) for each, x in found.items()}
        if not all(map(_is_fit, values.values())):
            return None
        # A function that changes its arguments has no Jacobian at a point that stays.
        unchanged = (np.array_equal(values[f"x{k}"], x) for k, x in enumerate(self.inputs))
        return values if all(unchanged) else None


def _is_fit(x: Array) -> bool:
    return x.dtype.kind in "fc" and x.size <= MAX_ELEMENTS and bool(np.all(np.isfinite(x)))


class _DrawnFields(dict[str, str]):
    """The texts of the fields of one row, drawn when they are first looked up.

    A LookupError says that the program has no value of the kind that is asked for.
    """

    def __init__(self, rng: Random, arrays: dict[str, Array], name: str) -> None:
        super().__init__(y=name, x="x0")
        self.rng = rng
        self.arrays = arrays

    def __missing__(self, field: str) -> str:
        self[field] = text = str(getattr(self, f"_{field}")())
        return text

    # ------------------------------------------------------------------ values

    def _named(self, fits: Callable[[Array], bool], kind: str = "f") -> str:
        names = [k for k, x in self.arrays.items() if x.dtype.kind == kind and fits(x)]
        recent = min(int(self.rng.expovariate(0.5)), len(names) - 1)
        return names[-1 - recent]  # IndexError where there is none

    def _of(self, field: str) -> Array:
        return self.arrays[self[field]]

    def _a(self) -> str:
        return self._named(lambda x: True)

    def _d(self) -> str:
        return self._named(lambda x: True)

    def _b(self) -> str:
        kind = self.rng.random()
        shape = self._of("a").shape
        if kind < 0.1:
            return repr(round(self.rng.uniform(-2, 2), 2))
        if kind < 0.2:
            sizes = self.rng.choice([shape, shape[-1:], (1,) * len(shape), (2, *shape)])
            return f"K({', '.join(map(str, (self['s'], *sizes)))})"
        return self._named(lambda x: _broadcasts(x.shape, shape))

    def _c(self) -> str:
        shape = self._of("a").shape
        return self._named(lambda x: x.shape == shape)

    def _w(self) -> str:
        return self._named(lambda x: x.ndim > 0 and x.size > 0)

    def _v(self) -> str:
        return self._named(lambda x: x.ndim == 1 and x.size > 0)

    def _m(self) -> str:
        return self._named(lambda x: x.ndim == 2 and x.size > 0)

    def _q(self) -> str:
        return self._named(lambda x: x.ndim == 2 and 0 < x.shape[0] == x.shape[1] < 5)

    def _z(self) -> str:
        return self._named(lambda x: True, "c")

    # ----------------------------------------------------------------- options

    def _s(self) -> int:
        return self.rng.randrange(1000)

    def _n(self) -> int:
        return self.rng.randint(2, 5)

    def _k(self) -> int:
        return self.rng.randrange(5)

    def _axis(self) -> int:
        ndim = self._of("w").ndim
        return self.rng.randrange(-ndim, ndim)

    def _i(self) -> int:
        return self.rng.randrange(len(self._of("w" if "w" in self else "v")))

    def _j(self) -> int:
        return self.rng.randrange(self._of("w").shape[int(self["axis"])])

    def _over(self) -> str:
        axis, ndim = int(self["axis"]), self._of("w").ndim
        several = f"axis={tuple(self.rng.sample(range(ndim), min(2, ndim)))}"
        return self.rng.choice([f"axis={axis}", f"axis={axis}", "axis=None", several])

    def _keep(self) -> str:
        return self.rng.choice(["", "", ", keepdims=True"])

    # -------------------------------------------------------- indices and writes

    def _op(self) -> str:
        return self.rng.choice(["=", "=", "+=", "-=", "*=", "/="])

    def _value(self) -> str:
        part = f"{self['a']}[{self['ix']}]"
        mean = f"np.mean({self['d']})"
        divisor = [f"(3.0 + {mean} ** 2)", "2.5"]
        anything = [mean, "0.5", f"{part} * 2", f"np.cos({part})", f"np.sum(np.sin({self['d']}))"]
        return self.rng.choice(divisor if self["op"] == "/=" else anything)

    def _slices(self) -> str:
        shape = self._of("a").shape
        if not shape:
            return self.rng.choice(["()", "..."])
        parts = [self._slice(size) for size in shape[: self.rng.randint(1, len(shape))]]
        if self.rng.random() < 0.2:
            parts.insert(self.rng.randint(0, len(parts)), "None")
        if self.rng.random() < 0.2:
            parts.append("...")
        return ", ".join(parts)

    def _slice(self, size: int) -> str:
        start = self.rng.randint(0, size)
        whole = [":", "::-1", "::2", f"{start}:", f":{start}"]
        return self.rng.choice([*whole, str(self.rng.randrange(-size, size))] if size else whole)

    def _ix(self) -> str:
        shape = self._of("a").shape
        if not shape or self.rng.random() < 0.5:
            return self.rng.choice(["None", self["slices"]]) if not shape else self["slices"]
        if 0 in shape:
            return ":"
        first, last = shape[0], shape[-1]
        count = self.rng.randint(1, 4)
        found = [
            self._integers(first, count),
            f"np.array([{self._integers(first, 2)}, {self._integers(first, 2)}])",
            f"np.array({[self.rng.random() < 0.5 for _ in range(first)]})",
        ]
        if len(shape) > 1:
            rows, columns = self._integers(first, 2), self._integers(shape[1], 2)
            found += [
                f"{self._integers(first, count)}, {self._integers(shape[1], count)}",
                f"np.ix_({rows}, {columns})",
                f":, {columns}",
                f"{rows}, :",
                f"{rows}, None, {columns}",
                f"{self.rng.randrange(first)}, ..., {self._integers(last, 2)}",
            ]
        return self.rng.choice(found)

    def _integers(self, size: int, count: int) -> str:
        return str([self.rng.randrange(-size, size) for _ in range(count)])


def _copies(arrays: Iterable[Array]) -> list[Array]:
    return [x.copy()[()] for x in arrays]


def _broadcasts(one: tuple[int, ...], two: tuple[int, ...]) -> bool:
    return all(m == n or 1 in (m, n) for m, n in zip(reversed(one), reversed(two), strict=False))


def _magnitude(x: Array) -> float:
    return float(np.max(np.abs(x), initial=0.0))


def _given(statement: str) -> str:
    """Return the name that a statement gives a value."""
    found = re.findall(r"^\s*(v\d+)\b", statement, re.M)
    return str(found[-1]) if found else ""


def _namespace() -> dict[str, Any]:
    return {
        "__name__": "random_program",
        "np": np,
        "special": special,
        "chainad": chainad,
        "K": K,
    }


def _run(source: str, space: dict[str, Any]) -> None:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        exec(compile(source, "<random program>", "exec"), space)
