"""Every exception that chainad raises for its users."""


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
    """A backend that was asked for cannot run a function; another one does."""


class MissingExtraError(ChainadError, ImportError):
    """An optional dependency is needed and not installed."""
