"""Whether a listener accepts what the table has a decision for: `routes` and `explain` say so."""

from __future__ import annotations

from typing import Any

import pytest

from meshlib.mesh import Mesh
from meshlib.messages import ClientHello
from meshlib.model import Contribution as Service
from meshlib.model import (
    Endpoint,
    ForwardTo,
    HostPath,
    ListeningPort,
    Match,
    Route,
    Scheme,
    ServerName,
    Snapshot,
    Upstream,
)
from meshlib.table import RoutingTable
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.config.settings import Settings
from meshlib_adapters.config.sources import Layer, resolve_settings
from meshlib_adapters.observe.admin.explanation import explanation_data, parse_question
from meshlib_adapters.observe.admin.listening import (
    ALL_OPEN,
    Listening,
    listening,
    none_listening,
    unopened_ports,
)
from meshlib_adapters.observe.admin.routes import routes_data

SQL, DNS, LOW = (
    ListeningPort(Scheme.TCP, 5432),
    ListeningPort(Scheme.UDP, 5353),
    ListeningPort(Scheme.TCP, 22),
)
MATCHES: list[Match] = [
    HostPath("a.example"),
    HostPath("*.b.example"),
    ServerName("c.example"),
    SQL,
]


def settings(**values: Any) -> Settings:
    named = {name.replace("__", "."): value for name, value in values.items()}
    return resolve_settings([Layer(named, dict.fromkeys(named, "test"))])[0]


def table(*matches: Match) -> RoutingTable:
    upstream = Upstream(UpstreamKey("app", 80), (Endpoint("app.1", "10.0.0.5", 80),))
    routes = tuple(Route(match, ForwardTo(upstream), service="app") for match in matches)
    return Mesh(Snapshot.of([Service("p/app", "app", routes=routes)])).table


def decided(url: str, listeners: Listening) -> str:
    return str(explanation_data(table(*MATCHES), parse_question(url), listeners)["decision"])


def closed(listeners: Listening) -> dict[str, str]:
    found = routes_data(table(*MATCHES), listeners)["routes"]
    return {route["host"] or str(route["port"]): route["closed"] for route in found}


def test_without_listeners_to_ask_nothing_is_called_closed() -> None:
    assert set(closed(ALL_OPEN).values()) == {""}
    assert decided("tcp://:5432", ALL_OPEN) == "carry"


def test_a_listener_that_is_not_configured() -> None:
    plain = listening(settings(https="off"), {})
    assert closed(plain) == {
        "a.example": "",
        "*.b.example": "",
        "c.example": "there is no listener for TLS: the setting https names no address",
        "5432": "",
    }
    assert (decided("http://a.example/", plain), decided("sni://c.example", plain)) == (
        "forward",
        "closed",
    )
    over_tls = listening(settings(http="off"), {})
    assert closed(over_tls)["a.example"].startswith("there is no listener for HTTP")
    assert (decided("http://a.example/", over_tls), decided("sni://c.example", over_tls)) == (
        "closed",
        "passthrough",
    )
    # Without a listener, too, a request that nothing matches is one that nothing matches.
    assert decided("http://z.example/", over_tls) == "respond"


def test_http_on_the_port_of_tls() -> None:
    assert listening(settings(http="off", tls__plain_http="serve"), {}).http == ""


@pytest.mark.parametrize("https", [["0.0.0.0:8443"], "off"])
def test_what_is_reached_over_tls_alone(https: Any) -> None:
    listeners = listening(
        settings(http="off", https=https), {}, terminates=lambda host: host == "a.example"
    )
    found = closed(listeners)
    data = explanation_data(table(*MATCHES), parse_question("http://a.example/"), listeners)
    assert data["decision"] == "closed"
    told = data["reasons"][0].endswith("; over TLS it is accepted")
    if https == "off":
        assert all(found[host] for host in ("a.example", "*.b.example"))
        assert not told
    else:
        assert (found["a.example"], found["*.b.example"]) == ("", "")
        assert told
        assert decided("https://a.example", listeners) == "terminate"


def test_a_question_that_is_closed_says_what_would_be_otherwise() -> None:
    listeners = listening(settings(), unopened_ports(settings(), [SQL]))
    data = explanation_data(table(*MATCHES), SQL, listeners)
    assert data["reasons"][:2] == [
        "nothing is accepted here: ports.open is off; set it to labels to have it opened",
        "otherwise: carry",
    ]
    assert (data["decision"], data["service"], data["status"]) == ("closed", "app", None)


def test_ports_that_the_settings_do_not_open() -> None:
    wanted = [SQL, DNS, LOW]
    assert list(unopened_ports(settings(), wanted)) == wanted
    assert unopened_ports(settings(ports__open="labels"), wanted) == {
        LOW: "it is not one of the allowed ports (ports.allowed)"
    }
    found = unopened_ports(settings(ports__open="labels", http=":5432"), wanted)
    assert found[SQL] == "it is the gateway's own"
    most = settings(ports__open="labels", ports__max_ports=1)
    assert unopened_ports(most, [SQL, DNS]) == {DNS: "1 ports are open already (ports.max_ports)"}


def test_a_gateway_that_accepts_nothing_yet() -> None:
    listeners = none_listening("starting", [SQL])
    reason = "no listener is open: starting"
    assert set(closed(listeners).values()) == {reason}
    assert listeners.closed_to(ClientHello(server_name="c.example")) == reason
    assert {decided(url, listeners) for url in ("http://a.example/", "tcp://:5432")} == {"closed"}
