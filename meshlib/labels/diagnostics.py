"""Kinds of diagnostics, and the collectors of what is wrong with one service and one label.

This module knows no schema; each schema has a catalogue of its own kinds.
"""

from __future__ import annotations

from typing import NamedTuple

from meshlib.labels.asked_names import asked_names
from meshlib.labels.limits import LabelLimits
from meshlib.labels.suggest import Suggestions
from meshlib.model import Diagnostic, Severity

__all__ = ["DiagnosticKind", "Diagnostics", "LabelDiagnostics", "show"]

# Room for ten routes in the hint that rewrites a label; more would not fit on a screen.
MAX_HINT = 1500
# A label of nothing but slips would make more diagnostics than anybody reads; the next ones show
# when these are fixed.
MAX_PER_LABEL = 20


_LIMITS = LabelLimits()


class DiagnosticKind(NamedTuple):
    """A kind of diagnostic: its stable code, its severity, and its meaning as documented."""

    code: str
    severity: Severity
    meaning: str


class Diagnostics:
    """Diagnostics of one service, and the keys of its labels that failed.

    At most as many are `kept` as `limits` allow; `unreported` counts the others. `suggestions` are
    the service's; `blank_hosts` is as in `LabelLimits`.
    """

    def __init__(self, service: str, limits: LabelLimits = _LIMITS) -> None:
        self.service = service
        self.suggestions = Suggestions(limits.suggestions)
        self.blank_hosts = limits.blank_hosts
        self.kept: list[Diagnostic] = []
        self.unreported = 0
        self.failed: set[str] = set()
        self._most = limits.diagnostics

    @property
    def full(self) -> bool:
        """Whether there is no room for more."""
        return len(self.kept) >= self._most

    def keep(self, diagnostic: Diagnostic) -> None:
        """Keep a diagnostic, or count it."""
        if not self.full:
            self.kept.append(diagnostic)
        else:
            self.unreported += 1

    def label(self, key: str, value: str = "") -> LabelDiagnostics:
        """The collector of the label `key`, which has this `value`."""
        return LabelDiagnostics(self, key, value)


class LabelDiagnostics:
    """Diagnostics of one label; one of severity ERROR marks the label as failed."""

    def __init__(self, diagnostics: Diagnostics, key: str, value: str) -> None:
        self._diagnostics = diagnostics
        self._value = value
        self._names: tuple[str, ...] = ()
        self._count = 0
        self.suggestions = diagnostics.suggestions
        self.blank_hosts = diagnostics.blank_hosts
        self.key = key
        self.failed = False

    @property
    def hopeless(self) -> bool:
        """Whether the label has failed and nothing more about it would be reported."""
        return self.failed and self._count >= MAX_PER_LABEL

    def add(self, kind: DiagnosticKind, message: str, hint: str = "", *, column: int = 0) -> None:
        """Report `kind` at `column` (1-based; 0: the whole label).

        After 20 diagnostics, or when the service has no room for more, the label is only marked.
        """
        if kind.severity is Severity.ERROR:
            self.failed = True
            self._diagnostics.failed.add(self.key)
        self._count += 1
        if self._count <= MAX_PER_LABEL:
            names: tuple[str, ...] = ()
            if kind.severity is Severity.ERROR and not self._diagnostics.full:
                names = self._names = self._names or asked_names(self._value)
            self._diagnostics.keep(
                Diagnostic(
                    kind.code,
                    kind.severity,
                    self._diagnostics.service,
                    self.key,
                    message,
                    _printable(hint),
                    column,
                    names,
                )
            )


def _printable(text: str) -> str:
    # A hint repeats text of the label so that it can be copied; a line end or an escape sequence in
    # that text must not reach a log.
    if len(text) > MAX_HINT:
        text = text[:MAX_HINT] + "..."
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def show(text: str, limit: int = 60) -> str:
    """Somebody else's `text` for a message: quoted, printable and short."""
    return ascii(text if len(text) <= limit else text[:limit] + "...")
