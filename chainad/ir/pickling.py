"""What is pickled and copied: what an object was made from, never what it found out since."""

from __future__ import annotations

import sys
from dataclasses import fields
from typing import Any


def fields_alone(self: Any) -> dict[str, Any]:
    """Return the fields of a dataclass, as its `__getstate__`.

    What it caches besides is found anew: hashes are those of one process.
    """
    return {each.name: getattr(self, each.name) for each in fields(self)}


def importable_name(this: Any) -> str | None:
    """Return the name by which its module has an object, None if it has not.

    An object that replaced a function by the name of that function (as a decorator does) can only
    be pickled by that name, like a function.
    """
    found: Any = sys.modules.get(this.__module__)
    for part in this.__qualname__.split("."):
        found = getattr(found, part, None)
    return this.__qualname__ if found is this else None
