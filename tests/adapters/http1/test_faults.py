"""Faults of upstreams, of clients and of the system, and what they may cost those who have no part
in them: nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.backend import OK, PATIENCE, Backend, Lost, Peer, responding
from tests.support.client import Client, get
from tests.support.http_fixtures import Start
from tests.support.running import quick, snapshot_of

Make = Callable[..., Backend]

_SLOW = 300  # connections of an attack
# Bytes that one of them may cost: `buffer_size`, and behind it what an event loop had under way
# when it was told to stop: a read of 256 KiB and, with uvloop, a write of as much. What they ask
# for is 4 MB each.
_MOST = 640 * 1024
_ROOT = Path(__file__).parents[3]


# UpstreamRegistry.


def test_one_that_never_responds_touches_no_other(start: Start, backend: Make) -> None:
    """As a stopped process does: the kernel accepts for it, and takes what is sent."""
    stopped, healthy = socket.create_server(("127.0.0.1", 0), backlog=64), backend()
    with stopped:
        site = start(
            snapshot_of({"stopped": [stopped.getsockname()[1]], "healthy": [healthy]}),
            quick(response_head=1.0),
        )
        waiting = [site.client() for _ in range(20)]
        for client in waiting:
            client.send(get("/", "stopped"))
        good = site.client()
        for _ in range(100):
            assert good.ask(get("/", "healthy")).status == 200
        assert {client.read_response().status for client in waiting} == {504}
        assert good.ask(get("/", "healthy")).status == 200
        assert site.reasons(121).count("upstream_timeout") == 20


def test_one_of_an_upstream_that_never_responds_is_left_out_after_a_while(
    start: Start, backend: Make
) -> None:
    stopped, healthy = socket.create_server(("127.0.0.1", 0), backlog=64), backend()
    with stopped:
        site = start(
            snapshot_of({"": [stopped.getsockname()[1], healthy]}), quick(response_head=0.2)
        )
        client = site.client()
        seen = [client.ask(get()).status for _ in range(60)]
    assert set(seen) == {200, 504}
    assert set(seen[-20:]) == {200}  # passive ejection


def test_an_response_that_trickles_is_let_through_and_holds_up_nobody(
    start: Start, backend: Make
) -> None:
    body = bytes(range(65, 65 + 20))

    def trickle(peer: Peer) -> None:
        peer.read_request()
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body):
            peer.send(bytes((byte,)))
            time.sleep(0.02)

    slow, healthy = backend(trickle), backend()
    site = start(snapshot_of({"slow": [slow], "healthy": [healthy]}), quick(between_bytes=1.0))
    waiting = [site.client() for _ in range(10)]
    for client in waiting:
        client.send(get("/", "slow"))
    good = site.client()
    for _ in range(200):
        assert good.ask(get("/", "healthy")).status == 200
    for client in waiting:
        assert client.read_response().body == body


@pytest.mark.parametrize(
    "begun",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nha",
        b"HTTP/1.0 200 OK\r\n\r\nhalf",
    ],
)
def test_a_reset_within_a_response_is_seen_as_one(
    start: Start, backend: Make, begun: bytes
) -> None:
    served = threading.Event()

    def dies(peer: Peer) -> None:
        peer.read_request()
        peer.send(begun)
        served.wait(PATIENCE)  # what was sent before an RST is lost unless it was read
        peer.reset()

    site = start(backend(dies, responding(OK)))
    client = site.client()
    client.send(get())
    head = client.read_head()
    assert head.status == 200
    served.set()
    rest = client.read_rest()
    if head.one("transfer-encoding"):
        assert not rest.endswith(b"0\r\n\r\n")
    else:
        assert len(rest) < int(head.one("content-length") or 0) or client.ended == "reset"
    assert site.client().ask(get()).status == 200


# Clients.


def dribbling_heads(client: Client, number: int) -> None:
    client.send(b"GET /%d HTTP/1.1\r\nHost: a\r\nX: " % number)


def dribbling_bodies(client: Client, number: int) -> None:
    client.send(b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx" % number)


def taking_nothing(client: Client, number: int) -> None:
    client.send(get(f"/large/{number}"))


def large_or_small(peer: Peer) -> None:
    while True:
        head = peer.read_head()
        if b" /large" in head:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n" + bytes(4_000_000))
        elif head.startswith(b"POST"):
            peer.read(1_000_000)
            peer.send(OK)
        else:
            peer.send(OK)


_GATEWAY = """
import asyncio, sys
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.listeners.http import HTTPListener
from meshlib_adapters.proxy.proxy import Proxy
from meshlib.mesh import Mesh
from tests.support.running import quick, snapshot_of

async def main():
    names = dict(item.split("=") for item in sys.argv[3:])
    numbers = {name: float(of) if "." in of else int(of) for name, of in names.items()}
    settings = quick(**numbers)
    gateway = HTTPListener(Proxy(Mesh(snapshot_of({"": [int(sys.argv[1])]})), settings))
    print((await gateway.listen("127.0.0.1", 0))[0][1], flush=True)
    await asyncio.Event().wait()

if sys.argv[2] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


class Process:
    """A gateway in a process of its own, whose memory and CPU time can be read, with at most so
    many open files.
    """

    def __init__(self, port: int, loop: str, *settings: str, files: int) -> None:
        path = os.pathsep.join([str(_ROOT), str(_ROOT / "adapters")])
        command = [
            "prlimit",
            f"--nofile={files}",
            sys.executable,
            "-c",
            _GATEWAY,
            str(port),
            loop,
            *settings,
        ]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self._process.stdout is not None
        self.address = ("127.0.0.1", int(self._process.stdout.readline()))

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        return (
            int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
            * resource.getpagesize()
        )

    def files(self) -> int:
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    def serves(self) -> bool:
        with contextlib.ExitStack() as stack:
            try:
                client = Client(self.address)
                stack.callback(client.close)
                return client.ask(get()).status == 200
            except (OSError, Lost):
                return False

    def wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert self._process.poll() is None, "the gateway has died"
            assert time.monotonic() < end, "never came true"
            time.sleep(0.02)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture(params=["asyncio", "uvloop"])
