"""Tables of what operations cost: measured on request, kept in a file, never trusted blindly."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainad
from chainad.api import calibrate as measuring
from chainad.api.calibrate import calibrate
from chainad.errors import ChainadError
from chainad.ir.operation_counts import KINDS_OF_OPERATION, OperationCounts
from chainad.planning.calibration import SHIPPED_TABLE, STORED, Calibration, known, path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHAINAD_CACHE", str(tmp_path))
    return tmp_path / "chainad"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> tuple[int, ...]:
    """Stand in for the measurement, so that no test depends on a clock."""
    costs = tuple(2 * cost + k for k, cost in enumerate(SHIPPED_TABLE.costs))
    monkeypatch.setattr(measuring, "_measure", lambda: Calibration(costs, STORED, 0.05))
    return costs


def f(x: np.ndarray) -> np.ndarray:
    return np.tanh(np.ones((30, 3)) @ np.sin(np.ones((3, 40)) @ x))


def test_a_table_is_stored_and_found_again(folder: Path, quick: tuple[int, ...]) -> None:
    assert known() == SHIPPED_TABLE
    made = calibrate()
    assert made == Calibration(quick, STORED, 0.05) == known()
    assert [file.parent for file in folder.iterdir()] == [folder]


def test_a_table_is_not_stored_unless_wanted(folder: Path, quick: tuple[int, ...]) -> None:
    assert calibrate(store=False).costs == quick
    assert not folder.exists()


def test_nothing_is_measured_or_stored_unless_requested(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise AssertionError

    monkeypatch.setattr(measuring, "_measure", refuse)
    chainad.jacobian(f, cost="time")(np.ones(40))
    assert not folder.exists()


def test_a_plan_says_which_table_it_is_by(folder: Path, quick: tuple[int, ...]) -> None:
    before = chainad.plan(f, np.ones(40), cost="time")
    assert "by time (shipped table)\n" in before.explain(width=200)
    calibrate()
    after = chainad.plan(f, np.ones(40), cost="time")
    assert "by time (calibrated on this machine)\n" in after.explain(width=200)
    assert before.cost != after.cost


def damage(fields: dict[str, Any], kind: str, value: Any) -> dict[str, Any]:
    return fields | {"picoseconds": fields["picoseconds"] | {kind: value}}


DAMAGED = [
    lambda fields: "",
    lambda fields: "[" * 100_000,
    lambda fields: "[]",
    lambda fields: json.dumps(fields | {"format": "chainad calibration 0"}),
    lambda fields: json.dumps(fields | {"picoseconds": {}}),
    lambda fields: json.dumps(damage(fields, "dots", -1)),
    lambda fields: json.dumps(damage(fields, "dots", 0.5)),
    lambda fields: json.dumps(damage(fields, "dots", True)),
    lambda fields: json.dumps(damage(fields, "speed", 1)),
]


@pytest.mark.parametrize("change", DAMAGED)
def test_a_damaged_table_is_not_used(change: Any, folder: Path, quick: tuple[int, ...]) -> None:
    calibrate()
    path().write_text(change(json.loads(path().read_text())))
    assert known() == SHIPPED_TABLE


def test_a_table_that_is_no_text_is_not_used(folder: Path, quick: tuple[int, ...]) -> None:
    calibrate()
    path().write_bytes(b"\xff\xfe\x00")
    assert known() == SHIPPED_TABLE


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, quick: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("CHAINAD_CACHE", str(file))
    with pytest.raises(ChainadError, match=r"cannot be written to .*; set CHAINAD_CACHE"):
        calibrate()


def test_without_a_home_the_shipped_table_is_used(
    quick: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("CHAINAD_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", refuse)
    assert known() == SHIPPED_TABLE
    with pytest.raises(ChainadError, match="Could not determine home directory"):
        calibrate()


def test_time_is_the_sum_over_kinds_of_work() -> None:
    table = Calibration(tuple(10**k for k in range(len(KINDS_OF_OPERATION))), "test")
    counts = {kind: k + 1 for k, kind in enumerate(KINDS_OF_OPERATION)}
    wanted = sum(count * table.cost(kind) for kind, count in counts.items())
    assert table.time(OperationCounts(**counts)) == wanted
    assert "calls" in str(table)


NOT_PLAUSIBLE = [
    ("added", 1, "one of 'added' takes 1 ps, where 7 to 1,650 ps are plausible"),
    ("calls", 10**9, "one of 'calls' takes 1,000,000,000 ps, where 29,333 to"),
]


@pytest.mark.parametrize(("kind", "cost", "message"), NOT_PLAUSIBLE)
def test_what_is_not_plausible_is_refused_and_not_stored(
    kind: str, cost: int, message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = dict(zip(KINDS_OF_OPERATION, SHIPPED_TABLE.costs, strict=True)) | {kind: cost}
    table = Calibration(tuple(costs.values()), STORED)
    monkeypatch.setattr(measuring, "_measure", lambda: table)
    with pytest.raises(ChainadError, match=f"{message}.*calibrate again while the machine is idle"):
        calibrate()
    assert not folder.exists()


def test_a_measurement_that_differs_each_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Calibration(SHIPPED_TABLE.costs, STORED, 2.5)
    monkeypatch.setattr(measuring, "_measure", lambda: table)
    with pytest.raises(ChainadError, match="differs by 250 % from time to time; other work"):
        calibrate(store=False)


def test_a_table_says_how_well_it_repeats() -> None:
    assert str(Calibration(SHIPPED_TABLE.costs, STORED, 0.03)).startswith(
        "Calibration  calibrated on this machine, repeats within 3 %\n"
    )
    assert "repeats" not in str(SHIPPED_TABLE)


def test_another_process_finds_the_table(folder: Path, quick: tuple[int, ...]) -> None:
    calibrate()
    code = "from chainad.planning.calibration import known; print(known().costs)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=os.environ | {"CHAINAD_CACHE": str(folder.parent)},
    )
    assert run.stdout.strip() == str(quick)


def test_a_kind_costs_what_is_left_of_the_time_of_its_run() -> None:
    runs = measuring._runs()
    table = dict(zip(KINDS_OF_OPERATION, SHIPPED_TABLE.costs, strict=True))
    # Calls and views are measured warm, and cost more in programs.
    warm = table | {kind: table[kind] // measuring._COLD for kind in ("calls", "views")}
    warm["reused"] = 0
    turn = {
        kind: 1e-12
        * (
            each.operations * warm[kind]
            + sum(warm[other] * count for other, count in each.others.items())
        )
        for kind, each in runs.items()
    }
    assert measuring._costs(runs, [turn]) == SHIPPED_TABLE.costs
