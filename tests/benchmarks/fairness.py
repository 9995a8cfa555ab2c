"""What a bystander notices of peers that take all they can get: python -m tests.benchmarks.fairness
[--kinds ...] [--attackers 1 20]

A gateway, the attackers (clients and endpoints), and the bystander are processes of their own; the
gateway has a core to itself. The bystander asks over a kept connection, again and again, while
attackers of one kind send as fast as the gateway takes it. Everything is on loopback and lasts
`--seconds` for each kind. The figures are milliseconds of the bystander's requests: best of
`--rounds` (other processes of the machine only make a round worse). Beside them stands how long a
turn of the gateway's loop takes in its own CPU time, which others cannot make worse: a request of
the bystander takes about five.

A kind is a row of `KINDS`: what a client sends first, and then again and again; whether that is
inside TLS; and what the endpoint does that it asks (a row of `ENDPOINTS`: what it sends first, and
then again and again). Kinds of other protocols are further rows.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import json
import os
import select
import selectors
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import trustme

from meshlib.mesh import Mesh
from meshlib.model import (
    Contribution,
    Endpoint,
    ForwardTo,
    HostPath,
    RedirectRule,
    Route,
    Snapshot,
    Upstream,
)
from meshlib.upstream_key import Transport, UpstreamKey
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.listeners.http import HTTPListener
from meshlib_adapters.listeners.https_fronts import HTTPSFronts
from meshlib_adapters.listeners.tls import TLSListener
from meshlib_adapters.proxy.proxy import Proxy
from meshlib_adapters.tls.certificate_files import CertificateSet
from meshlib_adapters.tls.certificates import parse_pem

__all__ = ["ENDPOINTS", "KINDS", "Kind", "Notice", "main", "measure"]

_ROOT = Path(__file__).parents[2]
_LARGE: Final = 256 * 1024
_GOOD: Final = "good.example.com"
_OLD: Final = "old.example.com"
_OK: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n" + b"0" * 100
)


def _many(piece: bytes) -> bytes:
    return piece * (_LARGE // len(piece))


def _get(host: str, target: str = "/") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


_PING: Final = _frame(6, 0, 0, b"12345678")
_BEGIN: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0)
# POST / of a host, by HPACK's static table; the second is redirected before its end, and so it is
# closed.
_POST2: Final = bytes([0x83, 0x87, 0x84, 0x41, 16]) + b"sink.example.com"
_CLOSED: Final = _BEGIN + _frame(1, 4, 1, bytes([0x83, 0x87, 0x84, 0x41, 15]) + _OLD.encode())
# Requests that are redirected: each needs a stream of its own, so there is an end to them, and then
# the client comes again.
_REDIRECTED: Final = b"".join(
    [_frame(1, 5, number, _CLOSED[-20:]) for number in range(1, 20_001, 2)]
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of attacker. `endpoint`: the row of `ENDPOINTS` that serves its host; "" for none.
    `records`: bytes in a record of TLS.
    """

    first: bytes
    again: bytes = b""
    endpoint: str = ""
    secure: bool = False
    alpn: str = ""
    records: int = 0


