"""scipy.sparse for traced values: constructors of sparse arrays, and solves with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy  # loads scipy.sparse.linalg when it is first used

from chainad.errors import TraceError
from chainad.ir.array_functions import is_traced
from chainad.ir.positions import positions
from chainad.ir.source_lines import here
from chainad.rules.base import first_traced
from chainad.rules.scipy_wrappers import WRAPPERS, of_scipy
from chainad.rules.sparse_arrays import Numbering, SparseArray, products_of_entries, renumbered
from chainad.rules.sparse_solves import Options, SquarePattern, sparse_solve

_sparse, _linalg = of_scipy("scipy.sparse"), of_scipy("scipy.sparse.linalg")
WRAPPERS["scipy.sparse", "__init__"] = "chainad.scipy.sparse, such as .csr_array"
for _name in ("_matmul_vector", "_matmul_multivector"):
    WRAPPERS["scipy.sparse", _name] = "A @ np.copy(x) of an array x that the function has filled"

# --------------------------------------------------------------- constructors


def _constructor(name: str) -> Callable[..., Any]:
    """Return the constructor of a class of SciPy's that takes traced entries."""

    format, family = name.split("_")

    def construct(arg1: Any, shape: Any = None, dtype: Any = None, copy: bool = False) -> Any:
        if isinstance(arg1, tuple):
            numbering = Numbering()
            data, *places = numbering.numbers(arg1[0]), *arg1[1:]
            kind = name
            if len(places) == 1 and format != "dia":
                # What is at one place is added up later: the entries, not their numbers.
                kind, places = f"coo_{family}", [tuple(places[0])]
            found = getattr(scipy.sparse, kind)((data, *places), shape=shape)
            sparse = renumbered(found, numbering.data)
        else:
            sparse = SparseArray.of(arg1)
        sparse = sparse.asformat(format)
        return sparse if dtype is None else sparse.astype(dtype)

    construct.__name__ = name
    return _sparse(construct)


coo_array, coo_matrix = _constructor("coo_array"), _constructor("coo_matrix")
csr_array, csr_matrix = _constructor("csr_array"), _constructor("csr_matrix")
csc_array, csc_matrix = _constructor("csc_array"), _constructor("csc_matrix")
dia_array, dia_matrix = _constructor("dia_array"), _constructor("dia_matrix")


def _moving(name: str) -> Callable[..., Any]:
    """Return a function of SciPy's that makes a sparse array of the entries of others."""

    def move(arrays: Any, *args: Any, **kwargs: Any) -> SparseArray:
        dtype = kwargs.pop("dtype", None)
        numbering = Numbering()
        found = getattr(scipy.sparse, name)(numbering.numbers(arrays), *args, **kwargs)
        moved: SparseArray = renumbered(found, numbering.data)
        return moved if dtype is None else moved.astype(dtype)

    move.__name__ = name
    return _sparse(move)


diags_array, diags, spdiags = _moving("diags_array"), _moving("diags"), _moving("spdiags")
block_array, block_diag, bmat = _moving("block_array"), _moving("block_diag"), _moving("bmat")
hstack, vstack = _moving("hstack"), _moving("vstack")
tril, triu = _moving("tril"), _moving("triu")


def _factor(value: Any) -> SparseArray:
    """Return an operand that may be a dense constant."""
    is_dense = not (is_traced(value) or scipy.sparse.issparse(value))
    return SparseArray.of(scipy.sparse.coo_array(value) if is_dense else value)


@_sparse
def kron(A: Any, B: Any, format: str | None = None) -> SparseArray:
    product = products_of_entries(scipy.sparse.kron, _factor(A), _factor(B))
    return product.asformat(format)


@_sparse
def kronsum(A: Any, B: Any, format: str | None = None) -> SparseArray:
    a, b = _factor(A), _factor(B)
    left = kron(scipy.sparse.eye_array(b.shape[0]), a)
    right = kron(b, scipy.sparse.eye_array(a.shape[0]))
    found: SparseArray = (left + right).asformat(format)
    return found


# --------------------------------------------------------------------- solves


