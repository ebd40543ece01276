"""Every exception that chainad raises for its users, and how a wrong option value is reported."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


class ChainadError(Exception):
    """Base class of all errors raised on purpose by chainad."""


class TraceError(ChainadError, TypeError):
    """The function did something that would lose a derivative, or that no rule describes.

    The message names your line, and what to write there instead. Where plain numbers are meant, say
    so by `stop_gradient`; a function that no rule describes gets its derivative by `primitive`.
    """


class InputError(ChainadError, TypeError):
    """An argument of a chainad function has the wrong type, dtype, shape or number.

    The message says what was given and what is wanted. Arguments of your function that a verb takes
    for options are fixed by `functools.partial`.
    """


class PlanError(ChainadError, ValueError):
    """A mode, an elimination order or a plan does not fit the function it is meant for.

    Of a misspelt name the message knows the nearest. A saved plan fits functions of the same
    structure and sizes alone: make a new one by `chainad.plan`. Planners for chains, or for few
    vertices, refuse all else; `mode="auto"` takes those that fit.
    """


class ConvergenceError(ChainadError, RuntimeError):
    """A solver inside of a function has found no solution, so that there is none to differentiate.

    The message has the norm of the residual, how large it may be, and your line. Give the solver
    more iterations, a smaller tolerance or a better starting point.
    """


class TooLargeError(ChainadError, MemoryError):
    """A dense Jacobian does not fit into memory, or no plan into the limit that was given.

    Ask for another form, `output="sparse"`, `"structured"` or `"operator"`, or raise
    `memory_limit`: the message says how much it takes, and which line of yours makes the largest
    Jacobian.
    """


class FallbackWarning(UserWarning):
    """A function is run in a simpler way than requested, or than it could be; it says why.

    Results are as right as ever. `warnings.simplefilter("error", chainad.errors.FallbackWarning)`
    makes it an error, with the line where it is from.
    """


class ZeroDerivativeWarning(UserWarning):
    """A result depends on the arguments by comparisons alone, so that its derivative is zero.

    Bisection finds a root in this way. `chainad.implicit` differentiates the equation that the root
    solves, and so do the solvers of `chainad.scipy.optimize`.
    """


class MissingExtraError(ChainadError, ImportError):
    """An optional dependency is needed and not installed; the message has the command for that."""


def unknown(option: str, value: object, choices: Sequence[str], otherwise: str = "") -> str:
    """Return the message for an option whose value is unknown; it names the nearest known one.

    >>> print(unknown("mode", "revers", ["forward", "reverse"]))
    mode='revers' is unknown; did you mean 'reverse'? Choose 'forward' or 'reverse'
    """
    *names, last = [*map(repr, choices), *([otherwise] if otherwise else [])]
    similar = get_close_matches(value.lower(), choices, n=1) if isinstance(value, str) else []
    advice = f"did you mean {similar[0]!r}? Choose" if similar else "choose"
    return f"{option}={value!r} is unknown; {advice} {', '.join(names)} or {last}"
