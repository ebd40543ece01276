"""The command line: what is explained, and how it ends."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import chainad
from chainad.command_line import demo
from chainad.command_line.commands import main
from chainad.planning.calibration import SHIPPED_TABLE

MODEL = """
import numpy as np
import chainad

A = np.ones((2, 30))

def narrow(x, steps=1):
    y = A @ x
    for _ in range(steps):
        y = np.sin(y)
    return A.T @ y

def pair(x, y):
    return np.sum(x * y) * y

def refused(x):
    return float(x[0]) * x

def wrong(x):
    return A @ x[:3]

def interrupted(x):
    raise KeyboardInterrupt

slope = chainad.jacobian(narrow, mode="forward")
number = 3
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of functions, by its path."""
    file = tmp_path / "model_of_a_command.py"
    file.write_text(MODEL)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield str(file)
    sys.modules.pop(file.stem, None)


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert not err
    return out


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the one line on stderr of a command that ends with 2."""
    try:
        status: object = main(words)
    except SystemExit as ended:  # of the parser
        status = ended.code
    assert status == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert err.startswith("python -m chainad")
    return err.strip()


def test_a_function_is_explained(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "explain", f"{model}:narrow", "--shape", "x=30")
    assert text.startswith("narrow(x): (30,) -> (30,)")
    sys.path.insert(0, str(Path(model).parent))
    name = f"{Path(model).stem}:narrow"
    assert printed(capsys, "explain", name, "--shape", "30") == text
    assert "J is 30 x 30" in text


