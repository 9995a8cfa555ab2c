"""Read-only client of a Docker engine: GET requests only, for a short list of paths, with a limit
on everything.

Write access to an engine's socket is root on the machine, and the process behind the socket is not
trusted either: a response may be huge, endless, of the wrong type, or missing. All calls here
block; `meshlib_adapters.providers.docker.threads` runs them.
"""

from __future__ import annotations

import contextlib
import functools
import json
import socket
import threading
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import docker
import docker.errors
import requests
import urllib3.exceptions
from docker.constants import MINIMUM_DOCKER_API_VERSION

from meshlib.errors import MeshError
from meshlib_adapters.providers.docker.address import EngineAddress

__all__ = ["PATHS", "Engine", "EngineError"]

# All paths that are ever read. A proxy in front of the socket needs to allow these and no more.
PATHS = frozenset({"/version", "/events", "/containers/json", "/services", "/tasks", "/networks"})

# 10,000 services with 50,000 tasks take about 60 MB of JSON; far more than that is mostly an
# accident or an attack, and the setting `discovery.answer_size` allows more.
MAX_RESPONSE = 64 * 1024 * 1024
# An event is a few hundred bytes; a container's labels (its attributes) can make it some ten
# thousand.
MAX_EVENT = 1024 * 1024
_PIECE = 64 * 1024
_COUNTED = 4  # times the limit: beyond that, no setting would allow the size anyway
# Cause of a long list, and the command that shortens it.
_LESS = {
    "/containers/json": "labels of containers are part of it",
    "/services": "labels, environment and earlier specifications of services are part of it",
    "/tasks": "those of tasks that run, with the environment of each",
    "/networks": "docker network prune removes those that are not used",
}
_SHOWN = 200  # characters of the engine's own text in a reason
_TROUBLE = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    docker.errors.DockerException,
    OSError,
)


class EngineError(MeshError):
    """The engine could not be read. The message has the cause and, where there is one, the cure."""


