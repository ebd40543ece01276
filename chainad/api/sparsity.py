"""Where a Jacobian may have entries that are not zero, from structure alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chainad.api import product_signatures
from chainad.api.differentiator import Differentiator
from chainad.api.function_of import check_callable
from chainad.api.options import checked_options
from chainad.api.signatures import typed_as
from chainad.frontends.numpy.trace import Key


@typed_as(product_signatures.sparsity)
def sparsity(
    f: Callable[..., Any], *args: Any, argnums: Key | Sequence[Key] = 0, **kwargs: Any
) -> Any:
    """Return where the Jacobian of `f` may have entries other than zero; nothing is multiplied.

    Parameters
    ----------
    f : callable
        As for `jacobian`.
    *args, **kwargs
        The arguments of `f`; only their shapes and the branches they choose matter.
    argnums : int, str, or sequence of these
        The arguments to differentiate by, as for `jacobian`.

    Returns
    -------
    scipy.sparse.csr_array
        Of booleans, of shape `(f(x).size, x.size)`, rows and columns raveled; nested as the
        Jacobian. It is what `jacobian(f, output="sparse")` stores, and fits `jac_sparsity=` of
        SciPy's solvers.

    Raises
    ------
    InputError, TraceError
        As for `jacobian`.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> chainad.sparsity(np.diff, np.ones(4)).toarray().astype(int)
    array([[1, 1, 0, 0],
           [0, 1, 1, 0],
           [0, 0, 1, 1]])
    """
    check_callable(f)
    options = checked_options(argnums, output="sparse", effort="fast")
    return Differentiator(f, options, has_value=False).sparsity(args, kwargs)
