"""The gateway without a server: whose a request is, what is told when it fails, and how it begins
and ends.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import pytest
from werkzeug.serving import make_server

from meshlib import ConfigurationError, Mesh, Redirect, Service, redirect
from meshlib.model import Snapshot
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.providers.provider import ProviderStatus
from meshlib_adapters.proxy.awaited import NoResponse
from meshlib_adapters.proxy.routing import Routing
from meshlib_adapters.wsgi import WSGIGateway, mesh_wsgi
from tests.architecture.tree import ROOT, source_environment
from tests.support.backend import OK, Backend, Peer, Script, responding
from tests.support.client import Client, get
from tests.support.wsgi_calls import Called, call, environ_of

Make = Callable[..., WSGIGateway]


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack
    assert "meshlib-wsgi" not in [thread.name for thread in threading.enumerate()]


@pytest.fixture
def backend(stack: contextlib.ExitStack) -> Callable[..., Backend]:
    def make(*scripts: Script) -> Backend:
        made = Backend(*scripts)
        stack.callback(made.stop)
        return made

    return make


@pytest.fixture
def gateway(stack: contextlib.ExitStack) -> Make:
    """Makes gateways for a mesh or for one backend, which has every host."""

    def make(over: Mesh | Backend | dict[str, Any], app: Any = None, **options: Any) -> WSGIGateway:
        if isinstance(over, Backend):
            over = {"*": [f"127.0.0.1:{over.port}"]}
        mesh = over if isinstance(over, Mesh) else Mesh(over)
        made = mesh_wsgi(app, mesh=mesh, **options)
        stack.callback(made.close)
        return made

    return make


# The only endpoint refuses connections: nothing may get as far.
ROUTED = {"shop.test": ["127.0.0.1:1"], "api.test/v1": ["127.0.0.1:1"]}
MANY = {f"HTTP_X_{number}": "y" for number in range(200)}
CHUNKED: dict[str, Any] = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
# What is odd about a request, and the status of a routed one.
ODD: dict[str, tuple[dict[str, Any], int]] = {
    "a body over max_body": ({"CONTENT_LENGTH": "6"}, 413),
    "over 100 fields": (MANY, 431),
    "an unknown expectation": ({"HTTP_EXPECT": "the-worst"}, 417),
    "two lengths": ({"CONTENT_LENGTH": "1", **CHUNKED}, 400),
    "another coding": ({"HTTP_TRANSFER_ENCODING": "gzip, chunked"}, 501),
    "a body without an end": ({"HTTP_TRANSFER_ENCODING": "chunked"}, 411),
    "a value with a control byte": ({"HTTP_X": "a\x01"}, 400),
    "a method that is not forwarded": ({"REQUEST_METHOD": "TRACE"}, 405),
    "a WebSocket": ({"HTTP_CONNECTION": "Upgrade", "HTTP_UPGRADE": "websocket"}, 501),
}


class Own:
    """An application that keeps the environs it was called with."""

    def __init__(self) -> None:
        self.environs: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.environs.append(environ)
        start_response("299 Own", [])
        return [b"own"]


@pytest.mark.parametrize("odd", ODD)
def test_limits_are_those_of_routed_requests(odd: str, gateway: Make) -> None:
    changes, status = ODD[odd]
    own = Own()
    app = gateway(ROUTED, own, settings=HTTPSettings(max_body=5))
    for host in ("own.test", "api.test"):  # of the second, no route has this path
        environ = environ_of(host, **changes)
        before = dict(environ)
        called = call(app, environ)
        assert (called.status, called.body) == (299, [b"own"])
        assert own.environs.pop() is environ  # itself, and as it was
        assert environ == before
    assert call(app, environ_of("shop.test", **changes)).status == status
    everything = gateway({"*": ["127.0.0.1:1"]}, own, settings=HTTPSettings(max_body=5))
    assert call(everything, environ_of("own.test", **changes)).status == status
    assert not own.environs


@pytest.mark.parametrize(
    "host", ["", "a b", "own.test:port", "-_..", "\xff", "own.test,other.test"]
)
def test_an_odd_host_is_the_applications(host: str, gateway: Make) -> None:
    assert call(gateway(ROUTED, Own()), environ_of(host)).status == 299


@pytest.mark.parametrize("host", ["own.test,shop.test", "shop.test, a b"])
def test_two_hosts_of_which_one_is_routed_are_refused(host: str, gateway: Make) -> None:
    assert call(gateway(ROUTED, Own()), environ_of(host)).status == 400


def test_alone_it_responds_itself(gateway: Make) -> None:
    app = gateway({"old.test": redirect("https://new.test", 308), "empty.test": []})
    called = call(app, environ_of("nobody.test"))
    assert (called.status, called.read()[:3]) == (404, b"404")
    called = call(app, environ_of("old.test", PATH_INFO="/x"))
    assert (called.status, called.fields["location"]) == (308, "https://new.test/x")
    called = call(app, environ_of("empty.test", REQUEST_METHOD="HEAD"))
    assert (called.status, called.body) == (503, [])
    assert call(app, environ_of("empty.test", b"data")).status == 503
    called = call(app, environ_of("old.test", REQUEST_METHOD="HEAD", RAW_URI="/a b"))
    assert (called.status, called.body) == (400, [])


def test_a_whole_response_is_a_list(backend: Callable[..., Backend], gateway: Make) -> None:
    upstream = backend(
        responding(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        )
    )
    app = gateway(upstream)
    assert call(app, environ_of()).body == [b"hi"]
    assert call(app, environ_of(data=b"data")).body == []
    assert upstream.requests[1].endswith(b"\r\n\r\ndata")
    assert len(upstream.peers) == 1  # one connection, kept


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"CONTENT_LENGTH": "9"}, "bad_body_length"),
        ({"CONTENT_LENGTH": str(1 << 20)}, "bad_body_length"),
    ],
)
def test_a_body_that_is_too_short(
    environ: dict[str, str], reason: str, backend: Callable[..., Backend], gateway: Make
) -> None:
    upstream = backend()
    body = b"x" * min(int(environ["CONTENT_LENGTH"]) - 1, 100_000)
    assert call(gateway(upstream), environ_of(data=body, **environ)).status == 400
    assert not upstream.requests


def test_a_chunked_body_over_the_limit(backend: Callable[..., Backend], gateway: Make) -> None:
    upstream = backend()
    app = gateway(upstream, settings=HTTPSettings(max_body=100_000))
    stream = io.BytesIO(b"x" * 100_001)
    called = call(app, environ_of(**{**CHUNKED, "wsgi.input": stream}))
    assert called.status == 413
    assert not upstream.requests


def test_a_body_of_http_2_has_neither_length_nor_coding(
    backend: Callable[..., Backend], gateway: Make
) -> None:
    upstream = backend()
    app = gateway(upstream)
    changes: dict[str, Any] = {"SERVER_PROTOCOL": "HTTP/2.0", "wsgi.input_terminated": True}
    stream = io.BytesIO(b"data")
    assert call(app, environ_of(**{**changes, "wsgi.input": stream})).status == 200
    assert call(app, environ_of(**changes)).status == 200
    with_body, without = upstream.requests
    assert with_body.endswith(b"\r\n\r\n4\r\ndata\r\n0\r\n\r\n")
    assert b"chunked" not in without


@pytest.mark.parametrize("pieces", [0, 1])
def test_what_the_stream_raises_is_the_servers(
    pieces: int, backend: Callable[..., Backend], gateway: Make
) -> None:
    class Broken:
        left = pieces

        def read(self, size: int) -> bytes:
            if self.left:
                self.left -= 1
                return b"x" * size
            if pieces:
                upstream.wait(lambda: b"xxx" in upstream.peer().raw)
            raise OSError("the client has gone")

    upstream = backend()
    changes: dict[str, Any] = {"CONTENT_LENGTH": "100000", "wsgi.input": Broken()}
    with pytest.raises(OSError, match="has gone"):
        call(gateway(upstream), environ_of(**changes))
    if pieces:
        assert upstream.ended() in ("fin", "reset")
    assert not upstream.requests


def test_a_server_that_takes_no_response_ends_the_exchange(
    backend: Callable[..., Backend], gateway: Make
) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12")
        assert peer.more() == b""

    upstream = backend(script)

    def start_response(status: str, fields: object, exc: object = None) -> Any:
        raise ValueError("no such status")

    with pytest.raises(ValueError, match="no such status"):
        gateway(upstream)(environ_of(), start_response)
    assert upstream.ended() in ("fin", "reset")


def test_an_upstream_that_ends_behind_its_head_is_a_502(
    backend: Callable[..., Backend], gateway: Make
) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        peer.shut()

    app = gateway(backend(script))
    called = call(app, environ_of())
    if called.status == 200:  # what came before the end was taken at once
        with pytest.raises(NoResponse):
            called.read()
    else:
        assert called.status == 502


def test_a_cut_response_does_not_look_complete_under_werkzeug(
    backend: Callable[..., Backend], gateway: Make
) -> None:
    """Which ends a response in chunks upon an exception, but for errors of the connection."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")

    server = make_server("127.0.0.1", 0, gateway(backend(script)), threaded=True)
    serving = threading.Thread(target=server.handle_request)
    serving.start()
    client = Client(("127.0.0.1", server.server_port))
    client.send(get())
    received = client.read_rest()
    client.close()
    serving.join(10)
    server.server_close()
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert not received.endswith(b"0\r\n\r\n")
    assert received.count(b"\r\nDate: ") == 1


