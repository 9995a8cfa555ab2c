"""The `Mesh`: what is known now, merged from all publishers, and the table compiled from it.

It opens nothing and has no clock: providers pass in snapshots, data paths read `table` once per
request, and callers pass in the time. Upstreams of different publishers are distinct, even when
both are named "shop:8080".
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypedDict, Unpack

from meshlib.arguments import check_number, check_text, check_texts, client_hello
from meshlib.decision import Decision, PortDecision, TLSDecision
from meshlib.discovery.limits import DiscoveryLimits, within_limits
from meshlib.discovery.names import NameIndex, service_endpoints
from meshlib.drafts import Draft
from meshlib.hooks import Hooks
from meshlib.ledger import Ledger
from meshlib.messages import ClientHello
from meshlib.model import Diagnostic, Endpoint, ListeningPort, Route, Snapshot, Tenure
from meshlib.ownership import OwnershipRules
from meshlib.parts import PartMerger
from meshlib.routes import Target, composed_services, given_routes, labelled_service
from meshlib.snapshot_checks import check_port, check_snapshot
from meshlib.subscribers import Subscribers
from meshlib.table import Explanation, RoutingTable, explain
from meshlib.table.settled import settled
from meshlib.urls import Headers, request_head

__all__ = ["Mesh", "MeshOptions"]


class MeshOptions(TypedDict, total=False):
    """Keyword arguments of `Mesh`, for callers that pass them on."""

    unmatched_status: int
    retry_after: int
    https_port: int
    limits: DiscoveryLimits | None
    rules: OwnershipRules | None
    on_error: Callable[[Exception], None] | None
    hooks: Mapping[str, object] | None


class Mesh:
    """Routes from code and from publishers as one `snapshot`, with the `table` compiled from it.

        mesh = Mesh({"shop.example.com": ["10.0.0.5:8080", "10.0.0.6:8080"]})
        mesh.route("GET", "https://shop.example.com/cart")    # Forward(...)

    `routes` are read as `meshlib.routes` says, or are a snapshot. `version` grows with each change.
    To be used from one thread: a provider that works in another one hands its snapshot over first.
    Whoever took `table` before a change keeps a consistent one; nothing under way is touched.

    `unmatched_status`, `retry_after` and `https_port` are those of `RoutingTable.build`. Routes and
    diagnostics beyond `limits` are left out, and a diagnostic says so (`meshlib.discovery.limits`).
    Upstreams of one name that different publishers have stay apart (`meshlib.parts`).

    Whose the names are is settled with each change by `rules` (`meshlib.ownership`) and travels in
    `snapshot.tenures`. While each publisher has published once at most, age decides, as if all had
    come together; from then on, or from `confirm`, a name stays with who had it first. `now`, in
    seconds since the epoch, is the time that was told last where it is left out; a mesh that is
    never told the time keeps the names of owners that have gone until they are withdrawn or
    released. A snapshot that has tenures already, as that of a worker's supervisor, is taken as it
    is.

    `before`, `after`, `on_change` and `on_record` register hooks (`meshlib.hooks.HookPoint`);
    `hook` those that routes may name, as `hooks` does by a mapping: no others (`RouteOptions`).

    `on_error` is called with what a subscriber raises. Without it, all subscribers are called
    first, and then an `ExceptionGroup` of what they raised leaves the method that changed
    something; the change stands.
    """

    def __init__(
        self,
        routes: Mapping[str, Target] | Snapshot | None = None,
        *,
        unmatched_status: int = 404,
        retry_after: int = 1,
        https_port: int = 443,
        limits: DiscoveryLimits | None = None,
        rules: OwnershipRules | None = None,
        on_error: Callable[[Exception], None] | None = None,
        hooks: Mapping[str, object] | None = None,
    ) -> None:
        check_number(unmatched_status, "unmatched_status", 400, 599)
        check_number(retry_after, "retry_after", 0, 86400)
        check_number(https_port, "https_port", 1, 65535)
        self.version = 0
        self.on_error = on_error
        self._limits = limits or DiscoveryLimits()
        self._unmatched_status = unmatched_status
        self._retry_after = retry_after
        self._https_port = https_port
        self._restored = self._ledger = Ledger(rules)
        self._now: float | None = None
        self._gathering = True
        self._held = False
        given = None if routes is None else given_routes(routes)
        self._parts: Mapping[str, Snapshot] = {"": given} if given is not None else {}
        self._merger = PartMerger()
        self._names = NameIndex(())
        self._subscribers: Subscribers[Mesh] = Subscribers()
        self.hooks = own = Hooks()
        for name, hook in (hooks or {}).items():
            own.name(name, hook)
        self.before, self.after, self.hook = own.before, own.after, own.name
        self.on_change, self.on_record = own.on_change, own.on_record
        self._subscribers.add(own.tell_change)
        first = within_limits(given or Snapshot(), self._limits)
        if first.tenures is None:
            self._ledger = self._restored.updated(first.contributions, _seconds(None))
            first = dataclasses.replace(first, tenures=self._ledger.tenures)
        self.snapshot = first
        self.table = self._build(first, None)
        own.on_allowed = self._allow

    @classmethod
    def from_labels(
        cls,
        labels: Mapping[str, str],
        endpoints: Sequence[str],
        *,
        service: str = "service",
        **options: Unpack[MeshOptions],
    ) -> Mesh:
        """A mesh of one service with these `labels`, found at `endpoints`: "HOST:PORT", or "HOST"
        where labels name the port.

        A wrong label costs its own route and is one of `diagnostics`; a wrong endpoint is a
        `ConfigurationError`.
        """
        return cls(labelled_service(labels, endpoints, service), **options)

    @classmethod
    def from_compose(
        cls,
        text: str,
        *,
        load: Callable[[str], object] | None = None,
        variables: Mapping[str, str] | None = None,
        **options: Unpack[MeshOptions],
    ) -> Mesh:
        """A mesh of the services in a Compose or stack file, or in one of our own form
        (`meshlib.discovery.files.services`).

        `load` reads YAML, as `load_document` of the adapters does (`yaml.safe_load` takes 53:53 for
        a number); None: JSON, as of `docker compose config --format json`. `variables` are the
        values for `${NAME}`. A wrong label costs its own route and is one of `diagnostics`; a text
        that cannot be read is a `ConfigurationError`.
        """
        return cls(composed_services(text, load, variables), **options)

    def __repr__(self) -> str:
        publishers = ", ".join(filter(None, self._parts)) or "nobody"
        return f"<Mesh version {self.version} of {publishers}: {self.table!r}>"

    def route(
        self, method: str, url: str, *, headers: Headers = (), secure: bool | None = None
    ) -> Decision:
        """The decision for a request: `Forward`, `Redirect` or `Respond`. Nothing is opened.

        `url` is "https://HOST/PATH", or a path with a Host among `headers`. `secure`: the request
        came over TLS; None: as the URL's scheme says. `ConfigurationError` when nobody could send
        such a request (`meshlib.urls`).
        """
        head, https = request_head(method, url, headers)
        came_over_tls = https if secure is None else secure
        return settled(self.table, head, self.table.route(head), secure=came_over_tls)

    def route_tls(
        self, hello: ClientHello | str | None, *, terminates: Callable[[str], bool] | None = None
    ) -> TLSDecision:
        """The decision for a TLS connection by its hello, or its server name alone (None: it sent
        none).

        `terminates` as in `RoutingTable.route_tls`: whether there is a certificate for a name.
        """
        return self.table.route_tls(client_hello(hello, "route_tls"), terminates)

    def route_port(self, port: ListeningPort) -> PortDecision:
        """The decision for what comes to a port of the gateway."""
        check_port(port, "route_port")
        return self.table.route_port(port)

    def explain(
        self, method: str, url: str, *, headers: Headers = (), secure: bool | None = None
    ) -> Explanation:
        """The reasons for a decision of `route`: each candidate, and why it won or lost."""
        head, https = request_head(method, url, headers)
        return explain(self.table, head, secure=https if secure is None else secure)

    def explain_tls(
        self, hello: ClientHello | str | None, *, terminates: Callable[[str], bool] | None = None
    ) -> Explanation:
        """The reasons for what `route_tls` decides."""
        return explain(self.table, client_hello(hello, "explain_tls"), terminates)

    def resolve(self, name: str, *, network: str | None = None) -> tuple[str, ...]:
        """The addresses that Docker's DNS has for "web", "tasks.web", an alias or a container; ()
        for an unknown name.

        `network` is the network to look it up in; `ConfigurationError` when it has to be named
        (`meshlib.discovery.names`).
        """
        check_text(name, "resolve", 'write a name, "web"')
        if self._names.records is not self.snapshot.names:
            self._names = NameIndex(self.snapshot.names)
        return self._names.resolve(name, network)

    def endpoints(self, service: str, *, ready: bool = True) -> tuple[Endpoint, ...]:
        """The endpoints of a service, at each of its routed ports; those that are `ready`, or all.
        () for an unknown name. Several publishers' services of one name give the endpoints of all.
        """
        return service_endpoints(self.snapshot, service, ready=ready)

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes that serve, as `RoutingTable.routes`."""
        return self.table.routes

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Mistakes in labels, and lost conflicts, as `RoutingTable.diagnostics`."""
        return self.table.diagnostics

    def replace(self, routes: Mapping[str, Target] | Snapshot, *, now: float | None = None) -> bool:
        """Put `routes` in the place of those that were given in code. False when nothing changed.

        `ConfigurationError` for a mistake in them; then everything stays as it was.
        """
        return self.publish("", given_routes(routes, self._parts.get("")), now=now)

    def publish(self, name: str, snapshot: Snapshot, *, now: float | None = None) -> bool:
        """Replace what the publisher `name` knows. False when the whole is equal to before; then no
        subscriber is called.

        Only what changed is compiled anew. `ConfigurationError` when a route is not one that can be
        served (`meshlib.snapshot_checks`), or two publishers use one contribution key; then
        everything stays as it was.
        """
        return self.commit(self.draft(name, snapshot, now=now))

    def withdraw(self, name: str = "", *, now: float | None = None) -> bool:
        """Forget the publisher `name` ("": the constructor's routes), its snapshot, and the names
        that its services owned. False when nothing changed.
        """
        gone = self._parts.get(name)
        if gone is None:
            return False
        parts = {other: snapshot for other, snapshot in self._parts.items() if other != name}
        freed = {route.claimed_name for route in gone.routes}
        merged = within_limits(self._merger.merge(parts), self._limits)
        return self.commit(
            self._drafted(merged, parts, self._gathering, self._ledger, now, self._basis, freed)
        )

    def draft(self, name: str, snapshot: Snapshot, *, now: float | None = None) -> Draft:
        """Work out what `publish` would do, without doing it; another thread may call this."""
        # First of all: what takes effect from here on makes the draft a stale one.
        basis = self._basis
        check_text(name, f"publish({name!r})", "write the publisher's name")
        before = self._parts.get(name)
        if before is not None and before == snapshot and before.tenures == snapshot.tenures:
            return Draft(self._parts, self._gathering, self._ledger, self._now, None, basis)
        check_snapshot(snapshot, before, f"publish({name!r})")
        # Code that gives other routes means it, while a service that is gone may be on its way
        # back: names of the one are free at once, and it does not end the time of first snapshots.
        replaced = before.routes if before is not None and not name else ()
        freed = {route.claimed_name for route in replaced}
        gathering = self._gathering and (before is None or self._held or not name)
        parts = {**self._parts, name: snapshot}
        merged = within_limits(self._merger.merge(parts), self._limits)
        return self._drafted(merged, parts, gathering, self._ledger, now, basis, freed)

    def is_fresh(self, draft: Draft) -> bool:
        """Whether nothing has taken effect since the draft was begun."""
        return all(map(operator.is_, draft.basis, self._basis))

    def commit(self, draft: Draft) -> bool:
        """Let a draft take effect. False when it changes nothing; ValueError when it is stale."""
        if not self.is_fresh(draft):
            message = "something else was published since this draft was begun; make another one"
            raise ValueError(message)
        self._parts, self._gathering = draft.parts, draft.gathering
        self._ledger, self._now = draft.ledger, draft.now
        if draft.table is None:
            return False
        self.snapshot, self.table = draft.table.snapshot, draft.table
        self._changed()
        return True

    def restore(self, tenures: Iterable[Tenure]) -> None:
        """Begin with the names that were recorded earlier; to be called before anything is
        published.

        From here on `confirm` alone ends the time in which age decides about names that are not
        recorded.
        """
        self._restored = self._ledger = Ledger(self._ledger.rules, tenures)
        self._gathering = self._held = True

    @property
    def tenures(self) -> tuple[Tenure, ...]:
        """Owners of names in the order of their recording, those of `restore` included."""
        return tuple((self.snapshot.tenures or self._ledger.tenures).values())

    @property
    def parts(self) -> Mapping[str, Snapshot]:
        """Last snapshot of each publisher."""
        return dict(self._parts)

    def confirm(self) -> None:
        """Take what is published as complete: whoever comes later finds its names taken."""
        self._gathering = self._held = False

    def settle(self, *, now: float) -> bool:
        """Free the names that have been kept long enough by `now`. False when nothing changed."""
        rest = self._gathering, self._ledger, now, self._basis
        return self.commit(self._drafted(self.snapshot, self._parts, *rest))

    def release(self, names: Iterable[str], *, now: float | None = None) -> bool:
        """Take names from their owners, as `Ledger.released`. False when nothing changed."""
        names = check_texts(names, "release")
        self.confirm()
        ledger = self._ledger.released(names, _seconds(self._now if now is None else now))
        return self.commit(
            self._drafted(self.snapshot, self._parts, False, ledger, now, self._basis)
        )

    def subscribe(self, callback: Callable[[Mesh], None]) -> Callable[[], None]:
        """Have `callback` called after each change, in the order of subscription; returns a
        function that ends that (and may be called any number of times).

        What it raises does not keep the others from being called (`on_error`). It must not publish.
        """
        return self._subscribers.add(callback)

    @property
    def _basis(self) -> tuple[object, ...]:
        # What a draft is made from; each of them is replaced, never changed.
        names = self.hooks.names
        return self._parts, self._ledger, self._gathering, self._held, self.table, names

    def _drafted(
        self,
        merged: Snapshot,
        parts: Mapping[str, Snapshot],
        gathering: bool,
        ledger: Ledger,
        now: float | None,
        basis: tuple[object, ...],
        freed: Iterable[str] = (),
    ) -> Draft:
        now = self._now if now is None else now
        settled = merged
        if merged is self.snapshot or merged.tenures is None:
            ledger = (self._restored if gathering else ledger).updated(
                merged.contributions, _seconds(now)
            )
            unused = [
                name for name in freed if name in ledger.tenures and ledger.tenures[name].left
            ]
            if unused:
                ledger = ledger.released(unused, _seconds(now))
            settled = dataclasses.replace(merged, tenures=ledger.tenures)
        if settled == self.snapshot and settled.tenures == self.snapshot.tenures:
            return Draft(parts, gathering, ledger, now, None, basis)
        return Draft(parts, gathering, ledger, now, self._build(settled, self.table), basis)

    def _build(self, snapshot: Snapshot, previous: RoutingTable | None) -> RoutingTable:
        return RoutingTable.build(
            snapshot,
            previous,
            unmatched_status=self._unmatched_status,
            retry_after=self._retry_after,
            https_port=self._https_port,
            rules=self._ledger.rules,
            hooks=self.hooks.names,
        )

    def _allow(self) -> None:
        # Nothing is compiled anew for hooks that no route names.
        if any(route.options.hooks for route in self.snapshot.routes):
            self.table = self._build(self.snapshot, None)
            self._changed()

    def _changed(self) -> None:
        self.version += 1
        failure = f"subscribers failed on version {self.version} of the mesh"
        self._subscribers.call(self, self.on_error, failure)


def _seconds(now: float | None) -> int:
    # A tenure that ended at 0 would be one that has not ended.
    return max(int(now), 1) if now is not None else 1
