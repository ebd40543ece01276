"""Python's collector of cyclic garbage, paused while there is none to find."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collector() -> Iterator[None]:
    """Look for no cyclic garbage meanwhile.

    Graphs, plans and programs are many objects and hardly any cycles. The collector looks through
    all that is alive, modules included, whenever their number has grown by a quarter, which takes
    up to half of a first call.
    """
    was_enabled = gc.isenabled()
    try:
        gc.disable()
        yield
    finally:
        if was_enabled:
            gc.enable()
