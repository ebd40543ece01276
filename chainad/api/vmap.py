"""The verb vmap: a function of one point as one of many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

from chainad.api.batches import BatchedDifferentiator
from chainad.api.differentiator import Differentiator
from chainad.api.function_of import FunctionOf, check_callable, name_of
from chainad.api.jacobian_functions import JacobianFunction
from chainad.api.options import EVALUATION, Options, with_compilation
from chainad.api.points import Batch
from chainad.compiler.scalar.replay_scalar import Backend
from chainad.errors import InputError
from chainad.ir.progress import ProgressOption


def vmap(
    f: Callable[..., Any],
    batch: Batch = 0,
    *,
    backend: Backend | None = None,
    constant: str | Sequence[str] = (),
    progress: ProgressOption = False,
    chunk_size: int | None = None,
    executor: Executor | None = None,
) -> BatchedFunction | JacobianFunction:
    """Return a function that sends many points through `f`, which is written for one.

    Parameters
    ----------
    f : callable
        A function of NumPy arrays or containers of them, products by `jvp`, `vjp` and `hvp` among
        them; or a Jacobian, gradient or Hessian, of which `vmap(jacobian(f), batch)` is
        `jacobian(f, batch=batch)`.
    batch : int or mapping
        The axis of points of all arguments by position (of all that are differentiated by, for
        derivatives), or a mapping from positions or names of arguments to their axes; all else, and
        what has the axis None, is shared.
    backend, constant
        As for `compile`.
    progress, chunk_size, executor
        As for `jacobian`: what is told of the points, and what runs them.

    Returns
    -------
    BatchedFunction
        A function of the same arguments. Every array that it returns has the points in front.

    Raises
    ------
    InputError
        If `f` has points already, or, when called, if the numbers of points differ.
    TraceError
        As for `jacobian`.

    Notes
    -----
    The function is recorded at one point. Points with the same branches go through its operations
    together, on scalars or on whole arrays, whichever is quicker; what cannot be done so is
    replayed point by point.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> def along(x, v):
    ...     return chainad.jvp(np.sin, (x,), (v,))[1]
    >>> chainad.vmap(along, {0: 0, 1: None})(np.zeros((3, 2)), np.array([1.0, 2.0]))
    array([[1., 2.],
           [1., 2.],
           [1., 2.]])
    """
    check_callable(f)
    how = backend, constant, progress, chunk_size, executor
    if isinstance(f, BatchedFunction) or (isinstance(f, JacobianFunction) and f._batched):
        raise InputError(f"{f!r} has points already")
    if isinstance(f, JacobianFunction):
        options = with_compilation(f._of.options, *how)
        return type(f)(f.__wrapped__, options, batch)
    return BatchedFunction(f, with_compilation(EVALUATION, *how), batch)


class BatchedFunction(FunctionOf):
    """A function of one point, as one of many; made by `vmap`."""

    def __init__(self, f: Callable[..., Any], options: Options, batch: Batch) -> None:
        super().__init__(f, "", False, "")
        self._batched = BatchedDifferentiator(Differentiator(f, options, has_value=True), batch)
        self._options = options

    @property
    def _parts(self) -> tuple[Any, ...]:
        return self.__wrapped__, self._options, self._batched.batch

    def __repr__(self) -> str:
        return f"chainad.vmap({name_of(self.__wrapped__)}, {self._batched.batch})"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        values, _ = self._batched.value_and_jacobians(args, kwargs, None, self)
        return values
