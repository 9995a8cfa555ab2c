"""How a schema reports what is wrong: a catalogue of diagnostics, and the collector of one service.

This module knows no schema; each has its own catalogue.
"""

from __future__ import annotations

from typing import NamedTuple

from meshlib.labels.limits import LabelLimits
from meshlib.labels.suggest import Suggestions
from meshlib.model import Diagnostic, Severity

__all__ = ["DiagnosticKind", "Diagnostics", "LabelDiagnostics", "show"]

# Enough for ten routes in the hint that rewrites a label; a screen cannot show more.
MAX_HINT = 1500
# A label of commas and slips would make far more diagnostics than it has characters worth reading;
# who has mended twenty sees the next ones.
MAX_PER_LABEL = 20


_LIMITS = LabelLimits()


class DiagnosticKind(NamedTuple):
    """A kind of diagnostic: its stable code, how bad it is, and what it means (the line in the
    docs).
    """

    code: str
    severity: Severity
    meaning: str


class Diagnostics:
    """Collects the diagnostics of one service, and which of its labels failed.

    As many diagnostics are kept as `limits` allow; `unreported` counts the others. `suggestions`
    are the service's.
    """

    def __init__(self, service: str, limits: LabelLimits = _LIMITS) -> None:
        self.service = service
        self.suggestions = Suggestions(limits.suggestions)
        self.kept: list[Diagnostic] = []
        self.unreported = 0
        self.failed: set[str] = set()
        self._most = limits.diagnostics

    def keep(self, diagnostic: Diagnostic) -> None:
        """Keep a diagnostic, or count it."""
        if len(self.kept) < self._most:
            self.kept.append(diagnostic)
        else:
            self.unreported += 1

    def label(self, key: str) -> LabelDiagnostics:
        """A collector for the label `key`."""
        return LabelDiagnostics(self, key)


class LabelDiagnostics:
    """Collects what is wrong with one label; an ERROR marks the label as failed."""

    def __init__(self, diagnostics: Diagnostics, key: str) -> None:
        self._diagnostics = diagnostics
        self._count = 0
        self.suggestions = diagnostics.suggestions
        self.key = key
        self.failed = False

    @property
    def hopeless(self) -> bool:
        """Whether the label has failed and nothing more that is found in it would be told."""
        return self.failed and self._count >= MAX_PER_LABEL

    def add(self, kind: DiagnosticKind, message: str, hint: str = "", *, column: int = 0) -> None:
        """Report `kind` at `column` (1-based; 0: the whole label). After 20 a label is only
        marked, and so it is when the service has no room for more."""
        if kind.severity is Severity.ERROR:
            self.failed = True
            self._diagnostics.failed.add(self.key)
        self._count += 1
        if self._count <= MAX_PER_LABEL:
            self._diagnostics.keep(
                Diagnostic(
                    kind.code,
                    kind.severity,
                    self._diagnostics.service,
                    self.key,
                    message,
                    _printable(hint),
                    column,
                )
            )


def _printable(text: str) -> str:
    # Hints repeat the label's text so that it can be copied; a line end or an escape sequence in it
    # must not reach a log.
    if len(text) > MAX_HINT:
        text = text[:MAX_HINT] + "..."
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def show(text: str, limit: int = 60) -> str:
    """`text` quoted, printable and short, for a message; it is somebody else's text."""
    return ascii(text if len(text) <= limit else text[:limit] + "...")
