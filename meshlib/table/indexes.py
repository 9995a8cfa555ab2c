"""Indexes of a routing table: sites of hosts for HTTP and TLS, slots of ports, and the upstreams
that their routes use.

Indexes are never changed; `updated` makes the next ones, and shares with them all that did not
change. Built when the table is compiled; a request does not pass through here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from meshlib.decision import PortDecision, TableDecision, TLSDecision
from meshlib.model import Diagnostic, ListeningPort, Scheme, Upstream
from meshlib.table.access import Barred, Divide
from meshlib.table.compile import Decide, Slot
from meshlib.table.decisions import decide_tls
from meshlib.table.index import HostIndex
from meshlib.table.ports import PortIndex
from meshlib.table.touched import Touched
from meshlib.upstream_key import UpstreamKey

__all__ = ["Indexes"]


class Indexes:
    """Indexes for HTTP and TLS by host, and for ports.

    `upstreams` has the upstream of every winning route by key, merged ones under keys of their own.
    """

    __slots__ = ("_uses", "http", "ports", "sni", "upstreams")

    def __init__(self) -> None:
        self.http: HostIndex[TableDecision] = HostIndex({}, {})
        self.sni: HostIndex[TLSDecision] = HostIndex({}, {})
        self.ports = PortIndex({})
        self.upstreams: Final[dict[UpstreamKey, Upstream]] = {}
        # Number of slots that use each.
        self._uses: Final[dict[UpstreamKey, int]] = {}

    def updated(
        self,
        touched: Touched,
        decide: Decide[TableDecision],
        divide: Divide,
    ) -> Indexes:
        """The indexes after a change. Only hosts and ports that are `touched` are compiled; equal
        upstreams are one object, that of these indexes where they have it.

        `decide` makes the decision for requests that match a route; `divide` decides which claims
        are admitted.
        """
        fresh: dict[UpstreamKey, Upstream] = {}

        def intern(upstream: Upstream) -> Upstream:
            key = upstream.key
            known = fresh.get(key) or self.upstreams.get(key)
            result = fresh[key] = upstream if known is None or known != upstream else known
            return result

        changed, made = touched.changed, Indexes()
        made.http = self.http.updated(touched.http, changed, decide, intern, divide)
        made.sni = self.sni.updated(touched.sni, changed, decide_tls, intern, divide)
        made.ports = self.ports.updated(touched.ports, changed, intern, divide)
        upstreams, uses = made.upstreams, made._uses
        upstreams.update(self.upstreams)
        uses.update(self._uses)
        for upstream in made._used_by(touched):
            uses[upstream.key] = uses.get(upstream.key, 0) + 1
            upstreams[upstream.key] = upstream
        for upstream in self._used_by(touched):
            uses[upstream.key] -= 1
            if not uses[upstream.key]:
                del uses[upstream.key], upstreams[upstream.key]
        return made

    def _used_by(self, touched: Touched) -> list[Upstream]:
        hosts = [u for host in touched.http for u in self.http.upstreams(host)]
        hosts += [u for host in touched.sni for u in self.sni.upstreams(host)]
        return hosts + self.ports.upstreams(tuple(touched.ports))

    def slots(self) -> Iterator[Slot[TableDecision] | Slot[TLSDecision] | Slot[PortDecision]]:
        """All slots: those of HTTP, then of TLS, by host and the most specific path first; ports
        last.
        """
        yield from self.http.ordered()
        yield from self.sni.ordered()
        yield from self.ports.ordered()

    def diagnostics(self) -> Iterator[Diagnostic]:
        """Diagnostics of conflicts, in the order of `slots`."""
        yield from self.http.diagnostics()
        yield from self.sni.diagnostics()
        yield from self.ports.diagnostics()

    def barred(self, scheme: Scheme, name: str) -> Barred | None:
        """Claims of `scheme` on a host pattern, or on the number of a port, that are not admitted;
        None for none.
        """
        if scheme in (Scheme.TCP, Scheme.UDP):
            return self.ports.barred.get(ListeningPort(scheme, int(name)))
        return (self.http if scheme is Scheme.HTTP else self.sni).barred.get(name)
