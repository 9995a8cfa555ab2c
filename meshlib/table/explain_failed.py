"""Failed labels in an explanation: who asked for a name, and why there is no route for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from meshlib.model import Diagnostic
from meshlib.ownership import covering

__all__ = ["failed_notes"]

# Services that are named; one that asks for a host of another is not worth more.
_SHOWN: Final = 5


def failed_notes(diagnostics: Iterable[Diagnostic], name: str) -> list[str]:
    """Notes on the services whose labels ask for `name` (a host in normal form, or a port), or for
    a pattern that matches it, and were not understood: the diagnostic, and its cure.
    """
    asked = {candidate for candidate in covering(name) if candidate == name or candidate[:1] == "*"}
    if "://" not in name:
        asked.add("")  # any host
    found = [one for one in diagnostics if one.names and not asked.isdisjoint(one.names)]
    notes = [_note(one) for one in found[:_SHOWN]]
    if len(found) > _SHOWN:
        notes.append(f"{len(found) - _SHOWN} more labels that ask for it have failed")
    return notes


def _note(found: Diagnostic) -> str:
    where = f", label {found.label}" if found.label else ""
    cure = f" ({found.hint})" if found.hint else ""
    asked = found.names[0] or "any host"
    more = f" and {len(found.names) - 1} more" if len(found.names) > 1 else ""
    return (
        f"{found.service!r} asks for {asked}{more}, but its label is wrong: "
        f"{found.code}{where}: {found.message}{cure}"
    )
