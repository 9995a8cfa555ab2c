"""The catalogue of a file's diagnostics, and their collector."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import pytest

from meshlib.discovery.files import diagnostics as file_diagnostics
from meshlib.discovery.files.diagnostics import (
    BAD_ENDPOINT,
    CATALOGUE,
    MAX_DIAGNOSTICS,
    FileDiagnostics,
    show_value,
)
from meshlib.discovery.files.sources import Tagged
from meshlib.labels.diagnostics import DiagnosticKind
from meshlib.model import Diagnostic, Severity

DOCS = Path(__file__).parents[4] / "docs" / "labels.md"


def test_catalogue_is_complete_with_codes_by_severity() -> None:
    constants = [
        value for value in vars(file_diagnostics).values() if isinstance(value, DiagnosticKind)
    ]
    assert sorted(constants) == sorted(CATALOGUE)
    codes = [kind.code for kind in CATALOGUE]
    assert codes == sorted(set(codes))
    by_severity = {"0": Severity.ERROR, "1": Severity.WARNING, "2": Severity.INFO}
    assert [kind.severity for kind in CATALOGUE] == [by_severity[code[3]] for code in codes]


def test_the_table_in_the_documentation_is_the_catalogue() -> None:
    rows = re.findall(r"^\| (SVC\d+) \| (\w+) \| (.+) \|$", DOCS.read_text("utf-8"), re.MULTILINE)
    assert rows == [(kind.code, kind.severity.value, kind.meaning) for kind in CATALOGUE]


def test_a_mistake_becomes_a_diagnostic_with_its_place() -> None:
    diagnostics = FileDiagnostics("shop")
    diagnostics.add(BAD_ENDPOINT, "services.shop.endpoints[0]", "message", "hint")
    assert diagnostics.kept == [
        Diagnostic(
            "SVC005", Severity.ERROR, "shop", "services.shop.endpoints[0]", "message", "hint"
        )
    ]


def test_not_more_than_can_be_read() -> None:
    diagnostics = FileDiagnostics("shop")
    for n in range(1000):
        diagnostics.add(BAD_ENDPOINT, f"{n}", "", "")
    assert [diagnostic.label for diagnostic in diagnostics.kept] == [
        str(n) for n in range(MAX_DIAGNOSTICS)
    ]


def test_unknown_keys_with_what_was_meant() -> None:
    diagnostics = FileDiagnostics("shop")
    document = {"labels": 1, "x-team": 1, "endpoint": 1, "qqqqqqqq": 1, 5: 1, "a\nb" * 50: 1}
    diagnostics.unknown_keys(document, ("labels", "endpoints"), "services.shop")
    diagnostics.unknown_keys("no mapping", ("labels",), "services.shop")
    assert [(d.code, d.label, d.message, d.hint) for d in diagnostics.kept[:3]] == [
        ("SVC101", "services.shop", "the key 'endpoint' is not known", "did you mean endpoints?"),
        (
            "SVC101",
            "services.shop",
            "the key 'qqqqqqqq' is not known",
            "known are labels, endpoints",
        ),
        ("SVC101", "services.shop", "the key '5' is not known", "known are labels, endpoints"),
    ]
    assert len(diagnostics.kept) == 4
    many = tuple(f"key{n}" for n in range(30))
    diagnostics.unknown_keys({"qqqqqqqq": 1}, many, "services.shop")
    assert diagnostics.kept[4].hint == "leave it out, or begin it with x-"
    assert "\n" not in diagnostics.kept[3].message


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a\nb", "'a\\nb'"),
        (None, "nothing"),
        (True, "true"),
        (False, "false"),
        ({1: 2}, "a mapping"),
        ([1], "a list"),
        (80, "'80'"),
        pytest.param(16**5000, "a huge number", id="huge"),
        (1.5, "'1.5'"),
        (Tagged("!vault", "secret"), "a value with the tag '!vault'"),
        (datetime.date(2026, 1, 2), "'2026-01-02'"),
    ],
)
def test_values_are_shown_short(value: object, shown: str) -> None:
    assert show_value(value) == shown


def test_a_crowd_of_unknown_keys_is_not_compared_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[str] = []
    monkeypatch.setattr(file_diagnostics, "nearest", lambda word, known: compared.append(word))
    diagnostics = FileDiagnostics("shop")
    diagnostics.unknown_keys({f"lables{n}": 1 for n in range(10_000)}, ("labels",), "services.shop")
    assert len(diagnostics.kept) == len(compared) == MAX_DIAGNOSTICS
