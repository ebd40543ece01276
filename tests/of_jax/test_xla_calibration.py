"""Tables of what operations cost in XLA: measured on request, kept in a file of their own."""

import pytest

jax = pytest.importorskip("jax", reason="needs the extra jax")

import jax.numpy as jnp

import chainad.jax as cj
from chainad.command_line.commands import main
from chainad.ir.operation_counts import KINDS_OF_OPERATION
from chainad.jax import xla_calibration, xla_model
from chainad.planning.calibration import known

COSTS = tuple(1000 + k for k in range(len(KINDS_OF_OPERATION)))


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Stand in for the measurement, so that no test depends on a clock."""
    monkeypatch.setenv("CHAINAD_CACHE", str(tmp_path))
    monkeypatch.setattr(xla_calibration, "_measure", lambda: COSTS)


def model():
    return cj.plan(jnp.sin, jnp.ones(3)).model


def test_a_plan_says_by_which_table_it_is(quick):
    assert model() == "time (XLA, shipped table)"
    made = cj.calibrate()
    assert made.costs == COSTS == xla_model.table().costs
    assert model() == f"time ({made.source})"
    assert "XLA on cpu, calibrated on this machine" in str(made)


def test_the_command_line_calibrates_xla(quick, tmp_path, capsys):
    assert main(["calibrate", "--jax"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Calibration  XLA on cpu, calibrated on this machine")
    assert shown.endswith(f"kept in {tmp_path / 'chainad'}\n")
    assert model() == "time (XLA on cpu, calibrated on this machine)"


def test_a_table_of_xla_is_not_taken_for_one_of_numpy(quick):
    before = known()
    cj.calibrate()
    assert known() == before


def test_a_table_is_not_stored_unless_wanted(quick, tmp_path):
    assert cj.calibrate(store=False).costs == COSTS
    assert not [*tmp_path.iterdir()]


def test_every_kind_of_operation_is_measured(monkeypatch):
    monkeypatch.setattr(xla_calibration, "_SECONDS_PER_KIND", 0)
    assert all(cost > 0 for cost in cj.calibrate(store=False).costs)
