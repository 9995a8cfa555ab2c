"""The compiled index: a head or a hello in, a decision out that was made before it was asked for.

Precedence: exact host, then wildcard (more labels first), then catch-all; within a host the longest path prefix. A host
whose routes do not contain the path passes the question on to the next less specific one. One look-up costs the same whatever the number of
hosts: it walks the labels of the name that was asked for, never the routes. Knows nothing of Docker or labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, cast

from meshlib.authority import is_ip_address, normalize_host, parse_authority
from meshlib.decision import Decision, Passthrough, Reject, Respond, TLSDecision
from meshlib.errors import AuthorityError
from meshlib.messages import ClientHello, RequestHead
from meshlib.model import Contribution, Diagnostic, Route, Scheme, Snapshot, Upstream
from meshlib.table.entry import AnyDecision, Claim, HostEntry, compile_host
from meshlib.table.paths import careless_path, equivalent_path, is_plain, path_of

__all__ = ["RoutingTable"]

# Raw forms of a host ("Shop.Example.com:80") whose chain is remembered. Clients of a site use a few; an attacker who invents
# names can only make us begin anew.
MAX_REMEMBERED: Final = 4096

UNRECOGNIZED_NAME: Final = 112  # RFC 8446 6.2

_AMBIGUOUS: Final = Respond(400, "ambiguous_path")
_BAD_AUTHORITY: Final = Respond(400, "bad_authority")


class RoutingTable:
    """Made by `build`, never changed after (a memo apart). `compiled` counts the hosts compiled for this table, for tests of growth."""

    __slots__ = (
        "_chains",
        "_contributions",
        "_exact",
        "_hosts",
        "_no_name",
        "_no_route",
        "_options",
        "_routes",
        "_upstreams",
        "compiled",
        "snapshot",
    )

    def __init__(
        self,
        snapshot: Snapshot,
        hosts: dict[tuple[Scheme, str], HostEntry],
        exact: dict[bytes, HostEntry],
        *,
        unmatched_status: int,
        retry_after: int,
        compiled: int,
    ) -> None:
        self.snapshot = snapshot
        self.compiled = compiled
        self._contributions = {c.key: c for c in snapshot.contributions}
        self._hosts = hosts
        self._options = (unmatched_status, retry_after)
        self._exact = exact  # HTTP hosts as most requests write them: the normal form without a port
        self._chains: dict[bytes, tuple[HostEntry, ...]] = {}
        self._no_route = Respond(unmatched_status, "no_route", retry_after if unmatched_status == 503 else None)
        self._no_name = Reject(UNRECOGNIZED_NAME, "no_route")
        self._routes: tuple[Route, ...] | None = None
        self._upstreams: dict[str, Upstream] | None = None

    @staticmethod
    def build(
        snapshot: Snapshot, previous: RoutingTable | None = None, *, unmatched_status: int = 404, retry_after: int = 1
    ) -> RoutingTable:
        """Compile a snapshot. With `previous` (of equal options) only the hosts of contributions that differ are compiled again."""
        options = (unmatched_status, retry_after)
        old: dict[str, Contribution] = {}
        hosts: dict[tuple[Scheme, str], HostEntry] = {}
        exact: dict[bytes, HostEntry] = {}
        if previous is not None and previous._options == options:
            old = previous._contributions
            hosts = dict(previous._hosts)
            exact = dict(previous._exact)
        changed, gone = _differences(old, snapshot)
        touched: dict[tuple[Scheme, str], list[Claim]] = {}
        for contribution in (*gone, *changed):
            for route in contribution.routes:
                touched.setdefault((route.scheme, route.host), [])
        keys = {contribution.key for contribution in (*gone, *changed)}
        for place, claims in touched.items():
            entry = hosts.get(place)
            if entry is not None:
                claims += [claim for claim in entry.claims if claim.contribution.key not in keys]
        for contribution in changed:
            for route in contribution.routes:
                touched[route.scheme, route.host].append(Claim(contribution, route))
        for place, claims in touched.items():
            scheme, host = place
            if claims:
                hosts[place] = entry = compile_host(claims, retry_after=retry_after)
                if scheme is Scheme.HTTP and _is_exact(host):
                    exact[host.encode()] = entry
            else:
                hosts.pop(place, None)
                if scheme is Scheme.HTTP:
                    exact.pop(host.encode(), None)
        return RoutingTable(
            snapshot, hosts, exact, unmatched_status=unmatched_status, retry_after=retry_after, compiled=len(touched)
        )

    def route(self, head: RequestHead) -> Decision:
        """What to do with a request. Never raises; the decision for a usual head costs two look-ups."""
        entry = self._exact.get(head.authority)
        if entry is not None and entry.only is not None:
            return cast("Decision", entry.only)
        chain = self._chains.get(head.authority)
        if chain is None:
            try:
                chain = self._remember(head.authority)
            except AuthorityError:
                return _BAD_AUTHORITY
        return self._route_path(chain, head.target)

    def route_tls(self, hello: ClientHello) -> TLSDecision:
        """What to do with a TLS connection. No server name, like one that nobody serves, is the catch-all's."""
        name = hello.server_name
        if name is None:
            host = ""
        else:
            try:
                host = normalize_host(name)
            except AuthorityError:
                return Reject(UNRECOGNIZED_NAME, "bad_server_name")
            if is_ip_address(host):  # RFC 6066 3: an address is no server name
                return Reject(UNRECOGNIZED_NAME, "bad_server_name")
        for entry in self.chain(Scheme.SNI, host):
            found = entry.find(b"/")
            if found is not None:
                return cast("Passthrough | Reject", found[1])
        return self._no_name

    def chain(self, scheme: Scheme, host: str) -> tuple[HostEntry, ...]:
        """The entries that may serve `host` (normal form), the most specific first."""
        hosts = self._hosts
        names = [host] if host else []
        if host and not is_ip_address(host):
            labels = host.split(".")
            names += ["*." + ".".join(labels[index:]) for index in range(1, len(labels))]
        names.append("")
        return tuple([entry for name in names if (entry := hosts.get((scheme, name))) is not None])

    def chain_of(self, authority: bytes) -> tuple[HostEntry, ...]:
        """`chain` for a request's authority as it came; raises `AuthorityError`."""
        return self.chain(Scheme.HTTP, parse_authority(_ascii(authority)).host if authority else "")

    def match(self, chain: Iterable[HostEntry], path: bytes) -> tuple[HostEntry, bytes, AnyDecision] | None:
        """The first entry with a prefix that contains `path`, that prefix, and its decision."""
        for entry in chain:
            found = entry.find(path)
            if found is not None:
                return entry, *found
        return None

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes that serve, merged ones as one, in the order of scheme, host and path."""
        if self._routes is None:
            self._routes = tuple(route for place in sorted(self._hosts) for route in self._hosts[place].routes)
        return self._routes

    @property
    def upstreams(self) -> Mapping[str, Upstream]:
        """Every upstream that a route forwards to, by name."""
        if self._upstreams is None:
            self._upstreams = {r.upstream.name: r.upstream for r in self.routes if r.upstream is not None}
        return self._upstreams

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """What the labels' diagnostics say, and the conflicts found here."""
        conflicts = [d for place in sorted(self._hosts) for d in self._hosts[place].diagnostics]
        return (*self.snapshot.diagnostics, *conflicts)

    def _remember(self, authority: bytes) -> tuple[HostEntry, ...]:
        chain = self.chain_of(authority)
        if len(self._chains) >= MAX_REMEMBERED:
            self._chains.clear()
        self._chains[authority] = chain
        return chain

    def _route_path(self, chain: tuple[HostEntry, ...], target: bytes) -> Decision:
        if chain and chain[0].only is not None:
            return cast("Decision", chain[0].only)
        path = path_of(target)
        if is_plain(path):
            found = self.match(chain, path)
        else:
            found = self.match(chain, equivalent_path(path))
            other = self.match(chain, careless_path(path))
            if (found and found[2]) is not (other and other[2]):
                return _AMBIGUOUS
        return self._no_route if found is None else cast("Decision", found[2])


def _differences(old: dict[str, Contribution], snapshot: Snapshot) -> tuple[list[Contribution], list[Contribution]]:
    # (new or changed ones, old ones that are gone or changed)
    changed = []
    gone = []
    left = dict(old)
    for contribution in snapshot.contributions:
        before = left.pop(contribution.key, None)
        if before is contribution or before == contribution:
            continue
        changed.append(contribution)
        if before is not None:
            gone.append(before)
    gone += left.values()
    return changed, gone


def _is_exact(host: str) -> bool:
    return bool(host) and not host.startswith("*.") and ":" not in host


def _ascii(authority: bytes) -> str:
    try:
        return authority.decode("ascii")
    except UnicodeDecodeError:
        raise AuthorityError("a host is ASCII on the wire", reason="bad_host") from None