def _solution(A: SparseArray, b: Any, options: Options, **how: bool) -> Any:
    """Return the solution of a system with one right-hand side or several."""
    if A.shape[0] != A.shape[1]:
        raise ValueError(f"matrix must be square (has shape {A.shape})")
    if scipy.sparse.issparse(b) or isinstance(b, SparseArray):
        raise TraceError(
            f"{here()}a sparse right-hand side beside traced values is not differentiated;"
            " use b.toarray()"
        )
    if np.shape(b)[:1] != A.shape[:1] or np.ndim(b) > 2:
        raise ValueError(f"matrix - rhs dimension mismatch ({A.shape} - {np.shape(b)})")
    rows, cols = positions(A.rows), positions(A.cols)
    pattern = SquarePattern(rows, cols, A.shape[0], options=options, **how)
    return sparse_solve(A.entries, b, pattern)


@_linalg
def spsolve(A: Any, b: Any, permc_spec: str | None = None, use_umfpack: bool = True) -> Any:
    options = () if permc_spec is None else (("permc_spec", permc_spec),)
    b = np.reshape(b, -1) if np.ndim(b) == 2 and np.shape(b)[1] == 1 else b
    return _solution(SparseArray.of(A), b, options, is_nan_if_singular=True)


@_linalg
def spsolve_triangular(
    A: Any,
    b: Any,
    lower: bool = True,
    overwrite_A: bool = False,
    overwrite_b: bool = False,
    unit_diagonal: bool = False,
) -> Any:
    half = (tril if lower else triu)(
        SparseArray.of(A), -1 if unit_diagonal and lower else int(unit_diagonal)
    )
    if unit_diagonal:
        half = half + scipy.sparse.eye_array(half.shape[0])
    return _solution(half, b, (("permc_spec", "NATURAL"),))


class SuperLU:
    """The factors of a sparse matrix, as `scipy.sparse.linalg.splu` returns them.

    Solves of traced right-hand sides, and of matrices with traced entries, are differentiated;
    everything else is SciPy's.
    """

    def __init__(self, matrix: Any, options: Options) -> None:
        self._matrix, self._options = matrix, options
        # Factorized here, so that a singular matrix is refused where it is given.
        self._factors = None if first_traced((matrix,)) is not None else self._factorize()

    def _factorize(self) -> Any:
        options = {k: dict(x) if k == "options" else x for k, x in self._options}
        return scipy.sparse.linalg.splu(self._matrix, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or self._factors is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._factors, name)

    def solve(self, rhs: Any, trans: str = "N") -> Any:
        """Return the solution with the matrix ("N"), its transpose ("T") or conjugate ("H")."""
        if trans not in ("N", "T", "H"):
            raise ValueError("trans must be N, T, or H")
        if self._factors is not None and first_traced((rhs,)) is None:
            return self._factors.solve(rhs, trans)
        matrix = SparseArray.of(self._matrix)
        if trans == "H" and matrix.dtype.kind == "c":
            matrix = matrix.conjugate()
        return _solution(matrix, rhs, self._options, is_transposed=trans != "N")


WRAPPERS["scipy.sparse", "splu"] = "chainad.scipy.sparse.linalg.splu"
WRAPPERS["scipy.sparse", "factorized"] = "chainad.scipy.sparse.linalg.factorized"


def splu(
    A: Any,
    permc_spec: str | None = None,
    diag_pivot_thresh: float | None = None,
    relax: int | None = None,
    panel_size: int | None = None,
    options: dict[str, Any] | None = None,
) -> SuperLU:
    """Return the factors of a sparse matrix with constant or traced entries."""
    given = {
        "permc_spec": permc_spec,
        "diag_pivot_thresh": diag_pivot_thresh,
        "relax": relax,
        "panel_size": panel_size,
        "options": None if options is None else tuple(sorted(options.items())),
    }
    return SuperLU(A, tuple((k, x) for k, x in given.items() if x is not None))


def factorized(A: Any) -> Callable[[Any], Any]:
    """Return a function that solves with a sparse matrix with constant or traced entries."""
    return splu(A).solve
