"""The demo: sample backends and a whole gateway on loopback ports, with a table to watch or a list
of checks.

A file of services, such as anyone would write, describes the routes. The gateway is the one that
`meshlib serve` runs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import tempfile
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
from anyio.abc import TaskStatus
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from examples.demo.backends import SampleBackend
from examples.demo.checks import Check, run_checks
from meshlib.errors import ConfigurationError
from meshlib_adapters.cli.route_list import create_console, render_routes
from meshlib_adapters.config.readers import Address, read_addresses
from meshlib_adapters.config.sections import LogSettings
from meshlib_adapters.config.settings import Settings
from meshlib_adapters.gateway import Gateway
from meshlib_adapters.observe.admin.routes import routes_data
from meshlib_adapters.observe.logs import set_up_logging

__all__ = ["Demo", "run_demo", "services_text"]

NAMES = (
    "shop-1",
    "shop-2",
    "shop-3",
    "api-1",
    "portal-web",
    "portal-admin",
    "login-1",
    "login-2",
    "tenants-1",
    "news-1",
    "vault-1",
)
_LABEL = "com.docker.ucp.mesh.http"

# Ports are filled in. The names end in .localhost, which browsers and curl find on this machine.
SERVICES = """\
# Services of the demo. The gateway watches this file: change it and look again.
services:
  shop:            # three replicas behind one name
    labels: {{{label}.80: "external_route=http://shop.localhost,internal_port=8080"}}
    endpoints: ["127.0.0.1:{shop-1}", "127.0.0.1:{shop-2}", "127.0.0.1:{shop-3}"]
  api:             # a path of the same name
    labels: {{{label}.80: "external_route=http://shop.localhost/api,internal_port=8080"}}
    endpoints: ["127.0.0.1:{api-1}"]
  portal:          # two ports of one service, a name each
    labels:
      {label}.1: "external_route=http://portal.localhost,internal_port=8000"
      {label}.2: "external_route=http://admin.portal.localhost,internal_port=9000"
    endpoints: [{{host: 127.0.0.1, ports: {{8000: {portal-web}, 9000: {portal-admin}}}}}]
  renamed:         # an old name that moved
    labels: {{{label}.80: "external_route=http://store.localhost,redirect=http://shop.localhost"}}
  login:           # a session stays where it began
    labels:
      {label}.80: "external_route=http://login.localhost,internal_port=8080,sticky_sessions=SESSION"
    endpoints: ["127.0.0.1:{login-1}", "127.0.0.1:{login-2}"]
  tenants:         # every name below one
    labels: {{{label}.80: "external_route=http://*.tenants.localhost,internal_port=8080"}}
    endpoints: ["127.0.0.1:{tenants-1}"]
  vault:           # TLS, passed on by server name, never decrypted
    labels: {{{label}.443: "external_route=sni://vault.localhost,internal_port=8443"}}
    endpoints: ["127.0.0.1:{vault-1}"]
  sold-out:        # a name whose service has no running task
    labels: {{{label}.80: "external_route=http://sold-out.localhost,internal_port=8080"}}
    endpoints: []
  broken:          # a mistake costs its own route only
    labels: {{{label}.80: "external_rout=http://broken.localhost,internal_port=8080"}}
    endpoints: ["127.0.0.1:{shop-1}"]
"""

ADDED = """\
  news:            # added while the gateway runs
    labels: {{{label}.80: "external_route=http://news.localhost,internal_port=8080"}}
    endpoints: ["127.0.0.1:{news-1}"]
"""


def services_text(ports: dict[str, int], *, added: bool = False) -> str:
    """The demo's file of services, with or without the one that is added later."""
    return (SERVICES + (ADDED if added else "")).format(label=_LABEL, **ports)


