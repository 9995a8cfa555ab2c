"""Fixtures for all tests, how properties are tried, and that nothing is skipped where CI says
so.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

from tests.lab.fixtures import lab, lab_engine

__all__ = ["lab", "lab_engine"]

# No test depends on how busy the machine is: neither an example nor the making of one has a time
# limit. The rest is as it was (Hypothesis has defaults of its own for CI).
settings.register_profile(
    "patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
# For the second and third Python of `make test` (scripts/other-pythons): the first one tries a
# hundred.
settings.register_profile("few", settings.get_profile("patient"), max_examples=10)
settings.load_profile("patient")

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def _fail_if_skipped(report: Report) -> Report:
    # Whatever the test itself says of a part that is missing: a run with CI set has all parts, or
    # it proves less than it seems to.
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = (
            f"{report.nodeid} may not be skipped where CI is set: {report.longreprtext}"
        )
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _fail_if_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _fail_if_skipped((yield))
