"""What is fuzzed: one function of bytes for each parser that reads what strangers write.

Each raises whatever should never be raised: anything but a typed error, or a broken promise about
the result.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Final

from meshlib.authority import normalize_host, parse_authority
from meshlib.balancing.cookies import cookie_values, set_cookie_value
from meshlib.discovery.engine.container_resolver import ContainerResolver
from meshlib.discovery.engine.containers import parse_containers
from meshlib.discovery.engine.swarm import is_settled, parse_swarm
from meshlib.discovery.engine.swarm_resolver import SwarmResolver
from meshlib.discovery.files.services import resolve_document
from meshlib.discovery.files.variables import LABEL_KEY, VARIABLE_KEY, read_assignments
from meshlib.errors import AuthorityError, ConfigurationError, PathError, ProtocolError
from meshlib.http1 import (
    ChunkedReader,
    HeadBuffer,
    RequestBody,
    body_kind,
    parse_request_head,
    parse_response_head,
)
from meshlib.labels.hrm import LABEL, parse_labels
from meshlib.need_data import NEED_DATA, NeedData
from meshlib.patterns import parse_host_pattern, parse_path_prefix
from meshlib.tls import ClientHelloSniffer, SessionReader
from tests.differential import grammar
from tests.differential.compare import Census, compared_requests, compared_response
from tests.vectors.tls.hellos import CASES, records

__all__ = ["TARGETS", "seeds"]

_LARGEST = 64 * 1024
VECTORS = Path(__file__).parents[1] / "vectors" / "tls"


def requests(data: bytes) -> None:
    """As in the differential test: we, h11 and httptools."""
    if data:
        compared_requests(Random(len(data)), data, Census())


def responses(data: bytes) -> None:
    """The first byte chooses what was asked."""
    if len(data) > 1:
        compared_response(Random(len(data)), data[1:], (b"GET", b"HEAD")[data[0] & 1], Census())


def heads(data: bytes) -> None:
    """Of requests and of responses, without anybody to compare with: whole, and in two pieces, cut
    where the first byte says. Which of several faults is named may differ.
    """
    for response in (False, True):
        results = []
        for cut in (len(data), data[0] if data else 0):
            buffer = HeadBuffer(_LARGEST, response=response)
            try:
                raw = buffer.receive_data(data[1:cut])
                if isinstance(raw, NeedData):
                    raw = buffer.receive_data(data[max(cut, 1) :])
                results.append(
                    None if isinstance(raw, NeedData) else _framed(raw, response=response)
                )
            except ProtocolError:
                results.append("refused")
        assert results[0] == results[1], results


def _framed(raw: bytes, *, response: bool) -> object:
    if response:
        said = parse_response_head(raw)
        return (
            said.status,
            said.fields.pairs(),
            body_kind(said, b"GET"),
            body_kind(said, b"HEAD"),
        )
    head = parse_request_head(raw)
    return (
        head.method,
        head.target,
        head.authority,
        head.fields.pairs(),
        RequestBody(head.fields, payload=False).done,
    )


def chunked(data: bytes) -> None:
    """Whole, and in pieces of a size that the first byte gives; not more than so many, for else
    their number is all that takes time.
    """
    results = []
    size = max(data[0] + 1, len(data) // 64) if data else 1
    for step in (len(data) or 1, size):
        reader = ChunkedReader()
        payload = b""
        try:
            for at in range(1, len(data), step):
                payload += b"".join(reader.receive_data(data[at : at + step]))
                if reader.done:
                    break
            results.append((reader.done, payload if reader.done else None, reader.trailers))
        except ProtocolError as error:
            results.append((False, None, error.reason.encode()))
    assert results[0] == results[1], results


def hello(data: bytes) -> None:
    """Whole, and in pieces: of one byte when it is short, for else their number is all that takes
    time.
    """
    results: list[object] = []
    for step in (len(data) or 1, 1 + len(data) // 64):
        sniffer = ClientHelloSniffer()
        result: object = None
        try:
            for at in range(0, len(data), step):
                result = sniffer.receive_data(data[at : at + step])
                if result is not NEED_DATA:
                    break
        except ProtocolError as error:
            result = error.reason
        results.append(result)
    assert results[0] == results[1], results


def sessions(data: bytes) -> None:
    """Whole, and byte by byte; never raises."""
    results = []
    for step in (len(data) or 1, 1):
        reader = SessionReader()
        results.append(
            [
                key
                for at in range(0, len(data), step)
                for key in reader.receive_data(data[at : at + step])
            ]
        )
    assert results[0] == results[1], results


def hosts(data: bytes) -> None:
    """A normal form is its own normal form."""
    text = data.decode("utf-8", "surrogateescape")
    with suppress(AuthorityError):
        host = normalize_host(text)
        assert normalize_host(host) == host, host
    with suppress(AuthorityError):
        authority = parse_authority(text)
        assert parse_authority(str(authority)) == authority, authority
    with suppress(AuthorityError):
        pattern = parse_host_pattern(text)
        assert parse_host_pattern(pattern) == pattern, pattern
    with suppress(PathError):
        prefix = parse_path_prefix(text)
        assert parse_path_prefix(prefix) == prefix, prefix


def labels(data: bytes) -> None:
    """Never raises, whatever stands in a label."""
    key, _, value = data.decode("utf-8", "replace").partition("\n")
    parse_labels({LABEL + key: value, LABEL: value}, service="s")


def cookies(data: bytes) -> None:
    """Both directions."""
    cookie_values([data], b"a")
    set_cookie_value([data], b"a", 0.0)


def documents(data: bytes) -> None:
    """What a file may hold once it is taken apart."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    with suppress(ConfigurationError):
        resolve_document(document)
    with suppress(ConfigurationError):
        resolve_document({"services": {"s": document}})