class Engine:
    """Client of one engine. Blocking; used by one thread at a time, except `abort`, which any
    thread may call.

    `timeout` is how long the engine may be silent, in seconds; `limit` how long a response may be,
    in bytes. Nothing is sent before the first call.
    """

    def __init__(
        self, address: EngineAddress, *, timeout: float = 5.0, limit: int = MAX_RESPONSE
    ) -> None:
        self.where = str(address)
        self._address = address
        self._timeout = timeout
        self._limit = limit
        self._client: docker.APIClient | None = None
        self._version = ""
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._busy = False
        self._aborted = False

    def get(self, path: str, params: Mapping[str, str] | None = None) -> object:
        """Return the JSON of the engine's response. Raises `EngineError` for anything else, after
        which the next call connects anew.
        """
        with self._use(self._timeout) as client:
            return self._read_json(client, path, params)

    def get_list(self, path: str, params: Mapping[str, str] | None = None) -> list[object]:
        """Return a list as `get` does; null, which the engine writes for an empty list, becomes an
        empty list.
        """
        found = self.get(path, params)
        if found is None:
            return []
        if not isinstance(found, list):
            self.close()
            raise EngineError(
                f"{self.where}: {path} returned {type(found).__name__} instead of a list"
            )
        return found

    @contextlib.contextmanager
    def events(
        self, filters: Mapping[str, list[str]], *, silence: float, since: int = 0
    ) -> Iterator[Iterator[dict[str, object]]]:
        """Subscribe to events: on entry the subscription is established, and every later event is
        seen; with `since`, in nanoseconds of the engine's clock, also those from then on that the
        engine remembers. Ends (`EngineError`) when the stream breaks or after `silence` seconds
        without data; malformed events are left out.
        """
        params = {"filters": json.dumps(filters)}
        if since:
            params["since"] = f"{since // 10**9}.{since % 10**9:09}"
        with self._use(silence) as client:
            response = self._ask(client, "/events", params, (self._timeout, silence))
            with contextlib.closing(response):
                self._check_status(response, "/events")
                yield self._read_events(response)

    def abort(self) -> None:
        """Stop for good: a call blocked in another thread soon raises `EngineError`, and no
        connection stays open.
        """
        with self._lock:
            idle = not self._busy
            self._aborted = True
            connections = list(self._connections)
        if idle:
            self.close()
            return
        for connection in connections:
            sock = getattr(connection, "sock", None)
            with contextlib.suppress(OSError):
                if isinstance(sock, socket.socket):
                    socket.socket.shutdown(
                        sock, socket.SHUT_RDWR
                    )  # not close(): that would not wake the other thread
                elif sock is not None:
                    sock.close()  # ssh: a process

    def close(self) -> None:
        """Close connections; the next call makes new ones."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    @contextlib.contextmanager
    def _use(self, seconds: float) -> Iterator[docker.APIClient]:
        with self._lock:
            if self._aborted:
                raise EngineError(f"{self.where}: aborted")
            self._busy = True
        failed = True
        try:
            yield self._connected()
            failed = False
        except _TROUBLE as error:
            raise EngineError(f"{self.where}: {_explain(error, seconds)}") from None
        finally:
            with self._lock:
                self._busy = False
                failed = failed or self._aborted
            if failed:
                self.close()

    def _connected(self) -> docker.APIClient:
        if self._client is None:
            # With a version given, the SDK sends no request of its own; we ask for the version
            # ourselves, so that the response is bounded too.
            version = MINIMUM_DOCKER_API_VERSION
            tls = self._address.tls or False
            seconds: Any = self._timeout  # declared as int, but passed on to a socket
            self._client = docker.APIClient(
                self._address.base_url, version, seconds, tls, use_ssh_client=True
            )
            self._client.headers["Accept-Encoding"] = "identity"
            self._track(self._client)
            self._version = ""
            self._version = self._negotiate(self._client)
        return self._client

    def _negotiate(self, client: docker.APIClient) -> str:
        found = self._read_json(client, "/version", None)
        version = found.get("ApiVersion") if isinstance(found, dict) else None
        if (
            not isinstance(version, str)
            or not version.replace(".", "", 1).isascii()
            or not version.replace(".", "", 1).isdigit()
        ):
            raise EngineError(
                f"{self.where}: /version names no API version; is this a Docker engine?"
            )
        return version

    def _track(self, client: docker.APIClient) -> None:
        # A blocked call is ended through its socket, which neither the SDK nor requests exposes.
        # Every kind of pool that they use makes its connections in `_new_conn`.
        adapter: Any = client.get_adapter(f"{client.base_url}/")
        choose_pool = adapter.get_connection_with_tls_context

        def choose_tracked(*args: Any, **kwargs: Any) -> Any:
            pool = choose_pool(*args, **kwargs)
            if "_new_conn" not in vars(pool):
                make = pool._new_conn

                def make_tracked() -> Any:
                    connection = make()
                    if hasattr(connection, "unix_socket"):
                        connection.connect = functools.partial(_connect_unix, connection)
                    with self._lock:
                        self._connections.add(connection)
                    return connection

                pool._new_conn = make_tracked
            return pool

        adapter.get_connection_with_tls_context = choose_tracked

    def _ask(
        self,
        client: docker.APIClient,
        path: str,
        params: Mapping[str, str] | None,
        timeout: float | tuple[float, float],
    ) -> requests.Response:
        if path not in PATHS:
            raise ValueError(f"{path} is not one of the paths that are read")
        url = (
            f"{client.base_url}/v{self._version}{path}"
            if self._version
            else f"{client.base_url}{path}"
        )
        # `verify` is given again because requests would prefer REQUESTS_CA_BUNDLE to the authority
        # configured for this engine.
        return client.get(
            url,
            params=params,
            stream=True,
            timeout=timeout,
            allow_redirects=False,
            verify=client.verify,
        )

    def _read_json(
        self, client: docker.APIClient, path: str, params: Mapping[str, str] | None
    ) -> object:
        response = self._ask(client, path, params, self._timeout)
        with contextlib.closing(response):
            self._check_status(response, path)
            body = self._read_body(response, path)
        try:
            found: object = json.loads(body)
        except (ValueError, RecursionError):
            raise EngineError(f"{self.where}: the response to {path} is not JSON") from None
        return found

    def _read_body(self, response: requests.Response, path: str) -> bytes:
        pieces: list[bytes] = []
        size = 0
        # Read to its end, within a bound, for its size: the limit has to be that large.
        for piece in response.iter_content(_PIECE):
            size += len(piece)
            if size <= self._limit:
                pieces.append(piece)
                continue
            pieces.clear()
            if size > _COUNTED * self._limit:
                break
        if size > self._limit:
            more = "more than " if size > _COUNTED * self._limit else ""
            less = _LESS.get(path, "fewer objects")
            cure = f"raise discovery.answer_size above its size, or make the list shorter ({less})"
            what = f"{path} returned {more}{size} bytes, more than the limit of {self._limit}"
            raise EngineError(f"{self.where}: {what}, so changes are not seen; {cure}")
        return b"".join(pieces)

    def _check_status(self, response: requests.Response, path: str) -> None:
        if response.status_code == 200:
            return
        message = ""
        with contextlib.suppress(*_TROUBLE, ValueError, RecursionError, AttributeError):
            message = str(json.loads(next(response.iter_content(4096), b"")).get("message", ""))
        raise EngineError(_explain_status(self.where, path, response.status_code, message))

    def _read_events(self, response: requests.Response) -> Iterator[dict[str, object]]:
        rest = b""
        for piece in response.iter_content(_PIECE):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                with contextlib.suppress(ValueError, RecursionError):
                    event = json.loads(
                        line.lstrip(b"\x1e")
                    )  # a record separator, in application/json-seq
                    if isinstance(event, dict):
                        yield event
            if len(rest) > MAX_EVENT:
                raise EngineError(f"{self.where}: an event of more than {MAX_EVENT} bytes")
        raise EngineError(f"{self.where}: the stream of events ended")


def _connect_unix(connection: Any) -> None:
    # As the SDK does it, except that the socket is closed when nobody listens: endless retries
    # would collect open ones.
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(connection.timeout)
        sock.connect(connection.unix_socket)
    except BaseException:
        sock.close()
        raise
    connection.sock = sock


def _explain_status(where: str, path: str, status: int, message: str) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in message[:_SHOWN])
    if status == 503:
        hint = "not a swarm manager: connect to a manager, or run 'docker swarm init' here"
    elif status == 403:
        hint = f"is a proxy in front of the engine? It must allow GET {path}"
    else:
        hint = ""
    return (
        f"{where}: {path}: HTTP {status}"
        + (f" ({shown})" if shown else "")
        + (f"; {hint}" if hint else "")
    )


def _explain(error: BaseException, seconds: float) -> str:
    """Explain an error in a few words: its innermost cause, because the outer ones carry no
    detail.
    """
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        inner = getattr(cause, "reason", None)
        inner = (
            inner
            if isinstance(inner, BaseException)
            else next((a for a in cause.args if isinstance(a, BaseException)), None)
        )
        cause = inner or cause.__cause__ or cause.__context__
    for found in reversed(seen):
        if isinstance(found, FileNotFoundError):
            return "there is no such socket; is the engine running?"
        if isinstance(found, PermissionError):
            return "permission denied; is this user in the group that owns the socket?"
        if isinstance(found, ConnectionRefusedError):
            return "connection refused; is the engine running?"
    if any(
        isinstance(found, (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError))
        for found in seen
    ):
        return f"no response for {seconds:g} s"
    text = " ".join(str(seen[-1]).split()) or type(seen[-1]).__name__
    return "".join(c if c.isprintable() else "?" for c in text[:_SHOWN])
