"""The floors of the house: every file imports from lower floors only, and hides no import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import chainad

ROOT = Path(chainad.__file__).parent

# Lowest floor first. A file may import from any floor below its own, not from its own.
FLOORS = [
    ["errors", "pattern", "operators"],
    ["structure", "kernels", "moves", "cache", "orders"],
    ["spelling", "program", "primitives"],
    ["scalars", "scalars.table", "loops", "loops.nests"],
    ["scalars.spellings", "scalars.straight", "loops.builder"],
    ["algebra.build", "backends", "backends.calls", "backends.storage", "loops.spellings"],
    ["backends.python", "backends.vector"],
    ["backends.numba"],
    ["algebra.strips"],
    ["algebra.full", "algebra.product", "backends.numpy"],
    ["algebra.total", "algebra.sparse", "backends.reuse", "backends.folded"],
    ["algebra", "graph"],
    ["work", "merge"],
    ["calibration"],
    ["prices", "planners.polygon", "planners.strands"],
    ["lowering", "lowering.shapes", "lowering.alike"],
    ["lowering.simplify", "lowering.constants", "lowering.stacking"],
    ["lowering.writer"],
    ["linear", "results", "planners.segments"],
    ["rules.base", "planners.brackets", "planners.pace", "repeats", "codec"],
    ["loops.roll"],
    ["loops.storage"],
    ["loops.text"],
    ["report", "report.text", "bounds", "planners.workers", "schedule"],
    ["report.network", "travel"],
    ["plan", "rules.*"],
    ["rules.complexes", "rules.decompositions", "rules.fft", "rules.joining"],
    ["rules.scipy_fft", "rules.scipy_linalg", "rules.scipy_special", "rules.special"],
    ["lowering.products", "lowering.layout"],
    ["lowering.assemble", "lowering.batches"],
    ["lowering.forms"],
    [
        "rules",
        "lift",
        "planners",
        "planners.modes",
        "planners.chain",
        "planners.problem",
        "planners.fit",
    ],
    ["planners.dense", "planners.scalar"],
    ["planners.structured"],
    ["planners.compact"],
    ["planners.greedy", "planners.window", "planners.annealing", "planners.blocks"],
    ["scipy.fft", "scipy.linalg", "scipy.special"],
    ["planners.exhaustive", "linearize", "lower", "tracing", "tracing.sites", "scipy"],
    ["planners.search", "planners.edges", "tracing.tape", "matrixfree"],
    ["planners.repeats", "chunked"],
    ["planners.auto"],
    ["memory"],
    ["chunks"],
    ["tracing.record", "evaluate", "sweeps"],
    ["tracing.write", "tracing.script", "tracing.flat", "tracing.methods"],
    ["tracing.array", "replay", "replay.arguments"],
    ["replay.recording", "scalars.symbols"],
    ["replay.sharing", "replay.fusing", "replay.merging"],
    ["replay.spelling", "scalars.graph"],
    ["replay.stacking"],
    ["replay.source", "scalars.eliminate", "scalars.plan"],
    ["scalars.program", "loops.write"],
    ["scalars.replay"],
    ["loops.replay"],
    ["tracing.trace", "tracing.recorded", "scalars.many"],
    ["blocks", "options"],
    ["prepared"],
    ["recorded", "stacks"],
    ["replays"],
    ["compiled"],
    ["stacked"],
    ["batches"],
    ["functions"],
    ["chains", "graphs", "api", "extend"],
    ["", "testing.oracle", "testing.coverage"],
    ["__main__", "testing.samples"],
    ["testing.kinds"],
    ["testing.graphs", "testing.check"],
    ["testing"],
]

NEVER = [
    (
        [
            "planners",
            "plan",
            "structure",
            "algebra",
            "linear",
            "bounds",
            "lower",
            "lowering",
            "report",
            "travel",
        ],
        ["tracing", "rules", "evaluate", "backends", "linearize"],
    ),
    (["backends"], ["plan", "planners", "linear", "rules", "tracing", "lower", "lowering"]),
    (
        ["rules"],
        ["linear", "plan", "planners", "lower", "lowering", "tracing", "evaluate", "backends"],
    ),
    (["tracing"], ["plan", "planners", "lower", "lowering", "program", "backends", "algebra"]),
]
MAY_IMPORT_API = {"", "testing.check", "__main__"}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def floor_of(module: str) -> int:
    exact = [k for k, floor in enumerate(FLOORS) if module in floor]
    package = module.rpartition(".")[0] + ".*"
    found = exact or [k for k, floor in enumerate(FLOORS) if package in floor]
    assert found, f"chainad/{module}.py stands on no floor: name one for it in FLOORS"
    return found[0]


def imports_of(module: str) -> set[str]:
    """Return the chainad modules that a file imports, each without the word chainad."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("chainad")}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            source = node.module or ""
            if source.split(".")[0] == "chainad":
                inside = {f"{source}.{alias.name}" for alias in node.names}
                files = {name for name in inside if name.removeprefix("chainad.") in FILES}
                found |= files
                if len(files) < len(inside):
                    found.add(source)
    return {name.removeprefix("chainad").removeprefix(".") for name in found}


def is_in(module: str, places: list[str]) -> bool:
    return any(module == place or module.startswith(place + ".") for place in places)


@pytest.mark.parametrize("module", FILES)
def test_a_file_imports_from_lower_floors_only(module: str) -> None:
    for other in imports_of(module):
        assert floor_of(other) < floor_of(module), f"chainad.{module} imports chainad.{other}"


@pytest.mark.parametrize("module", FILES)
def test_no_file_imports_what_it_never_may(module: str) -> None:
    for places, forbidden in NEVER:
        if is_in(module, places):
            bad = sorted(other for other in imports_of(module) if is_in(other, forbidden))
            assert not bad, f"chainad.{module} imports {bad}"


@pytest.mark.parametrize("module", sorted(set(FILES) - MAY_IMPORT_API))
def test_nothing_imports_the_verbs(module: str) -> None:
    used = imports_of(module)
    assert not used & {"api", "", "__main__"}
    assert is_in(module, ["testing"]) or not any(is_in(other, ["testing"]) for other in used)


@pytest.mark.parametrize("module", FILES)
def test_no_chainad_import_hides_inside_a_function(module: str) -> None:
    tree = ast.parse(FILES[module].read_text())
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)) and id(node) not in top:
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            assert not any(name.split(".")[0] == "chainad" for name in names), (
                f"chainad/{module}, line {node.lineno}"
            )


@pytest.mark.parametrize("module", FILES)
def test_every_file_says_what_it_is_for_in_its_first_line(module: str) -> None:
    first = FILES[module].read_text().splitlines()[0]
    assert first.startswith('"""')


def test_every_floor_is_lived_on() -> None:
    named = {name for floor in FLOORS for name in floor if not name.endswith(".*")}
    assert named <= set(FILES)
    assert len(named) == sum(len([n for n in f if not n.endswith(".*")]) for f in FLOORS)


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
    ]
    code = f"import sys, chainad; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.strip() == "[]"
