"""The benchmark for machines with a GPU does not pretend to have one."""

from types import SimpleNamespace

import pytest

jax = pytest.importorskip("jax", reason="needs the extra jax")

from benchmarks import gpu


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="there is a GPU")
def test_without_a_gpu_nothing_is_run_and_it_is_said(capsys):
    assert gpu.main([]) == 2
    assert capsys.readouterr().out.startswith("nothing was run: JAX finds no GPU")


def test_times_of_a_cpu_are_not_saved(capsys):
    with pytest.raises(SystemExit):
        gpu.main(["--cpu", "--save"])
    assert "--save is for times of a GPU" in capsys.readouterr().err


def test_rows_for_which_no_time_is_left_are_said(monkeypatch):
    monkeypatch.setattr(gpu, "row", lambda *_: pytest.fail("begun"))
    found = gpu.rows(["W1a"], None, True, minutes=-1)
    assert [(*line[:1], *line[2:4]) for line in found] == [
        ("W1a", "float32", "no time left"),
        ("W1a", "float64", "no time left"),
    ]


def test_what_fails_does_not_end_the_run(monkeypatch):
    def fail(*_):
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nand much more")

    monkeypatch.setattr(gpu, "raced", fail)
    module = SimpleNamespace(
        config=SimpleNamespace(update=lambda *_: None), clear_caches=lambda: None
    )
    found = gpu.rows(["W1a"], SimpleNamespace(module=module), True, minutes=1)
    assert [line[3] for line in found] == ["FAILED: RESOURCE_EXHAUSTED: out of memory"] * 2