def test_a_silent_upstream_times_out(backend: Callable[..., Backend], gateway: Make) -> None:
    def script(peer: Peer) -> None:
        asked = peer.read_request()
        if asked.startswith(b"GET /begins"):
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12")
        peer.read_rest()

    upstream = backend(script)
    settings = HTTPSettings(response_head=0.1, between_bytes=0.1, max_tries=1)
    app = gateway(upstream, settings=settings)
    results: list[object] = []

    def ask(path: str) -> None:
        called = call(app, environ_of(PATH_INFO=path))
        try:
            results.append((called.status, called.read()[:3]))
        except NoResponse as failure:
            results.append((called.status, failure.reason))

    threads = [threading.Thread(target=ask, args=(path,)) for path in ("/", "/begins")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(map(str, results)) == [
        "(200, 'between_bytes_timeout')",
        "(504, b'504')",
    ]


def test_a_route_has_time_outs_of_its_own(backend: Callable[..., Backend], gateway: Make) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.read_rest()

    service = Service([f"127.0.0.1:{backend(script).port}"], response_head=1)
    app = gateway({"a": service}, settings=HTTPSettings(max_tries=1))
    began = time.monotonic()
    assert call(app, environ_of()).status == 504
    assert time.monotonic() - began < 10  # the setting's is a minute


def test_an_interrupted_thread_cancels_the_exchange(
    backend: Callable[..., Backend], gateway: Make
) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.read_rest()

    def interrupt(number: int, frame: object) -> None:
        raise InterruptedError("as gunicorn ends a worker")

    upstream = backend(script)
    app = gateway(upstream)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(InterruptedError):
            call(app, environ_of())
    finally:
        signal.signal(signal.SIGALRM, before)
    assert upstream.ended() in ("fin", "reset")


def test_many_threads_share_one_loop_and_its_pools(
    backend: Callable[..., Backend], gateway: Make
) -> None:
    upstream = backend()
    app = gateway(upstream)
    statuses: list[int] = []

    def ask() -> None:
        for _ in range(20):
            called = call(app, environ_of())
            called.read()
            statuses.append(called.status)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert len([thread for thread in threading.enumerate() if thread.name == "meshlib-wsgi"]) <= 1
    for thread in threads:
        thread.join(20)
    assert statuses == [200] * 160
    assert len(upstream.peers) <= 8


def test_it_may_be_closed_while_it_serves_and_begin_again(
    backend: Callable[..., Backend], gateway: Make
) -> None:
    asked = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        asked.set()
        peer.read_rest()

    upstream = backend(script, responding(b"HTTP/1.1 204 No Content\r\n\r\n"))
    app = gateway(upstream)
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(call(app, environ_of()).status))
    thread.start()
    assert asked.wait(5)
    app.close()
    app.close()
    thread.join(5)
    assert statuses == [502]
    app.start()
    app.start()
    assert call(app, environ_of()).status == 204


