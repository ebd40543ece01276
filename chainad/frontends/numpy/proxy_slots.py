"""Slots: where a function that the user's code calls is held, and may be bound to a proxy."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any


class _Contents:
    """A cell as a namespace of one name."""

    __slots__ = ("_cell",)

    def __init__(self, cell: types.CellType) -> None:
        self._cell = cell

    def get(self, name: str) -> Any:
        return contents_of(self._cell)

    def __setitem__(self, name: str, value: Any) -> None:
        self._cell.cell_contents = value


class _Defaults:
    """The default values of a function as a namespace, by position."""

    __slots__ = ("_function",)

    def __init__(self, function: types.FunctionType) -> None:
        self._function = function

    def get(self, position: int) -> Any:
        defaults = self._function.__defaults__ or ()
        return defaults[position] if position < len(defaults) else None

    def __setitem__(self, position: int, value: Any) -> None:
        defaults = [*(self._function.__defaults__ or ())]
        defaults[position] = value
        self._function.__defaults__ = tuple(defaults)


class _Items:
    """The items of a list as a namespace, by position."""

    __slots__ = ("_list",)

    def __init__(self, items: list[Any]) -> None:
        self._list = items

    def get(self, position: int) -> Any:
        return self._list[position] if position < len(self._list) else None

    def __setitem__(self, position: int, value: Any) -> None:
        self._list[position] = value


class _ClassAttributes:
    """The attributes of a class as a namespace."""

    __slots__ = ("_class",)

    def __init__(self, kind: type) -> None:
        self._class = kind

    def get(self, name: str) -> Any:
        return vars(self._class).get(name)

    def __setitem__(self, name: str, value: Any) -> None:
        type.__setattr__(self._class, name, value)


def _namespace(where: Any) -> Any:
    """Return what holds something as a namespace: `get` and setting by name or position."""
    if isinstance(where, type):
        return _ClassAttributes(where)
    of_kind: dict[type, Any] = {
        types.CellType: _Contents,
        types.FunctionType: _Defaults,
        list: _Items,
    }
    return of_kind[type(where)](where) if type(where) in of_kind else where


class ProxySlot:
    """What is bound to a proxy: a name in a namespace, or what else holds a function.

    While it is bound, `before` is what it was bound to, and `users` are the runs that need it.
    """

    __slots__ = ("before", "instead", "name", "namespace", "proxy", "users")

    def __init__(self, where: Any, name: Any, instead: Callable[[Any], Any]) -> None:
        self.namespace = _namespace(where)
        self.name, self.instead = name, instead
        self.users: set[int] = set()
        self.before: Any = None
        self.proxy: Any = None

    def bind(self, user: int) -> None:
        """Bind it for a run."""
        users, namespace, name = self.users, self.namespace, self.name
        if users:
            users.add(user)
            return
        value = namespace.get(name)
        if value is not self.before:
            proxy = self.instead(value)
            if proxy is None:  # it has been bound to something else since it was found
                return
            self.before, self.proxy = value, proxy
        users.add(user)
        namespace[name] = self.proxy

    def release(self, user: int) -> None:
        """Bind it as before, unless another run needs it still."""
        self.users.discard(user)
        if not self.users and self.namespace.get(self.name) is self.proxy is not None:
            self.namespace[self.name] = self.before


def contents_of(cell: types.CellType) -> Any:
    """Return what is in a cell, None if it is empty."""
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        return None
