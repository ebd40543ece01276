"""Fuzzing: every statement occurs, a seed is a program, and faults that are planted are found."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from io import StringIO
from random import Random
from typing import Any

import numpy as np
import pytest

import chainad
from chainad.api import jacobian_program
from chainad.rules import RULES
from chainad.rules.base import Rule
from chainad.testing import fuzz as module
from chainad.testing.differences import truth_of
from chainad.testing.fuzz import FuzzReport, fuzz, interrupted, main, verdicts_of
from chainad.testing.jacobian_requests import (
    REQUESTS,
    WrongJacobianError,
    check_hessian,
    sum_of_squares,
    text_of,
)
from chainad.testing.mutations import negated
from chainad.testing.random_programs import program_of, random_program
from chainad.testing.statements import FAMILIES


def silent(_: str) -> None:
    pass


@pytest.mark.parametrize("family", FAMILIES)
def test_every_statement_of_a_family_occurs_in_some_program(family: str) -> None:
    for row in FAMILIES[family][1]:
        assert any(program_of(row, seed) for seed in range(200)), row


def test_the_program_of_a_seed_is_always_the_same() -> None:
    for seed in range(30):
        one, two = random_program(seed), random_program(seed)
        assert one.source == two.source
        assert [x.tolist() for x in one.inputs] == [x.tolist() for x in two.inputs]
    assert len({random_program(seed).source for seed in range(30)}) > 25


def test_the_checks_of_a_seed_are_always_the_same() -> None:
    one, two = (fuzz(100, 60, programs=10, say=silent) for _ in range(2))
    assert one.verdicts == two.verdicts
    assert one.refusals == two.refusals
    assert one.programs == 10


@pytest.mark.parametrize(
    ("text", "smooth", "sided"),
    [
        ("v0 = np.abs(x0) * x0[1]", [[False, True], [True, True]], [[True, True], [True, True]]),
        ("v0 = np.floor(x0)", [[False, True], [True, False]], [[False, True], [True, False]]),
        ("v0 = np.sin(1e17 * x0)", [[False, True], [True, False]], [[False, True], [True, False]]),
        ("v0 = x0[x0 > 0]", [[False, True]], [[False, True]]),
    ],
)
def test_differences_are_trusted_where_they_agree(text: str, smooth: Any, sided: Any) -> None:
    truth = truth_of(replace(one_statement(text), inputs=(np.array([0.0, 1.0]),)))
    assert truth is not None
    ((_, is_smooth, is_sided),) = truth.blocks[0]
    assert (is_smooth.tolist(), is_sided.tolist()) == (smooth, sided)


def first_fault(function: Callable[..., Any], most: int = 400) -> Any:
    """Return the first wrong Jacobian of a program with a call of the function."""
    report = FuzzReport(silent)
    for seed in range(most):
        if function.__name__ in random_program(seed).source:
            with np.errstate(all="ignore"):
                report.try_program(seed)
        for fault in report.faults:
            if fault.verdict.name == "wrong" and function.__name__ in fault.program.source:
                return fault
    return None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("function", [np.sin, np.maximum, np.concatenate], ids=lambda f: f.__name__)
def test_a_negated_formula_is_found_and_shortened(function: Any) -> None:
    with negated(function, (0, 0)):
        fault = first_fault(function)
        assert fault.verdict.name == "wrong"
        assert len(fault.program.statements) <= 2
        assert re.search(r"is -?[\d.e-]+ in place of", str(fault))


@pytest.mark.filterwarnings("ignore")
def test_a_fault_is_printed_as_a_script_that_shows_it() -> None:
    with negated(np.sin, (0, 0)):
        script, shown = str(first_fault(np.sin)), StringIO()
        with redirect_stdout(shown):
            exec(compile(script, "<script>", "exec"), {})
    assert script.startswith("# wrong, seed ")
    assert shown.getvalue().strip()


@contextmanager
def spoiled(function: Any, spoil: Callable[[], Any]) -> Iterator[None]:
    """Do something else whenever the rule of a function is asked for."""

    def locals_(*args: Any) -> Any:
        spoil()
        return right.locals(*args)

    right = RULES[function]
    RULES[function] = Rule(locals_, right.operands)
    jacobian_program._programs.clear()
    try:
        yield
    finally:
        RULES[function] = right
        jacobian_program._programs.clear()


def one_statement(text: str) -> Any:
    return replace(
        random_program(0), inputs=(np.array([0.3, 0.7]),), statements=(text,), results=("v0",)
    )


def test_what_raises_is_a_crash() -> None:
    with spoiled(np.sin, lambda: 1 / 0):
        (verdict,) = verdicts_of(one_statement("v0 = np.sin(x0)"), [])
    assert verdict.name == "crash"
    assert verdict.detail.startswith("ZeroDivisionError in ")


def test_what_takes_too_long_is_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CHECK_SECONDS", 0.2)
    start = time.monotonic()
    with spoiled(np.sin, lambda: time.sleep(20)):
        (verdict,) = verdicts_of(one_statement("v0 = np.sin(x0)"), [])
    assert verdict.name == "hang"
    assert time.monotonic() - start < 10


def test_an_interrupt_leaves_inputs_as_they_were() -> None:
    program = one_statement("v0 = np.sin(x0)")
    lock = "x[0].setflags(write=False)\nwhile True: pass"
    right = interrupted(program, "while True: pass", 0.05)
    assert right.name == "right"
    wrong = interrupted(program, lock, 0.05)
    assert (wrong.name, wrong.detail) == ("wrong", "the caller's x0 was made read-only")


def test_checks_are_right_after_interrupts() -> None:
    report = fuzz(200, 60, programs=5, say=silent, interrupts=True)
    assert report.programs == 5
    assert ("wrong", "interrupt") not in report.kinds


def test_what_is_refused_with_an_error_of_ours_is_no_fault() -> None:
    request = "J = chainad.jacobian(f, A, mode='backward')(*x)"
    right, refused = verdicts_of(one_statement("v0 = np.sin(x0)"), [request])
    assert (right.name, refused.name) == ("right", "refused")
    assert "mode='backward' is unknown" in refused.detail


@pytest.mark.filterwarnings("ignore")
def test_every_way_of_asking_is_answered() -> None:
    statements = ("v0 = np.sin(x0) * x2", "v1 = np.sum(x1) - x2 * x0[1]")
    inputs = (np.array([0.3, 0.7]), np.zeros((2, 0)), np.float64(0.4))
    program = replace(random_program(0), inputs=inputs, statements=statements, results=("v0", "v1"))
    requests = [text_of(template, Random(0)) for _, template in REQUESTS]
    requests = [re.sub("mode='.*?'", "mode='auto'", text) for text in requests]
    verdicts = verdicts_of(program, requests)
    assert {verdict.name for verdict in verdicts} == {"right"}, verdicts
    assert len(verdicts) == 1 + len(requests)


def test_a_wrong_hessian_is_found() -> None:
    x = [np.array([0.3, 0.7]), np.float64(0.2)]
    H = chainad.hessian(sum_of_squares(np.multiply), (0, 1))(*x)
    check_hessian(np.multiply, H, x)
    H[1][0][1] += 1e-3
    with pytest.raises(WrongJacobianError, match="second derivative of block 1 at 0"):
        check_hessian(np.multiply, H, x)


@pytest.mark.parametrize(
    ("spoil", "detail"),
    [
        ("J.setflags(write=False)", "a block is read-only"),
        ("J = np.asfortranarray(J)", "a block is not contiguous"),
        ("J = J.astype(np.float32)", "a block is of float32"),
        ("x[0][0] = 5.0", "the caller's x0 was changed"),
        ("x[0].setflags(write=False)", "the caller's x0 was made read-only"),
        ("x[0] = J[0]", "the caller's x0 was changed"),
        ("J = J[:1]", "a block has shape (1, 2) in place of (2, 2)"),
        ("value = x[0]", "output 0 is [0.3, 0.7] in place of"),
        ("J = J + 1e-5", "but 0.95533649 by the simplest request"),
    ],
)
def test_every_law_is_checked(spoil: str, detail: str) -> None:
    request = f"J = chainad.jacobian(f, A)(*x)\n{spoil}"
    _, verdict = verdicts_of(one_statement("v0 = np.sin(x0)"), [request])
    assert verdict.name == "wrong"
    assert detail in verdict.detail


def test_kinks_under_smooth_functions_are_told_from_other_faults() -> None:
    # The derivative of |x| is 0 at 0 by convention, but what is made of it here is x.
    program = one_statement("v0 = np.choose((abs(x0) > 0).astype(int), [abs(x0), x0])")
    (verdict,) = verdicts_of(replace(program, inputs=(np.array([0.3, 0.0]),)), [])
    assert verdict.is_fault
    assert module.BESIDE in verdict.detail


def test_known_faults_are_named_and_do_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    program = one_statement("v0 = np.sin(x0)")
    monkeypatch.setattr(module, "random_program", lambda seed: program)
    monkeypatch.setattr(module, "KNOWN", ((r"^ZeroDivisionError", "sines are hard"),))
    with spoiled(np.sin, lambda: 1 / 0):
        report = fuzz(0, 60, programs=3, say=silent)
    assert not report.kinds
    assert report.verdicts["crash"] == 3
    assert "known, 3 times: sines are hard" in str(report)


def test_the_command_prints_its_seed_and_fails_for_a_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = one_statement("v0 = np.sin(x0)")
    monkeypatch.setattr(module, "random_program", lambda seed: program)
    assert main(["--programs", "2", "--seed", "7"]) == 0
    assert capsys.readouterr().out.startswith("fuzz: seed 7")
    with negated(np.sin, (0, 0)):
        assert main(["--programs", "1"]) == 1
    shown = capsys.readouterr().out
    assert re.match(r"fuzz: seed \d+", shown)
    assert "import chainad" in shown
