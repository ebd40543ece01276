"""The names that a user sees, and how options are passed."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import chainad

DATA = {"f", "argnums", "dimensions", "matrices", "graph", "inputs", "outputs", "args", "kwargs"}
VERBS: list[Callable[..., Any]] = [
    chainad.jacobian,
    chainad.value_and_jacobian,
    chainad.compile,
    chainad.plan,
    chainad.stream,
    chainad.blocks,
    chainad.plan_chain,
    chainad.plan_graph,
    chainad.plan_multi_dot,
    chainad.multi_dot,
]


def test_dir_shows_the_public_names_only() -> None:
    assert dir(chainad) == sorted(chainad.__all__)
    assert all(hasattr(chainad, name) for name in chainad.__all__)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
def test_options_are_passed_by_name(verb: Callable[..., Any]) -> None:
    parameters = inspect.signature(verb).parameters
    by_position = {name for name, p in parameters.items() if p.kind is not p.KEYWORD_ONLY}
    assert by_position <= DATA


def test_methods_of_what_is_returned() -> None:
    def names(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert names(chainad.JacobianFunction) == {"compile", "explain", "plan"}
    assert names(chainad.ValueAndJacobianFunction) == set()
    assert names(chainad.CompiledFunction) == {
        "begin",
        "clear",
        "explain",
        "plan",
        "programs",
        "source",
    }
