"""How much memory this process may ever use: never how much of it happens to be free."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

try:
    import resource
except ImportError:  # not a POSIX system
    resource = None  # type: ignore[assignment]

_UNLIMITED = 1 << 62


def memory_of_machine() -> int:
    """Return the bytes of memory of this machine, or of the part that this process may use.

    That is what control groups leave, and what `ulimit -v` and `ulimit -d` do, which a process may
    set itself. A huge number where nothing is known.
    """
    return min(_of_machine_or_group(), *_limits_of_process())


@cache
def _of_machine_or_group() -> int:
    return min(_physical(), *_limits_of_groups(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")))


def _limits_of_process() -> Iterator[int]:
    """Yield the limits of the address space and of the data of this process, where there are."""
    yield _UNLIMITED
    if resource is None:
        return
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        limit, _ = resource.getrlimit(kind)
        if limit != resource.RLIM_INFINITY:
            yield limit


def _physical() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return _UNLIMITED


def _limits_of_groups(groups: Path, root: Path) -> Iterator[int]:
    """Yield the limits of the control groups of this process, and of those around, v1 or v2."""
    yield _UNLIMITED
    for line in (_text_of(groups) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            folder, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            folder, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = folder / path.strip("/")
        # Inside a container the path is that outside, and the folder itself is the group.
        for each in (group, *group.parents):
            if (limit := (_text_of(each / name) or "").strip()).isdigit():
                yield int(limit)
            if each == folder:
                break


def _text_of(file: Path) -> str | None:
    try:
        return file.read_text()
    except OSError:
        return None
