from __future__ import annotations

from meshlib.labels.findings import MAX_HINT, MAX_PER_LABEL, Finding, Findings, show
from meshlib.labels.limits import LabelLimits
from meshlib.model import Diagnostic, Severity

WRONG = Finding("X001", Severity.ERROR, "wrong")
ODD = Finding("X101", Severity.WARNING, "odd")


def test_a_warning_is_kept_and_does_not_fail_the_label() -> None:
    findings = Findings("shop")
    label = findings.label("key")
    label.add(ODD, "message", "hint", column=3)
    assert findings.diagnostics == [
        Diagnostic("X101", Severity.WARNING, "shop", "key", "message", "hint", 3)
    ]
    assert not label.failed
    assert findings.failed == set()


def test_an_error_fails_its_own_label_only() -> None:
    findings = Findings("shop")
    one, other = findings.label("one"), findings.label("other")
    one.add(WRONG, "message")
    assert (one.failed, other.failed, findings.failed) == (True, False, {"one"})


def test_beyond_the_limit_a_label_is_only_marked() -> None:
    findings = Findings("shop")
    label = findings.label("key")
    for _ in range(MAX_PER_LABEL + 5):
        label.add(ODD, "message")
    assert not label.hopeless
    label.add(WRONG, "message")
    assert label.hopeless
    assert len(findings.diagnostics) == MAX_PER_LABEL
    assert findings.failed == {"key"}


def test_hints_are_printable_and_short() -> None:
    findings = Findings("shop")
    findings.label("key").add(ODD, "", "a\n\x1b\ud800\u00e9")
    findings.label("key").add(ODD, "", "x" * (MAX_HINT + 1))
    assert [d.hint for d in findings.diagnostics] == [
        "a\\n\\x1b\\ud800\u00e9",
        "x" * MAX_HINT + "...",
    ]


def test_show_quotes_and_shortens() -> None:
    assert show("a\nb") == "'a\\nb'"
    assert show("abcdef", 3) == "'abc...'"


def test_beyond_the_limit_of_a_service_diagnostics_are_counted_and_labels_marked() -> None:
    findings = Findings("shop", LabelLimits(diagnostics=2))
    for key in "abc":
        findings.label(key).add(WRONG, "message")
    assert ([d.label for d in findings.diagnostics], findings.unreported) == (["a", "b"], 1)
    assert findings.failed == {"a", "b", "c"}


def test_the_labels_of_a_service_share_its_suggestions() -> None:
    findings = Findings("shop", LabelLimits(suggestions=1))
    assert findings.label("a").suggestions.nearest("shp", ("shop",)) == "shop"
    assert findings.label("b").suggestions.nearest("shpo", ("shop",)) is None
