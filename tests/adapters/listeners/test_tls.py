"""The TLS listener between real clients and real servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import logging
import os
import shutil
import socket
import ssl
import struct
import subprocess
from pathlib import Path

import pytest
import trustme

from meshlib_adapters.config.transport import RelaySettings
from meshlib_adapters.listeners.tls_connection import TLSConnection
from meshlib_adapters.listeners.tunnel import Tunnel
from meshlib_adapters.listeners.upstream_dial import UpstreamDial
from meshlib_adapters.relay.relay import Relay
from tests.support.hellos import echo, hello_for, plain_echo, reply_to, saying, take_hello
from tests.support.tcp_lab import LOOPBACK, MakeLab, Run, closed_port, quick, until
from tests.vectors.tls.hellos import BASE, hello, records

BLOCK = os.urandom(1 << 16)


def test_two_names_two_backends(run: Run, lab: MakeLab, client_context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with lab() as env:
            await env.backend("a.example", saying(b"from a"))
            await env.backend("b.example", saying(b"from b"))
            listener, port = await env.listener()
            for name, text in (
                ("a.example", b"from a"),
                ("b.example", b"from b"),
                ("A.Example", b"from a"),
            ) * 3:
                reader, writer = await asyncio.open_connection(
                    LOOPBACK, port, ssl=client_context, server_hostname=name
                )
                writer.write(b"hello\n")
                assert await reader.read() == text
                writer.close()
                with contextlib.suppress(OSError, ssl.SSLError):
                    await writer.wait_closed()
            await until(lambda: not len(listener))
            assert listener.counters == {
                "accepted": 9,
                "attempts": 9,
                "tunnels": 9,
                "silent": 0,
                "refused": 0,
            }
            assert listener.held_bytes == 0
            assert {r.outcome for r in env.records} <= {"closed", "reset"}
            assert all(r.received > 500 and r.sent > 500 and r.endpoint for r in env.records)

    run(main())


def test_what_served_a_client_is_not_left_to_the_garbage_collector(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            await env.backend(None, plain_echo, into="a.example")
            listener, port = await env.listener()
            gc.collect()
            gc.disable()
            try:
                for _ in range(20):
                    reader, writer = await asyncio.open_connection(LOOPBACK, port)
                    writer.write(hello_for("a.example") + b"x")
                    writer.write_eof()
                    assert await reader.read() == b"x"
                    writer.close()
                await until(lambda: not len(listener))
                left = [
                    item
                    for item in gc.get_objects()
                    if isinstance(item, TLSConnection | Tunnel | UpstreamDial | Relay)
                ]
                assert len(left) <= 2  # the last ones may still be in a frame
            finally:
                gc.enable()

    run(main())


@pytest.mark.parametrize("size", [1, 7, 100])
def test_the_hello_arrives_unchanged_in_any_cut(run: Run, lab: MakeLab, size: int) -> None:
    async def main() -> None:
        async with lab() as env:
            await env.backend(None, echo, into="a.example")
            _, port = await env.listener()
            data = hello_for("a.example") + b"\x17\x03\x03\x00\x05early"
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start in range(0, len(data), size):
                writer.write(data[start : start + size])
                await asyncio.sleep(0)
            writer.write_eof()
            assert await reader.read() == data
            writer.close()

    run(main())


@pytest.mark.parametrize("splice", [True, False])
def test_sixteen_megabytes_both_ways_arrive_equal(run: Run, lab: MakeLab, splice: bool) -> None:
    async def main() -> None:
        async with lab() as env:
            await env.backend(None, plain_echo, into="a.example")
            settings = quick(relay=RelaySettings(splice=splice, pipe_size=1 << 18))
            listener, port = await env.listener(settings)
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(hello_for("a.example"))
            sent, received, count = hashlib.sha256(), hashlib.sha256(), 0

            async def send() -> None:
                for n in range(256):
                    block = n.to_bytes(2, "big") + BLOCK[2:]
                    sent.update(block)
                    writer.write(block)
                    await writer.drain()
                writer.write_eof()

            sender = asyncio.create_task(send())
            while data := await reader.read(1 << 16):
                received.update(data)
                count += len(data)
            await sender
            assert count == 16 * 1024 * 1024
            assert sent.digest() == received.digest()
            writer.close()
            await until(lambda: env.records)
            assert (env.records[0].outcome, env.records[0].sent) == ("closed", count)
            assert listener.resources.pipes.lent == 0
            assert bool(listener.resources.pipes.opened) == splice

    run(main())


@pytest.mark.parametrize("splice", [True, False])
def test_a_peer_that_does_not_read_stops_the_other(run: Run, lab: MakeLab, splice: bool) -> None:
    async def main() -> None:
        async with lab() as env:
            gate = asyncio.Event()
            total = 0

            async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                nonlocal total
                await take_hello(reader)
                await gate.wait()
                while data := await reader.read(1 << 16):
                    total += len(data)

            await env.backend(None, respond, into="a.example")
            _, port = await env.listener(quick(relay=RelaySettings(splice=splice)))
            sock = socket.create_connection((LOOPBACK, port))
            sock.sendall(hello_for("a.example"))
            sock.setblocking(False)
            sent = quiet = 0
            while quiet < 20:  # until nobody takes any more
                try:
                    sent += sock.send(BLOCK)
                    quiet = 0
                except BlockingIOError:
                    quiet += 1
                    await asyncio.sleep(0.02)
            assert sent < 64 << 20
            gate.set()
            sock.shutdown(socket.SHUT_WR)
            await until(lambda: total == sent)
            sock.close()

    run(main())


def test_half_close_by_the_client(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:

            async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await take_hello(reader)
                question = await reader.read()  # to the FIN
                await asyncio.sleep(0.1)
                writer.write(b"reply to " + question)
                await writer.drain()

            await env.backend(None, respond, into="a.example")
            _, port = await env.listener()
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(hello_for("a.example") + b"question")
            writer.write_eof()
            assert await reader.read() == b"reply to question"
            writer.close()
            await until(lambda: env.records)
            assert env.records[0].outcome == "closed"

    run(main())


def test_half_close_by_the_endpoint(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            late = asyncio.get_running_loop().create_future()

            async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await take_hello(reader)
                writer.write(b"bye")
                writer.write_eof()
                late.set_result(await reader.read())

            await env.backend(None, respond, into="a.example")
            _, port = await env.listener()
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(hello_for("a.example"))
            assert await reader.read() == b"bye"
            await asyncio.sleep(0.05)
            writer.write(b"one more thing")
            writer.write_eof()
            assert await late == b"one more thing"
            writer.close()

    run(main())


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def test_reset_by_the_client_reaches_the_endpoint(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            seen = asyncio.get_running_loop().create_future()

            async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await take_hello(reader)
                try:
                    await reader.read()
                except ConnectionResetError:
                    seen.set_result("reset")
                else:
                    seen.set_result("closed")

            await env.backend(None, respond, into="a.example")
            listener, port = await env.listener()
            _, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(hello_for("a.example"))
            await until(lambda: listener.counters["tunnels"])
            reset(writer)
            assert await seen == "reset"
            await until(lambda: env.records)
            assert env.records[0].outcome == "reset"

    run(main())


def test_reset_by_the_endpoint_reaches_the_client_after_its_data(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            go = asyncio.Event()

            async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await take_hello(reader)
                writer.write(b"last words")
                await go.wait()
                reset(writer)

            await env.backend(None, respond, into="a.example")
            _, port = await env.listener()
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(hello_for("a.example"))
            assert await reader.readexactly(10) == b"last words"
            go.set()
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
            await until(lambda: env.records)
            assert env.records[0].outcome == "reset"

    run(main())


def test_an_endpoint_that_refuses_is_passed_over(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            env.table.ports["a.example"] = [(LOOPBACK, closed_port()), (LOOPBACK, closed_port())]
            await env.backend(None, plain_echo, into="a.example")
            listener, port = await env.listener(quick(stickiness="none"))
            for _ in range(6):
                reader, writer = await asyncio.open_connection(LOOPBACK, port)
                writer.write(hello_for("a.example") + b"ping")
                assert await reader.readexactly(4) == b"ping"
                writer.close()
            assert listener.counters["tunnels"] == 6
            assert listener.counters["attempts"] > 6

    run(main())


def test_an_endpoint_that_refuses_is_soon_left_alone(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            env.table.ports["a.example"] = [(LOOPBACK, closed_port())]
            for _ in range(3):
                await env.backend(None, plain_echo, into="a.example")
            listener, port = await env.listener(quick(stickiness="none"))

            async def wasted(connections: int) -> int:
                before = listener.counters["attempts"]
                for _ in range(connections):
                    reader, writer = await asyncio.open_connection(LOOPBACK, port)
                    writer.write(hello_for("a.example") + b"ping")
                    assert await reader.readexactly(4) == b"ping"
                    writer.close()
                return listener.counters["attempts"] - before - connections

            assert await wasted(12) == 3
            assert await wasted(12) == 0

    run(main())


def test_names_of_endpoints_are_resolved(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            port = await env.backend(None, plain_echo)
            env.table.ports["a.example"] = [
                ("nowhere.invalid", port),
                ("x" * 64 + ".invalid", port),
                ("localhost", port),
            ]
            _, entry = await env.listener()
            for _ in range(2):
                reader, writer = await asyncio.open_connection(LOOPBACK, entry)
                writer.write(hello_for("a.example") + b"ping")
                assert await reader.readexactly(4) == b"ping"
                writer.close()

    run(main())


def test_an_endpoint_that_does_not_accept_is_given_up(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            # A full backlog drops SYNs, as a host that vanished does.
            full = socket.socket()
            full.bind((LOOPBACK, 0))
            full.listen(0)
            fillers = []
            for _ in range(4):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
                fillers.append(filler)
            await asyncio.sleep(0.05)
            env.table.ports["a.example"] = [(LOOPBACK, full.getsockname()[1])]
            await env.backend(None, plain_echo, into="a.example")
            listener, port = await env.listener(quick(connect=0.2, stickiness="none"))
            for _ in range(2):
                reader, writer = await asyncio.open_connection(LOOPBACK, port)
                writer.write(hello_for("a.example") + b"ping")
                assert await reader.readexactly(4) == b"ping"
                writer.close()
            assert listener.counters["attempts"] == 3
            for sock in (*fillers, full):
                sock.close()

    run(main())


@pytest.mark.parametrize(
    ("name", "alert", "reason"),
    [
        ("b.example", 112, "no_route"),
        ("a.example\r\n", 112, "bad_server_name"),
        ("dead.example", 80, "connect_failed"),
        ("empty.example", 80, "no_endpoint"),
    ],
)
def test_a_name_without_a_way_gets_an_alert_and_a_log_line(
    run: Run, lab: MakeLab, caplog: pytest.LogCaptureFixture, name: str, alert: int, reason: str
) -> None:
    async def main() -> None:
        async with lab() as env:
            env.table.ports.update(
                {"dead.example": [(LOOPBACK, closed_port())], "empty.example": []}
            )
            listener, port = await env.listener(quick())
            with caplog.at_level(logging.INFO, "meshlib.tcp"):
                assert await reply_to(port, hello_for(name)) == b"\x15\x03\x01\x00\x02\x02" + bytes(
                    (alert,)
                )
            assert listener.refusals == {reason: 1}
            lines = [r.getMessage() for r in caplog.records]
            assert len(lines) == 1
            assert reason in lines[0]
            assert "\r" not in lines[0]
            assert "\n" not in lines[0]

    run(main())


def test_no_server_name_goes_to_the_catch_all_only(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            _, port = await env.listener(quick())
            data = records(hello(*BASE))
            assert (await reply_to(port, data))[-1] == 112
            await env.backend(None, echo, into="*")
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(data)
            writer.write_eof()
            assert await reader.read() == data
            writer.close()

    run(main())


@pytest.mark.parametrize(
    ("data", "reply", "reason"),
    [
        (b"\x17\x03\x03\x00\x01!", b"\x15\x03\x01\x00\x02\x02\x0a", "unexpected_record"),
        (records(b"\x01\xff\xff\xff"), b"\x15\x03\x01\x00\x02\x02\x2f", "hello_too_large"),
        (b"SSH-2.0-x\r\n", b"", "not_tls_ssh"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.1 1 1\r\n", b"", "not_tls_proxy_v1"),
        (b"\x00" * 100, b"", "not_tls_unknown"),
        (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", b"", "not_tls_postgres"),
    ],
)
def test_what_is_no_hello_is_refused_at_once(
    run: Run, lab: MakeLab, data: bytes, reply: bytes, reason: str
) -> None:
    async def main() -> None:
        async with lab() as env:
            await env.backend(None, echo, into="*")
            listener, port = await env.listener(quick(head_read=50.0))
            assert await reply_to(port, data) == reply
            assert listener.refusals == {reason: 1}
            assert listener.counters["attempts"] == 0

    run(main())


def test_plain_http_is_told_so(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            _, port = await env.listener(quick())
            reply = await reply_to(
                port, b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n" + b"x" * 100_000
            )
            assert reply.startswith(b"HTTP/1.1 400 Bad Request\r\n")
            assert reply.endswith(
                b"\r\n\r\n400 Bad Request\nThis port takes TLS only, not plain HTTP.\n"
            )
            assert b"\r\nDate: " in reply
            assert b"\r\nCache-Control: no-store\r\n" in reply

    run(main())


@pytest.mark.parametrize(
    ("head", "location"),
    [
        (b"GET /a?b=c HTTP/1.1\r\nHost: A.Example:8443\r\n\r\n", b"https://a.example:9443/a?b=c"),
        (
            b"GET http://b.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n",
            b"https://b.example:9443/x",
        ),
        (
            b"GET //evil.example HTTP/1.1\r\nHost: a.example\r\n\r\n",
            b"https://a.example:9443//evil.example",
        ),
        (b"GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", b"https://[2001:db8::1]:9443/"),
        (b"GET / HTTP/1.1\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", None),
        (b"OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 9000, None),
    ],
)
def test_plain_http_is_sent_to_https(
    run: Run, lab: MakeLab, head: bytes, location: bytes | None
) -> None:
    async def main() -> None:
        async with lab() as env:
            _, port = await env.listener(quick(plain_http="redirect", public_port=9443))
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(head[:20])
            await asyncio.sleep(0.02)
            writer.write(head[20:])
            reply = await reader.read()
            writer.close()
            if location is None:
                assert reply.startswith(b"HTTP/1.1 400 ")
            else:
                assert reply.startswith(b"HTTP/1.1 308 ")
                assert b"\r\nLocation: " + location + b"\r\n" in reply
                assert b"\r\nDate: " in reply
                assert reply.endswith(b"\r\nConnection: close\r\n\r\n")

    run(main())


def test_a_slow_hello_is_ended_though_bytes_keep_coming(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            await env.backend(None, echo, into="*")
            listener, port = await env.listener(quick(head_read=0.3))
            data = hello_for("a.example")
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            sent = 0
            with contextlib.suppress(ConnectionError):
                while not reader.at_eof() and reader.exception() is None and sent < len(data) - 1:
                    writer.write(data[sent : sent + 1])
                    sent += 1
                    await asyncio.sleep(0.01)
            assert sent < len(data) - 1
            assert listener.refusals == {"hello_timeout": 1}
            assert listener.counters["attempts"] == 0
            writer.close()

    run(main())


def test_a_client_that_leaves_before_its_hello(run: Run, lab: MakeLab) -> None:
    """One that has said nothing, as health checks do, leaves a count and no record."""

    async def main() -> None:
        async with lab() as env:
            listener, port = await env.listener(quick())
            for data in (b"", hello_for("a.example")[:50]):
                _, writer = await asyncio.open_connection(LOOPBACK, port)
                writer.write(data)
                writer.close()
            await until(lambda: listener.counters["silent"] and env.records)
            assert [record.outcome for record in env.records] == ["hello_cut_off"]
            assert listener.refusals == {"hello_cut_off": 1}
            assert listener.counters["refused"] == listener.counters["silent"] == 1
            assert (len(listener), listener.held_bytes) == (0, 0)

    run(main())


def test_two_hundred_slow_clients_hold_little_and_hinder_nobody(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            await env.backend(None, plain_echo, into="a.example")
            listener, port = await env.listener(quick(head_read=2.0))
            slow = []
            for n in range(200):
                _, writer = await asyncio.open_connection(LOOPBACK, port)
                writer.write(hello_for("a.example")[: 1 + n % 150])
                slow.append(writer)
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(hello_for("a.example") + b"ping")
            assert await reader.readexactly(4) == b"ping"
            writer.close()
            await until(lambda: listener.held_bytes > 200)
            assert listener.held_bytes <= 200 * 150
            assert listener.resources.pipes.opened == 0
            await until(lambda: listener.refusals.get("hello_timeout") == 200)
            assert listener.held_bytes == 0
            for writer in slow:
                writer.close()

    run(main())


def test_too_many_bytes_held_are_refused(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            listener, port = await env.listener(quick(max_held_bytes=100))
            assert (
                await reply_to(port, hello_for("a.example")[:150])
                == b"\x15\x03\x01\x00\x02\x02\x50"
            )
            assert listener.refusals == {"overload": 1}

    run(main())


async def served(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that is in the middle of something: its server has responded to what it said after
    its hello.
    """
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(hello_for("a.example") + b"ping")
    assert await reader.readexactly(4) == b"ping"
    writer.write(b"more")
    assert await reader.readexactly(4) == b"more"
    return reader, writer


