"""The benchmark of one request measures every case, and the requests do reach the endpoint (it
counts them itself).
"""

import re

import pytest

from tests.benchmarks import one_request


def test_every_case_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert one_request.main(["--rounds", "1", "--requests", "200"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("meshlib ")
    assert [re.sub(r" +[0-9.]+ us$", "", line) for line in lines] == list(one_request.CASES)
