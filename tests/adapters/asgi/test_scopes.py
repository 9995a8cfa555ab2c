"""What a lax server could hand over: whatever the scope says, an upstream gets one request or
nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.client_claims import UNIX, ForwardingPolicy, Peer
from meshlib.http1 import ChunkedReader
from meshlib.mesh import Mesh
from meshlib.model import (
    Contribution,
    Endpoint,
    ForwardTo,
    HostPath,
    Route,
    Snapshot,
    Upstream,
)
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.asgi import MeshApp
from meshlib_adapters.asgi.scope import peer_of
from meshlib_adapters.config.http import HTTPSettings

Message = dict[str, Any]
SCOPE: Message = {
    "type": "http",
    "http_version": "2",
    "method": "GET",
    "scheme": "http",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "headers": [(b"host", b"a.test")],
    "client": ("127.0.0.1", 5),
    "server": ("127.0.0.1", 80),
}


async def exchange(
    scope: Message,
    messages: list[Message],
    response: bytes = b"HTTP/1.1 204 X\r\n\r\n",
    **options: Any,
) -> tuple[list[Message], list[bytes]]:
    """What the server is sent, and what came on each connection to the upstream."""
    seen: list[bytes] = []
    ended: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        ended.append(task)
        index = len(seen)
        seen.append(b"")
        while data := await reader.read(65536):
            seen[index] += data
            if b"\r\n\r\n" in seen[index]:
                writer.write(response)
                break
        while data := await reader.read(65536):
            seen[index] += data
        writer.close()

    upstream_server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = upstream_server.sockets[0].getsockname()[1]
    route = Route(
        HostPath(""),
        ForwardTo(Upstream(UpstreamKey("s", 80, "file"), (Endpoint("s.1", "127.0.0.1", port),))),
        service="s",
        label="l",
        schema="hrm",
    )
    gateway = MeshApp(Mesh(Snapshot.of([Contribution("p/s", "s", 1, (route,))])), **options)
    sent: list[Message] = []
    left = iter(messages)

    async def receive() -> Message:
        for message in left:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    async with gateway:
        await asyncio.wait_for(gateway(dict(scope), receive, send), 10)
    upstream_server.close()
    if ended:
        await asyncio.wait(ended, timeout=5)
    return sent, seen


def requests_in(data: bytes) -> int:
    """How many complete requests h11 reads in what one connection sent; -1 for anything else."""
    count = 0
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    try:
        while True:
            event = connection.next_event()
            if event is h11.PAUSED:
                return count if not connection.trailing_data[0] else -1
            if event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                return count if connection.their_state in (h11.IDLE, h11.DONE) else -1
            if isinstance(event, h11.EndOfMessage):
                count += 1
                if connection.their_state is h11.DONE and not connection.trailing_data[0]:
                    return count
    except h11.RemoteProtocolError:
        return -1


HOSTILE: list[tuple[str, Message]] = [
    ("CRLF in the path", {"raw_path": b"/ HTTP/1.1\r\nX: y\r\n\r\nGET /"}),
    ("space", {"raw_path": b"/a b"}),
    ("eight bits", {"raw_path": b"/\xc3\xa4"}),
    ("fragment", {"raw_path": b"/a#b"}),
    ("no path", {"raw_path": b"a"}),
    ("an URL over HTTP/2", {"raw_path": b"http://evil.test/"}),
    ("CRLF in the query", {"query_string": b"a=1\r\nX: y"}),
    ("space in the query", {"query_string": b"a b"}),
    ("a path that no bytes can be", {"raw_path": None, "path": "/\udc00"}),
    ("space in the method", {"method": "GET /"}),
    ("CRLF in the method", {"method": "GET / HTTP/1.1\r\nX:"}),
    ("eight bits in the method", {"method": "G\xe4T"}),
    ("no method", {"method": ""}),
    ("* with GET", {"raw_path": b"*"}),
    ("CRLF in a value", {"headers": [(b"host", b"a"), (b"x", b"y\r\nZ: 1")]}),
    ("CRLF in a name", {"headers": [(b"host", b"a"), (b"x: 1\r\ny", b"z")]}),
    ("space in a name", {"headers": [(b"host", b"a"), (b"x ", b"z")]}),
    ("a pseudo field", {"headers": [(b":authority", b"a"), (b"host", b"a")]}),
    ("NUL in a value", {"headers": [(b"host", b"a"), (b"x", b"\x00")]}),
    ("two hosts", {"headers": [(b"host", b"a"), (b"Host", b"b")]}),
    ("no host", {"headers": []}),
    ("a bad host", {"headers": [(b"host", b"a b")]}),
    (
        "length and chunked",
        {
            "headers": [
                (b"host", b"a"),
                (b"content-length", b"1"),
                (b"transfer-encoding", b"chunked"),
            ]
        },
    ),
    (
        "two lengths",
        {"headers": [(b"host", b"a"), (b"content-length", b"1"), (b"content-length", b"2")]},
    ),
    ("a signed length", {"headers": [(b"host", b"a"), (b"content-length", b"+1")]}),
    (
        "chunked in 1.0",
        {"http_version": "1.0", "headers": [(b"host", b"a"), (b"transfer-encoding", b"chunked")]},
    ),
]


@pytest.mark.parametrize(("name", "changes"), HOSTILE, ids=[name for name, _ in HOSTILE])
def test_refused_and_nothing_sent(name: str, changes: Message) -> None:
    sent, seen = asyncio.run(exchange({**SCOPE, **changes}, [{"type": "http.request"}]))
    assert [message.get("status") for message in sent] == [400, None]
    assert not seen


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_methods_that_are_not_forwarded_get_405(method: str) -> None:
    sent, seen = asyncio.run(exchange({**SCOPE, "method": method}, [{"type": "http.request"}]))
    assert sent[0]["status"] == 405
    assert b"allow" in dict(sent[0]["headers"])
    assert not seen


def body(*parts: bytes) -> list[Message]:
    return [
        {"type": "http.request", "body": part, "more_body": i + 1 < len(parts)}
        for i, part in enumerate(parts)
    ]


@pytest.mark.parametrize(
    "parts",
    [(b"abcGET / HTTP/1.1\r\nHost: x\r\n\r\n",), (b"ab", b"c", b"GET /"), (b"a",), (b"a", b"")],
)
def test_a_body_of_another_length_than_said(parts: tuple[bytes, ...]) -> None:
    scope = {
        **SCOPE,
        "method": "POST",
        "headers": [(b"host", b"a.test"), (b"content-length", b"3")],
    }
    _, seen = asyncio.run(exchange(scope, body(*parts), response=b""))
    for data in seen:
        assert b"GET" not in data
        assert requests_in(data) == -1  # cut, so that it cannot pass for a whole one


def test_no_body_where_length_0_was_said() -> None:
    scope = {
        **SCOPE,
        "method": "POST",
        "headers": [(b"host", b"a.test"), (b"content-length", b"0")],
    }
    sent, (data,) = asyncio.run(exchange(scope, body(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")))
    assert sent[0]["status"] == 204
    assert b"GET" not in data
    assert requests_in(data) == 1


def test_a_body_without_length_is_sent_in_chunks() -> None:
    _, (data,) = asyncio.run(exchange({**SCOPE, "method": "POST"}, body(b"hello", b"", b"world")))
    assert b"Transfer-Encoding: chunked\r\n" in data
    reader = ChunkedReader()
    # What comes before there is a connection goes out as one chunk.
    assert b"".join(reader.receive_data(data.partition(b"\r\n\r\n")[2])) == b"helloworld"
    assert reader.done
    assert requests_in(data) == 1


@pytest.mark.parametrize("length", [b"6", None])
def test_bodies_over_the_limit(length: bytes | None) -> None:
    headers = [(b"host", b"a.test")] + ([(b"content-length", length)] if length else [])
    options = {"settings": HTTPSettings(max_body=5)}
    sent, _ = asyncio.run(
        exchange(
            {**SCOPE, "method": "POST", "headers": headers},
            body(b"abc", b"def"),
            response=b"",
            **options,
        )
    )
    assert sent[0]["status"] == 413


def test_no_upgrade_over_http() -> None:
    headers = [(b"host", b"a.test"), (b"connection", b"upgrade"), (b"upgrade", b"foo")]
    response = b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n"
    sent, (data,) = asyncio.run(
        exchange({**SCOPE, "http_version": "1.1", "headers": headers}, body(b""), response=response)
    )
    assert b"pgrade" not in data
    assert sent[0]["status"] == 502


def test_a_client_of_1_0_without_host() -> None:
    sent, (data,) = asyncio.run(
        exchange({**SCOPE, "http_version": "1.0", "headers": []}, body(b""))
    )
    assert sent[0]["status"] == 204
    assert b"\r\nHost: s:80\r\n" in data
    assert requests_in(data) == 1


def test_what_server_and_proxy_say_of_the_client_is_checked() -> None:
    scope = {
        **SCOPE,
        "client": ("1.2.3.4\r\nX: y", 5),
        "scheme": "http\r\nX: y",
        "server": ("/run/socket", None),
    }
    _, (data,) = asyncio.run(exchange(scope, body(b"")))
    assert b"X-Forwarded-For" not in data
    assert b"X-Forwarded-Port" not in data
    assert b"X-Forwarded-Proto: http\r\n" in data
    assert requests_in(data) == 1


@pytest.mark.parametrize("server", [("/run/socket", None), None])
@pytest.mark.parametrize("client", [None, ("", 0)])
def test_a_peer_on_a_unix_socket_is_trusted_only_if_that_is_said(server: Any, client: Any) -> None:
    scope = {"scheme": "http", "client": client, "server": server}
    assert peer_of(scope, ForwardingPolicy()) == Peer("unix:", "http", 0)
    policy = ForwardingPolicy(trusted_proxies=(UNIX,))
    assert peer_of(scope, policy) == Peer("unix:", "http", 0, trusted=True)


@pytest.mark.parametrize("client", [("testclient", 50000), None])
def test_a_peer_of_whom_nothing_is_known_is_not_on_a_unix_socket(client: Any) -> None:
    scope = {"scheme": "http", "client": client, "server": ("s", 80)}
    policy = ForwardingPolicy(trusted_proxies=(UNIX,))
    assert peer_of(scope, policy) == Peer("", "http", 80)


@pytest.mark.parametrize(
    "changes",
    [
        {"subprotocols": ["chat\r\nX: y"]},
        {"subprotocols": ["ch\xe4t"]},
        {"headers": [(b"host", b"a"), (b"content-length", b"5")]},
        {"headers": [(b"host", b"a"), (b"transfer-encoding", b"chunked")]},
    ],
)
def test_a_malformed_websocket_is_refused_before_the_upstream_sees_it(changes: Message) -> None:
    sent, seen = asyncio.run(
        exchange(
            {**SCOPE, "type": "websocket", "subprotocols": [], **changes},
            [{"type": "websocket.connect"}],
        )
    )
    assert [message["type"] for message in sent] == ["websocket.close"]
    assert not seen


PARTS = st.sampled_from(
    [
        b"GET",
        b"POST",
        b"OPTIONS",
        b" ",
        b"/",
        b"*",
        b"\r\n",
        b"\n",
        b"\r",
        b"\x00",
        b"\xff",
        b"#",
        b"?",
        b"a",
        b"%0d",
        b":",
        b"5",
        b"chunked",
    ]
)
TEXT = st.lists(PARTS, max_size=4).map(b"".join)
NAMES = st.sampled_from(
    [
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"upgrade",
        b"te",
        b"expect",
        b"trailer",
        b"x_y",
    ]
)
SCOPES = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["http", "http", "websocket"]),
        "http_version": st.sampled_from(["1.0", "1.1", "2", "3"]),
        "method": TEXT.map(lambda data: data.decode("latin-1"))
        | st.sampled_from(["GET", "POST", "HEAD"]),
        "scheme": st.sampled_from(["http", "https", "a\r\nb: c"]),
        "path": TEXT.map(lambda data: data.decode("latin-1")),
        "raw_path": st.none() | TEXT | TEXT.map(lambda data: b"/" + data),
        "query_string": TEXT,
        "headers": st.lists(
            st.tuples(
                NAMES | TEXT,
                TEXT | st.sampled_from([b"a.test", b"5", b"100-continue", b"upgrade", b"chunked"]),
            ),
            max_size=4,
        ).map(lambda pairs: [*pairs, (b"host", b"a.test")]),
        "client": st.none() | st.just(("1.2.3.4", 5)),
        "server": st.none(),
    }
)
BODIES = st.lists(
    st.sampled_from([b"", b"hello", b"0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"]),
    min_size=1,
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(SCOPES, BODIES)
def test_whatever_the_scope_one_request_or_a_cut_one(scope: Message, parts: list[bytes]) -> None:
    messages: list[Message] = (
        body(*parts) if scope["type"] == "http" else [{"type": "websocket.connect"}]
    )
    sent, seen = asyncio.run(
        exchange(
            scope,
            messages,
            response=b"HTTP/1.1 200 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        )
    )
    assert sent
    for data in seen:
        count = requests_in(data)
        assert count in (1, -1)
        if count == -1:  # cut in the middle of its body; nothing in it reads as a second one
            head = data.partition(b"\r\n\r\n")[0].lower()
            assert b"content-length" in head or b"chunked" in head
            assert data.count(b" HTTP/1.1\r\n") == 1 or b"chunked" in head
