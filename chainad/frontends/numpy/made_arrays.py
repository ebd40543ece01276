"""Arrays that a traced function makes: NumPy's own until a traced value is written into them.

`np.zeros(3)` in a traced function is an ndarray for all who read it, and costs the trace nothing.
At the first write of a traced value the array becomes what `set_items` returns, as traced arrays
do at each write, and so do its views, which remember how they were made. What is in its memory
then is nan, so that code that reads memory without asking finds no number that was once right.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainad.errors import TraceError
from chainad.frontends.numpy.flat_view import FlatView
from chainad.frontends.numpy.tape import active
from chainad.frontends.numpy.tracers import has_tracer, innermost_tape
from chainad.ir.positions import coordinates
from chainad.ir.source_lines import here
from chainad.rules.base import WRITERS
from chainad.rules.movement import getitem, set_items
from chainad.rules.writing import write_at, written_where

Array = np.ndarray[Any, Any]

# How a view was made: the function called, with _VIEWED in the place of the viewed array.
_Step = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
_VIEWED = object()
_SHAPE: Any = np.ndarray.shape


class MadeArray(np.ndarray[Any, Any]):
    """An array that was made while a function is traced.

    Attributes
    ----------
    plain
        A plain array with the same memory.
    viewed, step
        The made array that this is a view of, and how it was made; None if it is no view.
    tape
        The tape of the trace that made it; None if no traced value can be written into it.
    traced
        What it has become, if a traced value was written into it; only where it is no view.
    """

    plain: Array
    viewed: MadeArray | None = None
    step: _Step | None = None
    tape: Any = None
    traced: Any = None
    # Of a view, its traced value, and the traced array that this is a view of.
    _view: tuple[Any, Any] = (None, None)

    def __getattr__(self, name: str) -> Any:
        if name != "plain":
            raise AttributeError(f"'numpy.ndarray' object has no attribute {name!r}")
        self.plain = self.view(np.ndarray)  # of one that NumPy has made in C
        return self.plain

    # ----------------------------------------------------------------- calls

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", ())
        if method == "at":
            return written_at(ufunc, *inputs)
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        return _call(function, inputs, kwargs, out)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func in WRITERS and type(args[0]) is MadeArray:
            rest, options = settle(args[1:]), settle(kwargs)
            if args[0].is_traced or has_tracer((rest, options)):
                return WRITERS[func](args[0], *rest, **options)
            return func(args[0].plain, *rest, **options)
        kwargs = dict(kwargs)
        out = kwargs.pop("out", None)
        return _call(func, args, kwargs, () if out is None else (out,))

    # --------------------------------------------------------------- entries

    @property
    def root(self) -> MadeArray:
        """The array whose memory this shows."""
        return self if self.viewed is None else self.viewed.root

    @property
    def is_traced(self) -> bool:
        """Whether a traced value was written into it."""
        return self.root.traced is not None

    def __getitem__(self, key: Any) -> Any:
        array, key = current(self), settle(key)
        if array is not self.plain:
            return array[key]
        return _derived(array[key], self, (getitem, (_VIEWED, key), {}))

    def __setitem__(self, key: Any, value: Any) -> None:
        key, value = settle(key), settle(value)
        root, is_traced = self.root, has_tracer((key, value))
        if root.traced is None:
            if is_traced:
                self._write_first(key, value)
            else:
                self.plain[key] = value
        elif is_traced and root.traced.tape.level < innermost_tape((key, value), {}).level:
            # A recorded array becomes one that is differentiated.
            root.traced = set_items(root.traced, (self._in_root(key),), [value])
        else:
            current(self)[key] = value

    def _write_first(self, key: Any, value: Any) -> None:
        self._check_writeable()
        root = self.root
        before = root.plain.copy(order="K")
        tape = innermost_tape((key, value), {})
        if tape.is_recorder:
            root.traced = tape.constant(before)  # type: ignore[attr-defined]
            current(self)[key] = value
        else:
            root.traced = set_items(before, (self._in_root(key),), [value])
        # Who has a plain view of this memory reads nan, and who has none yet cannot write.
        root.plain[...] = np.nan
        root.tape.has_blanked = True
        root.plain.flags.writeable = False

    def _in_root(self, key: Any) -> Any:
        """Return a key of this array as one of the array whose memory this shows."""
        root = self.root
        if self is root:
            return key
        numbers = self._of(np.arange(root.plain.size).reshape(root.plain.shape))
        return coordinates(numbers[key], root.plain.shape)

    def _of(self, root: Any) -> Any:
        """Return the view that this is, of another array in the place of its root."""
        if self.viewed is None or self.step is None:
            return root
        function, args, kwargs = self.step
        base = self.viewed._of(root)
        return function(*(base if x is _VIEWED else x for x in args), **kwargs)

    def _check_writeable(self) -> None:
        root = self.root
        if not self.plain.flags.writeable or not root.plain.flags.writeable:
            raise ValueError("assignment destination is read-only")
        if self.plain.dtype.kind not in "fc":
            raise TraceError(
                f"{here()}this writes a traced value into an array of {self.plain.dtype}, which"
                " cuts it; write into an array of floats: np.zeros(n), [1.0, 2.0] instead of [1, 2]"
            )
        if root.tape is None or not root.tape.is_open:
            raise TraceError(
                f"{here()}this writes a traced value into an array that this call of the function"
                " did not make, or whose shape was set; write into np.copy(a) instead"
            )

    # ------------------------------------------------------------ attributes

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.plain.shape
        return shape

    @shape.setter
    def shape(self, shape: Any) -> None:
        if self.is_traced:
            raise TraceError(f"{here()}the shape of a traced array cannot be set; use a.reshape")
        self.plain.shape = shape
        _SHAPE.__set__(self, shape)
        self.root.tape = None  # how views of it were made does not hold any more

    @property
    def flags(self) -> Any:
        return self.plain.flags

    @property
    def flat(self) -> Any:
        return FlatView(self)

    @flat.setter
    def flat(self, value: Any) -> None:
        self.flat[:] = value

    # --------------------------------------------------------------- methods

    def assign(self, result: Any) -> None:
        """Take the result of a call that writes into all of this array."""
        self[...] = result

    def fill(self, value: Any) -> None:
        """Set every entry to `value`."""
        self[...] = value

    def put(self, *args: Any, **kwargs: Any) -> None:
        """See numpy.put."""
        np.put(self, *args, **kwargs)

    def resize(self, *args: Any, **kwargs: Any) -> None:
        """Refuse to change the memory."""
        raise TraceError(f"{here()}a.resize changes the memory of an array; use np.resize")

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(current(self), dtype=dtype, copy=copy)

    def __len__(self) -> int:
        return len(self.plain)

    def __iter__(self) -> Any:
        return (self[k] for k in range(len(self)))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return current(self).__reduce_ex__(protocol)


def current(array: MadeArray) -> Any:
    """Return what an array stands for: a plain array, or what writes have made of it."""
    viewed = array.viewed
    if viewed is None:
        return array.plain if array.traced is None else array.traced
    traced = array.root.traced
    if traced is None:
        return array.plain
    if array._view[0] is not traced:
        array._view = traced, array._of(traced)
    return array._view[1]


def settle(value: Any) -> Any:
    """Return (nested) arguments with what made arrays stand for in their place."""
    kind = type(value)
    if kind is MadeArray:
        return current(value)
    if kind is list:
        return [settle(x) for x in value]
    if issubclass(kind, tuple):
        items = [settle(x) for x in value]
        return tuple(items) if any(map(operator.is_not, items, value)) else value
    if kind is dict:
        return {name: settle(x) for name, x in value.items()}
    return value


def made(value: Any) -> Any:
    """Return a new array as one that can be written into, while a function of this thread runs."""
    tape = active.tape
    if type(value) is not np.ndarray or tape is None or value.dtype.char == "O":
        return value
    found = value.view(MadeArray)
    found.plain, found.tape = value, tape
    return found


def captured(value: Any) -> Any:
    """Return an array from elsewhere as one whose copies can be written into; None if it is none.

    Traced values are not written into the array itself.
    """
    if type(value) is not np.ndarray or value.dtype.kind not in "fci":
        return None
    found = value.view(MadeArray)
    found.plain = value
    return found


def written_at(ufunc: np.ufunc, target: Any, key: Any, *values: Any) -> None:
    """Do what `ufunc.at(target, key, *values)` does."""
    key, values = settle(key), settle(values)
    if type(target) is MadeArray and not target.is_traced and not has_tracer((key, values)):
        return ufunc.at(target.plain, key, *values)
    try:
        write_at(ufunc, target, key, *values)
    except NotImplementedError as error:
        raise TraceError(f"{here()}{error}") from None


def _derived(result: Any, viewed: MadeArray, step: _Step) -> Any:
    """Return what was computed from a made array, as a view of it if it is one."""
    if isinstance(result, (list, tuple)):
        function, args, kwargs = step

        def item(k: int) -> Callable[..., Any]:
            return lambda *args, **kwargs: function(*args, **kwargs)[k]

        items = [_derived(x, viewed, (item(k), args, kwargs)) for k, x in enumerate(result)]
        return type(result)(*items) if hasattr(result, "_fields") else type(result)(items)
    found = made(result)
    if type(found) is MadeArray and result.base is not None:
        if result is viewed.plain:
            return viewed
        if np.may_share_memory(result, viewed.plain):
            found.viewed, found.step = viewed, step
    return found


def _call(
    function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], out: Sequence[Any]
) -> Any:
    """Call a function on what made arrays stand for, and write its result into `out`, if given."""
    settled, options, targets = settle(tuple(args)), settle(kwargs), settle(tuple(out))
    is_traced = has_tracer((settled, options, targets))
    if out and not is_traced:
        function(*settled, **options, out=targets if isinstance(function, np.ufunc) else targets[0])
        return out[0] if len(out) == 1 else out
    if out and options.get("where", True) is not True and isinstance(function, np.ufunc):
        result = written_where(function, settled, options["where"], targets[0])
    else:
        result = function(*settled, **options)
    if out:
        results = result if len(out) > 1 else [result]
        for target, each in zip(out, results, strict=True):
            target.assign(each)
        return out[0] if len(out) == 1 else out
    if is_traced:
        return result
    if type(result) is not np.ndarray or result.base is not None:
        for k, x in enumerate(args):
            if type(x) is MadeArray:
                template = tuple([_VIEWED if j == k else y for j, y in enumerate(settled)])
                return _derived(result, x, (function, template, options))
    return made(result)


def _method(name: str) -> Callable[..., Any]:
    def method(self: MadeArray, *args: Any, **kwargs: Any) -> Any:
        array = current(self)
        args, kwargs = settle(args), settle(kwargs)
        if array is not self.plain:
            return getattr(array, name)(*args, **kwargs)
        if has_tracer((args, kwargs)):
            return getattr(np, name)(array, *args, **kwargs)
        result = getattr(array, name)(*args, **kwargs)
        return _derived(result, self, (_call_method, (_VIEWED, name, *args), kwargs))

    return method


def _call_method(array: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    return getattr(array, name)(*args, **kwargs)


def _attribute(name: str) -> property:
    def get(self: MadeArray) -> Any:
        array = current(self)
        if array is not self.plain:
            return getattr(array, name)
        return _derived(getattr(array, name), self, (getattr, (_VIEWED, name), {}))

    def set_(self: MadeArray, value: Any) -> None:
        get(self)[...] = value

    return property(get, set_)


# What Python and NumPy ask an array for beside operators, which are ufuncs.
_PROTOCOLS = "bool float int index complex contains copy deepcopy repr str format divmod rdivmod"
_METHODS = (
    *(name for name in vars(np.ndarray) if not name.startswith("_")),
    *(f"__{name}__" for name in _PROTOCOLS.split()),
)
for _name in _METHODS:
    if _name not in vars(MadeArray) and callable(getattr(np.ndarray, _name, None)):
        setattr(MadeArray, _name, _method(_name))
for _name in ("T", "mT", "real", "imag"):
    setattr(MadeArray, _name, _attribute(_name))
