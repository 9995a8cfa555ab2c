"""The catalogue is complete, and the table in docs/labels.md says the same."""

from __future__ import annotations

import re
from pathlib import Path

from meshlib.labels import codes
from meshlib.labels.diagnostics import DiagnosticKind
from meshlib.model import Severity

DOCS = Path(__file__).parents[3] / "docs" / "labels.md"
ROW = re.compile(r"^\| (HRM\d{3}) \| (\w+) \| (.+?) \|$", re.MULTILINE)


def test_every_kind_is_in_the_catalogue_once() -> None:
    kinds = [value for value in vars(codes).values() if isinstance(value, DiagnosticKind)]
    assert sorted(kinds) == sorted(codes.CATALOGUE)
    assert len({kind.code for kind in kinds}) == len(kinds)


def test_the_first_digit_says_how_bad_it_is() -> None:
    by_digit = {"0": Severity.ERROR, "1": Severity.WARNING, "2": Severity.INFO}
    assert all(by_digit[kind.code[3]] is kind.severity for kind in codes.CATALOGUE)


def test_the_table_in_the_documentation_is_the_catalogue() -> None:
    rows = ROW.findall(DOCS.read_text("utf-8"))
    assert rows == [(f.code, f.severity.value, f.meaning) for f in codes.CATALOGUE]
