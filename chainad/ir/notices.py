"""What users are told while chainad works: the logger, and warnings in their own line."""

from __future__ import annotations

import sys
import warnings
from functools import lru_cache
from logging import NullHandler, getLogger
from os import sep
from pathlib import Path

import numpy as np
import scipy

from chainad.errors import FallbackWarning

# Every event of which there is more to say than a result says: at INFO what takes time once (a
# function is recorded anew, a full cache forgets), at WARNING what is not done as requested.
log = getLogger("chainad")
log.addHandler(NullHandler())

_PACKAGES = Path(np.__file__).parents[1]

# Libraries with arrays of their own, where they are installed beside NumPy, and how theirs becomes
# one of NumPy's.
ARRAY_LIBRARIES = {
    str(_PACKAGES / name) + sep: (name, conversion)
    for name, conversion in {
        "pandas": ".to_numpy()",
        "xarray": ".to_numpy()",
        "torch": ".numpy()",
        "jax": "np.asarray",
    }.items()
}
# Frames of these, of chainad, NumPy and SciPy, and of code that they generate, are not the user's;
# the demo is code as a user would write it.
_LIBRARY_FILES = (
    str(Path(__file__).parents[1]) + sep,
    str(Path(np.__file__).parent) + sep,
    str(Path(scipy.__file__).parent) + sep,
    "<chainad",
    "<__array_function__",
    *ARRAY_LIBRARIES,
    str(_PACKAGES / "numba") + sep,
)
_DEMO = str(Path(__file__).parents[1] / "command_line" / "demo.py")


@lru_cache(maxsize=1024)  # asked at every traced operation
def is_library_file(file: str) -> bool:
    """Return whether a file is of chainad, NumPy, SciPy, or a library with arrays of its own."""
    return file.startswith(_LIBRARY_FILES) and file != _DEMO


def warn_of_fallback(message: str) -> None:
    """Warn in the user's line that something is done in a simpler way, and log it."""
    log.warning(message)
    warn_user(message, FallbackWarning)


def warn_user(message: str, category: type[Warning]) -> None:
    """Warn in the user's line."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and is_library_file(frame.f_code.co_filename):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
