"""meshlib: a gateway library. Say what runs where, and ask where a request goes.

    import meshlib

    mesh = meshlib.Mesh({
        "shop.example.com": ["10.0.0.5:8080", "10.0.0.6:8080"],
        "api.example.com/v1": meshlib.Service(["10.0.0.7:80"], sticky="SID"),
        "old.example.com": meshlib.redirect("https://shop.example.com"),
    })
    match mesh.route("GET", "https://shop.example.com/cart"):
        case meshlib.Forward(upstream=upstream):
            print([endpoint.address for endpoint in upstream.ready])
        case meshlib.Redirect(rule=rule):
            print(rule.status, rule.target)
        case meshlib.Respond(status=status, reason=reason):
            print(status, reason)

`Mesh` is where everything begins: routes from code, from labels (`Mesh.from_labels`,
`Mesh.from_compose`) and from whoever publishes snapshots; a mistake in a route is a
`ConfigurationError` that names the entry and the cure. Nothing here opens, logs or waits; what does
is in `meshlib_adapters`. These names are loaded on first use, from the standard library alone; all
others are imported from their modules, which docs/architecture.md lists. docs/library.md shows the
whole face.
"""

from __future__ import annotations

import importlib

# Type checkers know it by its name. Importing `typing` would be most of what this package takes.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from meshlib.balancing.registered import Candidate, StrategyRequest, strategy
    from meshlib.decision import (
        Carry,
        Decision,
        Forward,
        Passthrough,
        PortDecision,
        Redirect,
        Refuse,
        Reject,
        Respond,
        Terminate,
        TLSDecision,
    )
    from meshlib.errors import ConfigurationError, MeshError, ProtocolError
    from meshlib.hook_values import Changes, Request, Response
    from meshlib.labels.schemas import label_schema
    from meshlib.mesh import Mesh
    from meshlib.messages import ClientHello
    from meshlib.model import (
        Contribution,
        Diagnostic,
        Endpoint,
        ForwardTo,
        HostPath,
        ListeningPort,
        Route,
        Scheme,
        Snapshot,
        Upstream,
    )
    from meshlib.record import Record
    from meshlib.routes import Service, redirect
    from meshlib.table import Explanation
    from meshlib.upstream_key import UpstreamKey

__version__ = "0.1.0"

_PLACES = {
    "Candidate": "meshlib.balancing.registered",
    "Carry": "meshlib.decision",
    "Changes": "meshlib.hook_values",
    "ClientHello": "meshlib.messages",
    "ConfigurationError": "meshlib.errors",
    "Contribution": "meshlib.model",
    "Decision": "meshlib.decision",
    "Diagnostic": "meshlib.model",
    "Endpoint": "meshlib.model",
    "Explanation": "meshlib.table",
    "Forward": "meshlib.decision",
    "ForwardTo": "meshlib.model",
    "HostPath": "meshlib.model",
    "ListeningPort": "meshlib.model",
    "Mesh": "meshlib.mesh",
    "MeshError": "meshlib.errors",
    "Passthrough": "meshlib.decision",
    "PortDecision": "meshlib.decision",
    "ProtocolError": "meshlib.errors",
    "Record": "meshlib.record",
    "Redirect": "meshlib.decision",
    "Refuse": "meshlib.decision",
    "Reject": "meshlib.decision",
    "Request": "meshlib.hook_values",
    "Respond": "meshlib.decision",
    "Response": "meshlib.hook_values",
    "Route": "meshlib.model",
    "Scheme": "meshlib.model",
    "Service": "meshlib.routes",
    "Snapshot": "meshlib.model",
    "StrategyRequest": "meshlib.balancing.registered",
    "TLSDecision": "meshlib.decision",
    "Terminate": "meshlib.decision",
    "Upstream": "meshlib.model",
    "UpstreamKey": "meshlib.upstream_key",
    "label_schema": "meshlib.labels.schemas",
    "redirect": "meshlib.routes",
    "strategy": "meshlib.balancing.registered",
}

# What a program begins with comes first.
__all__ = [  # noqa: RUF022
    "Mesh",
    "Service",
    "redirect",
    "Candidate",
    "Carry",
    "Changes",
    "ClientHello",
    "ConfigurationError",
    "Contribution",
    "Decision",
    "Diagnostic",
    "Endpoint",
    "Explanation",
    "Forward",
    "ForwardTo",
    "HostPath",
    "ListeningPort",
    "MeshError",
    "Passthrough",
    "PortDecision",
    "ProtocolError",
    "Record",
    "Redirect",
    "Refuse",
    "Reject",
    "Request",
    "Respond",
    "Response",
    "Route",
    "Scheme",
    "Snapshot",
    "StrategyRequest",
    "TLSDecision",
    "Terminate",
    "Upstream",
    "UpstreamKey",
    "label_schema",
    "strategy",
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
