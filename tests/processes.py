"""Forked children in tests: run a check there, and never wait for one for good."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable

import pytest

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
may_fork_with_threads = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


def holds_in_child(check: Callable[[], object], seconds: float = 60) -> bool:
    """Return whether a check is true in a forked child; one that hangs is killed."""
    child = os.fork()
    if not child:
        found: object = False
        try:
            found = check()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0 if found else 1)
    deadline = time.monotonic() + seconds
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.002)
    if ended[0] == 0:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return ended == (child, 0)
