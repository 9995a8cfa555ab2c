"""Index of all sites of one scheme by host: exact, then wildcards from longer to shorter, then the
catch-all.

A look-up walks the labels of the host, never the sites: it costs the same however many there are.
An index is never changed; `updated` makes the next one. This module knows nothing of requests and
paths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import islice
from typing import Final, Generic, TypeVar

from meshlib.model import Diagnostic, Upstream
from meshlib.table.access import Barred, Divide
from meshlib.table.compile import Claim, Decide, Site, Slot, compile_site

__all__ = ["Chain", "HostIndex"]

D = TypeVar("D")

_RUN: Final = 4096  # hosts that are sorted at once


class Chain(Generic[D]):
    """Sites that may serve one host, most specific first, up to the first that takes every path.

    `only` is the decision when the path cannot change it, else None.
    """

    __slots__ = ("only", "sites")

    def __init__(self, sites: Iterable[Site[D]], unmatched: D) -> None:
        kept: list[Site[D]] = []
        for site in sites:
            kept.append(site)
            if site.root is not None:
                break
        self.sites = tuple(kept)
        self.only: D | None = kept[0].only if kept else unmatched

    def match(self, path: bytes) -> D | None:
        """The decision for `path` of the first site that has one; None: nothing matches."""
        for site in self.sites:
            decision = site.match(path)
            if decision is not None:
                return decision
        return None


class HostIndex(Generic[D]):
    """Sites by host pattern. `conflicts` has the diagnostics of sites that have any, `barred` what
    is not admitted.
    """

    __slots__ = ("barred", "conflicts", "sites")

    def __init__(
        self,
        sites: dict[str, Site[D]],
        conflicts: dict[str, tuple[Diagnostic, ...]],
        barred: dict[str, Barred] | None = None,
    ) -> None:
        self.sites = sites
        self.conflicts = conflicts
        self.barred: dict[str, Barred] = barred if barred is not None else {}

    def matching(self, host: str) -> list[Site[D]]:
        """Every site whose pattern matches `host` (normal form, "" for none), most specific
        first.
        """
        sites = self.sites
        found = [sites.get(host)] if host else []
        dot = host.find(".")
        while dot >= 0:
            found.append(sites.get(f"*{host[dot:]}"))
            dot = host.find(".", dot + 1)
        found.append(sites.get(""))
        return [site for site in found if site is not None]

    def updated(
        self,
        touched: Mapping[str, Sequence[Claim]],
        changed: frozenset[str],
        decide: Decide[D],
        intern: Callable[[Upstream], Upstream],
        divide: Divide,
    ) -> HostIndex[D]:
        """The index after a change: `touched` has the new claims of each host concerned, `changed`
        the keys of the contributions whose old claims no longer count. Sites of other hosts are the
        same objects. `divide` decides who is admitted.
        """
        sites = dict(self.sites)
        conflicts = dict(self.conflicts)
        barred = dict(self.barred)
        for host, new in touched.items():
            previous = sites.get(host)
            claims = [*new]
            if previous is not None:
                claims += [
                    c
                    for slot in previous.slots
                    for c in slot.claims
                    if c.contribution not in changed
                ]
            kept_out = barred.pop(host, None)
            if kept_out is not None:
                claims += [c for c in kept_out.claims if c.contribution not in changed]
            conflicts.pop(host, None)
            admitted, left = divide(host, claims)
            if left is not None:
                barred[host] = left
            diagnostics = left.diagnostics if left is not None else ()
            if admitted:
                site = sites[host] = compile_site(host, admitted, decide, intern, previous)
                diagnostics += site.diagnostics
            else:
                sites.pop(host, None)
            if diagnostics:
                conflicts[host] = diagnostics
        return HostIndex(sites, conflicts, barred)

    def has_claims(self, host: str) -> bool:
        """Whether somebody asks for `host`, admitted or not."""
        return host in self.sites or host in self.barred

    def slots(self, host: str) -> tuple[Slot[D], ...]:
        """The slots of the site `host`; none when there is no such site."""
        site = self.sites.get(host)
        return site.slots if site is not None else ()

    def upstreams(self, host: str) -> list[Upstream]:
        """The upstreams of the slots of the site `host`; none when there is no such site."""
        return [slot.upstream for slot in self.slots(host) if slot.upstream is not None]

    def ordered(self) -> Iterator[Slot[D]]:
        """All slots, by host, then the most specific path first."""
        for host in _in_order(self.sites):
            yield from self.sites[host].slots

    def diagnostics(self) -> Iterator[Diagnostic]:
        """Diagnostics of conflicts, in the order of `ordered`."""
        for host in _in_order(self.conflicts):
            yield from self.conflicts[host]


def _in_order(hosts: Iterable[str]) -> Iterator[str]:
    # As sorted() does it, but never for long at once: one call for 100,000 hosts would hold up
    # every other thread.
    rest = iter(hosts)
    runs: list[list[str]] = []
    while run := sorted(islice(rest, _RUN)):
        runs.append(run)
    return merge(*runs) if len(runs) > 1 else iter(runs[0] if runs else [])
