"""Endpoints of a service in a file: "HOST", "HOST:PORT", {host, ports, weight, id}.

A wrong one costs only itself. Any address is accepted, loopback too: whoever writes the file runs
the gateway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from meshlib.authority import Authority, normalize_host, parse_authority, parse_port
from meshlib.bounds import MAX_WEIGHT
from meshlib.discovery.files.diagnostics import (
    BAD_ENDPOINT,
    BAD_ENDPOINTS,
    FileDiagnostics,
    show_value,
)
from meshlib.discovery.limits import ServiceQuota
from meshlib.errors import AuthorityError, ConfigurationError
from meshlib.labels.diagnostics import show
from meshlib.model import Endpoint, Upstream
from meshlib.upstream_key import Transport, UpstreamKey

__all__ = ["FileEndpoint", "build_upstreams", "read_endpoints"]

# Identities go into tables of sticky sessions and into logs.
_MAX_ID = 128

_KEYS = ("host", "ports", "weight", "id")
_HINT = 'write "HOST", "HOST:PORT" or {host: HOST, ports: {INTERNAL_PORT: PORT}}'


@dataclass(frozen=True, slots=True)
class FileEndpoint:
    """An endpoint before the internal port is known: it serves at `port`, or else at what `ports`
    has for the internal port, or else at the internal port.
    """

    id: str
    host: str
    port: int | None = None
    ports: Mapping[int, int] = field(default_factory=dict)
    weight: int = 1

    def at(self, internal_port: int) -> Endpoint:
        """The endpoint for `internal_port`."""
        return Endpoint(
            self.id,
            self.host,
            self.port or self.ports.get(internal_port, internal_port),
            self.weight,
        )


def read_endpoints(
    value: object, service: str, place: str, diagnostics: FileDiagnostics
) -> tuple[FileEndpoint, ...]:
    """The endpoints in the list `value`, in its order. The default `id` is the service's name and
    the position from 1 ("shop.2"), so that leaving out a wrong one does not rename the others.
    """
    if not isinstance(value, list):
        hint = (
            f"write endpoints: [{show(value)}]"
            if isinstance(value, str)
            else 'write endpoints: ["HOST:PORT"], or [] for none'
        )
        diagnostics.add(BAD_ENDPOINTS, place, f"{show_value(value)} is not a list", hint)
        return ()
    found: dict[str, FileEndpoint] = {}
    for index, entry in enumerate(value):
        where = f"{place}[{index}]"
        try:
            endpoint = _endpoint(entry, f"{service}.{index + 1}")
            if endpoint.id in found:
                raise ConfigurationError(
                    f"another endpoint has the id {show(endpoint.id)}", hint="give each its own id"
                )
            found[endpoint.id] = endpoint
        except ConfigurationError as error:
            diagnostics.add(
                BAD_ENDPOINT,
                f"{where}.{error.where}" if error.where else where,
                error.message,
                error.hint,
            )
        if isinstance(entry, dict):
            diagnostics.unknown_keys(entry, _KEYS, where)
    return tuple(found.values())


def build_upstreams(
    service: str,
    endpoints: Sequence[FileEndpoint],
    transport: Transport | None = None,
    *,
    strategy: str = "",
    quota: ServiceQuota | None = None,
) -> Callable[[int], Upstream]:
    """A function from internal port to upstream that makes each upstream once, of the endpoints
    that the `quota` has room for. Without a `strategy` weighted only where weights differ.
    """
    quota = quota or ServiceQuota(service)
    made: dict[int, Upstream] = {}
    if not strategy:
        differ = len({e.weight for e in endpoints if e.weight}) > 1
        strategy = "weighted_round_robin" if differ else "round_robin"

    def upstream_for(internal_port: int) -> Upstream:
        if internal_port not in made:
            placed = sorted(
                (e.at(internal_port) for e in quota.endpoints(endpoints)), key=lambda e: e.id
            )
            key = UpstreamKey(service, internal_port, transport=transport or Transport())
            made[internal_port] = Upstream(key, tuple(placed), strategy)
        return made[internal_port]

    return upstream_for


def _endpoint(entry: object, default_id: str) -> FileEndpoint:
    if isinstance(entry, str):
        host, port = _authority(entry)
        return FileEndpoint(default_id, host, port)
    if not isinstance(entry, dict):
        raise ConfigurationError(f"{show_value(entry)} is not an endpoint", hint=_HINT)
    if not isinstance(entry.get("host"), str):
        raise ConfigurationError(
            "host is missing" if entry.get("host") is None else "host is not a string", hint=_HINT
        )
    host, port = _authority(entry["host"], "host")
    ports = _ports(entry.get("ports"))
    if port is not None and ports:
        raise ConfigurationError(
            "host has a port, and there are ports", hint="leave out one of the two"
        )
    return FileEndpoint(
        _id(entry.get("id", default_id)), host, port, ports, _weight(entry.get("weight", 1))
    )


def _authority(text: str, where: str = "") -> Authority:
    if "://" in text:
        raise ConfigurationError(f"{show(text)} is a URL, not an address", where=where, hint=_HINT)
    try:
        if text.count(":") > 1 and not text.startswith("["):
            return Authority(
                normalize_host(text), None
            )  # an IPv6 address as people write it where no port follows
        return parse_authority(text)
    except AuthorityError as error:
        raise ConfigurationError(f"{show(text)}: {error}", where=where, hint=_HINT) from None


def _ports(value: object) -> dict[int, int]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigurationError(
            f"{show_value(value)} is not a mapping",
            where="ports",
            hint="write ports: {INTERNAL_PORT: PORT}",
        )
    return {_port(inside): _port(outside) for inside, outside in value.items()}


def _port(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535:
        return value
    try:
        return parse_port(value if isinstance(value, str) else "")
    except AuthorityError as error:
        raise ConfigurationError(
            f"{show_value(value)}: {error}",
            where="ports",
            hint="write ports: {INTERNAL_PORT: PORT}",
        ) from None


def _id(value: object) -> str:
    if isinstance(value, str) and value.isprintable() and 0 < len(value) <= _MAX_ID:
        return value
    raise ConfigurationError(
        f"{show_value(value)} is not an identity",
        where="id",
        hint=f"write 1 to {_MAX_ID} printable characters",
    )


def _weight(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_WEIGHT:
        return value
    hint = f"write a whole number from 0 to {MAX_WEIGHT}; 0 serves only when no other can"
    raise ConfigurationError(f"{show_value(value)} is not a weight", where="weight", hint=hint)
