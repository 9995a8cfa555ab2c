"""Index of the ports that are one route's alone (TCP and UDP): who has which, and who asked for it
too late.

A port is never shared: unlike a host, it is not merged from several services, however alike they
are, because what comes to it (from a database's client, say) is meant for one of them. The oldest
claim of its owner keeps it.

    TBL002  error  the same service claims the port twice
    TBL003  error  the port belongs to an older service of the same owner, or of one that the
                   operator names as well
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from meshlib.decision import Carry, PortDecision, Refuse
from meshlib.model import Diagnostic, ListeningPort, Route, Scheme, Severity, Upstream
from meshlib.table.access import Barred, Divide
from meshlib.table.compile import Claim, Lost, Slot

__all__ = ["PortIndex", "decide_port"]


class PortIndex:
    """Slots by port, and by port what is not admitted. An index is never changed; `updated` makes
    the next one.
    """

    __slots__ = ("barred", "slots")

    def __init__(
        self,
        slots: dict[ListeningPort, Slot[PortDecision]],
        barred: dict[ListeningPort, Barred] | None = None,
    ) -> None:
        self.slots = slots
        self.barred: dict[ListeningPort, Barred] = barred if barred is not None else {}

    def updated(
        self,
        touched: Mapping[ListeningPort, Sequence[Claim]],
        changed: frozenset[str],
        intern: Callable[[Upstream], Upstream],
        divide: Divide,
    ) -> PortIndex:
        """The index after a change, as `HostIndex.updated`; this one where nothing is touched."""
        if not touched:
            return self
        slots, barred = dict(self.slots), dict(self.barred)
        for port, new in touched.items():
            previous, kept_out = slots.pop(port, None), barred.pop(port, None)
            claims = [*new]
            for old in (previous, kept_out):
                if old is not None:
                    claims += [claim for claim in old.claims if claim.contribution not in changed]
            admitted, left = divide(str(port), claims)
            if left is not None:
                barred[port] = left
            if admitted:
                members = tuple(sorted(admitted, key=lambda claim: (claim.place, claim.rank)))
                same = previous is not None and previous.claims == members
                slots[port] = (
                    previous if previous is not None and same else _compile_slot(members, intern)
                )
        return PortIndex(slots, barred)

    def named(self, name: str) -> tuple[ListeningPort, ...]:
        """The port with the name `name` ("tcp://:5432"), if there are claims on it, admitted or
        not.
        """
        scheme, found, number = name.partition("://:")
        port = ListeningPort(Scheme(scheme), int(number)) if found else None
        return (port,) if port is not None and (port in self.slots or port in self.barred) else ()

    def upstreams(self, ports: Sequence[ListeningPort]) -> list[Upstream]:
        """The upstreams of those of `ports` that somebody has."""
        found = (self.slots[port].upstream for port in ports if port in self.slots)
        return [upstream for upstream in found if upstream is not None]

    def ordered(self) -> Iterator[Slot[PortDecision]]:
        """The slots: TCP before UDP, by number."""
        for port in sorted(self.slots):
            yield self.slots[port]

    def diagnostics(self) -> Iterator[Diagnostic]:
        """Diagnostics for the services that did not get a port, in order of the ports."""
        for port in sorted({*self.slots, *self.barred}):
            if port in self.barred:
                yield from self.barred[port].diagnostics
            if port in self.slots:
                for lost in self.slots[port].lost:
                    yield lost.diagnostic


def decide_port(route: Route, upstream: Upstream | None) -> PortDecision:
    """The decision for everything that comes to the port of this route."""
    if upstream is not None and upstream.ready:
        return Carry(route, upstream)
    return Refuse("no_endpoint", route)


def _compile_slot(
    claims: tuple[Claim, ...], intern: Callable[[Upstream], Upstream]
) -> Slot[PortDecision]:
    owner = claims[0]
    route = owner.route
    upstream = intern(route.upstream) if route.upstream is not None else None
    lost = tuple(Lost(claim, _taken(claim, owner)) for claim in claims[1:])
    return Slot(route.path, claims, route, upstream, decide_port(route, upstream), lost)


def _taken(claim: Claim, owner: Claim) -> Diagnostic:
    route, other = claim.route, owner.route
    whose = f"label {other.label}" if other.label else "a published port"
    if claim.contribution == owner.contribution:
        code, message, hint = (
            "TBL002",
            f"this service asks for {route.name} twice ({whose} is the first)",
            "ask for it once",
        )
    else:
        code = "TBL003"
        message = (
            f"{route.name} belongs to the older service {owner.service!r} ({whose}); "
            "a port belongs to one service alone"
        )
        hint = "choose another port"
    return Diagnostic(code, Severity.ERROR, claim.service, route.label, message, hint)