def test_each_gateway_ends_alone_and_the_thread_with_the_last(gateway: Make) -> None:
    one, other = gateway(ROUTED), gateway(ROUTED)
    one.start()
    other.start()
    one.close()
    assert call(other, environ_of("nobody.test")).status == 404
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("meshlib-wsgi") == 1
    other.close()
    assert "meshlib-wsgi" not in [thread.name for thread in threading.enumerate()]


def test_the_mesh_is_changed_in_its_own_thread(
    backend: Callable[..., Backend], gateway: Make
) -> None:
    upstream = backend()
    mesh = Mesh()
    threads: list[str] = []
    mesh.subscribe(lambda now: threads.append(threading.current_thread().name))
    app = gateway(mesh)
    assert app.change(mesh.replace, {"a": [f"127.0.0.1:{upstream.port}"]})
    assert threads == ["meshlib-wsgi"]
    assert call(app, environ_of()).status == 200
    with pytest.raises(ConfigurationError):
        app.change(mesh.replace, {"A": ["127.0.0.1:1"]})


class Told:
    """A provider that delivers what it is told."""

    status = ProviderStatus("ok", None, "")

    def __init__(self, name: str, *snapshots: Snapshot) -> None:
        self.name = name
        self._snapshots = snapshots

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        for snapshot in self._snapshots:
            yield snapshot
        await anyio.sleep_forever()