def process(
    request: pytest.FixtureRequest, stack: contextlib.ExitStack
) -> Iterator[Callable[..., Process]]:
    if shutil.which("prlimit") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "prlimit (package util-linux) is not installed"
        )
    if request.param == "uvloop" and os.environ.get("CI") != "true":
        pytest.importorskip("uvloop")
    with (
        contextlib.ExitStack() as mine
    ):  # ended before the backends, which wait for its connections to be closed

        def make(port: int, *settings: str, files: int = 2000) -> Process:
            made = Process(port, request.param, *settings, files=files)
            mine.callback(made.stop)
            return made

        yield make


@pytest.mark.parametrize("attack", [dribbling_heads, dribbling_bodies, taking_nothing])
def test_slow_clients_cost_others_nothing_and_are_ended(
    process: Callable[..., Process], backend: Make, attack: Callable[[Client, int], None]
) -> None:
    """Hundreds of them: good clients are served beside them, memory is bounded, and their time-outs
    end them.
    """
    gateway = process(
        backend(large_or_small).port, "head_read=2.0", "between_bytes=2.0", "lingering_close=0.3"
    )
    assert gateway.serves()
    files, memory = gateway.files(), gateway.memory()
    with contextlib.ExitStack() as stack:
        for number in range(_SLOW):
            client = Client(gateway.address, receive_buffer=4096)
            stack.callback(client.close)
            attack(client, number)
        good = Client(gateway.address)
        stack.callback(good.close)
        for _ in range(100):
            assert good.ask(get()).status == 200
        assert gateway.memory() - memory < _SLOW * _MOST
        good.close()
        gateway.wait(lambda: gateway.files() <= files + 20)
    assert gateway.serves()


# The system.


def test_no_descriptors_left(process: Callable[..., Process], backend: Make) -> None:
    """Clients may connect as they like: nothing turns in circles, and when they leave everything is
    as before.
    """
    gateway = process(backend().port, files=60)
    assert gateway.serves()
    with contextlib.ExitStack() as stack:
        for _ in range(150):
            stack.enter_context(socket.create_connection(gateway.address, PATIENCE))
        time.sleep(0.3)  # so that what there is to accept is accepted
        before = gateway.cpu_seconds()
        time.sleep(1)
        assert gateway.cpu_seconds() - before < 0.5
    gateway.wait(gateway.serves)


# All of it.


def test_nothing_is_left_of_all_kinds_of_traffic(start: Start, backend: Make) -> None:
    """Traffic of every kind while routes come and go; afterwards nothing is left of it."""

    def unreliable(peer: Peer) -> None:
        while True:
            head = peer.read_request()
            if b" /reset" in head:
                peer.reset()
                return
            if b" /cut" in head:
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
                return
            if b" /chunks" in head:
                peer.send(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
                )
            else:
                peer.send(OK)

    backends = [backend(unreliable) for _ in range(3)]
    layouts = [
        snapshot_of({"a": some, "b": backends[:1]})
        for some in (backends, backends[:2], backends[1:], backends[2:])
    ]
    site = start(layouts[0], quick(between_bytes=2.0, head_read=2.0, idle=5.0))
    wires = [
        get("/", "a"),
        get("/chunks", "b"),
        get("/reset", "a"),
        get("/cut", "b"),
        get("/", "nobody"),
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"BAD\r\n\r\n",
        get("/", "a", "Connection: close"),
        b"GET / HTTP/1.1\r\nHost: a\r\nX: ",  # and away
    ]

    def round_of(count: int) -> None:
        for number in range(count):
            if number % 10 == 0:
                site.publish(layouts[number // 10 % len(layouts)])
            client = Client(site.address)
            with contextlib.closing(client):
                for step in range(3):
                    wire = wires[(number + step * 3) % len(wires)]
                    client.send(wire)
                    if not wire.endswith(b"\r\n\r\n") and b"hello" not in wire:
                        break
                    with contextlib.suppress(Lost):
                        client.read_response()
                    if client.ended:
                        break

    def settled() -> tuple[int, int]:
        site.publish(layouts[0])
        site.wait(lambda: site.call(lambda: len(site.listener.clients)) == 0)
        return site.call(lambda: len(asyncio.all_tasks())), sum(
            len(p.active) if hasattr(p.active, "__len__") else p.active for p in site.pools()
        )

    round_of(200)
    tasks, active = settled()
    files = len(os.listdir("/proc/self/fd"))
    idle = site.idle()
    round_of(600)
    assert settled() == (tasks, active)
    # Idle connections to endpoints are kept: both ends of each are in this process.
    assert len(os.listdir("/proc/self/fd")) <= files + 2 * max(0, site.idle() - idle) + 6
    assert active == 0


def test_another_has_begun_to_listen_there(start: Start, backend: Make) -> None:
    """Two may have bound an address while neither listened; who is late is told so."""
    site = start(backend())
    with socket.socket() as ours, socket.socket() as other:
        for sock in (ours, other):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ours.bind(("127.0.0.1", 0))
        other.bind(ours.getsockname())
        other.listen()
        with pytest.raises(OSError, match="in use"):
            site.run(site.listener.listen(sock=ours))
