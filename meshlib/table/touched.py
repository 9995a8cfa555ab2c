"""Hosts and ports that a change touches: they have to be compiled anew, each with the claims that
are new there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from meshlib.decision import TableDecision, TLSDecision
from meshlib.model import Contribution, ListeningPort, Route, Scheme
from meshlib.table.compile import Claim, claims_of
from meshlib.table.index import HostIndex
from meshlib.table.ports import PortIndex

__all__ = ["Touched"]


class Touched:
    """Touched names: `http` and `sni` by host pattern, `ports` by port; a host that only loses
    claims has none here.

    `gone` are the contributions whose claims no longer count (`changed` has their keys), `come`
    those whose claims are new.
    """

    __slots__ = ("changed", "http", "ports", "sni")

    def __init__(self, gone: Iterable[Contribution], come: Iterable[Contribution]) -> None:
        self.http: Final[dict[str, list[Claim]]] = {}
        self.sni: Final[dict[str, list[Claim]]] = {}
        self.ports: Final[dict[ListeningPort, list[Claim]]] = {}
        gone = tuple(gone)
        self.changed: Final = frozenset(contribution.key for contribution in gone)
        for contribution in gone:
            for route in contribution.routes:
                self._claims(route)
        for contribution in come:
            for claim in claims_of(contribution):
                self._claims(claim.route).append(claim)

    @property
    def hosts(self) -> set[str]:
        """The host patterns of both schemes."""
        return self.http.keys() | self.sni.keys()

    def add_names(
        self,
        names: Iterable[str],
        http: HostIndex[TableDecision],
        sni: HostIndex[TLSDecision],
        ports: PortIndex,
    ) -> None:
        """Touch `names` (`Route.claimed_name`) as well, wherever there were claims before."""
        for name in names:
            if http.has_claims(name):
                self.http.setdefault(name, [])
            if sni.has_claims(name):
                self.sni.setdefault(name, [])
            for port in ports.named(name):
                self.ports.setdefault(port, [])

    def _claims(self, route: Route) -> list[Claim]:
        port = route.listening_port
        if port is not None:
            return self.ports.setdefault(port, [])
        return (self.http if route.scheme is Scheme.HTTP else self.sni).setdefault(route.host, [])
