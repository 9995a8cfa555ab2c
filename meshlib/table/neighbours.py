"""Relations between hosts of a table: services that meet on one host, hosts below the wildcard of
another owner.

Found anew only where something changed, and for all hosts at once when the owner of a wildcard did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from meshlib.decision import TableDecision, TLSDecision
from meshlib.model import Diagnostic, Tenure
from meshlib.ownership import Right
from meshlib.table.compile import Claim, Slot
from meshlib.table.index import HostIndex
from meshlib.table.meetings import find_meetings, find_overlap, overlap_diagnostics

__all__ = ["Neighbours"]


class Neighbours:
    """Relations of all hosts. Never changed; `updated` makes the next one.

    `orphans` are hosts with claims and without a tenure of their own: their owner is found among
    other names.
    """

    __slots__ = ("_meetings", "_overlaps", "orphans")

    def __init__(
        self,
        meetings: Mapping[str, tuple[Diagnostic, ...]] | None = None,
        overlaps: Mapping[str, str] | None = None,
        orphans: frozenset[str] = frozenset(),
    ) -> None:
        self._meetings = meetings if meetings is not None else {}
        self._overlaps = overlaps if overlaps is not None else {}
        self.orphans = orphans

    def updated(
        self,
        touched: Iterable[str],
        http: HostIndex[TableDecision],
        sni: HostIndex[TLSDecision],
        tenures: Mapping[str, Tenure],
        right: Callable[[str], Right],
        *,
        everywhere: bool,
    ) -> Neighbours:
        """The relations after a change of the `touched` hosts. `everywhere`: the owner of a
        wildcard has changed.
        """
        meetings, orphans = dict(self._meetings), set(self.orphans)
        overlaps = {} if everywhere else dict(self._overlaps)
        for host in touched:
            slots = _slots(host, http, sni)
            found = find_meetings(host, slots, right(host)) if slots else ()
            meetings.pop(host, None)
            if found:
                meetings[host] = found
            orphans.discard(host)
            if host not in tenures and (http.has_claims(host) or sni.has_claims(host)):
                orphans.add(host)
        for host in http.sites.keys() | sni.sites.keys() if everywhere else touched:
            overlaps.pop(host, None)
            wildcard = (
                find_overlap(host, tenures) if host in http.sites or host in sni.sites else ""
            )
            if wildcard:
                overlaps[host] = wildcard
        return Neighbours(meetings, overlaps, frozenset(orphans))

    def diagnostics(
        self,
        http: HostIndex[TableDecision],
        sni: HostIndex[TLSDecision],
        tenures: Mapping[str, Tenure],
    ) -> Iterator[Diagnostic]:
        """Diagnostics for the services of each host about others, by host."""
        for host in sorted(self._meetings):
            yield from self._meetings[host]
        leaders: dict[str, Claim] = {}
        for wildcard in set(self._overlaps.values()):
            claims = [slot.claims[0] for slot in _slots(wildcard, http, sni)]
            if claims:
                leaders[wildcard] = min(claims, key=lambda claim: (claim.place, claim.rank))
        yield from overlap_diagnostics(self._overlaps, leaders, tenures)


def _slots(
    host: str, http: HostIndex[TableDecision], sni: HostIndex[TLSDecision]
) -> list[Slot[TableDecision] | Slot[TLSDecision]]:
    return [*http.slots(host), *sni.slots(host)]
