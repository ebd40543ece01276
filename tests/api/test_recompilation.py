"""What compiled functions tell the logger "chainad"; several threads that record the same call."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from threading import Barrier, Thread
from typing import Any

import numpy as np
import pytest

import chainad
from chainad.errors import FallbackWarning

X = np.array([0.3, 1.2, 2.5])


def messages(caplog: Any) -> list[tuple[str, str]]:
    """Return what was told, but of full caches: how full they are depends on the tests before."""
    told = [each for each in caplog.records if each.name == "chainad" and each.module != "cache"]
    return [(each.levelname, each.message) for each in told]


def power(x: Any, n: int = 2, **kwargs: Any) -> Any:
    return x**n if np.sum(x) > 0 else -x


def test_a_program_recorded_anew_says_why(caplog: Any) -> None:
    caplog.set_level(logging.INFO, "chainad")
    J = chainad.compile(chainad.jacobian(power), X, backend="numpy")
    assert messages(caplog) == []
    J(X[:2])
    J(X, 3)
    J(X, n=3)
    J(np.stack([X, X]).T)
    J(X, 2, point={"a": X, "b": (1.0, None)})
    name, were = f"{J!r} records program", "the arguments were"
    assert messages(caplog) == [
        ("INFO", f"{name} 2, for (float64 (2,)): {were} (float64 (3,))"),
        ("INFO", f"{name} 3, for (float64 (3,), 3): {were} (float64 (2,))"),
        ("INFO", f"{name} 4, for (float64 (3,), n=3): {were} (float64 (3,), 3)"),
        ("INFO", f"{name} 5, for (float64 (3, 2) by columns): {were} (float64 (3,), n=3)"),
        (
            "INFO",
            f"{name} 6, for (float64 (3,), 2, point=dict(a=float64 (3,), b=tuple(float, None))):"
            f" {were} (float64 (3, 2) by columns)",
        ),
    ]


SCALE, TABLE, CHOSEN = [2.0], np.ones(3), np.array([0, 1])


def reads_much(x: Any) -> Any:
    y = x**2 if np.sum(x) > 0 else -x
    k = int(chainad.stop_gradient(abs(x[1])))
    z = np.array([each for each in x if each > 0])
    return np.sum(y * SCALE[0] + TABLE[0] * x + x[k]) + np.sum(x[CHOSEN]) + np.sum(z)


def change_scale() -> None:
    SCALE[0] += 1.0


def change_table() -> None:
    TABLE[0] += 1.0


def change_chosen() -> None:
    CHOSEN[:] = CHOSEN[::-1]


# What changes, the arguments then, and what is told.
CHANGES: dict[str, tuple[Callable[[], None], Any, str]] = {
    "condition": (
        lambda: None,
        -X,
        "a condition was True and is False, at {}: y = x**2 if np.sum(x) > 0 else -x",
    ),
    "number": (
        lambda: None,
        X + 1.0,
        "what is read was np.float64(1.2) and is np.float64(2.2), at {}: k = int(chainad",
    ),
    "global": (change_scale, X, "SCALE[0] has changed, at {}: return np.sum(y * SCALE[0]"),
    "content": (change_table, X, "TABLE has changed, at {}: return np.sum(y * SCALE[0]"),
    "indices": (change_chosen, X, "an index or an array from elsewhere has other entries"),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("backend", ["numpy", "python"])
def test_what_differs_is_told_with_its_place(name: str, backend: Any, caplog: Any) -> None:
    caplog.set_level(logging.INFO, "chainad")
    change, x, why = CHANGES[name]
    J = chainad.compile(chainad.jacobian(reads_much), X, backend=backend)
    change()
    J(x)
    (told,) = [text for _, text in messages(caplog) if "records" in text]  # others: full caches
    _, said = told.split("records program 2, for (float64 (3,)): ")
    line = re.search(r"test_recompilation.py:\d+", said)
    assert said.startswith(why.format(line and line[0]))


def test_what_is_traced_says_why(caplog: Any) -> None:
    caplog.set_level(logging.INFO, "chainad")
    names = np.array(["a", "b"])
    J = chainad.compile(chainad.jacobian(lambda x, names: x * len(names)))
    J(X, names)
    assert messages(caplog) == [
        ("INFO", f"{J!r} is traced: an argument has arrays of text, objects or subclasses")
    ]


def test_too_many_programs_are_told_once(caplog: Any) -> None:
    caplog.set_level(logging.WARNING, "chainad")
    J = chainad.compile(
        chainad.jacobian(lambda x: x * float(chainad.stop_gradient(x[0]))), backend="numpy"
    )
    for k in range(32):
        J(X + k)
    text = (
        f"{J!r} has recorded 32 programs, as many as it keeps; calls that none of them fits are"
        " traced, which takes longer: the logger 'chainad' tells at level INFO why each was"
        " recorded"
    )
    with pytest.warns(FallbackWarning, match=re.escape(text)):
        J(X + 32)
    for k in range(33, 40):
        J(X + k)
    assert messages(caplog) == [("WARNING", text)]


def test_nothing_is_printed_of_what_is_logged_unless_it_is_asked_for() -> None:
    assert any(
        isinstance(each, logging.NullHandler) for each in logging.getLogger("chainad").handlers
    )


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