def test_the_first_request_waits_for_the_providers(
    backend: Callable[..., Backend], gateway: Make
) -> None:
    upstream = backend()
    delivered = Mesh({"a": [f"127.0.0.1:{upstream.port}"]}).snapshot
    app = gateway({}, Own(), providers=[Told("one", delivered)])
    assert call(app, environ_of()).status == 200
    assert call(app, environ_of("own.test")).status == 299


def test_what_nobody_knows_yet_is_no_404(gateway: Make) -> None:
    app = gateway({}, providers=[Told("silent")], startup_wait=0.1)
    called = call(app, environ_of())
    assert (called.status, called.fields["retry-after"]) == (503, "1")


def test_two_providers_of_one_name_are_refused_at_once(gateway: Make) -> None:
    with pytest.raises(ConfigurationError):
        gateway({}, providers=[Told("one"), Told("one")])


def test_a_gateway_that_cannot_begin_leaves_nothing_behind(gateway: Make) -> None:
    class Failing(Told):
        @property
        def status(self) -> ProviderStatus:  # type: ignore[override]
            raise ValueError("of the provider")

    app = gateway({}, Own(), providers=[Failing("one")], startup_wait=0.1)
    with pytest.raises(ValueError, match="of the provider"):
        call(app, environ_of())
    assert "meshlib-wsgi" not in [thread.name for thread in threading.enumerate()]


def test_the_access_log_gets_its_lines(backend: Callable[..., Backend], gateway: Make) -> None:
    lines: list[str] = []
    app = gateway(backend(), access_log=lambda text: lines.extend(text.splitlines()))
    call(app, environ_of(PATH_INFO="/x")).read()
    app.close()
    (record,) = map(json.loads, lines)
    assert (record["target"], record["status"], record["client"]) == ("/x", 200, "127.0.0.1")
    lines.clear()
    app = gateway(backend(), access_log=lines.append, access_format="combined")
    call(app, environ_of()).read()
    app.close()
    assert '"GET / HTTP/1.1" 200' in lines[0]


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_process_begins_anew(backend: Callable[..., Backend], gateway: Make) -> None:
    upstream = backend()
    mesh = Mesh({"a": [f"127.0.0.1:{upstream.port}"]})
    app = gateway(mesh)
    assert call(app, environ_of()).status == 200
    child = os.fork()
    if not child:
        status = 1
        try:
            # The routes change, so what the parent has open would be closed.
            routes = {"a": [f"127.0.0.1:{upstream.port}"], "b": ["127.0.0.1:1"]}
            app.change(mesh.replace, {})
            app.change(mesh.replace, routes)
            if call(app, environ_of()).status == 200:
                app.close()
                status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert call(app, environ_of()).status == 200
    assert len(upstream.peers) == 2  # the parent's, which is still good, and the child's


