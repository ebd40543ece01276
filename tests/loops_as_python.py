"""Loops run as the Python that they are written in, where numba would compile them."""

from typing import Any

import pytest

from chainad.backends.numba import generated_modules, llvm_functions, scalar


def run_loops_as_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the numba backend do without numba, and make loops of everything."""

    def load(text: str) -> Any:
        names: dict[str, Any] = {"njit": lambda *a, **k: lambda f: f}
        names |= dict.fromkeys(("float64", "boolean", "void", "Array"), lambda *a, **k: None)
        names["llvm_function"] = lambda f: f
        imports = ("from numba", "from chainad")
        lines = [line for line in text.splitlines() if not line.startswith(imports)]
        exec("\n".join(lines), names)
        return names["run"]

    monkeypatch.setattr(generated_modules, "load", load)
    monkeypatch.setattr(llvm_functions, "addresses_of", list)
    monkeypatch.setattr(scalar, "find_spec", lambda name: object())
    monkeypatch.setattr("chainad.api.choose_backend.MAX_UNROLLED_SCALAR_OPS", 0)
