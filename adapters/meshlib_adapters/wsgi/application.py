"""`mesh_wsgi`: routing inside a WSGI server, alone or in front of another application."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from email.utils import formatdate
from typing import Final, Literal, TypeVar, TypeVarTuple
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from meshlib.client_claims import ForwardingPolicy
from meshlib.decision import Forward, Respond
from meshlib.errors import ProtocolError
from meshlib.http1 import section_of
from meshlib.mesh import Mesh
from meshlib.messages import RequestHead
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.observe.log_sink import LogSink, sink_of
from meshlib_adapters.providers.provider import Provider
from meshlib_adapters.proxy.awaited import NoResponse
from meshlib_adapters.proxy.local_responses import local_error
from meshlib_adapters.wsgi.departure import departure_of
from meshlib_adapters.wsgi.environ import (
    EnvironReader,
    addresses_of,
    is_multiplexed,
    possible_heads_of,
)
from meshlib_adapters.wsgi.exchange import WaitingExchange
from meshlib_adapters.wsgi.responses import respond_local, start_forwarded
from meshlib_adapters.wsgi.serving import Serving, ServingSlot, check_providers
from meshlib_adapters.wsgi.upload import PIECE, Upload

__all__ = ["WSGIGateway", "mesh_wsgi"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Reasons of the table for a request that is for none of its hosts.
_NOBODYS: Final = ("no_route", "bad_authority")


def mesh_wsgi(
    app: WSGIApplication | None = None,
    *,
    mesh: Mesh,
    providers: Sequence[Provider] = (),
    settings: HTTPSettings | None = None,
    policy: ForwardingPolicy | None = None,
    access_log: LogSink | None = None,
    access_format: Literal["json", "combined"] = "json",
    startup_wait: float = 10.0,
) -> WSGIGateway:
    """Put `mesh` in front of a WSGI application: `app.wsgi_app = mesh_wsgi(app.wsgi_app,
    mesh=mesh)`. Without one it is an application itself.

    Requests for hosts of the mesh are proxied; all others reach `app` untouched. `providers` are
    followed from the first request on, which waits until each has delivered once, for
    `startup_wait` seconds at most. `access_log` is a path, a stream or a function for lines about
    each request, in `access_format` (`AccessLog`). `ConfigurationError` for two providers of one
    name.
    """
    log = None if access_log is None else sink_of(access_log)
    return WSGIGateway(app, mesh, providers, settings, policy, log, access_format, startup_wait)


class WSGIGateway:
    """A WSGI application for any number of threads and processes; `mesh_wsgi` makes it.

    Nothing runs before the first request (or `start`); then each process has one background thread
    with an event loop, and one set of pools. A process that was forked from one that serves begins
    anew. The client's address is REMOTE_ADDR; trust proxies in one place only. Each environ that is
    served here gets a `Routing`, `environ["meshlib"]`.
    """

    def __init__(
        self,
        app: WSGIApplication | None,
        mesh: Mesh,
        providers: Sequence[Provider],
        settings: HTTPSettings | None,
        policy: ForwardingPolicy | None,
        write_log: Callable[[str], None] | None,
        access_format: Literal["json", "combined"],
        startup_wait: float,
    ) -> None:
        self._app = app
        self._mesh = mesh
        self._providers = tuple(providers)
        self._settings = settings or HTTPSettings()
        self._policy = policy or ForwardingPolicy()
        self._write_log = write_log
        self._access_format: Literal["json", "combined"] = access_format
        self._reader = EnvironReader(self._settings, self._policy)
        self._slot = ServingSlot(self._serving, startup_wait)
        check_providers(mesh, self._providers)

    def start(self) -> None:
        """Begin to follow the providers, as the first request would. Harmless when it has begun.
        Not to be called before the process is forked.
        """
        self._slot.started()

    def close(self) -> None:
        """End what runs, and cut what is under way; the next request would begin anew. The end of
        the interpreter does it, too.
        """
        self._slot.close()

    def change(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call `function(*args)` in the thread that the mesh is used in, and return or raise what
        it does: `gateway.change(mesh.replace, routes)`.
        """
        return self._slot.started().call(_called(function, *args))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """The WSGI entrance."""
        serving = self._slot.started()
        app = self._app
        try:
            head = self._reader.head(environ)
        except ProtocolError as error:
            if app is not None and not self._is_routed(environ):
                return app(environ, start_response)
            return _fail(environ, start_response, error.status_hint, error.reason)
        found = self._mesh.table.route(head)
        if app is not None and isinstance(found, Respond) and found.reason in _NOBODYS:
            # Servers join repeated fields by commas, and no host name has one.
            if b"," in head.authority and self._is_routed(environ):
                return _fail(environ, start_response, 400, "repeated_host")
            # What is not ours costs nothing here, and leaves nothing behind.
            return app(environ, start_response)
        try:
            head, upload = _with_body(head, environ)
            named = not isinstance(found, Forward) or found.upstream.transport.proxy_protocol
            exchange = WaitingExchange(
                serving,
                environ,
                head,
                self._reader.peer(environ),
                addresses_of(environ) if named else (None, None),
                upload,
                departure_of(environ),
            )
            begun = exchange.open(eager=isinstance(found, Forward))
        except ProtocolError as error:
            return _fail(environ, start_response, error.status_hint, error.reason)
        except NoResponse as failure:
            if failure.response is None:  # it ended behind its head, of which nothing was sent yet
                return _fail(environ, start_response, 502, failure.reason)
            return respond_local(environ, start_response, failure.response)
        try:
            start_forwarded(environ, start_response, begun.response)
        except BaseException:
            exchange.close()
            raise
        if begun.ended:
            return [begun.data] if begun.data else []
        return exchange

    def _serving(self) -> Serving:
        return Serving(
            self._mesh,
            self._providers,
            self._settings,
            self._policy,
            self._write_log,
            self._access_format,
        )

    def _is_routed(self, environ: WSGIEnvironment) -> bool:
        # Of a request that we would refuse: whether any reading of it is for one of our routes.
        # The limits are those of routed requests; what the application makes of others is its own.
        table = self._mesh.table
        for head in possible_heads_of(environ):
            found = table.route(head)
            if not (isinstance(found, Respond) and found.reason in _NOBODYS):
                return True
        return False


async def _called(function: Callable[[*Ts], T], *args: *Ts) -> T:
    return function(*args)


def _with_body(head: RequestHead, environ: WSGIEnvironment) -> tuple[RequestHead, Upload | None]:
    """The head to send on, and the body, if there is one."""
    stream, fields = environ["wsgi.input"], head.fields
    if fields.chunked or fields.content_length:
        return head, Upload(stream, None if fields.chunked else fields.content_length)
    if (
        fields.content_length is None
        and is_multiplexed(environ)
        and environ.get("wsgi.input_terminated")
    ):
        # HTTP/2 needs neither a length nor a coding: only the stream tells whether there is a body.
        first = stream.read(PIECE)
        if first:
            pairs = [*fields.pairs(), (b"Transfer-Encoding", b"chunked")]
            fields = section_of(pairs, max_fields=len(pairs))
            return head._replace(fields=fields), Upload(stream, None, first)
    return head, None


def _fail(
    environ: WSGIEnvironment, start_response: StartResponse, status: int, reason: str
) -> list[bytes]:
    head_only = environ.get("REQUEST_METHOD") == "HEAD"
    response = local_error(status, reason, head_only=head_only, date=formatdate(usegmt=True))
    return respond_local(environ, start_response, response)
