"""The architecture: nine packages, each of which imports only what stands above it."""

import ast
import subprocess
import sys
from pathlib import Path

import chainad

ROOT = Path(chainad.__file__).parent

# What each package may import beside itself and `errors`: the whole architecture.
MAY_IMPORT = {
    "ir": "",
    "structure": "ir",
    "backends": "ir",
    "rules": "ir structure",
    "planning": "ir structure",
    "frontends": "ir structure rules",
    "compiler": "ir structure backends rules planning frontends",
    "api": "ir structure backends rules planning frontends compiler",
    "testing": "chainad scipy ir structure backends rules planning frontends compiler api",
}
# The facades beside them: the names of the library, its command line, and SciPy's names.
FACADES = {
    "chainad": "ir structure planning rules api scipy",
    "__main__": "command_line",
    "command_line": "chainad ir planning api",
    "jax": "ir structure backends rules planning frontends compiler api",
    "scipy": "rules frontends api",
}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "chainad"


FILES = {name_of(path): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}


def chainad_imports(tree: ast.AST) -> set[str]:
    """Return the chainad modules that a file may import, each without the word chainad."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("chainad.") for name in found if name.split(".")[0] == "chainad"}


def package_of(module: str) -> str:
    first = module.split(".", maxsplit=1)[0]
    return first if (ROOT / first).is_dir() or first in {"errors", "__main__"} else "chainad"


def test_every_package_imports_only_what_stands_above_it() -> None:
    table = MAY_IMPORT | FACADES
    for module, tree in FILES.items():
        package = package_of(module)
        if package == "errors":
            assert not chainad_imports(tree)
            continue
        allowed = {*table[package].split(), package, "errors"}
        bad = sorted(other for other in chainad_imports(tree) if package_of(other) not in allowed)
        assert not bad, f"chainad.{module} imports {bad}"


def test_every_row_of_the_table_is_a_package() -> None:
    folders = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    assert folders == set(MAY_IMPORT) | (set(FACADES) - {"chainad", "__main__"})


def test_no_chainad_import_hides_inside_a_function() -> None:
    for module, tree in FILES.items():
        for function in ast.walk(tree):
            if isinstance(function, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
                assert not chainad_imports(function), f"chainad.{module}, line {function.lineno}"


def test_every_module_says_what_it_is_for_in_its_first_line() -> None:
    for module, tree in FILES.items():
        assert isinstance(tree, ast.Module)
        assert ast.get_docstring(tree), f"chainad.{module} has no docstring"
        assert tree.body[0].lineno == 1, f"chainad.{module} starts with something else"


def test_importing_chainad_imports_no_heavy_package() -> None:
    heavy = [
        "numba",
        "jax",
        "matplotlib",
        "dask",
        "rich",
        "torch",
        "pandas",
        "hypothesis",
        "pytest",
        "networkx",
        "scipy.fft",
        "scipy.linalg",
        "scipy.sparse.linalg",
        "scipy.stats",
    ]
    # Some versions of SciPy load more of themselves.
    code = f"""
import sys, scipy.special, scipy.sparse
before = set(sys.modules)
import chainad
print([m for m in {heavy} if m in sys.modules and m not in before])"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.strip() == "[]"
