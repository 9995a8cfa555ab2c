"""Limits on what services may have, each and all together, and shares of what is scarce.

One rule for everything that is shared (routes, label text, diagnostics): the equal part of each
service is safe, so that a flood of others cannot take it; the rest goes to the oldest services. A
service that gets less than it wants has a diagnostic of its own that says so, and costs the others
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from operator import attrgetter
from typing import TypeVar

from meshlib.labels.diagnostics import DiagnosticKind
from meshlib.labels.limits import LabelLimits
from meshlib.model import (
    Contribution,
    Diagnostic,
    Route,
    Severity,
    Snapshot,
)
from meshlib.name_records import NameRecord

__all__ = [
    "CATALOGUE",
    "DiscoveryLimits",
    "ServiceQuota",
    "fair_shares",
    "limited_text",
    "within_limits",
]

TOO_MANY_ROUTES = DiagnosticKind(
    "LIM001", Severity.ERROR, "all services together ask for more routes than the gateway may have"
)
TOO_MUCH_TEXT = DiagnosticKind(
    "LIM002",
    Severity.ERROR,
    "the routing labels of all services together have more characters than are read",
)
TOO_MANY_ENDPOINTS = DiagnosticKind(
    "LIM003", Severity.WARNING, "a service has more endpoints, over all its ports, than it may have"
)
TOO_MANY_PORTS = DiagnosticKind(
    "LIM004", Severity.WARNING, "a service publishes more TCP and UDP ports than it may have"
)
TOO_MANY_NAMES = DiagnosticKind(
    "LIM005", Severity.WARNING, "a service has more names and aliases than are resolved"
)
TOO_MANY_DIAGNOSTICS = DiagnosticKind("LIM006", Severity.WARNING, "more is wrong than is kept")

CATALOGUE = (
    TOO_MANY_ROUTES,
    TOO_MUCH_TEXT,
    TOO_MANY_ENDPOINTS,
    TOO_MANY_PORTS,
    TOO_MANY_NAMES,
    TOO_MANY_DIAGNOSTICS,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DiscoveryLimits:
    """Limits of one service (`labels`, `endpoints`, `names`) and of all together; each is at least
    1.

    `endpoints` counts those at all ports of a service; each port has at least one. `names` counts
    records of names. `label_text` counts characters in the routing labels of all services of one
    provider. `routes` and `diagnostics` are those of all providers.
    """

    labels: LabelLimits = field(default_factory=LabelLimits)
    # A thousand tasks at ten ports.
    endpoints: int = 10_000
    names: int = 10_000
    # Ten thousand services with five labels each; read in some seconds, once, within the time that
    # a poll may take.
    label_text: int = 4 * 1024 * 1024
    routes: int = 100_000
    diagnostics: int = 10_000


def fair_shares(wanted: Sequence[int], total: int) -> list[int]:
    """The share of each in `total`; `wanted` is in order of age, the oldest first.

    Everybody gets what it wants where there is enough. Otherwise nobody gets less than the smaller
    of what it wants and an equal part of `total`; the rest goes to the oldest.
    """
    if sum(wanted) <= total:
        return list(wanted)
    part = total // len(wanted)
    shares = [min(want, part) for want in wanted]
    left = total - sum(shares)
    for position, want in enumerate(wanted):
        more = min(want - shares[position], left)
        shares[position] += more
        left -= more
    return shares


def limited_text(sizes: Iterable[tuple[int, str, int]], limits: DiscoveryLimits) -> dict[str, int]:
    """For each service that gets less than it wants, by key: how many characters of its labels may
    be read. Empty where there is enough for all. `sizes` are (created at, key, characters of its
    routing labels) of each service.
    """
    ordered = sorted(
        (created_at == 0, created_at, key, min(size, limits.labels.characters))
        for created_at, key, size in sizes
    )
    wanted = [size for *_, size in ordered]
    shares = fair_shares(wanted, limits.label_text)
    return {
        key: share for (_, _, key, size), share in zip(ordered, shares, strict=True) if share < size
    }


class ServiceQuota:
    """Quota of one service for what it may have beside its labels. What exceeds it is left out,
    counted, and reported by `diagnostics`.

    `text` is how many characters of its labels may be read, None for all (`limited_text`).
    """

    def __init__(
        self, service: str, limits: DiscoveryLimits | None = None, text: int | None = None
    ) -> None:
        limits = limits or DiscoveryLimits()
        self.labels = (
            limits.labels if text is None else replace(limits.labels, characters=max(text, 1))
        )
        self._service = service
        self._limits = limits
        self._endpoints = limits.endpoints
        self._notes: dict[DiagnosticKind, Diagnostic] = {}
        if text is not None:
            message = (
                f"all routing labels have more than {limits.label_text} characters together; "
                f"{text} of this service's are read"
            )
            self._note(
                TOO_MUCH_TEXT, message, "write less into labels, or raise discovery.max_label_text"
            )

    def endpoints(self, found: Sequence[T]) -> Sequence[T]:
        """Endpoints at one more port of the service: the first ones, at least one."""
        most = max(self._endpoints, 1)
        self._endpoints = max(self._endpoints - len(found), 0)
        if len(found) <= most:
            return found
        message = (
            f"the service has more than {self._limits.endpoints} endpoints over all its ports; "
            "at some ports not all are used"
        )
        self._note(
            TOO_MANY_ENDPOINTS,
            message,
            "route fewer ports of it, or raise discovery.max_endpoints_per_service",
        )
        return found[:most]

    def published(self, routes: Sequence[Route], ports: Sequence[T]) -> Sequence[T]:
        """Those of the published `ports` that there is room for beside `routes`."""
        labels = self._limits.labels
        most = min(
            labels.ports - sum(route.listening_port is not None for route in routes),
            labels.routes - len(routes),
        )
        if len(ports) <= most:
            return ports
        message = (
            f"the service publishes {len(ports)} ports, more than it may have; "
            "those of the highest numbers are not opened"
        )
        self._note(
            TOO_MANY_PORTS, message, "publish fewer ports, or raise discovery.max_ports_per_service"
        )
        return ports[: max(most, 0)]

    def names(self, records: Iterable[NameRecord]) -> tuple[NameRecord, ...]:
        """The first records, as many as the service may have."""
        made = iter(records)
        found = tuple(islice(made, self._limits.names))
        if next(made, None) is not None:
            message = (
                f"the service has more than {self._limits.names} names and aliases; "
                "further ones do not resolve"
            )
            self._note(
                TOO_MANY_NAMES,
                message,
                "give it fewer aliases, or raise discovery.max_names_per_service",
            )
        return found

    def diagnostics(
        self, found: Sequence[Diagnostic], unreported: int = 0
    ) -> tuple[Diagnostic, ...]:
        """All diagnostics of the service: those of the quota, and the first ones of `found`.
        `unreported` is the number of those that were dropped before.
        """
        notes = tuple(self._notes.values())
        return notes + _first_diagnostics(
            found, max(self._limits.labels.diagnostics - len(notes), 1), self._service, unreported
        )

    def _note(self, kind: DiagnosticKind, message: str, hint: str) -> None:
        self._notes.setdefault(
            kind, Diagnostic(kind.code, kind.severity, self._service, "", message, hint)
        )


def within_limits(snapshot: Snapshot, limits: DiscoveryLimits) -> Snapshot:
    """The snapshot with no more routes and diagnostics than `limits` allow; the very same one where
    it has no more.

    A contribution that gets less than it wants keeps its first routes, and has a diagnostic that
    says what is left out.
    """
    routes = sum(map(len, map(attrgetter("routes"), snapshot.contributions)))
    diagnostics = sum(map(len, map(attrgetter("diagnostics"), snapshot.contributions)))
    if routes <= limits.routes and diagnostics <= limits.diagnostics:
        return snapshot
    by_age = sorted(
        snapshot.contributions, key=lambda item: (item.created_at == 0, item.created_at, item.key)
    )
    wanted = [len(item.routes) for item in by_age]
    cut = {
        item.key: replace(
            item,
            routes=item.routes[:share],
            diagnostics=(_short(item, share, limits), *item.diagnostics),
        )
        for item, share, want in zip(
            by_age, fair_shares(wanted, limits.routes), wanted, strict=True
        )
        if share < want
    }
    by_age = [cut.get(item.key, item) for item in by_age]
    wanted = [len(item.diagnostics) for item in by_age]
    for item, share, want in zip(
        by_age, fair_shares(wanted, limits.diagnostics), wanted, strict=True
    ):
        if share < want:
            cut[item.key] = replace(
                item, diagnostics=_first_diagnostics(item.diagnostics, share, item.service)
            )
    return replace(
        snapshot, contributions=tuple(cut.get(item.key, item) for item in snapshot.contributions)
    )


def _short(item: Contribution, share: int, limits: DiscoveryLimits) -> Diagnostic:
    message = (
        f"all services together ask for more than {limits.routes} routes; "
        f"of this one's {len(item.routes)} there are {share}"
    )
    hint = "ask for fewer routes, for example with a wildcard host, or raise discovery.max_routes"
    return Diagnostic(
        TOO_MANY_ROUTES.code, TOO_MANY_ROUTES.severity, item.service, "", message, hint
    )


def _first_diagnostics(
    found: Sequence[Diagnostic], most: int, service: str, unreported: int = 0
) -> tuple[Diagnostic, ...]:
    if not unreported and len(found) <= most:
        return tuple(found)
    kept = found[: max(most - 1, 0)]
    kind = TOO_MANY_DIAGNOSTICS
    message = f"{len(found) - len(kept) + unreported} more diagnostics of this service are not kept"
    more = Diagnostic(
        kind.code,
        kind.severity,
        service,
        "",
        message,
        "mend those that are told; the others follow",
    )
    return (*kept, more)[:most]
