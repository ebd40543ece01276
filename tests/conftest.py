"""One fixed hypothesis profile, so that every run draws the same examples.

`pytest --hypothesis-profile=thorough` draws many new ones.
"""

import os
import sys
from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, settings

# Threads of BLAS spin on small matrices, beside the workers of xdist; it reads this as NumPy loads.
assert "numpy" not in sys.modules
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Plans are printed as wide as the terminal.
os.environ["COLUMNS"] = "100"

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile(
    "fixed",
    max_examples=30,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=SLOW,
)
settings.register_profile(
    "thorough", max_examples=400, deadline=None, database=None, suppress_health_check=SLOW
)
settings.load_profile("fixed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked as needing an extra, or that nobody traces, where that does not hold."""
    is_traced = sys.gettrace() is not None
    lacks = {
        "numba": find_spec("numba") is None,
        "plot": find_spec("matplotlib") is None,
        "counts_instructions": is_traced,
    }
    for item in items:
        for marker, is_lacking in lacks.items():
            if is_lacking and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=marker))
