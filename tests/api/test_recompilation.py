"""What compiled functions tell the logger "chainad"; several threads that record the same call."""

from __future__ import annotations

import logging
from threading import Barrier, Thread
from typing import Any

import numpy as np
import pytest

import chainad

X = np.array([0.3, 1.2, 2.5])


def messages(caplog: Any) -> list[tuple[str, str]]:
    return [(each.levelname, each.message) for each in caplog.records if each.name == "chainad"]


def power(x: Any, n: int = 2, **kwargs: Any) -> Any:
    return x**n if np.sum(x) > 0 else -x


def test_a_program_recorded_anew_says_why(caplog: Any) -> None:
    caplog.set_level(logging.INFO, "chainad")
    J = chainad.compile(chainad.jacobian(power), X, backend="numpy")
    assert messages(caplog) == []
    J(-X)
    J(X[:2])
    J(X, 3)
    J(X, n=3)
    J(np.stack([X, X]).T)
    J(X, 2, point={"a": X, "b": (1.0, None)})
    name = f"{J!r} records program"
    anew = "no program is for such arguments"
    assert messages(caplog) == [
        (
            "INFO",
            f"{name} 2, for (float64 (3,)): a condition, an index or an array from elsewhere has"
            " other values",
        ),
        ("INFO", f"{name} 3, for (float64 (2,)): {anew}"),
        ("INFO", f"{name} 4, for (float64 (3,), 3): {anew}"),
        ("INFO", f"{name} 5, for (float64 (3,), n=3): {anew}"),
        ("INFO", f"{name} 6, for (float64 (3, 2) by columns): {anew}"),
        (
            "INFO",
            f"{name} 7, for (float64 (3,), 2, point=dict(a=float64 (3,), b=tuple(float, None))):"
            f" {anew}",
        ),
    ]


def test_too_many_programs_are_told_once(caplog: Any) -> None:
    caplog.set_level(logging.WARNING, "chainad")
    J = chainad.compile(
        chainad.jacobian(lambda x: x * float(chainad.stop_gradient(x[0]))), backend="numpy"
    )
    for k in range(40):
        J(X + k)
    assert messages(caplog) == [
        (
            "WARNING",
            f"{J!r} has recorded 32 programs, as many as it keeps; calls that none of them fits"
            " are traced (the level INFO says why each was recorded)",
        )
    ]


@pytest.mark.parametrize("backend", ["numpy", "python"])
def test_threads_that_record_the_same_call_at_once_keep_one_program(backend: str) -> None:
    barrier = Barrier(6)
    found = []

    def f(x: Any) -> Any:
        barrier.wait(60)  # all of them are recording it now
        return np.sin(x) * x[0]

    J = chainad.compile(chainad.jacobian(f), backend=backend)
    threads = [Thread(target=lambda: found.append(J(X))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = chainad.jacobian(lambda x: np.sin(x) * x[0])(X)
    assert len(found) == 6
    for each in found:
        np.testing.assert_allclose(each, wanted, rtol=1e-12)
    assert J.programs == 1
