"""The folder of files that later processes read again, and how these are written there."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path
from tempfile import mkstemp


def cache_folder() -> Path:
    """Return the folder: `chainad` in `$CHAINAD_CACHE`, or where the platform has such folders.

    That is `$XDG_CACHE_HOME` or `~/.cache`, `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on
    Windows. It need not exist.

    Raises
    ------
    RuntimeError
        If the user has no home.
    """
    given = os.environ.get("CHAINAD_CACHE", "")
    if given:
        return _absolute(given) / "chainad"
    given = os.environ.get("XDG_CACHE_HOME", "")
    if Path(given).is_absolute():  # a relative one is to be ignored, says the specification
        return Path(given) / "chainad"
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "chainad"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local")) / "chainad"
    return home / ".cache" / "chainad"


@lru_cache(maxsize=16)
def _absolute(path: str) -> Path:
    # Once: where the process is when it looks first, wherever it goes afterwards.
    return Path(path).absolute()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file, and its folder; no other process ever reads half of it.

    Raises
    ------
    OSError
        If it cannot be written; then nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
