"""Loops run as the Python that they are written in, where numba would compile them."""

from typing import Any

import pytest

from chainad.backends.numba import generated_modules, scalar


def run_loops_as_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the numba backend do without numba, and make loops of everything."""

    def load(text: str) -> Any:
        names: dict[str, Any] = {}
        text = text.replace("from numba import njit", "njit = lambda *a, **k: lambda f: f")
        compiled = "from chainad.backends.numba.llvm_functions import llvm_function"
        exec(text.replace(compiled, "llvm_function = lambda f: f"), names)
        return names["run"]

    monkeypatch.setattr(generated_modules, "load", load)
    monkeypatch.setattr(scalar, "find_spec", lambda name: object())
    monkeypatch.setattr("chainad.api.choose_backend.MAX_UNROLLED_SCALAR_OPS", 0)
