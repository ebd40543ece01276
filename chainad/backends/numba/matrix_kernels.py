"""Source code of linear algebra on small matrices, with the pivots that LAPACK takes.

Every kernel works in place on what its operation was filled with: a factorization on a matrix,
a solve on right-hand sides. Matrices may be batched; what they are divided by may be zero, which
`status` tells.
"""

from __future__ import annotations

from chainad.ir.loop_program import FAILURES, MatrixKernel

# `out` holds the factors, then the pivots of every matrix, then the sign of every permutation.
_LU = """
def {name}(out: ({size},)):
    for m in range({batch}):
        a = out[{n} * {n} * m :]
        pivots = out[{batch} * {n} * {n} + {n} * m :]
        sign = 1.0
        for j in range({n}):
            pivot = j
            largest = abs(a[{n} * j + j])
            for i in range(j + 1, {n}):
                if abs(a[{n} * i + j]) > largest:
                    largest = abs(a[{n} * i + j])
                    pivot = i
            pivots[j] = pivot
            if pivot != j:
                sign = -sign
                for k in range({n}):
                    swapped = a[{n} * j + k]
                    a[{n} * j + k] = a[{n} * pivot + k]
                    a[{n} * pivot + k] = swapped
            if a[{n} * j + j] != 0.0:
                for i in range(j + 1, {n}):
                    factor = a[{n} * i + j] / a[{n} * j + j]
                    a[{n} * i + j] = factor
                    for k in range(j + 1, {n}):
                        a[{n} * i + k] -= factor * a[{n} * j + k]
        out[{batch} * {n} * ({n} + 1) + m] = sign
"""

_SOLVE = """
def {name}(out: ({size},), factors: ({n_read},), status: (1,)):
    for m in range({batch}):
        x = out[{n} * {k} * m :]
        a = factors[{n} * {n} * m :]
"""

_PIVOTS = """\
        pivots = factors[{batch} * {n} * {n} + {n} * m :]
"""


def _swaps(rows: str) -> str:
    """Return the exchange of some rows of x, one after the other, with their pivots."""
    return f"""\
        for i in range({rows}):
            pivot = int(pivots[i])
            if pivot != i:
                for c in range({{k}}):
                    swapped = x[{{k}} * i + c]
                    x[{{k}} * i + c] = x[{{k}} * pivot + c]
                    x[{{k}} * pivot + c] = swapped
"""


def _substitution(rows: str, known: str, entry: str) -> str:
    """Return the substitution of rows of x that are known into others, in order."""
    return f"""\
        for i in range({rows}):
            for j in range({known}):
                for c in range({{k}}):
                    x[{{k}} * i + c] -= a[{entry}] * x[{{k}} * j + c]
"""


# After each row of a substitution, where the diagonal of the factor is not one.
_DIVISION = """\
            if a[{n} * i + i] == 0.0:
                status[0] = {failure}
            for c in range({k}):
                x[{k} * i + c] = x[{k} * i + c] / a[{n} * i + i]
"""

_ENTRY, _TRANSPOSED = "{n} * i + j", "{n} * j + i"
_BEFORE, _AFTER = "i", "i + 1, {n}"
_DOWN, _UP = "{n}", "{n} - 1, -1, -1"
_LOWER = _substitution(_DOWN, _BEFORE, _ENTRY) + _DIVISION
_UPPER = _substitution(_UP, _AFTER, _ENTRY) + _DIVISION

_LU_SOLVE = (
    _SOLVE + _PIVOTS + _swaps(_DOWN) + _substitution("1, {n}", _BEFORE, _ENTRY) + _UPPER
)  # fmt: skip
_LU_SOLVE_TRANSPOSED = (
    _SOLVE + _PIVOTS + _substitution(_DOWN, _BEFORE, _TRANSPOSED) + _DIVISION
    + _substitution("{n} - 2, -1, -1", _AFTER, _TRANSPOSED) + _swaps(_UP)
)  # fmt: skip

_CHOLESKY = """
def {name}(out: ({size},), status: (1,)):
    for m in range({batch}):
        a = out[{n} * {n} * m :]
        for j in range({n}):
            for i in range(j, {n}):
                left = a[{n} * i + j]
                for k in range(j):
                    left -= a[{n} * i + k] * a[{n} * j + k]
                a[{n} * i + j] = left
            if not a[{n} * j + j] > 0.0:
                status[0] = {failure}
            diagonal = sqrt(a[{n} * j + j])
            a[{n} * j + j] = diagonal
            for i in range(j + 1, {n}):
                a[{n} * i + j] = a[{n} * i + j] / diagonal
"""

_SOURCES = {
    "lu": _LU,
    "lu_solve": _LU_SOLVE,
    "lu_solve_transposed": _LU_SOLVE_TRANSPOSED,
    "cholesky": _CHOLESKY,
    "solve_lower": _SOLVE + _LOWER,
    "solve_upper": _SOLVE + _UPPER,
}


def kernel_source(kernel: MatrixKernel, name: str) -> str:
    """Return the source of a kernel: a function of memory, of its factors, and of its status."""
    batch, n, *columns = kernel.sizes
    n_pivots = n + 1 if kernel.name.startswith("lu") else 0
    n_read = batch * (n * n + n_pivots)
    k = columns[0] if columns else 1
    return _SOURCES[kernel.name].strip().format(
        name=name, batch=batch, n=n, k=k, n_read=n_read,
        size=batch * n * k if columns else n_read,
        failure=float(FAILURES.index(kernel.failure) + 1) if kernel.failure else None,
    )  # fmt: skip