def assignments(data: bytes) -> None:
    """Lines of a file of variables, and of one of labels. Never raises."""
    text = data.decode("utf-8", "replace")
    for key in (VARIABLE_KEY, LABEL_KEY):
        found, problems = read_assignments(text, {"A": "b"}, key=key)
        assert all(key.fullmatch(name) for name in found)
        assert all(1 <= problem.line <= text.count("\n") + 1 for problem in problems)


def engine(data: bytes) -> None:
    """What an engine may respond: all of it, and an object alone among whole ones. Never raises."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    lists = (
        [document.get(name) for name in ("services", "tasks", "networks", "containers")]
        if isinstance(document, dict)
        else [document] * 4
    )
    for services, tasks, networks, containers in (lists, [[item] for item in lists]):
        records = parse_swarm(services, tasks, networks)
        is_settled(records)
        SwarmResolver().resolve(records)
        ContainerResolver().resolve(parse_containers(containers, networks))


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    function.__name__: function
    for function in (
        requests,
        responses,
        heads,
        chunked,
        hello,
        sessions,
        hosts,
        labels,
        cookies,
        documents,
        assignments,
        engine,
    )
}


def seeds(name: str) -> list[bytes]:
    """Where the fuzzing of a target begins."""
    random = Random(name)
    if name == "requests":
        return [*grammar.SEEDS, *[grammar.request(random) for _ in range(300)]]
    if name == "responses":
        return [b"G" + grammar.response(random) for _ in range(300)]
    if name == "heads":
        return [
            b"\x20" + seed
            for seed in (
                *seeds("requests")[:200],
                *(response[1:] for response in seeds("responses")[:200]),
            )
        ]
    if name == "chunked":
        return [b"\x07" + grammar.chunked_body(random, grammar.body(random)) for _ in range(300)]
    if name == "hello":
        real = [path.read_bytes() for path in sorted(VECTORS.glob("*.bin"))]
        return [*(case.data for case in CASES if len(case.data) < 2000), *real]
    if name == "sessions":
        given = (
            b"\x02\x00\x00\x46\x03\x03" + bytes(32) + b"\x20" + bytes(range(32)) + b"\xc0\x2f\x00"
        )
        ticket = b"\x04\x00\x00\x0c" + bytes(4) + b"\x00\x06ticket"
        return [
            records(given + ticket),
            records(given) + records(ticket),
            b"\x14\x03\x03\x00\x01\x01",
        ]
    if name == "labels":
        return [
            b".1\nexternal_route=http://a.example/b,internal_port=80,sticky_sessions=c,redirect=http://b.example,include_forwarded_for=yes",
            b"\nexternal_route=sni://a.example:443,internal_port=443",
            b"\n8080=http://a.example,8443=sni://b.example",
        ]
    if name == "documents":
        labels = {LABEL: "external_route=http://a.example,internal_port=80"}
        ours: dict[str, object] = {"labels": labels, "endpoints": ["a:1", "[::1]:2"]}
        composed = {"deploy": {"labels": ["a=b"]}, "image": "x"}
        extending = {"extends": "t", "ports": ["80:80/udp"], "profiles": ["p"], "labels": labels}
        named = {"network_mode": "service:s", "expose": [80], "label_file": "f", **composed}
        services = {"s": ours, "t": composed, "u": extending, "v": named}
        return [
            json.dumps({"services": services, "include": ["a"], "name": "$A"}).encode(),
            json.dumps(ours).encode(),
        ]
    if name == "assignments":
        return [
            b"A=1\nexport B = \"x\\n$A ${C:-d}\" # e\nC='f\ng'\nD: h\n# i\nE\n",
            f"{LABEL}.80=external_route=http://$A\n".encode(),
        ]
    if name == "engine":
        return [json.dumps(_engine_says()).encode(), b"[]", b"[null]"]
    hosts = [
        b"a.example.com:80",
        b"*.example.com",
        b"[2001:db8::1]:443",
        "b\xfccher.example".encode(),
    ]
    return [*hosts, b"/a/b", b'a=b; c="d"; a=', b"a=b; Path=/"]


def _engine_says() -> dict[str, object]:
    labels = {LABEL + ".80": "external_route=http://a.example,internal_port=80"}
    network = {
        "Id": "n1",
        "Name": "mesh",
        "Driver": "overlay",
        "Scope": "swarm",
        "Labels": {"com.docker.ucp.mesh.http": "true"},
    }
    service = {
        "ID": "s1",
        "CreatedAt": "2017-03-01T10:00:00.000000000Z",
        "Spec": {
            "Name": "shop",
            "Labels": labels,
            "TaskTemplate": {
                "ContainerSpec": {"Image": "i", "Hostname": "h"},
                "Networks": [{"Target": "n1", "Aliases": ["a"]}],
            },
            "Mode": {"Replicated": {"Replicas": 1}},
        },
        "Endpoint": {
            "Spec": {"Mode": "vip"},
            "Ports": [
                {
                    "Protocol": "tcp",
                    "TargetPort": 80,
                    "PublishedPort": 8080,
                    "PublishMode": "ingress",
                }
            ],
            "VirtualIPs": [{"NetworkID": "n1", "Addr": "10.9.0.2/24"}],
        },
        "UpdateStatus": {"State": "updating"},
    }
    task = {
        "ID": "t1",
        "ServiceID": "s1",
        "Slot": 1,
        "NodeID": "o1",
        "CreatedAt": "2017-03-01T10:00:00.000000000Z",
        "DesiredState": "running",
        "Status": {"State": "running", "ContainerStatus": {"ContainerID": "c1"}},
        "NetworksAttachments": [
            {"Network": {"ID": "n1", "Spec": {"Name": "mesh"}}, "Addresses": ["10.0.0.3/24"]}
        ],
    }
    container = {
        "Id": "c1",
        "Names": ["/shop"],
        "Labels": labels,
        "State": "running",
        "Status": "Up 2 seconds (healthy)",
        "Created": 1488362400,
        "Ports": [{"PrivatePort": 80, "PublicPort": 8080, "Type": "tcp", "IP": "0.0.0.0"}],
        "NetworkSettings": {"Networks": {"mesh": {"NetworkID": "n1", "IPAddress": "10.0.0.3"}}},
    }
    return {
        "services": [service],
        "tasks": [task],
        "networks": [network],
        "containers": [container],
    }
