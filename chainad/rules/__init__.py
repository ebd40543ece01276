"""Rules: how every NumPy and SciPy function is differentiated, one row each.

base               what a rule is, and the tables: RULES (differentiated), DEFINED (written in
                   terms of others), CONSTANT (derivative zero), WRITERS (they write into an
                   array), VIEWS (they may share its memory), REFUSED (an error that says why)
kinds              what holds for every function of a kind
elementwise        NumPy's ufuncs and the like; `special_functions`, `special_ufuncs`: those of
                   scipy.special, the rarer ones in the latter
movement           views, selections, joining; `padding`
reduction          sums, extremes, cumulative sums; `norms`
contraction        products, as einsum
composed           sorting, splitting, grids; `statistics`: quantiles, interpolation;
                   `polynomials`; `sets`: distinct entries
linear_algebra     solves, determinants, symmetric matrices; `banded`: solves; `decompositions`:
                   SVD, QR, eigenvalues; `matrix_functions`: exponential, root, logarithm;
                   `spectral`: those by eigenvalues, equal ones too
implicit           solutions of equations, whose solver is not traced
matrix_operators   how all of these act on stacks of directions
fourier            transforms, as operators
complexes          functions of complex numbers that are not holomorphic, by rows; those of
                   `complex_definitions` are written in real ones
scipy_wrappers     functions with SciPy's names: `scipy_special`, `scipy_linalg`, `scipy_fft`;
                   `scipy_interpolate`: splines; `scipy_integrate`: integrals of samples;
                   `scipy_sparse`: sparse arrays and solves
sparse_arrays      sparse arrays with traced entries; `sparse_solves`: their inverses
writing            functions that write into an array, as assignments; `ufunc_methods`
lax                linear primitives of JAX, for its front end
primitives         a user's own rows
"""

from chainad.rules import (
    banded,
    complex_definitions,
    complexes,
    composed,
    contraction,
    decompositions,
    elementwise,
    fourier,
    implicit,
    linear_algebra,
    movement,
    norms,
    padding,
    polynomials,
    reduction,
    scipy_fft,
    scipy_integrate,
    scipy_linalg,
    scipy_signal,
    scipy_sparse,
    scipy_special,
    scipy_stats,
    sets,
    special_functions,
    special_ufuncs,
    statistics,
    writing,
)
from chainad.rules.base import CONSTANT, DEFINED, REFUSED, RULES, WRITERS

__all__ = ["CONSTANT", "DEFINED", "REFUSED", "RULES", "WRITERS"]
