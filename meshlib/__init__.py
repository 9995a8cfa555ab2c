"""meshlib: parts to build a gateway that routes by what services say about themselves.

Importing this package loads the standard library only, and only the names that are used: the rest is loaded on first
use. Everything that does I/O is in `meshlib_adapters`, and is imported by its module.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshlib.authority import Authority, normalize_host, parse_authority
    from meshlib.balancing import LearnedTable, RoundRobin, Strategy, WeightedRoundRobin, create_strategy
    from meshlib.decision import (
        Carry,
        Decision,
        Forward,
        Passthrough,
        PortDecision,
        Redirect,
        RedirectToTLS,
        Refuse,
        Reject,
        Respond,
        Terminate,
        TLSDecision,
    )
    from meshlib.discovery.names import NameIndex
    from meshlib.discovery.options import ResolveOptions
    from meshlib.discovery.resolve import resolve_containers, resolve_swarm
    from meshlib.discovery.static import resolve_document
    from meshlib.errors import ConfigurationError, MeshError, ProtocolError, UpstreamError
    from meshlib.forwarding import ForwardingPolicy, Peer, request_fields, response_fields
    from meshlib.http1 import parse_request_head, parse_response_head, section_of
    from meshlib.labels.hrm import parse_labels
    from meshlib.mesh import Mesh
    from meshlib.messages import ClientHello, FieldSection, RequestHead, ResponseHead
    from meshlib.model import Contribution, Diagnostic, Endpoint, ListeningPort, RedirectRule, Route, Scheme, Snapshot, Upstream
    from meshlib.redirects import location
    from meshlib.routes import Service, redirect
    from meshlib.table import Explanation, RoutingTable, explain
    from meshlib.tls import ClientHelloSniffer

__version__ = "0.1.0"

_PLACES = {
    "Authority": "meshlib.authority",
    "Carry": "meshlib.decision",
    "ClientHello": "meshlib.messages",
    "ClientHelloSniffer": "meshlib.tls",
    "ConfigurationError": "meshlib.errors",
    "Contribution": "meshlib.model",
    "Decision": "meshlib.decision",
    "Diagnostic": "meshlib.model",
    "Endpoint": "meshlib.model",
    "Explanation": "meshlib.table",
    "FieldSection": "meshlib.messages",
    "Forward": "meshlib.decision",
    "ForwardingPolicy": "meshlib.forwarding",
    "LearnedTable": "meshlib.balancing",
    "ListeningPort": "meshlib.model",
    "Mesh": "meshlib.mesh",
    "MeshError": "meshlib.errors",
    "NameIndex": "meshlib.discovery.names",
    "Passthrough": "meshlib.decision",
    "Peer": "meshlib.forwarding",
    "PortDecision": "meshlib.decision",
    "ProtocolError": "meshlib.errors",
    "Redirect": "meshlib.decision",
    "RedirectToTLS": "meshlib.decision",
    "RedirectRule": "meshlib.model",
    "Refuse": "meshlib.decision",
    "Reject": "meshlib.decision",
    "RequestHead": "meshlib.messages",
    "ResolveOptions": "meshlib.discovery.options",
    "Respond": "meshlib.decision",
    "ResponseHead": "meshlib.messages",
    "RoundRobin": "meshlib.balancing",
    "Route": "meshlib.model",
    "RoutingTable": "meshlib.table",
    "Scheme": "meshlib.model",
    "Service": "meshlib.routes",
    "Snapshot": "meshlib.model",
    "Strategy": "meshlib.balancing",
    "TLSDecision": "meshlib.decision",
    "Terminate": "meshlib.decision",
    "Upstream": "meshlib.model",
    "UpstreamError": "meshlib.errors",
    "WeightedRoundRobin": "meshlib.balancing",
    "create_strategy": "meshlib.balancing",
    "explain": "meshlib.table",
    "location": "meshlib.redirects",
    "normalize_host": "meshlib.authority",
    "parse_authority": "meshlib.authority",
    "parse_labels": "meshlib.labels.hrm",
    "parse_request_head": "meshlib.http1",
    "parse_response_head": "meshlib.http1",
    "redirect": "meshlib.routes",
    "request_fields": "meshlib.forwarding",
    "resolve_containers": "meshlib.discovery.resolve",
    "resolve_document": "meshlib.discovery.static",
    "resolve_swarm": "meshlib.discovery.resolve",
    "response_fields": "meshlib.forwarding",
    "section_of": "meshlib.http1",
}

__all__ = [
    "Authority",
    "Carry",
    "ClientHello",
    "ClientHelloSniffer",
    "ConfigurationError",
    "Contribution",
    "Decision",
    "Diagnostic",
    "Endpoint",
    "Explanation",
    "FieldSection",
    "Forward",
    "ForwardingPolicy",
    "LearnedTable",
    "ListeningPort",
    "Mesh",
    "MeshError",
    "NameIndex",
    "Passthrough",
    "Peer",
    "PortDecision",
    "ProtocolError",
    "Redirect",
    "RedirectRule",
    "RedirectToTLS",
    "Refuse",
    "Reject",
    "RequestHead",
    "ResolveOptions",
    "Respond",
    "ResponseHead",
    "RoundRobin",
    "Route",
    "RoutingTable",
    "Scheme",
    "Service",
    "Snapshot",
    "Strategy",
    "TLSDecision",
    "Terminate",
    "Upstream",
    "UpstreamError",
    "WeightedRoundRobin",
    "create_strategy",
    "explain",
    "location",
    "normalize_host",
    "parse_authority",
    "parse_labels",
    "parse_request_head",
    "parse_response_head",
    "redirect",
    "request_fields",
    "resolve_containers",
    "resolve_document",
    "resolve_swarm",
    "response_fields",
    "section_of",
]


def __getattr__(name: str) -> object:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(place), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
