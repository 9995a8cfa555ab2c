"""Questions about a request or a TLS hello, and their explanation as data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from meshlib.authority import parse_authority, parse_port
from meshlib.errors import AuthorityError, ConfigurationError
from meshlib.messages import ClientHello, RequestHead
from meshlib.model import ListeningPort, Scheme
from meshlib.ownership import owner_text
from meshlib.table import Reason, RoutingTable, explain
from meshlib.urls import request_head
from meshlib_adapters.observe.admin.listening import ALL_OPEN, Listening
from meshlib_adapters.observe.admin.routes import endpoint_data

__all__ = ["SERVED", "explanation_data", "parse_question"]

# Decisions with which a client gets what it asks for.
SERVED: Final = frozenset({"forward", "redirect", "passthrough", "terminate", "carry"})

_SHAPE = "write http://host/path, https://host, sni://host, tcp://:port or udp://:port"


def parse_question(
    url: str, *, method: str = "GET", headers: Sequence[str] = ()
) -> RequestHead | ClientHello | ListeningPort:
    """Return the request head that a client would send for `url` (http), its TLS hello (https,
    sni), or the port it connects to (tcp, udp).

    `headers` are "Name: value" or "Name:value"; a Host among them replaces the URL's host. Raises
    `ConfigurationError` for a mistake in any of the three.
    """
    scheme, found, rest = url.partition("://")
    scheme = scheme.lower()
    if not found or scheme not in ("http", "https", "sni", "tcp", "udp"):
        raise ConfigurationError(f"{url!r} is not a URL that can be explained", hint=_SHAPE)
    if scheme == "http":
        return _request(url, method, headers)
    if scheme in ("tcp", "udp"):
        try:
            # A host before the port could only be the gateway's own, so it is ignored.
            return ListeningPort(Scheme(scheme), parse_port(rest.rstrip("/").rpartition(":")[2]))
        except AuthorityError as error:
            raise ConfigurationError(
                str(error), where=url, hint=f"write {scheme}://:PORT"
            ) from None
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if not authority:
        return ClientHello(server_name=None)
    try:
        return ClientHello(server_name=parse_authority(authority).host)
    except AuthorityError as error:
        raise ConfigurationError(str(error), where=url, hint=_SHAPE) from None


def _request(url: str, method: str, headers: Sequence[str]) -> RequestHead:
    pairs: list[tuple[str, str]] = []
    for item in headers:
        name, colon, value = item.partition(":")
        if not colon or not name.strip():
            raise ConfigurationError(f"{item!r} is not NAME:VALUE", where="--header")
        pairs.append((name.strip(), value.strip()))
    return request_head(method, url, pairs)[0]


def explanation_data(
    table: RoutingTable,
    question: RequestHead | ClientHello | ListeningPort,
    listeners: Listening = ALL_OPEN,
) -> dict[str, Any]:
    """The object documented for `meshlib explain --json`. What would be served, but comes to no
    open listener, has the decision "closed".
    """
    found = explain(table, question, listeners.terminates)
    kind, status, location, notes = found.kind, found.status, found.location, found.notes
    closed = listeners.closed_to(question)
    if closed and kind in SERVED:
        if found.route is not None and not listeners.closed_for(found.route):
            closed += "; over TLS it is accepted"
        notes = (f"nothing is accepted here: {closed}", f"otherwise: {kind}", *notes)
        kind, status, location = "closed", None, None
    return {
        "decision": kind,
        "route": found.route.name if found.route else None,
        "service": found.route.service if found.route else None,
        "owner": owner_text(found.owner) if found.owner is not None else None,
        "degraded": found.route is not None and found.route.degraded,
        "endpoints": endpoint_data(found.endpoints),
        "status": status,
        "location": location,
        "reasons": [
            *notes,
            *(f"{reason.route.name}: {_verdict(reason)}{reason.text}" for reason in found.reasons),
        ],
    }


def _verdict(reason: Reason) -> str:
    return "taken: " if reason.won else "not taken: "