def test_the_interpreter_ends_while_providers_are_followed(tmp_path: Any) -> None:
    program = (
        "import meshlib, threading, time\n"
        "from meshlib_adapters.wsgi import mesh_wsgi\n"
        "from tests.support.wsgi_calls import call, environ_of\n"
        "from meshlib_adapters.providers.file import FileProvider\n"
        f"provider = FileProvider({str(tmp_path / 'services.yaml')!r})\n"
        "app = mesh_wsgi(mesh=meshlib.Mesh(), providers=[provider], startup_wait=0.1,\n"
        "                access_log=lambda text: print('logged', len(text) > 10))\n"
        "print(call(app, environ_of()).status)\n"
    )
    (tmp_path / "services.yaml").write_text("services: {}\n")
    began = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT,
        env=source_environment(ROOT),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split() == ["404", "logged", "True"]
    assert time.monotonic() - began < 20


def test_a_called_response_is_read_once(backend: Callable[..., Backend], gateway: Make) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n12")
        read.wait(5)
        peer.send(b"34")
        peer.read_rest()

    read = threading.Event()
    called: Called = call(gateway(backend(script)), environ_of())
    parts = iter(called.body)
    assert next(parts) == b"12"
    read.set()
    assert next(parts) == b"34"
    assert list(parts) == []
    called.close()


def test_the_environ_tells_how_it_was_routed(
    backend: Callable[..., Backend], gateway: Make
) -> None:
    dead, upstream = Backend(), backend()
    dead.refuse()
    routes = {
        "a": Service([f"127.0.0.1:{upstream.port}"], name="shop"),
        "dead.test": [f"127.0.0.1:{dead.port}"],
        "old.test": redirect("https://a"),
    }
    app = gateway(routes, Own())
    for host, status, port in [("a", 200, upstream.port), ("dead.test", 502, dead.port)]:
        environ = environ_of(host)
        assert call(app, environ).status == status
        routing = environ["meshlib"]
        assert isinstance(routing, Routing)
        assert routing.route is not None
        assert routing.upstream is not None
        assert routing.endpoint is not None
        assert (routing.route.name, routing.endpoint.port) == (f"http://{host}", port)
        assert routing.tries == 1
        assert "Forward" in repr(routing)
    environ = environ_of("old.test")
    assert call(app, environ).status == 301
    routing = environ["meshlib"]
    assert isinstance(routing.decision, Redirect)
    assert (routing.upstream, routing.endpoint, routing.tries) == (None, None, 0)
    environ = environ_of("own.test")
    assert call(app, environ).status == 299
    assert "meshlib" not in environ


def test_an_endpoint_may_want_a_proxy_protocol_header(
    backend: Callable[..., Backend], gateway: Make
) -> None:
    def script(peer: Peer) -> None:
        seen.append(peer.read_until(b"\r\n"))
        peer.read_request()
        peer.send(OK)

    seen: list[bytes] = []
    upstream = backend(script)
    app = gateway({"a": Service([f"127.0.0.1:{upstream.port}"], proxy_protocol="v1")})
    assert call(app, environ_of()).status == 200
    assert seen == [b"PROXY TCP4 127.0.0.1 127.0.0.1 5 80\r\n"]


def test_services_have_their_own_sessions(backend: Callable[..., Backend], gateway: Make) -> None:
    def named(name: bytes) -> Script:
        return responding(
            b"HTTP/1.1 200 OK\r\nSet-Cookie: SID=%s\r\nContent-Length: 1\r\n\r\n%s" % (name, name)
        )

    one, two = backend(named(b"1")), backend(named(b"2"))
    service = Service([f"127.0.0.1:{one.port}", f"127.0.0.1:{two.port}"], sticky="SID")
    app = gateway({"a": service})
    first = call(app, environ_of()).read()
    for _ in range(4):
        cookie = f"SID={first.decode()}"
        assert call(app, environ_of(HTTP_COOKIE=cookie)).read() == first
