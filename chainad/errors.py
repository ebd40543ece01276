"""Every exception that chainad raises for its users, and how a wrong option value is reported."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


class ChainadError(Exception):
    """Base class of all errors raised on purpose by chainad."""


class TraceError(ChainadError, TypeError):
    """The function did something that would lose a derivative, or that no rule describes."""


class InputError(ChainadError, TypeError):
    """An argument of a chainad function has the wrong type, dtype, shape or number."""


class PlanError(ChainadError, ValueError):
    """A mode, an elimination order or a plan does not fit the function it is meant for."""


class TooLargeError(ChainadError, MemoryError):
    """A dense Jacobian does not fit into memory."""


class FallbackWarning(UserWarning):
    """A function is run in a simpler way than requested, or than it could be; it says why."""


class MissingExtraError(ChainadError, ImportError):
    """An optional dependency is needed and not installed."""


def unknown(option: str, value: object, choices: Sequence[str], otherwise: str = "") -> str:
    """Return the message for an option whose value is unknown; it names the nearest known one.

    >>> print(unknown("mode", "revers", ["forward", "reverse"]))
    mode='revers' is unknown; did you mean 'reverse'? Choose 'forward' or 'reverse'
    """
    *names, last = [*map(repr, choices), *([otherwise] if otherwise else [])]
    similar = get_close_matches(value.lower(), choices, n=1) if isinstance(value, str) else []
    advice = f"did you mean {similar[0]!r}? Choose" if similar else "choose"
    return f"{option}={value!r} is unknown; {advice} {', '.join(names)} or {last}"
