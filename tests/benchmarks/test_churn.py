"""The churn program in a short form: nobody gets a response of another's task while tasks are
replaced, and every change is seen.
"""

from __future__ import annotations

import json
import os

import pytest

from tests.benchmarks.churn import missing, run_apart


def test_no_response_is_wrong_while_tasks_are_replaced() -> None:
    if lack := missing():
        if os.environ.get("CI"):
            pytest.fail(lack)
        pytest.skip(lack)
    done = run_apart(["--routes=300", "--changes=50", "--seconds=3", "--rate=100", "--json"])
    assert done.returncode == 0, done.stdout
    counts = json.loads(done.stdout)
    assert counts["wrong"] == []
    assert counts["changes"] > 100
    assert counts["visible"] > 10
    assert counts["unseen"] == 0
    assert counts["asked"] > 50