def test_arguments_come_from_shapes_files_and_expressions(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def shapes(*words: str) -> tuple[str, ...]:
        text = printed(capsys, "explain", f"{model}:pair", *words, "--json")
        plan = chainad.Plan.from_json(text)
        return tuple(str(plan.graph.shapes[v]) for v in (*plan.graph.inputs, *plan.graph.outputs))

    file, one = tmp_path / "points.npz", tmp_path / "one.npy"
    np.savez(file, y=np.ones(3), x=np.ones((2, 3)))
    np.save(one, np.ones((2, 3)))
    for words in (
        ("--shape", "y=3", "--shape", "x=2,3"),
        ("--shape", "(2, 3)", "--shape", "3"),
        ("--args", str(file)),
        ("--args", str(one), "--shape", "y=3"),
        ("--args", "np.ones((2, 3)), y=A[0, :3]"),
    ):
        assert shapes(*words) == ("(2, 3)", "(3,)")
    assert shapes("--shape", "x=", "--shape", "y=3", "--argnums", "y") == ("(3,)", "(3,)")
    assert shapes("--shape", "x=3", "--shape", "y=2,3", "--argnums", "1") == ("(2, 3)", "(2, 3)")


def test_options_are_passed_on(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    explain = "explain", f"{model}:narrow", "--shape", "x=30"
    plan = chainad.Plan.from_json(printed(capsys, *explain, "--mode", "reverse", "--json"))
    assert plan.mode == "reverse"
    assert plan.requested == "mode='reverse'"
    assert "mode" in printed(capsys, *explain, "--details")
    assert "y = np.sin(y)" in printed(capsys, *explain, "--listing")
    limited = printed(capsys, *explain, "--memory-limit", "1 MB", "--effort", "fast")
    assert "narrow(x)" in limited
    by_slope = printed(capsys, "explain", f"{model}:slope", "--shape", "x=30", "--json")
    assert chainad.Plan.from_json(by_slope).mode == "forward"


def test_a_function_is_analyzed(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    explain = "explain", f"{model}:narrow", "--args", "np.ones(30), steps=2"
    analyze = "--analyze", "--seconds", "0.01"
    assert "measured" in printed(capsys, *explain, *analyze)
    found = json.loads(printed(capsys, *explain, *analyze, "--compile", "--json"))
    assert found["multiplications"] == sum(step["multiplications"] for step in found["steps"]) > 0


@pytest.mark.plot
def test_pictures_are_written(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "plan.svg"
    printed(capsys, "explain", f"{model}:narrow", "--shape", "x=30", "--draw", str(picture))
    assert "<svg" in picture.read_text("utf-8")


def test_pages_are_written(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, analysis = tmp_path / "plan.html", tmp_path / "analysis.html"
    explain = "explain", f"{model}:narrow", "--shape", "x=30", "--html"
    printed(capsys, *explain, str(page))
    printed(capsys, *explain, str(analysis), "--analyze", "--seconds", "0.01")
    assert "narrow(x)" in page.read_text("utf-8")
    assert "A first call" in analysis.read_text("utf-8")
    assert "No such file" in refusal(capsys, *explain, str(tmp_path / "none" / "d.html"))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["explian"], "invalid choice: 'explian'"),
        (["explain"], "required: function"),
        (["explain", "{}:narrow", "--shape", "3", "--seconds", "soon"], "invalid float"),
        (["explain", "narrow"], "'narrow' names no function"),
        (["explain", "no_such_module:f"], "no module 'no_such_module'"),
        (["explain", "no_such_file.py:f"], "no file 'no_such_file.py'"),
        (["explain", "{}:narow", "--shape", "3"], "no function 'narow'; did you mean 'narrow'?"),
        (["explain", "{}:number", "--shape", "3"], "is no function, but of type int"),
        (["explain", "{}:narrow"], "there are no arguments"),
        (["explain", "{}:narrow", "--shape", "x=a"], "'x=a' is no shape"),
        (["explain", "{}:narrow", "--args", "none.npz"], "no file 'none.npz'"),
        (["explain", "{}:narrow", "--args", "A["], "SyntaxError"),
        (["explain", "{}:narrow", "--args", "nothing"], "NameError: name 'nothing'"),
        (["explain", "{}:narrow", "--shape", "x=30", "--mode", "x"], "mode='x' is unknown"),
        (["explain", "{}:slope", "--shape", "x=30", "--mode", "auto"], "has its own options"),
        (["explain", "{}:refused", "--shape", "x=30"], "float() of a traced value"),
        (["explain", "{}:wrong", "--shape", "x=30"], "model_of_a_command.py:20: ValueError"),
        (["explain", "{}:narrow", "--shape", "z=30"], "narrow takes (x, steps=1)"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    words: list[str], why: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert why in refusal(capsys, *(word.format(model) for word in words))


def test_tracebacks_are_shown_if_requested(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", f"{model}:wrong", "--shape", "x=30", "--traceback"]) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["demo"]], ids=str)
def test_the_demo_runs_where_no_word_is_given(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "WIDTHS", (20, 3, 20))
    monkeypatch.setattr(demo, "_SECONDS", 1e-6)
    text = printed(capsys, *words)
    assert text.startswith("autoencoder(x): (20,) -> (20,)")
    assert text.endswith("All modes agree with it.\n")


def test_an_interrupted_command_says_nothing(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", f"{model}:interrupted", "--shape", "x=30"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("words", [[], ["explain"], ["calibrate"], ["demo"]], ids=str)
def test_every_command_has_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    assert "usage: python -m chainad" in capsys.readouterr().out


def test_a_machine_is_calibrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = chainad.Calibration(SHIPPED_TABLE.costs, "a test")
    monkeypatch.setattr(chainad, "calibrate", lambda store: table if store else None)
    assert "a test" in printed(capsys, "calibrate")
    assert "None" in printed(capsys, "calibrate", "--no-store")


def test_a_reader_that_has_enough_sees_no_traceback(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(["explain", f"{model}:narrow", "--shape", "x=30"]) == 1
    assert not capsys.readouterr().err


def test_terminals_show_colors_if_there_is_rich(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rich")
    words = ("explain", f"{model}:narrow", "--shape", "x=30")
    plain = printed(capsys, *words)
    assert "\x1b" not in plain
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda stream: True)
    colored = printed(capsys, *words)
    assert "\x1b[1mnarrow(x)" in colored
    assert re.sub("\x1b\\[[0-9;]*m", "", colored) == plain
