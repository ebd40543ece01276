"""What type checkers are told of the verbs is true; mypy and pyright check it in tests/typing."""

import runpy
from importlib.resources import files
from inspect import isfunction, signature
from pathlib import Path
from typing import get_overloads, get_type_hints

import pytest

import chainad
from chainad.api import product_signatures, signatures

FOLDER = Path(__file__).parent / "typing"
OVERLOADED = [
    (module, name)
    for module in (signatures, product_signatures)
    for name, verb in vars(module).items()
    if isfunction(verb) and get_overloads(verb)
]


def defaults_of(function, module):
    """Return the defaults of all parameters by name, those in dictionaries of options too."""
    found = {}
    for parameter in signature(function).parameters.values():
        if parameter.annotation.startswith("Unpack["):
            options = getattr(module, parameter.annotation[7:-1])
            found |= dict.fromkeys(get_type_hints(options), parameter.empty)
        else:
            found[parameter.name] = parameter.default
    return found


@pytest.mark.parametrize(("module", "name"), OVERLOADED)
def test_overloads_have_the_parameters_and_defaults_of_the_verb(module, name):
    verb, known = defaults_of(getattr(chainad, name), module), set()
    for overload in get_overloads(getattr(module, name)):
        given = defaults_of(overload, module)
        known |= {*given}
        empty = signature(overload).empty
        assert all(value in (empty, verb[key]) for key, value in given.items())
    assert known == {*verb}


def test_right_code_runs():
    runpy.run_path(str(FOLDER / "results.py"))


def test_the_package_says_that_it_has_types():
    assert (files("chainad") / "py.typed").is_file()
