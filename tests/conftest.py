"""One fixed hypothesis profile, so that every run draws the same examples.

`pytest --hypothesis-profile=thorough` draws many new ones.
"""

from hypothesis import HealthCheck, settings

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile(
    "fixed",
    max_examples=80,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=SLOW,
)
settings.register_profile(
    "thorough", max_examples=3000, deadline=None, database=None, suppress_health_check=SLOW
)
settings.load_profile("fixed")