# What an endpoint sends behind the request's head, and then again and again; it reads whatever
# comes.
ENDPOINTS: Final[dict[str, tuple[bytes, bytes]]] = {
    "sink": (b"", b""),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", _many(b"1\r\nx\r\n")),
    "interim": (b"", _many(b"HTTP/1.1 103 Early Hints\r\n\r\n")),
    "bulk": (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999999\r\n\r\n", bytes(_LARGE)),
    "h2c-pings": (_frame(4, 0, 0), _many(_PING)),
    "tunnel": (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
        bytes(_LARGE),
    ),
}


def _post(endpoint: str, fields: str) -> bytes:
    return f"POST / HTTP/1.1\r\nHost: {endpoint}.example.com\r\n{fields}\r\n\r\n".encode()


_CHUNKED: Final = _post("sink", "Transfer-Encoding: chunked")
_BULK: Final = _post("sink", "Content-Length: 999999999999999")
_UPGRADE: Final = (
    b"GET / HTTP/1.1\r\nHost: tunnel.example.com\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
)

KINDS: Final[dict[str, Kind]] = {
    "nobody": Kind(b""),
    "pipelined requests for an unknown host": Kind(
        b"", _many(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    ),
    "pipelined requests that are redirected": Kind(b"", _many(_get(_OLD))),
    "pipelined requests that are forwarded": Kind(b"", _many(_get(_GOOD))),
    "request chunks of 1 byte": Kind(_CHUNKED, _many(b"1\r\nx\r\n"), "sink"),
    "response chunks of 1 byte": Kind(_get("chunks.example.com"), endpoint="chunks"),
    "interim responses": Kind(b"", _get("interim.example.com"), "interim"),
    "bulk upload": Kind(_BULK, bytes(_LARGE), "sink"),
    "bulk download": Kind(_get("bulk.example.com"), endpoint="bulk"),
    "a tunnel, both ways": Kind(_UPGRADE, bytes(_LARGE), "tunnel"),
    "bytes behind a refused request": Kind(b"nonsense\r\n\r\n", bytes(_LARGE)),
    "TLS: pipelined requests for an unknown host": Kind(
        b"", _many(_get(_GOOD, "/").replace(b"good", b"GOOD")), secure=True
    ),
    "TLS: request chunks of 1 byte": Kind(_CHUNKED, _many(b"1\r\nx\r\n"), "sink", secure=True),
    "TLS: records of 1 byte": Kind(_BULK, bytes(2000), "sink", secure=True, records=1),
    "TLS: bulk upload": Kind(_BULK, bytes(_LARGE), "sink", secure=True),
    "TLS: bulk download": Kind(_get("bulk.example.com"), endpoint="bulk", secure=True),
    "HTTP/2: PING": Kind(_BEGIN, _many(_PING), secure=True, alpn="h2"),
    "HTTP/2: requests that are redirected": Kind(
        _BEGIN + _REDIRECTED, _PING, secure=True, alpn="h2"
    ),
    "HTTP/2: DATA of 1 byte": Kind(
        _BEGIN + _frame(1, 4, 1, _POST2),
        _many(_frame(0, 0, 1, b"x")),
        "sink",
        secure=True,
        alpn="h2",
    ),
    "HTTP/2: DATA on a closed stream": Kind(
        _CLOSED, _many(_frame(0, 0, 1, b"x")), secure=True, alpn="h2"
    ),
    "HTTP/2: windows of a closed stream": Kind(
        _CLOSED, _frame(8, 0, 1, b"\0\0\0\1") * 4000 + _PING, secure=True, alpn="h2"
    ),
    "HTTP/2 to endpoints: PING": Kind(b"", _get("h2c-pings.example.com"), "h2c-pings"),
}


@dataclass(frozen=True, slots=True)
class Notice:
    """Seconds of the bystander's requests, sorted; bytes that the attackers got rid of or were
    sent, in all; and the CPU seconds of the gateway's turns: within which 99 of 100 fall, and the
    longest.
    """

    seconds: list[float]
    moved: int
    turn: float
    longest: float

    def share(self, part: float) -> float:
        """The time within which that part of the requests had its response."""
        return self.seconds[min(int(len(self.seconds) * part), len(self.seconds) - 1)]


# The gateway.


def _snapshot(good: int, evil: dict[str, int]) -> Snapshot:
    routes = [(_GOOD, good), *((f"{name}.example.com", port) for name, port in evil.items())]
    contributions = []
    for host, port in routes:
        protocol: Literal["", "h2c"] = "h2c" if host.startswith("h2c-") else ""
        upstream = Upstream(
            UpstreamKey(host, 80, transport=Transport(protocol)),
            (Endpoint(f"{host}.1", "127.0.0.1", port),),
        )
        route = Route(
            HostPath(host), ForwardTo(upstream), service=host, label="bench", schema="bench"
        )
        contributions.append(Contribution(f"bench/{host}", host, routes=(route,)))
    rule = RedirectRule("https://new.example.com")
    moved = Route(HostPath(_OLD), rule, service=_OLD, label="bench", schema="bench")
    return Snapshot.of([*contributions, Contribution(f"bench/{_OLD}", _OLD, routes=(moved,))])


class _Turns:
    """CPU seconds from one turn of the loop to the next; turns in which nothing happens are not
    counted.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._taken: list[float] = []
        self._last = time.thread_time()
        self._turn()

    def _turn(self) -> None:
        now = time.thread_time()
        if now - self._last > 50e-6 and len(self._taken) < 1_000_000:
            self._taken.append(now - self._last)
        self._last = time.thread_time()
        self._loop.call_soon(self._turn)

    def told(self) -> tuple[float, float]:
        taken = sorted(self._taken) or [0.0]
        return taken[int(len(taken) * 0.99)], taken[-1]


async def _serve(good: int, evil: dict[str, int]) -> None:
    mesh = Mesh(_snapshot(good, evil))
    gateway = HTTPListener(Proxy(mesh, HTTPSettings()))
    plain = (await gateway.listen("127.0.0.1", 0))[0][1]
    issued = trustme.CA().issue_cert("*.example.com")
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    terminator = HTTPSFronts(gateway.clients).terminator()
    terminator.use(
        CertificateSet(
            (parse_pem("bench", "bench.pem", chain, issued.private_key_pem.bytes()),), b"", b""
        )
    )
    listener = TLSListener(mesh, terminator=terminator)
    secure = (await listener.listen("127.0.0.1", 0))[1]
    print(json.dumps({"plain": plain, "secure": secure}), flush=True)
    turns = _Turns(asyncio.get_running_loop())
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    print(json.dumps(turns.told()), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until the parent goes
    listener.close()
    gateway.close()


# The attackers: clients and endpoints in one loop, each writing as fast as it is taken from it and
# reading whatever comes.


class _Peer:
    """One socket, with what it sends: `first`, then `again` without end."""

    def __init__(
        self,
        sock: socket.socket,
        first: bytes,
        again: bytes,
        *,
        waits: bool = False,
        records: int = 0,
    ) -> None:
        self.sock = sock
        self.first, self.again = first, again
        self.records = records
        self.waits = waits  # for a head
        self.moved = 0
        self._out = memoryview(first)

    def read(self) -> bool:
        """False at the end."""
        try:
            data = self.sock.recv(_LARGE)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return True
        except OSError:
            return False
        self.moved += len(data)
        if self.waits and b"\r\n\r\n" in data:
            self.waits = False
        return bool(data)

    def write(self) -> bool:
        """False at the end."""
        if not self._out:
            self._out = memoryview(self.again)
        try:
            size = self.records or len(self._out)
            for _ in range(200 if self.records else 1):
                sent = self.sock.send(self._out[:size])
                self._out = self._out[sent:]
                self.moved += sent
                if not self._out:
                    break
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return True
        except OSError:
            return False
        return True

    @property
    def wants_to_write(self) -> bool:
        return not self.waits and bool(self._out or self.again)


def _connected(kind: Kind, ports: dict[str, int]) -> _Peer:
    sock = socket.create_connection(("127.0.0.1", ports["secure" if kind.secure else "plain"]), 10)
    if kind.secure:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if kind.alpn:
            context.set_alpn_protocols([kind.alpn])
        sock = context.wrap_socket(sock, server_hostname=f"{kind.endpoint or 'good'}.example.com")
    sock.setblocking(False)
    return _Peer(sock, kind.first, kind.again, records=kind.records)


class _Attack:
    def __init__(self, kind: Kind, count: int) -> None:
        self._kind, self._count = kind, count
        self._peers: list[_Peer] = []
        self._selector = selectors.DefaultSelector()
        self._listeners: dict[str, socket.socket] = {
            name: socket.create_server(("127.0.0.1", 0), backlog=64) for name in ENDPOINTS
        }
        self._gone = 0
        for name, sock in self._listeners.items():
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ, name)

    def run(self) -> None:
        """Tell the endpoints' ports; be told the gateway's; then attack until the input ends."""
        print(
            json.dumps({name: sock.getsockname()[1] for name, sock in self._listeners.items()}),
            flush=True,
        )
        ports = json.loads(sys.stdin.readline())
        clients = [
            self._add(_connected(self._kind, ports))
            for _ in range(self._count if self._kind.first or self._kind.again else 0)
        ]
        print("attacking", flush=True)
        while not select.select([sys.stdin], [], [], 0)[0]:
            for key, mask in self._selector.select(0.05):
                if isinstance(key.data, str):
                    self._accept(key.data)
                elif not self._turn(key.data, mask):
                    self._drop(key.data)
                    if key.data in clients:  # cut or refused: it comes again
                        clients.remove(key.data)
                        with contextlib.suppress(OSError):
                            clients.append(self._add(_connected(self._kind, ports)))
        print(json.dumps({"moved": self._gone + sum(peer.moved for peer in clients)}), flush=True)

    def _accept(self, name: str) -> None:
        sock, _ = self._listeners[name].accept()
        sock.setblocking(False)
        self._add(_Peer(sock, *ENDPOINTS[name], waits=True))

    def _add(self, peer: _Peer) -> _Peer:
        self._peers.append(peer)
        self._selector.register(peer.sock, self._events(peer), peer)
        return peer

    def _events(self, peer: _Peer) -> int:
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.wants_to_write else 0)

    def _turn(self, peer: _Peer, mask: int) -> bool:
        before = peer.wants_to_write
        if mask & selectors.EVENT_READ and not peer.read():
            return False
        if mask & selectors.EVENT_WRITE and not peer.write():
            return False
        if peer.wants_to_write is not before:
            self._selector.modify(peer.sock, self._events(peer), peer)
        return True

    def _drop(self, peer: _Peer) -> None:
        self._gone += peer.moved
        self._peers.remove(peer)
        self._selector.unregister(peer.sock)
        peer.sock.close()


# The bystander, and what serves it.


class _Good(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if isinstance(self._transport, asyncio.WriteTransport):
            self._transport.write(_OK * data.count(b"\r\n\r\n"))


async def _serve_good() -> None:
    server = await asyncio.get_running_loop().create_server(_Good, "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def _stand_by(port: int, seconds: float) -> None:
    sock = socket.create_connection(("127.0.0.1", port), 60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    taken: list[float] = []
    end = time.monotonic() + seconds
    while len(taken) < 3 or time.monotonic() < end:
        began = time.monotonic()
        sock.sendall(_get(_GOOD))
        got = b""
        while len(got) < len(_OK) or not got.endswith(_OK[-100:]):
            data = sock.recv(65536)
            if not data:
                raise ConnectionError("the gateway has closed the bystander's connection")
            got += data
        taken.append(time.monotonic() - began)
        time.sleep(0.003)
    print(json.dumps(sorted(taken)), flush=True)


# All of them.


class _Process:
    """A role of this program; it ends when its input does."""

    def __init__(self, stack: contextlib.ExitStack, cores: set[int], *arguments: str) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.fairness", *arguments]
        preexec: Callable[[], None] = lambda: os.sched_setaffinity(0, cores)  # noqa: E731
        self.process = subprocess.Popen(
            command,
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=preexec,
        )
        stack.callback(self.end)

    def tell(self, value: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(value) + "\n")
        self.process.stdin.flush()

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(map(str, self.process.args))} has ended")  # type: ignore[arg-type]
        return line

    def end(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def measure(kind: str, attackers: int, loop: str, seconds: float) -> Notice:
    """One round: `attackers` of that kind, and a bystander for so many seconds. `loop` is "asyncio"
    or "uvloop".
    """
    cores = sorted(os.sched_getaffinity(0))
    own, others = {cores[0]}, set(cores[1:]) or {cores[0]}
    with contextlib.ExitStack() as stack:
        good = _Process(stack, others, "--role", "good")
        attack = _Process(
            stack, others, "--role", "attack", "--kinds", kind, "--attackers", str(attackers)
        )
        evil = json.loads(attack.line())
        gateway = _Process(stack, own, "--role", "gateway", "--loops", loop)
        gateway.tell({"good": json.loads(good.line())["port"], "evil": evil})
        ports = json.loads(gateway.line())
        attack.tell(ports)
        attack.line()
        bystander = _Process(
            stack,
            others,
            "--role",
            "bystander",
            "--port",
            str(ports["plain"]),
            "--seconds",
            str(seconds),
        )
        taken = json.loads(bystander.line())
        gateway.tell("enough")
        turn, longest = json.loads(gateway.line())
        attack.tell("enough")
        return Notice(taken, json.loads(attack.line())["moved"], turn, longest)


def _role(options: argparse.Namespace) -> None:
    if options.role == "gateway":
        told = json.loads(sys.stdin.readline())
        factory = (
            importlib.import_module("uvloop").new_event_loop
            if options.loops == ["uvloop"]
            else asyncio.new_event_loop
        )
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_serve(told["good"], told["evil"]))
    elif options.role == "good":
        asyncio.run(_serve_good())
    elif options.role == "attack":
        os.nice(5)
        _Attack(KINDS[options.kinds[0]], options.attackers[0]).run()
    else:
        _stand_by(options.port, options.seconds)


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS], default=[*KINDS], metavar="KIND")
    parser.add_argument("--attackers", nargs="+", type=int, default=[1, 20])
    parser.add_argument(
        "--loops", nargs="+", choices=["asyncio", "uvloop"], default=["asyncio", "uvloop"]
    )
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument(
        "--role", choices=["gateway", "good", "attack", "bystander"], help=argparse.SUPPRESS
    )
    options = parser.parse_args(arguments)
    if options.role:
        _role(options)
        return
    print(
        "Milliseconds: median / 99 % of the bystander's requests (99 % / longest of the "
        "gateway's turns, in CPU time)\n"
    )
    print(
        "| beside | "
        + " | ".join(f"{count}, {loop}" for count in options.attackers for loop in options.loops)
        + " |"
    )
    print("|---|" + "---|" * len(options.attackers) * len(options.loops))
    for kind in options.kinds:
        cells = []
        for count in options.attackers:
            for loop in options.loops:
                seen = [measure(kind, count, loop, options.seconds) for _ in range(options.rounds)]
                best = min(seen, key=lambda notice: notice.share(0.99))
                turn, longest = (
                    min(notice.turn for notice in seen),
                    min(notice.longest for notice in seen),
                )
                cells.append(
                    f"{best.share(0.5) * 1e3:.1f} / {best.share(0.99) * 1e3:.1f} "
                    f"({turn * 1e3:.1f} / {longest * 1e3:.1f})"
                )
        print(f"| {kind} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
