"""Mutation check of the rules: `python -m tests.mutation` negates every formula, one at a time.

A row is held by the examples of tests/rules/test_rules.py (and a test BESIDE them), or, where its
values are complex or its results are no arrays of floats, by the functions of test_complex.py and
test_scipy.py. What none of these notices is printed, and the exit status is 1.
"""

import sys
import time
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from chainad.rules import DEFINED, RULES, decompositions, linear_algebra, scipy_linalg, spectral
from chainad.rules.base import name_of
from chainad.rules.elementwise import displaced
from chainad.testing.mutations import Target, negated, recorded_targets
from tests.api import test_verbs
from tests.rules import test_complex, test_linear_algebra, test_rules, test_scipy, test_spectral

Check = Callable[[], None]

ELSEWHERE: list[Check] = [
    *(
        partial(test_complex.test_complex_values_are_differentiated, case, "auto")
        for case in range(len(test_complex.CASES))
    ),
    *(
        partial(test_scipy.test_wrappers_are_scipy_and_its_derivatives, name, "auto")
        for name in test_scipy.FUNCTIONS
    ),
    test_scipy.test_fourier_transforms_of_scipy_are_those_of_numpy,
    test_scipy.test_integrals_of_airy_functions_are_differentiated,
]

# What decompositions are made of is held by the examples of these.
OF_MATRICES = [f for f in test_rules.ROWS if name_of(f).startswith("np.linalg.")]
# Factors have no derivative: what is cut from them has it.
NO_DERIVATIVE = {
    decompositions.orthogonal_factors,
    decompositions.real_factors,
    decompositions.singular_factors,
    decompositions.symmetric_factors,
    scipy_linalg.symmetric_factors_of_scipy,
}

test_hessians = test_linear_algebra.test_hessians_of_batches_agree_with_differences
test_spectra = test_spectral.test_functions_of_matrices_are_differentiated_whatever_the_gaps
MATRIX, SYMMETRIC = test_spectral.GENERAL["tall"], test_spectral.SYMMETRIC["pairs"]
BESIDE: dict[Callable[..., Any], list[Check]] = {
    np.intersect1d: [
        test_rules.test_an_intersection_moves_with_the_entries_that_are_in_both,
    ],
    linear_algebra.slopes_of_det: [partial(test_hessians, np.linalg.det)],
    linear_algebra.cofactors: [
        test_linear_algebra.test_third_derivatives_of_determinants_are_right_or_refused,
    ],
    **{
        spectral.OF_EIGENVALUES[upper]: [
            partial(test_spectra, test_spectral.EIGENVECTORS[name], SYMMETRIC, True)
        ]
        for upper, name in ((False, "columns"), (True, "upper"))
    },
    **{
        spectral.OF_SINGULAR_VALUES[is_transposed]: [
            partial(test_spectra, test_spectral.SINGULAR_VECTORS[name], MATRIX, False)
        ]
        for is_transposed, name in ((False, "columns"), (True, "pseudo-inverse"))
    },
    displaced: [
        test_verbs.test_products_are_differentiated_again,
    ],
}


def checks_of(function: Callable[..., Any]) -> Iterable[Check]:
    """Return what holds the row of a function."""
    if function in test_rules.FACTORS:
        return chain.from_iterable(map(checks_of, OF_MATRICES))
    if function in test_rules.ELSEWHERE:
        return BESIDE.get(function, ELSEWHERE)
    examples = test_rules.EXAMPLES[function]
    found = [partial(test_rules.check, function, example) for example in examples]
    return [*found, *BESIDE.get(function, [])]


def fails(check: Check) -> bool:
    try:
        check()
    except AssertionError:  # anything else would be the mutant's own fault
        return True
    return False


def targets_of(function: Callable[..., Any]) -> dict[Target, list[Check]]:
    """Return the formulas of a row, and which checks need each."""
    found: dict[Target, list[Check]] = {}
    for check in checks_of(function):
        with recorded_targets(function) as targets:
            check()
        for target in targets:
            found.setdefault(target, []).append(check)
    return found


def survivors(functions: Iterable[Callable[..., Any]]) -> tuple[int, list[str]]:
    """Return how many mutants were tried, and those that nothing notices."""
    tried, found = 0, []
    for function in functions:
        targets = targets_of(function)
        if not targets:
            found.append(f"{name_of(function)}: no check uses it")
        for target, checks in targets.items():
            tried += 1
            with negated(function, target):
                if not any(map(fails, checks)):
                    found.append(f"{name_of(function)}, {target}")
    return tried, found


def main() -> int:
    start = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tried, found = survivors(sorted({*RULES, *DEFINED} - NO_DERIVATIVE, key=name_of))
    seconds = time.monotonic() - start
    print(f"mutation: {tried:,} formulas negated in {seconds:.0f} s, {len(found)} not noticed")
    for line in found:
        print(f"  {line}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
