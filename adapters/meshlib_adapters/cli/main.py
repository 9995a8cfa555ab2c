"""The command `meshlib`.

Exit status: 0 success; 1 "no" (a check failed, a request would not be served, the gateway is not
ready); 2 a wrong setting, file or option, no gateway to ask, or nowhere to write. An error is one
line on stderr that names the place and the cure.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import click
from rich.console import RenderableType

from meshlib.errors import ConfigurationError
from meshlib.messages import ClientHello
from meshlib.table import RoutingTable
from meshlib_adapters.cli.explanation import render_explanation
from meshlib_adapters.cli.options import (
    ADMIN,
    CONFIG,
    JSON,
    gateway_options,
    load_settings,
    source_options,
)
from meshlib_adapters.cli.owners import kept_state, owners_data, release_names, render_owners
from meshlib_adapters.cli.remote import admin_url, ask_admin, ask_health
from meshlib_adapters.cli.route_list import create_console, render_routes
from meshlib_adapters.config.settings import Settings
from meshlib_adapters.config.sources import (
    as_data,
    environment_layer,
    toml_text,
)
from meshlib_adapters.observe.admin.explanation import SERVED, explanation_data, parse_question
from meshlib_adapters.observe.admin.listening import Listening, listening, unopened_ports
from meshlib_adapters.observe.admin.routes import routes_data
from meshlib_adapters.observe.build_info import VERSION
from meshlib_adapters.observe.line_writing import say
from meshlib_adapters.observe.logs import escape_control, take_over_stderr
from meshlib_adapters.os_errors import explain_os_error
from meshlib_adapters.providers.configured import first_snapshots
from meshlib_adapters.workers.event_loop import run_async
from meshlib_adapters.workers.privileges import renounce_privileges
from meshlib_adapters.workers.standard_streams import open_missing_streams, settle_streams

__all__ = ["cli", "main"]

# The errors of a file that takes no more: nothing else that a command does ends with one of these.
_FULL = (errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and leave the process with its exit status."""
    open_missing_streams()
    try:
        status = _run(arguments)
    finally:
        settle_streams()
    sys.exit(status)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        status = cli.main(
            args=list(arguments) if arguments is not None else None,
            prog_name="meshlib",
            standalone_mode=False,
        )
    except ConfigurationError as error:
        return _complain(str(error))
    except click.ClickException as error:
        where = (
            f" (see: {error.ctx.command_path} --help)"
            if isinstance(error, click.UsageError) and error.ctx
            else ""
        )
        return _complain(error.format_message() + where)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except OSError as error:
        if error.errno not in _FULL:
            raise
        return _complain(f"stdout cannot be written: {explain_os_error(error)}")
    return int(status or 0)


def _complain(message: str) -> int:
    logging.shutdown()  # what was logged stands before it
    say(f"meshlib: {escape_control(message)}")
    return 2


class _Commands(click.Group):
    """Group of commands that succeed when a reader has seen enough (`meshlib routes | head`): the
    status of click is 1, which here means "no".
    """

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        with _enough():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: click.Context) -> Any:
        with _enough():
            return super().invoke(ctx)


@contextlib.contextmanager
def _enough() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise click.exceptions.Exit(0) from None
    except SystemExit as error:  # rich's
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        raise click.exceptions.Exit(0) from None


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(VERSION, "--version", message="meshlib %(version)s")
def cli() -> None:
    """Gateway that routes HTTP requests and TLS connections to Docker services by their labels."""


@cli.command()
@gateway_options
def serve(**options: Any) -> int:
    """Run the gateway until SIGTERM or Ctrl-C."""
    from meshlib_adapters.gateway import Gateway

    renounce_privileges()
    settings, _ = load_settings(**options)
    take_over_stderr(settings.log)
    for warning in environment_layer(os.environ)[1]:
        logging.getLogger("meshlib.gateway").warning("%s", warning)
    return Gateway(settings=settings).run()


@cli.command()
@gateway_options
@JSON
def config(as_json: bool, **options: Any) -> int:
    """Print the settings in effect, as TOML for --config; passwords are masked."""
    settings, origins = load_settings(**options)
    click.echo(
        json.dumps(as_data(settings), indent=2) if as_json else toml_text(settings, origins),
        nl=as_json,
    )
    for warning in environment_layer(os.environ)[1]:
        click.echo(f"meshlib: warning: {escape_control(warning)}", err=True)
    return 0


@cli.command()
@source_options
@JSON
@click.option("--strict", is_flag=True, help="Exit with status 1 if a diagnostic is an error.")
def routes(admin: str | None, as_json: bool, strict: bool, **options: Any) -> int:
    """Show the routes, and what is wrong with labels."""
    settings, _ = load_settings(**options)
    if admin is not None:
        status, data = ask_admin(admin or admin_url(settings.admin), "/-/routes")
        _expect(status, data, admin)
    else:
        table = run_async(first_snapshots, settings).table
        data = routes_data(table, _listening(settings, table, certificates=not settings.http))
    _show(data, render_routes, as_json)
    return int(strict and any(item["severity"] == "error" for item in data["diagnostics"]))


