"""`RoutingTable`: decisions for request heads, TLS hellos and ports, compiled from a snapshot.

Precedence of routes: an exact host before a wildcard (longer before shorter) before the catch-all;
then the longest path prefix, on the boundaries of segments. When no route of a host matches the
path, the next less specific host is tried, so "*.example.com" serves what "shop.example.com/api"
leaves over, if both are of one owner: a host is its owner's with all paths and both schemes
(`gets_the_rest`). A host whose route matches but has no ready endpoint is an end: 503, never
somebody else's service.

A path that servers may read in several ways (`meshlib.table.paths`) is matched in all of them,
where there is more than one decision to choose from; if they disagree the decision is 400
"ambiguous_path".

`Snapshot.tenures` (`meshlib.ownership`) holds the owners of hosts and ports; claims of others are
not admitted.

A table never changes after it is built (except for a bounded cache of raw authorities). Use it from
one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TypeVar

from meshlib.authority import host_of, is_ip_address, normalize_host
from meshlib.decision import (
    PortDecision,
    Refuse,
    Reject,
    Respond,
    TableDecision,
    Terminate,
    TLSDecision,
)
from meshlib.errors import AuthorityError
from meshlib.ledger import Ledger, changes
from meshlib.messages import ClientHello, RequestHead
from meshlib.model import Diagnostic, ListeningPort, Route, Scheme, Snapshot, Tenure, Upstream
from meshlib.ownership import OwnershipRules, Right, changed_tenures, right_of
from meshlib.patterns import host_specificity
from meshlib.table.access import Barred, divide, gets_the_rest
from meshlib.table.compile import Claim, Site, Slot
from meshlib.table.decisions import decide_http
from meshlib.table.index import Chain
from meshlib.table.indexes import Indexes
from meshlib.table.neighbours import Neighbours
from meshlib.table.paths import has_other_readings, most_readings, readings
from meshlib.table.telling import first_of_each_service
from meshlib.table.terms import NO_TERMS, Terms
from meshlib.table.touched import Touched
from meshlib.table.unknown_hooks import unknown_hooks
from meshlib.upstream_key import UpstreamKey

__all__ = ["RoutingTable"]

# Cache of raw authorities: other spellings ("SHOP.example.com.", with a port) of the hosts in use.
# Clients choose them, so there is a bound; when it is reached the cache starts anew, which costs
# each host one slow look-up.
_CACHE_ENTRIES = 4096
# A host has at most 253 characters, then a dot, a colon and five digits; what is longer is wrong,
# and not kept.
_CACHE_LENGTH = 262

_BAD_AUTHORITY = Respond(400, "bad_authority")
_AMBIGUOUS_PATH = Respond(400, "ambiguous_path")
_NO_NAME = Reject(112, "no_route")
_BAD_NAME = Reject(112, "bad_server_name")
_NOBODYS_PORT = Refuse("no_route")

D = TypeVar("D")


class RoutingTable:
    """Decisions as the module describes them. Make one with `build`.

    `snapshot` is what it was built from; `compiled_hosts` counts the (scheme, host) that were
    compiled anew for it.
    """

    __slots__ = (
        "_chains",
        "_diagnostics",
        "_exact",
        "_http",
        "_routes",
        "_sni",
        "_unmatched",
        "compiled_hosts",
        "hooks",
        "https_port",
        "indexes",
        "neighbours",
        "retry_after",
        "rules",
        "snapshot",
        "tenures",
        "unmatched_status",
    )

    def __init__(self, terms: Terms = NO_TERMS) -> None:
        self.snapshot = Snapshot()
        self.tenures: Mapping[str, Tenure] = {}
        self.unmatched_status, self.retry_after, self.https_port, self.rules, self.hooks = terms
        self.compiled_hosts = 0
        # A 503 asks the client to come back, whatever its cause.
        again = self.retry_after if self.unmatched_status == 503 else None
        self._unmatched = Respond(self.unmatched_status, "no_route", again)
        self.indexes = Indexes()
        self._http, self._sni = self.indexes.http, self.indexes.sni
        self.neighbours = Neighbours()
        self._exact: dict[bytes, Site[TableDecision]] = {}
        self._chains: dict[bytes, Chain[TableDecision]] = {}
        self._routes: tuple[Route, ...] | None = None
        self._diagnostics: tuple[Diagnostic, ...] | None = None

    def __repr__(self) -> str:
        count = len(self.indexes.ports.slots)
        ports = f", {count} ports" if count else ""
        hosts = f"{len(self._http.sites)} http hosts, {len(self._sni.sites)} sni hosts"
        return f"<RoutingTable {hosts}{ports}>"

    @staticmethod
    def build(
        snapshot: Snapshot,
        previous: RoutingTable | None = None,
        *,
        unmatched_status: int = 404,
        retry_after: int = 1,
        https_port: int = 443,
        rules: OwnershipRules | None = None,
        hooks: frozenset[str] = frozenset(),
    ) -> RoutingTable:
        """The table of `snapshot`; the same, however it was reached. `previous` stays as it is and
        in use.

        With a `previous` of the same settings only hosts of contributions that changed, or whose
        owner did, are compiled; everything else is shared with it. `unmatched_status` is for
        requests that no route matches; `retry_after` (seconds) goes with 503; `https_port`, as
        clients see it, is where routes that require TLS send them; `hooks` are those that routes
        may name. A snapshot without tenures counts as the first one: the oldest claims have their
        names.
        """
        rules = rules or OwnershipRules()
        terms = Terms(unmatched_status, retry_after, https_port, rules, hooks)
        table = RoutingTable(terms)
        base = (
            previous
            if previous is not None and previous._terms() == terms
            else RoutingTable(NO_TERMS._replace(rules=rules))
        )
        gone, come = changes(base.snapshot.contributions, snapshot.contributions)
        table.snapshot = snapshot
        known = snapshot.tenures
        table.tenures = (
            known
            if known is not None
            else Ledger(table.rules).updated(snapshot.contributions, 0).tenures
        )
        touched = Touched(gone, come)
        renamed = table._changed_names(base)
        touched.add_names(renamed, base._http, base._sni, base.indexes.ports)
        table._compile(base, touched)
        everywhere = any(name.startswith("*") for name in renamed)
        table.neighbours = base.neighbours.updated(
            touched.hosts,
            table._http,
            table._sni,
            table.tenures,
            table.right,
            everywhere=everywhere,
        )
        return table

    def _terms(self) -> Terms:
        own = self.unmatched_status, self.retry_after, self.https_port, self.rules, self.hooks
        return Terms(*own)

    def _changed_names(self, base: RoutingTable) -> set[str]:
        """Names whose owner, or whose guests, are not what they were in `base`."""
        found = changed_tenures(base.tenures, self.tenures)
        if found:
            for host in base.neighbours.orphans:
                if base.right(host).key != self.right(host).key:
                    found.add(host)
        return found

    def right(self, name: str) -> Right:
        """Right to `name`: a host pattern, "" for any host, or a port as text."""
        return right_of(name, self.tenures, self.rules)

    def _divide(self, name: str, claims: Sequence[Claim]) -> tuple[list[Claim], Barred | None]:
        return divide(name, claims, self.right(name), self.rules)

    def _compile(self, base: RoutingTable, touched: Touched) -> None:
        self.compiled_hosts = len(touched.http) + len(touched.sni)
        decide = partial(
            decide_http,
            retry_after=self.retry_after,
            https_port=self.https_port,
            hooks=self.hooks,
        )
        self.indexes = base.indexes.updated(touched, decide, self._divide)
        self._http, self._sni = self.indexes.http, self.indexes.sni
        self._exact = dict(base._exact)
        for host in touched.http:
            if not host.startswith("*"):
                raw = (f"[{host}]" if ":" in host else host).encode()
                site = self._http.sites.get(host)
                if site is None:
                    self._exact.pop(raw, None)
                else:
                    self._exact[raw] = site

    def route(self, head: RequestHead) -> TableDecision:
        """The decision for a request; never raises.

        `Respond` has the reason "bad_authority" (400), "ambiguous_path" (400), "no_route" or
        "no_endpoint" (503). A request without authority (HTTP/1.0) can only match the catch-all.
        The target "*" matches routes of the path "/".
        """
        site = self._exact.get(head.authority)
        if site is not None:
            decision = site.only
            if decision is not None:
                return decision
        chain = self._chains.get(head.authority)
        if chain is None:
            chain = self._learn(head.authority)
        decision = chain.only
        return decision if decision is not None else self._by_path(chain, head.target)

    def _learn(self, authority: bytes) -> Chain[TableDecision]:
        try:
            host = self._host(authority)
            chain = Chain(self._of_one_hand(host, self._http.matching(host)), self._unmatched)
        except AuthorityError:
            chain = Chain((), _BAD_AUTHORITY)
        if len(authority) <= _CACHE_LENGTH:
            if len(self._chains) >= _CACHE_ENTRIES:
                self._chains.clear()
            self._chains[authority] = chain
        return chain

    def _host(self, authority: bytes) -> str:
        exact = self._exact
        site = exact.get(authority)
        if site is None:
            name, _, port = authority.rpartition(b":")
            if name and len(port) <= 5 and port.isdigit() and 0 < int(port) <= 65535:
                site = exact.get(name)
        return site.host if site is not None else host_of(authority)

    def _by_path(self, chain: Chain[TableDecision], target: bytes) -> TableDecision:
        path = target.partition(b"?")[0]
        if not has_other_readings(path):
            return chain.match(path) or self._unmatched
        ways = readings(path)
        decision = chain.match(ways[0])
        if len(ways) > 1:
            if len(ways) > most_readings(path):
                return _AMBIGUOUS_PATH
            for way in ways:
                if chain.match(way) is not decision:
                    return _AMBIGUOUS_PATH
        return decision or self._unmatched

    def route_tls(
        self, hello: ClientHello, terminates: Callable[[str], bool] | None = None
    ) -> TLSDecision:
        """The decision for a TLS connection; never raises.

        A hello without a name can only match the catch-all. An invalid name (RFC 6066 3: an address
        is not permitted) is rejected and does not count as no name: what follows would be meant for
        a host that we do not know.

        `terminates` says whether there is a certificate for a name (normal form; "" for no name);
        None: TLS is never terminated. With it, the hosts of HTTP routes count too: the most
        specific pattern wins, and of two alike the one that passes TLS through.
        """
        name = hello.server_name
        if not hello.server_name_valid:
            return _BAD_NAME
        if name is not None:
            # Nearly always a name that somebody wants as it is. Keys are in normal form; those of
            # wildcards and catch-alls are not names.
            site = self._sni.sites.get(name)
            if site is not None and site.root is not None and name and name[0] != "*":
                return site.root
            try:
                name = normalize_host(name)
            except AuthorityError:
                return _BAD_NAME
            if is_ip_address(name):
                return _BAD_NAME
        sites = self._of_one_hand(name or "", self._sni.matching(name or ""))
        passed: Site[TLSDecision] | None = next(iter(sites), None)
        if terminates is not None and (passed is None or passed.host != name):
            ended = self._terminated(name or "", passed, terminates)
            if ended is not None:
                return ended
        return passed.root if passed is not None and passed.root is not None else _NO_NAME

    def _terminated(
        self, name: str, passed: Site[TLSDecision] | None, terminates: Callable[[str], bool]
    ) -> TLSDecision | None:
        if not name:
            # Which host is meant shows in the requests; a catch-all for TLS as it is takes
            # precedence, as with any pattern.
            return Terminate("") if passed is None and self._http.sites and terminates("") else None
        sites = self._of_one_hand(name, self._http.matching(name))
        if not sites or (
            passed is not None and host_specificity(sites[0].host) <= host_specificity(passed.host)
        ):
            return None
        route = sites[0].slots[-1].route
        if terminates(name):
            return Terminate(name, route)
        return Reject(112, "no_certificate", route) if passed is None else None

    def route_port(self, port: ListeningPort) -> PortDecision:
        """The decision for what comes to `port`; never raises."""
        slot = self.indexes.ports.slots.get(port)
        return slot.decision if slot is not None else _NOBODYS_PORT

    @property
    def ports(self) -> Mapping[ListeningPort, Slot[PortDecision]]:
        """Every port that some route has for itself, with all claims on it."""
        return MappingProxyType(self.indexes.ports.slots)

    def matching(
        self, scheme: Scheme, host: str
    ) -> Sequence[Site[TableDecision]] | Sequence[Site[TLSDecision]]:
        """Every site that may serve `host` (normal form, "" for none), most specific first. For
        explanations.
        """
        if scheme is Scheme.HTTP:
            return self._of_one_hand(host, self._http.matching(host))
        return self._of_one_hand(host, self._sni.matching(host))

    def _of_one_hand(self, host: str, sites: list[Site[D]]) -> list[Site[D]]:
        """Those of the `sites` that match `host` that its owner lets have it (`gets_the_rest`)."""
        if not sites or (sites[0].host == host and sites[0].root is not None):
            return sites
        http, sni = self._http.matching(host), self._sni.matching(host)
        of_http = not sni or (
            http and host_specificity(http[0].host) >= host_specificity(sni[0].host)
        )
        named, leader = (http[0].host, http[0].leader) if of_http else (sni[0].host, sni[0].leader)
        right = self.right(named)
        return [
            site
            for site in sites
            if site.host == named or gets_the_rest(leader, right, site.leader, self.rules)
        ]

    @property
    def upstreams(self) -> Mapping[UpstreamKey, Upstream]:
        """Every upstream of a winning route by key, merged ones under keys of their own."""
        return MappingProxyType(self.indexes.upstreams)

    @property
    def routes(self) -> tuple[Route, ...]:
        """The winning routes, with merged upstreams: http before sni, by host, then the most
        specific path first; ports last.
        """
        if self._routes is None:
            self._routes = tuple(r for slot in self.indexes.slots() for r in slot.routes)
        return self._routes

    @property
    def owners(self) -> tuple[str, ...]:
        """Owner of each of `routes`, in their order (`Contribution.owner`)."""
        return tuple(s.claims[0].owner for s in self.indexes.slots() for _ in s.routes)

    def barred(self, scheme: Scheme, name: str) -> Barred | None:
        """Claims of `scheme` on a host pattern, or on the number of a port, that are not admitted;
        None for none.
        """
        return self.indexes.barred(scheme, name)

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Everything that is wrong: first what the labels' schemas found, in order of
        contributions; then the conflicts, in the order of `routes`; last the services that meet, by
        host, and hooks that nobody may name. Of each service's the first 100
        (`meshlib.table.telling`).
        """
        if self._diagnostics is None:
            conflicts = [
                *self.indexes.diagnostics(),
                *self.neighbours.diagnostics(self._http, self._sni, self.tenures),
                *unknown_hooks(self.routes, self.hooks),
            ]
            self._diagnostics = (*self.snapshot.diagnostics, *first_of_each_service(conflicts))
        return self._diagnostics
