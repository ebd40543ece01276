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

_LU_SOLVE = """
def {name}(out: ({size},), factors: ({n_read},), status: (1,)):
    for m in range({batch}):
        x = out[{n} * {k} * m :]
        a = factors[{n} * {n} * m :]
        pivots = factors[{batch} * {n} * {n} + {n} * m :]
        for i in range({n}):
            pivot = int(pivots[i])
            if pivot != i:
                for c in range({k}):
                    swapped = x[{k} * i + c]
                    x[{k} * i + c] = x[{k} * pivot + c]
                    x[{k} * pivot + c] = swapped
        for i in range(1, {n}):
            for j in range(i):
                for c in range({k}):
                    x[{k} * i + c] -= a[{n} * i + j] * x[{k} * j + c]
        for i in range({n} - 1, -1, -1):
            for j in range(i + 1, {n}):
                for c in range({k}):
                    x[{k} * i + c] -= a[{n} * i + j] * x[{k} * j + c]
            if a[{n} * i + i] == 0.0:
                status[0] = {failure}
            for c in range({k}):
                x[{k} * i + c] = x[{k} * i + c] / a[{n} * i + i]
"""

_LU_SOLVE_TRANSPOSED = """
def {name}(out: ({size},), factors: ({n_read},), status: (1,)):
    for m in range({batch}):
        x = out[{n} * {k} * m :]
        a = factors[{n} * {n} * m :]
        pivots = factors[{batch} * {n} * {n} + {n} * m :]
        for i in range({n}):
            for j in range(i):
                for c in range({k}):
                    x[{k} * i + c] -= a[{n} * j + i] * x[{k} * j + c]
            if a[{n} * i + i] == 0.0:
                status[0] = {failure}
            for c in range({k}):
                x[{k} * i + c] = x[{k} * i + c] / a[{n} * i + i]
        for i in range({n} - 2, -1, -1):
            for j in range(i + 1, {n}):
                for c in range({k}):
                    x[{k} * i + c] -= a[{n} * j + i] * x[{k} * j + c]
        for i in range({n} - 1, -1, -1):
            pivot = int(pivots[i])
            if pivot != i:
                for c in range({k}):
                    swapped = x[{k} * i + c]
                    x[{k} * i + c] = x[{k} * pivot + c]
                    x[{k} * pivot + c] = swapped
"""

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

_SOLVE_LOWER = """
def {name}(out: ({size},), factors: ({n_read},), status: (1,)):
    for m in range({batch}):
        x = out[{n} * {k} * m :]
        a = factors[{n} * {n} * m :]
        for i in range({n}):
            for j in range(i):
                for c in range({k}):
                    x[{k} * i + c] -= a[{n} * i + j] * x[{k} * j + c]
            if a[{n} * i + i] == 0.0:
                status[0] = {failure}
            for c in range({k}):
                x[{k} * i + c] = x[{k} * i + c] / a[{n} * i + i]
"""

_SOLVE_UPPER = """
def {name}(out: ({size},), factors: ({n_read},), status: (1,)):
    for m in range({batch}):
        x = out[{n} * {k} * m :]
        a = factors[{n} * {n} * m :]
        for i in range({n} - 1, -1, -1):
            for j in range(i + 1, {n}):
                for c in range({k}):
                    x[{k} * i + c] -= a[{n} * i + j] * x[{k} * j + c]
            if a[{n} * i + i] == 0.0:
                status[0] = {failure}
            for c in range({k}):
                x[{k} * i + c] = x[{k} * i + c] / a[{n} * i + i]
"""

_SOURCES = {
    "lu": _LU,
    "lu_solve": _LU_SOLVE,
    "lu_solve_transposed": _LU_SOLVE_TRANSPOSED,
    "cholesky": _CHOLESKY,
    "solve_lower": _SOLVE_LOWER,
    "solve_upper": _SOLVE_UPPER,
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