@cli.command()
@click.argument("url", required=False)
@source_options
@click.option("--method", metavar="M", default="GET", help="Request method.  [GET]")
@click.option("--header", metavar="K:V", multiple=True, help="Request field; may be repeated.")
@JSON
def explain(
    url: str | None,
    admin: str | None,
    as_json: bool,
    method: str,
    header: tuple[str, ...],
    **options: Any,
) -> int:
    """Explain where a request goes, and why.

    URL is http://..., https://..., sni://NAME, tcp://:PORT or udp://:PORT. The exit status is 1 if
    the request would not be served.
    """
    if url is None:
        raise ConfigurationError(
            "explain what?",
            hint="put the URL first: meshlib explain http://shop.example.com/ --docker",
        )
    question = parse_question(url, method=method, headers=header)
    settings, _ = load_settings(**options)
    if admin is not None:
        query = [("url", url), ("method", method), *(("header", item) for item in header)]
        status, data = ask_admin(admin or admin_url(settings.admin), "/-/explain", query)
        _expect(status, data, admin)
    else:
        table = run_async(first_snapshots, settings).table
        needed = isinstance(question, ClientHello) or not settings.http
        data = explanation_data(table, question, _listening(settings, table, certificates=needed))
    _show(data, render_explanation, as_json)
    return 0 if data["decision"] in SERVED else 1


def _listening(settings: Settings, table: RoutingTable, *, certificates: bool) -> Listening:
    return listening(
        settings,
        unopened_ports(settings, table.ports),
        terminates=_terminates(settings) if certificates else None,
    )


def _terminates(settings: Settings) -> Callable[[str], bool] | None:
    # As the user who asks can read the files; the gateway itself may see more.
    from meshlib_adapters.tls.configured import watch_certificates

    watch = watch_certificates(settings)
    if watch is None:
        return None
    run_async(watch.read_changes)
    return watch.covers


@cli.command("inspect-hello")
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--hex", "digits", metavar="DIGITS", help="The bytes, as hex digits.")
@click.option(
    "--listen", metavar="HOST:PORT", help="Accept one connection here and show its hello."
)
@JSON
def inspect_hello(file: str | None, digits: str | None, listen: str | None, as_json: bool) -> int:
    """Show the ClientHello of a TLS client.

    It comes from FILE (bytes or hex digits, - for stdin), --hex or --listen. The exit status is 1
    if it is not a valid ClientHello.
    """
    from meshlib_adapters.cli.inspection import render_inspection
    from meshlib_adapters.hello.inspection import inspection_data
    from meshlib_adapters.hello.sources import take_bytes

    data = inspection_data(
        take_bytes(file, digits, listen, lambda text: click.echo(text, err=True))
    )
    _show(data, render_inspection, as_json)
    return 0 if data["kind"] == "client_hello" else 1


@cli.group(invoke_without_command=True)
@CONFIG
@click.option("--state", metavar="DIR", help="State directory of the gateway.")
@JSON
@click.pass_context
def owners(context: click.Context, /, as_json: bool, **options: Any) -> int:
    """Show the owners of hosts and ports.

    They are those that the gateway on this machine has recorded.
    """
    # A subcommand reads the state itself: its --help needs none.
    context.obj = options
    if context.invoked_subcommand is None:
        _, state = kept_state(load_settings(**options)[0])
        _show(owners_data(state.tenures), render_owners, as_json)
    return 0


@owners.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.pass_obj
def release(options: Mapping[str, Any], names: tuple[str, ...]) -> int:
    """Release names from their owners.

    NAME is HOST, *.HOST, * (any host), tcp://:PORT or udp://:PORT. The next service that asks for
    a released name owns it.
    """
    for name in release_names(*kept_state(load_settings(**options)[0]), names):
        click.echo(f"{name or 'any host'}: released when the gateway next gets SIGHUP, or starts")
    return 0


@cli.command()
@ADMIN
@CONFIG
@click.option("--live", is_flag=True, help="Check that it is alive, not that it is ready.")
def healthcheck(admin: str | None, live: bool, **options: Any) -> int:
    """Check that the gateway on this machine is ready.

    For a container's HEALTHCHECK. The exit status is 1 if it is not.
    """
    settings, _ = load_settings(**options)
    try:
        status, data = ask_health(
            admin or admin_url(settings.admin), "/-/live" if live else "/-/ready"
        )
    except ConfigurationError as error:
        say(escape_control(str(error)))
        return 1
    reason = str(
        data.get("reason")
        or data.get("error")
        or ("" if status == 200 else f"the admin listener responded with {status}")
    )
    click.echo(escape_control(reason) or ("live" if live else "ready"))
    return 0 if status == 200 else 1


@cli.command("socket-proxy")
@click.option(
    "--listen",
    metavar="PATH",
    default="/run/meshlib/engine.sock",
    help="Unix socket to serve.  [/run/meshlib/engine.sock]",
)
@click.option(
    "--engine",
    metavar="PATH",
    default="/var/run/docker.sock",
    help="Unix socket of the engine.  [/var/run/docker.sock]",
)
@click.option(
    "--check",
    is_flag=True,
    help="Check that a running one reaches the engine; exit status 1 if not.",
)
def socket_proxy(listen: str, engine: str, check: bool) -> int:
    """Give a gateway read-only access to an engine.

    Its socket passes on the GET requests that discovery needs, and refuses everything else.
    """
    from meshlib_adapters.cli.socket_proxy import check_proxy, run_proxy

    listen, engine = listen.removeprefix("unix://"), engine.removeprefix("unix://")
    if check:
        trouble = check_proxy(listen)
        say(escape_control(trouble)) if trouble else click.echo("ok")
        return int(bool(trouble))
    renounce_privileges()
    take_over_stderr(Settings().log)
    return run_async(run_proxy, listen, engine)


@cli.command()
def version() -> int:
    """Print the version, and whether it is compiled."""
    click.echo(f"meshlib {VERSION}")
    return 0


def _show(data: Any, render: Callable[[Any], RenderableType], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(data, indent=2))
        return
    create_console().print(render(data))


def _expect(status: int, data: Any, admin: str) -> None:
    if status != 200:
        raise ConfigurationError(
            str(data.get("error", f"the gateway responded with {status}")),
            where=f"--admin {admin}".strip(),
        )
