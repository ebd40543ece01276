"""Functions that others wrote to test optimizers: right, or refused with a reason; never wrong."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.problems import SETS, Problem, verdict

# How many problems there are, and how many are right; the others are refused. Raise the latter.
COUNTS = {"rosenbrock": (4, 2), "more_wild": (54, 54), "cartis_roberts": (60, 60)}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SETS)
def test_published_problems_are_right_or_refused_never_wrong(name: str) -> None:
    if name != "rosenbrock":
        pytest.importorskip("optimagic")
    found = {key: verdict(problem) for key, problem in SETS[name]().items()}
    assert not {k: v for k, v in found.items() if v.kind not in ("right", "refused")}
    count, right = COUNTS[name]
    assert len(found) == count
    assert sum(v.kind == "right" for v in found.values()) >= right


def test_a_wrong_jacobian_and_a_crash_are_found_out() -> None:
    def jump(x):
        return x * (1.0 if type(x) is np.ndarray else 2.0)

    assert verdict(Problem(np.sin, np.ones(3))).kind == "right"
    assert verdict(Problem(jump, np.ones(3))).kind == "wrong"
    assert verdict(Problem(lambda x: x.no_such_method(), np.ones(3))).kind == "crash"
    assert verdict(Problem(lambda x: float(x[0]), np.ones(3))).kind == "refused"
