from __future__ import annotations

from meshlib.labels.diagnostics import MAX_HINT, MAX_PER_LABEL, DiagnosticKind, Diagnostics, show
from meshlib.labels.limits import LabelLimits
from meshlib.model import Diagnostic, Severity

WRONG = DiagnosticKind("X001", Severity.ERROR, "wrong")
ODD = DiagnosticKind("X101", Severity.WARNING, "odd")


def test_a_warning_is_kept_and_does_not_fail_the_label() -> None:
    diagnostics = Diagnostics("shop")
    label = diagnostics.label("key")
    label.add(ODD, "message", "hint", column=3)
    assert diagnostics.kept == [
        Diagnostic("X101", Severity.WARNING, "shop", "key", "message", "hint", 3)
    ]
    assert not label.failed
    assert diagnostics.failed == set()


def test_an_error_fails_its_own_label_only() -> None:
    diagnostics = Diagnostics("shop")
    one, other = diagnostics.label("one"), diagnostics.label("other")
    one.add(WRONG, "message")
    assert (one.failed, other.failed, diagnostics.failed) == (True, False, {"one"})


def test_beyond_the_limit_a_label_is_only_marked() -> None:
    diagnostics = Diagnostics("shop")
    label = diagnostics.label("key")
    for _ in range(MAX_PER_LABEL + 5):
        label.add(ODD, "message")
    assert not label.hopeless
    label.add(WRONG, "message")
    assert label.hopeless
    assert len(diagnostics.kept) == MAX_PER_LABEL
    assert diagnostics.failed == {"key"}


def test_hints_are_printable_and_short() -> None:
    diagnostics = Diagnostics("shop")
    diagnostics.label("key").add(ODD, "", "a\n\x1b\ud800\u00e9")
    diagnostics.label("key").add(ODD, "", "x" * (MAX_HINT + 1))
    assert [d.hint for d in diagnostics.kept] == [
        "a\\n\\x1b\\ud800\u00e9",
        "x" * MAX_HINT + "...",
    ]


def test_show_quotes_and_shortens() -> None:
    assert show("a\nb") == "'a\\nb'"
    assert show("abcdef", 3) == "'abc...'"


def test_beyond_the_limit_of_a_service_diagnostics_are_counted_and_labels_marked() -> None:
    diagnostics = Diagnostics("shop", LabelLimits(diagnostics=2))
    for key in "abc":
        diagnostics.label(key).add(WRONG, "message")
    assert ([d.label for d in diagnostics.kept], diagnostics.unreported) == (["a", "b"], 1)
    assert diagnostics.failed == {"a", "b", "c"}


def test_the_labels_of_a_service_share_its_suggestions() -> None:
    diagnostics = Diagnostics("shop", LabelLimits(suggestions=1))
    assert diagnostics.label("a").suggestions.nearest("shp", ("shop",)) == "shop"
    assert diagnostics.label("b").suggestions.nearest("shpo", ("shop",)) is None
