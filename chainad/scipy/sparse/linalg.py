"""scipy.sparse.linalg: sparse solves, under SciPy's names and signatures."""

from chainad.rules.scipy_sparse import SuperLU, factorized, splu, spsolve, spsolve_triangular

__all__ = [
    "SuperLU",
    "factorized",
    "splu",
    "spsolve",
    "spsolve_triangular",
]