@dataclass(frozen=True)
class Demo:
    """A running demo: its gateway, its file, the ports of the backends by name."""

    gateway: Gateway
    file: Path
    ports: dict[str, int]

    @property
    def http(self) -> Address:
        return self.gateway.addresses["http"][0]

    @property
    def https(self) -> Address:
        return self.gateway.addresses["https"][0]

    def add_service(self) -> None:
        """Write the file anew with one service more, as an editor would."""
        draft = self.file.with_suffix(".new")
        draft.write_text(services_text(self.ports, added=True), encoding="utf-8")
        os.replace(draft, self.file)

    def tries(self) -> list[tuple[str, str]]:
        """What to show, and the command for it."""
        port = self.http.port
        url = f"localhost:{port}"
        admin = self.gateway.addresses["admin"][0]
        return [
            ("three replicas in turn", f"curl http://shop.{url}/"),
            ("a path of its own", f"curl http://shop.{url}/api/items?page=2"),
            ("two ports of one service", f"curl http://portal.{url}/ http://admin.portal.{url}/"),
            ("a redirect that keeps the path", f"curl -i http://store.{url}/a/b?c=d"),
            ("a session that stays", f"curl -b /dev/null -c - http://login.{url}/"),
            ("any name below one", f"curl http://acme.tenants.{url}/"),
            ("an unknown name: 404", f"curl -i http://nobody.{url}/"),
            (
                "why",
                f"meshlib explain http://shop.{url}/api --admin http://{admin}",
            ),
            ("change it", f"$EDITOR {self.file}"),
        ]


@contextlib.asynccontextmanager
async def start_demo(http: Address) -> AsyncGenerator[Demo]:
    """Backends and a gateway, ready; gone again at the end."""
    backends = {
        name: SampleBackend(
            name,
            cookie="SESSION" if name.startswith("login") else "",
            echo=name.startswith("vault"),
        )
        for name in NAMES
    }
    async with contextlib.AsyncExitStack() as stack:
        for backend in backends.values():
            await backend.start()
            stack.push_async_callback(backend.stop)
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="meshlib-demo-"))
        ports = {name: backend.port for name, backend in backends.items()}
        file = Path(directory) / "services.yml"
        file.write_text(services_text(ports), encoding="utf-8")
        loopback = (Address("127.0.0.1", 0),)
        settings = Settings(http=(http,), https=loopback, admin=loopback, services=(str(file),))
        settings = replace(settings, log=LogSettings(access=False), drain=2.0)
        gateway = Gateway(settings=settings)
        async with anyio.create_task_group() as group:
            group.start_soon(gateway.serve)
            await gateway.started.wait()
            try:
                yield Demo(gateway, file, ports)
            finally:
                gateway.stop()


async def run_demo(check: bool, http: str) -> int:
    """The exit status: 1 when `check` saw a difference. ConfigurationError for a wrong address."""
    set_up_logging("error", "text")
    # The table shows what this logger would say.
    logging.getLogger("meshlib.gateway.routes").setLevel(logging.CRITICAL)
    try:
        (address,) = read_addresses(http)
    except ValueError:
        raise ConfigurationError(f"{http!r} is not HOST:PORT", where="--http") from None
    console = create_console()
    async with start_demo(address) as demo:
        if not check:
            await _show(demo, console)
            return 0
        results = await run_checks(demo.http, demo.https, demo.add_service, demo.gateway.mesh)
        console.print(_report(results))
        return int(any(item.seen != item.expected for item in results))


async def _show(demo: Demo, console: Console) -> None:
    stopped = anyio.Event()

    async def wait_for_signal(*, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
            task_status.started()
            async for _ in received:
                stopped.set()
                return

    async with anyio.create_task_group() as group:
        await group.start(wait_for_signal)
        console.print(_commands(demo))
        if not console.is_terminal:
            console.print(render_routes(routes_data(demo.gateway.mesh.table)))
            await stopped.wait()
            return
        with Live(console=console, auto_refresh=False) as live:
            while not stopped.is_set():
                table = render_routes(routes_data(demo.gateway.mesh.table))
                live.update(Group(table, Text("Ctrl-C ends the demo.", style="dim")), refresh=True)
                with anyio.move_on_after(0.5):
                    await stopped.wait()


def _commands(demo: Demo) -> Table:
    commands = Table("To see", "Type", title="Try (in another terminal)", title_justify="left")
    for what, command in demo.tries():
        commands.add_row(Text(what), Text(command, overflow="fold"))
    return commands


def _report(results: Sequence[Check]) -> Table:
    table = Table(
        "", "Check", "Expected", "Seen", title="make demo ARGS=--check", title_justify="left"
    )
    for item in results:
        same = item.seen == item.expected
        mark = Text("ok", "green") if same else Text("DIFFERS", "bold red")
        table.add_row(
            mark, *(Text(text, overflow="fold") for text in (item.what, item.expected, item.seen))
        )
    return table
