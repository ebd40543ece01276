"""Long lists of cases: each commit runs some of them, .ci/full all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest


def sampled(cases: Iterable[Any], every: int, ids: Sequence[str] | None = None) -> list[Any]:
    """Return the cases as parameters, of which all but one in `every` are marked as slow."""
    found = []
    for k, case in enumerate(cases):
        marks = [pytest.mark.slow] if k % every else []
        values = case if isinstance(case, tuple) else (case,)
        found.append(pytest.param(*values, marks=marks, id=ids[k] if ids else None))
    return found
