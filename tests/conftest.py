"""Fixtures for all tests, and how properties are tried."""

from hypothesis import HealthCheck, settings

from tests.lab.fixtures import lab, lab_engine

__all__ = ["lab", "lab_engine"]

# No test depends on how busy the machine is: neither an example nor the making of one has a time limit. The rest is as it was
# (Hypothesis has defaults of its own for CI).
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
# For the second and third Python of `make test` (scripts/other-pythons): the first one tries a hundred.
settings.register_profile("few", settings.get_profile("patient"), max_examples=10)
settings.load_profile("patient")