@pytest.mark.parametrize("changes", [{"max_connections": 2}, {"max_connections_per_client": 2}])
def test_clients_whose_hello_is_not_there_make_room(
    run: Run, lab: MakeLab, changes: dict[str, int]
) -> None:
    async def main() -> None:
        async with lab() as env:
            await env.backend(None, plain_echo, into="a.example")
            listener, port = await env.listener(quick(**changes))
            silent = [await asyncio.open_connection(LOOPBACK, port) for _ in range(2)]
            await until(lambda: len(listener) == 2)
            busy = [await served(port) for _ in range(2)]
            assert listener.refusals == {"given_up": 2}
            for reader, _ in silent:
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
            for _, writer in (*silent, *busy):
                writer.close()
            await until(lambda: not len(listener))

    run(main())


def test_connections_of_one_client_are_limited(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            await env.backend(None, plain_echo, into="a.example")
            listener, port = await env.listener(quick(max_connections_per_client=2))
            opened = [await served(port) for _ in range(2)]
            with contextlib.suppress(ConnectionResetError):  # as early as in connect
                reader, writer = await asyncio.open_connection(LOOPBACK, port)
                assert await reader.read() == b""
                writer.close()
            assert listener.refusals == {"client_limit": 1}
            opened[0][1].close()
            await until(lambda: len(listener) == 1)
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(hello_for("a.example") + b"ping")
            assert await reader.readexactly(4) == b"ping"
            for _, other in (*opened, (reader, writer)):
                other.close()

    run(main())


def test_more_connections_than_allowed_wait_for_their_turn(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            await env.backend(None, plain_echo, into="a.example")
            listener, port = await env.listener(quick(max_connections=1))
            first = await served(port)
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(hello_for("a.example") + b"ping")
            await asyncio.sleep(0.1)
            assert len(listener) == 1
            assert listener.counters["tunnels"] == 1
            first[1].close()
            assert await reader.readexactly(4) == b"ping"
            writer.close()

    run(main())


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [({"tunnel_idle": 0.2}, "idle_timeout"), ({"max_lifetime": 0.4}, "lifetime")],
)
def test_a_tunnel_ends_at_its_limit(
    run: Run, lab: MakeLab, changes: dict[str, float], outcome: str
) -> None:
    async def main() -> None:
        async with lab() as env:
            await env.backend(None, plain_echo, into="a.example")
            _, port = await env.listener(quick(**changes))
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(hello_for("a.example"))
            for _ in range(6):  # traffic keeps an idle time-out away
                writer.write(b"ping")
                with contextlib.suppress(asyncio.IncompleteReadError, ConnectionResetError):
                    await reader.readexactly(4)
                await asyncio.sleep(0.05)
            if outcome == "idle_timeout":
                assert not env.records
            await until(lambda: env.records)
            assert env.records[0].outcome == outcome
            writer.close()

    run(main())


def test_an_idle_tunnel_after_a_burst_has_no_pipe(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            await env.backend(None, plain_echo, into="a.example")
            listener, port = await env.listener(quick(relay=RelaySettings(spare_pipes=2)))
            tunnels = []
            for _ in range(10):
                reader, writer = await asyncio.open_connection(LOOPBACK, port)
                writer.write(hello_for("a.example"))
                tunnels.append((reader, writer))

            async def burst(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(BLOCK * 32)
                await reader.readexactly(len(BLOCK) * 32)

            await asyncio.gather(*(burst(*tunnel) for tunnel in tunnels))
            assert len(listener) == 10
            assert listener.resources.pipes.lent == 0
            assert listener.resources.pipes.opened <= 2
            for _, writer in tunnels:
                writer.close()

    run(main())


def test_drain_waits_and_then_ends(run: Run, lab: MakeLab) -> None:
    async def main() -> None:
        async with lab() as env:
            await env.backend(None, plain_echo, into="a.example")
            listener, port = await env.listener(quick())
            pairs = []
            for _ in range(2):
                reader, writer = await asyncio.open_connection(LOOPBACK, port)
                writer.write(hello_for("a.example") + b"ping")
                assert await reader.readexactly(4) == b"ping"
                pairs.append((reader, writer))
            draining = asyncio.create_task(listener.drain(0.5))
            await asyncio.sleep(0.05)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(LOOPBACK, port)
            pairs[0][1].write(b"pong")  # what is there goes on
            assert await pairs[0][0].readexactly(4) == b"pong"
            pairs[0][1].close()
            assert await draining == 1
            assert sorted(r.outcome for r in env.records) == ["closed", "drained"]
            pairs[1][1].close()
            assert await listener.drain(0) == 0

    run(main())


async def communicate(*command: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate(stdin)
    return process.returncode or 0, out, err


@pytest.mark.skipif(
    shutil.which("openssl") is None and not os.environ.get("CI"), reason="no openssl command"
)
def test_openssl_on_both_ends(
    run: Run, lab: MakeLab, authority: trustme.CA, tmp_path: Path
) -> None:
    async def main() -> None:
        async with lab() as env:
            pem = tmp_path / "server.pem"
            pem.write_bytes(
                authority.issue_cert("a.example").private_key_and_cert_chain_pem.bytes()
            )
            port = closed_port()
            server = await asyncio.create_subprocess_exec(
                "openssl",
                "s_server",
                "-accept",
                f"{LOOPBACK}:{port}",
                "-cert",
                str(pem),
                "-rev",
                "-quiet",
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                env.table.ports["a.example"] = [(LOOPBACK, port)]
                _, entry = await env.listener()
                for _ in range(100):
                    with contextlib.suppress(OSError):
                        (await asyncio.open_connection(LOOPBACK, port))[1].close()
                        break
                    await asyncio.sleep(0.05)
                for version in ("-tls1_2", "-tls1_3"):
                    client = await asyncio.create_subprocess_exec(
                        *(
                            "openssl",
                            "s_client",
                            "-connect",
                            f"{LOOPBACK}:{entry}",
                            "-servername",
                            "a.example",
                            "-quiet",
                            version,
                        ),
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL,
                    )
                    assert client.stdin is not None
                    assert client.stdout is not None
                    client.stdin.write(b"forwards\n")
                    assert await client.stdout.readline() == b"sdrawrof\n"
                    client.terminate()
                    await client.wait()
                _, out, err = await communicate(
                    "openssl",
                    "s_client",
                    "-connect",
                    f"{LOOPBACK}:{entry}",
                    "-servername",
                    "b.example",
                    stdin=b"Q\n",
                )
                assert b"unrecognized name" in out + err
            finally:
                server.terminate()
                await server.wait()

    run(main())


@pytest.mark.skipif(
    shutil.which("curl") is None and not os.environ.get("CI"), reason="no curl command"
)
def test_curl_through_the_tunnel(
    run: Run, lab: MakeLab, authority: trustme.CA, tmp_path: Path
) -> None:
    async def main() -> None:
        async with lab() as env:

            async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
                await writer.drain()

            await env.backend("a.example", respond)
            _, port = await env.listener()
            ca = tmp_path / "ca.pem"
            authority.cert_pem.write_to_path(str(ca))
            code, out, err = await communicate(
                "curl",
                "-sS",
                "--cacert",
                str(ca),
                "--resolve",
                f"a.example:{port}:{LOOPBACK}",
                f"https://a.example:{port}/",
            )
            assert (code, out) == (0, b"ok"), err

    run(main())
