"""The requests of `--check`: what was requested, what is expected, what was seen."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from meshlib.mesh import Mesh
from meshlib_adapters.config.readers import Address

__all__ = ["Check", "Response", "fetch", "run_checks"]

_PATIENCE = 10.0  # seconds for one response; a slow machine is not a difference


@dataclass(frozen=True, slots=True)
class Check:
    what: str
    expected: str
    seen: str


@dataclass(frozen=True, slots=True)
class Response:
    """`fields` by lower-case name (the last of several), `body` decoded."""

    status: int
    fields: dict[str, str]
    body: str

    @property
    def name(self) -> str:
        """The name of the backend that responded, or "status NNN"."""
        try:
            return str(json.loads(self.body)["name"])
        except (ValueError, KeyError, TypeError):
            return f"status {self.status}"


async def fetch(address: Address, host: str, target: str = "/", *, cookie: str = "") -> Response:
    """One request on a connection of its own. OSError when the connection fails, TimeoutError after
    a while.
    """
    with anyio.fail_after(_PATIENCE):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        try:
            field = f"Cookie: {cookie}\r\n" if cookie else ""
            writer.write(
                f"GET {target} HTTP/1.1\r\n"
                f"Host: {host}:{address.port}\r\n"
                f"{field}Connection: close\r\n\r\n".encode()
            )
            head, _, body = (await reader.read()).decode("utf-8", "replace").partition("\r\n\r\n")
        finally:
            writer.close()
    status_line, *lines = head.split("\r\n")
    parts = status_line.split(" ")
    fields = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    return Response(int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0, fields, body)


async def run_checks(
    http: Address, https: Address, add_service: Callable[[], None], mesh: Mesh
) -> list[Check]:
    """All checks, one after another; an error in place of a response is what was "seen"."""
    checks: list[Check] = []

    async def check(what: str, expected: str, look: Callable[[], Awaitable[str]]) -> None:
        try:
            seen = await look()
        except (OSError, ValueError, EOFError) as error:
            seen = f"{type(error).__name__}: {error}"
        checks.append(Check(what, expected, seen))

    def name_of(host: str, target: str = "/") -> Callable[[], Awaitable[str]]:
        async def look() -> str:
            return (await fetch(http, host, target)).name

        return look

    async def passed_through() -> str:
        return await _send_hello(https, "vault.localhost")

    async def unknown_name() -> str:
        return await _send_hello(https, "nobody.localhost")

    async def diagnosed() -> str:
        codes = [item for item in mesh.table.diagnostics if item.service == "broken"]
        return "diagnosed" if codes else "not diagnosed"

    async def added() -> str:
        before = (await fetch(http, "news.localhost")).status
        add_service()
        with anyio.move_on_after(_PATIENCE):
            while True:
                response = await fetch(http, "news.localhost")
                if response.status != before:
                    return f"{before}, then {response.name}"
                await anyio.sleep(0.05)
        return f"{before} only"

    await check(
        "three replicas in turn",
        "shop-1 x2, shop-2 x2, shop-3 x2",
        functools.partial(_replicas, http),
    )
    await check(
        "path and query byte for byte", "/a%2Fb//c?d=e&f", functools.partial(_path_kept, http)
    )
    await check("X-Forwarded-For, -Proto", "127.0.0.1 http", functools.partial(_forwarded, http))
    await check("a path of its own", "api-1", name_of("shop.localhost", "/api/items"))
    await check(
        "paths on segment boundaries", "shop", lambda: _stem(name_of("shop.localhost", "/apiary"))
    )
    await check("first port of a service", "portal-web", name_of("portal.localhost"))
    await check("second port of the service", "portal-admin", name_of("admin.portal.localhost"))
    await check("case and trailing dot of the host", "portal-web", name_of("PORTAL.localhost."))
    await check(
        "redirect, path kept",
        "301 http://shop.localhost/a/b?c=d",
        functools.partial(_redirect, http),
    )
    await check("sticky session", "one backend", functools.partial(_session, http))
    await check("wildcard host", "tenants-1", name_of("acme.tenants.localhost"))
    await check("unknown host", "status 404", name_of("nobody.localhost"))
    await check("host without a running task", "status 503", name_of("sold-out.localhost"))
    await check("upgraded connection", "101, ping", functools.partial(_upgraded, http))
    await check("TLS by server name", "the hello arrives unchanged", passed_through)
    await check("TLS for an unknown name", "alert 112", unknown_name)
    await check("wrong label", "diagnosed", diagnosed)
    await check("... and not routed", "status 404", name_of("broken.localhost"))
    await check("service added while running", "404, then news-1", added)
    return checks


async def _replicas(http: Address) -> str:
    names = [(await fetch(http, "shop.localhost")).name for _ in range(6)]
    counts = {name: names.count(name) for name in sorted(set(names))}
    return ", ".join(f"{name} x{count}" for name, count in counts.items())


async def _path_kept(http: Address) -> str:
    return str(json.loads((await fetch(http, "shop.localhost", "/a%2Fb//c?d=e&f")).body)["target"])


async def _redirect(http: Address) -> str:
    response = await fetch(http, "store.localhost", "/a/b?c=d")
    return f"{response.status} {response.fields.get('location')}"


async def _session(http: Address) -> str:
    first = await fetch(http, "login.localhost")
    cookie = first.fields.get("set-cookie", "").partition(";")[0]
    names = {first.name} | {
        (await fetch(http, "login.localhost", cookie=cookie)).name for _ in range(5)
    }
    return (
        "one backend" if len(names) == 1 and cookie else f"{len(names)} backends, cookie {cookie!r}"
    )


async def _upgraded(http: Address) -> str:
    with anyio.fail_after(_PATIENCE):
        reader, writer = await asyncio.open_connection(http.host, http.port)
        writer.write(
            b"GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: Upgrade\r\n"
            b"Upgrade: echo\r\n\r\n"
        )
        status = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        writer.write(b"ping")
        echoed = await reader.readexactly(4)
        writer.close()
    return f"{status}, {echoed.decode()}"


async def _forwarded(http: Address) -> str:
    seen = json.loads((await fetch(http, "shop.localhost")).body)
    return f"{seen['x-forwarded-for']} {seen['x-forwarded-proto']}"


async def _stem(look: Callable[[], Awaitable[str]]) -> str:
    return (await look()).rpartition("-")[0]


async def _send_hello(https: Address, name: str) -> str:
    # The backend of the demo echoes, so a hello that was passed on comes back as it went. No
    # certificate is needed for that.
    sent = _client_hello(name)
    with anyio.fail_after(_PATIENCE):
        reader, writer = await asyncio.open_connection(https.host, https.port)
        writer.write(sent)
        start = await reader.readexactly(7)
        if start[0] == 21:  # an alert record (RFC 8446 6)
            writer.close()
            return f"alert {start[6]}"
        same = start + await reader.readexactly(len(sent) - 7) == sent
        writer.close()
    return "the hello arrives unchanged" if same else "the hello arrives changed"


def _client_hello(name: str) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()
