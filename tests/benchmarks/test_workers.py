"""The measurement of workers measures: one short round of each kind."""

from __future__ import annotations

import os
import re
import shutil

import pytest

from tests.benchmarks import workers


@pytest.fixture(autouse=True)
def _parts() -> None:
    missing = [
        name
        for name in ("wrk", "nginx")
        if shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None
    ]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def test_one_second_with_one_and_two_workers(capsys: pytest.CaptureFixture[str]) -> None:
    assert workers.main(["--rounds", "1", "--seconds", "1", "--restarts", "1"]) == 0
    said = capsys.readouterr().out
    assert [
        int(count) for count in re.findall(r"^ +(\d+) +\d+ +[\d.]+ +[\d.]+$", said, re.MULTILINE)
    ] == [1, 2]
    assert "s of 1\n" in said


def test_a_gateway_that_does_not_serve_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHLIB_BENCH_COMMAND", "{python} -c pass")
    assert workers.main(["--rounds", "1", "--seconds", "1", "--restarts", "0"]) == 2
    assert "ended with 0" in capsys.readouterr().err
