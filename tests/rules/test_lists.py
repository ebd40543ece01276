"""What kind of function a function is, is said in its row: no other module lists functions."""

import ast
from pathlib import Path

import numpy as np
import scipy.special

import chainad

ROOT = Path(chainad.__file__).parent
MODULES = {"np": np, "sp": scipy.special}

# Where functions may be listed outside `rules`, and what is said of them there.
ALLOWED = {
    "backends/namespace.py": "the names of generated source",
    "backends/numba/elementwise.py": "what its compiler vectorizes",
    "backends/numba/scalar.py": "what its compiler vectorizes",
    "backends/numpy/emit.py": "what takes 0-d arrays for numbers",
    "backends/scalar_expressions.py": "how scalar functions are written",
    "compiler/passes/fuse_elementwise.py": "what is computed again rather than read, or takes out=",
    "frontends/jax/constant_folding.py": "what primitives of JAX have of NumPy",
    "frontends/numpy/makers.py": "what `math` has of NumPy",
    "frontends/numpy/traced_values.py": "what makes arrays",
    "ir/operators.py": "Python's operators",
    "ir/scalar_graph.py": "the algebra of scalars",
}


def functions_in(items: list[ast.expr]) -> list[str]:
    """Return the names of the functions of NumPy and SciPy in a display."""
    names = [x for x in items if isinstance(x, ast.Attribute) and isinstance(x.value, ast.Name)]
    found = [(x, getattr(MODULES.get(x.value.id), x.attr, None)) for x in names]  # type: ignore[attr-defined]
    return [x.attr for x, value in found if callable(value) and not isinstance(value, type)]


def test_functions_are_listed_in_rules_alone() -> None:
    found = set()
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT)
        if name.parts[0] in ("rules", "scipy", "testing"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            items: list[ast.expr] = []
            if isinstance(node, (ast.Set, ast.Tuple, ast.List)):
                items = node.elts
            elif isinstance(node, ast.Dict):
                items = [x for x in (*node.keys, *node.values) if x is not None]
            if len(functions_in(items)) >= 3:
                found.add(name.as_posix())
    assert found <= {*ALLOWED}, "say what kind of function it is in its row of `rules`"
