"""A worker process: `python -m meshlib_adapters.workers.worker FD`, which only the supervisor
starts.

A fresh interpreter that gets its listening sockets, one end of a channel, and nothing else: no
engine, no settings of its own. It serves the supervisor's newest snapshot, reports once a second
and after each change, and ends when it is told to, on SIGTERM, or when the supervisor is gone: it
stops accepting, finishes what is under way within `timeouts.drain`, and exits.
"""

from __future__ import annotations

import asyncio

# Loaded here, not when first needed: behind `become` their files may be unreadable.
import concurrent.futures.thread  # noqa: F401
import contextlib
import encodings.idna  # noqa: F401
import importlib
import logging
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from meshlib.balancing import Binding
from meshlib.errors import ConfigurationError
from meshlib.hooks import Hooks
from meshlib.model import Snapshot
from meshlib_adapters.config.http import session_limits
from meshlib_adapters.hooks.carried import unpack_hooks
from meshlib_adapters.observe.configured import create_access_log, create_span_writer
from meshlib_adapters.observe.line_writing import write_record
from meshlib_adapters.observe.log_output import share_lock
from meshlib_adapters.observe.logs import take_over_stderr
from meshlib_adapters.observe.metrics.catalogue import DROPPED
from meshlib_adapters.observe.metrics.changes import Change, write_changes
from meshlib_adapters.observe.request_counters import RequestCounters
from meshlib_adapters.os_errors import explain_os_error
from meshlib_adapters.providers.feed import log_failure, publish_apart
from meshlib_adapters.upstream.registry import UpstreamRegistry
from meshlib_adapters.workers.channel import Channel, make_frame, receive_frame
from meshlib_adapters.workers.data_path import DataPath
from meshlib_adapters.workers.event_loop import fast_loop, run_async
from meshlib_adapters.workers.messages import (
    BINDINGS,
    CERTIFICATES,
    DRAIN,
    ERROR,
    METRICS,
    NO_VERSION,
    REPORT,
    RESEND,
    SETUP,
    SNAPSHOT,
    Setup,
    VersionMismatch,
    read_certificates,
    read_setup,
    read_snapshot,
)
from meshlib_adapters.workers.meter import Meter
from meshlib_adapters.workers.privileges import become, renounce_privileges
from meshlib_adapters.workers.reports import (
    MAX_REPORT,
    Counters,
    Report,
    parse_bindings,
    write_bindings,
    write_error,
    write_report,
)
from meshlib_adapters.workers.shared_bindings import SharedBindings
from meshlib_adapters.workers.standard_streams import settle_streams

if TYPE_CHECKING:
    from meshlib_adapters.observe.spans import SpanWriter

__all__ = ["Worker", "main"]

logger = logging.getLogger("meshlib.workers")

_REPORT_EVERY = 1.0
# Frames that wait: while the supervisor is so far behind, changes of metrics gather here, and none
# is lost.
_BEHIND = 20
# Seconds for the last report; a supervisor that does not take it by then is gone or stuck.
_LAST_REPORT = 1.0


class Worker:
    """Data path of this process; its orders come through `sock`, its end of the channel."""

    def __init__(self, sock: socket.socket, setup: Setup, spans: SpanWriter | None = None) -> None:
        self._setup = setup
        self._settings = setup.settings
        self._channel = Channel(sock, on_frame=self._obey, on_end=self._orphaned, most=MAX_REPORT)
        self._mesh = self._settings.mesh(on_error=log_failure)
        unpack_hooks(setup.hooks, self._mesh.hooks)
        self._request_counters = RequestCounters()
        self._spans = spans
        self._log = create_access_log(
            self._settings,
            lambda lines: write_record(lines, setup.log_lock),
            self._request_counters,
            spans,
        )
        loop = asyncio.get_running_loop()
        requests = setup.settings.requests
        self._bindings = SharedBindings(session_limits(requests), loop, self._share)
        upstreams = UpstreamRegistry(
            self._mesh, requests, loop, http2=setup.settings.http2, bindings=self._bindings
        )
        self._data_path = DataPath(self._mesh, self._settings, log=self._log, upstreams=upstreams)
        self._meter = Meter(
            self._data_path,
            self._log,
            self._request_counters,
            self._report_changes,
            spans=spans,
            version=lambda: self._version,
            may_report=lambda: len(self._channel) < _BEHIND,
        )
        self._message = b""  # a snapshot that came and is not read yet; only one is ever on its way
        self._message_came = anyio.Event()
        self._has_routes = anyio.Event()
        self._version, self._snapshot = NO_VERSION, Snapshot()
        self._early: list[Binding] = []
        self._ready = False
        self._cut = 0
        self._dropped = 0  # too large for the supervisor, and not reported to it yet
        self._stop = anyio.Event()

    async def run(self) -> None:
        """Serve until told to end, then end."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._terminated)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._follow_snapshots)
                group.start_soon(self._serve)
                group.start_soon(self._meter.run)
                await self._stop.wait()
                if self._ready:
                    self._ready = False
                    self._report()
                    self._cut = await self._data_path.drain(self._settings.drain)
                group.cancel_scope.cancel()
        finally:
            self._data_path.close()
            if self._spans is not None:
                self._spans.close()
            self._meter.finish()
            self._report()
            self._channel.flush(_LAST_REPORT)
            self._channel.close()

    async def _serve(self) -> None:
        await self._has_routes.wait()
        http, https = (
            _sockets(descriptors) for descriptors in (self._setup.http, self._setup.https)
        )
        try:
            await self._data_path.listen(http, https)
        except ConfigurationError as error:
            self._channel.send(make_frame(ERROR, write_error(str(error))))
            self._stop.set()
            return
        self._ready = True
        while True:
            self._report()
            await anyio.sleep(_REPORT_EVERY)

    async def _follow_snapshots(self) -> None:
        while True:
            await self._message_came.wait()
            self._message_came = anyio.Event()
            try:
                # In a thread: while a large snapshot is read, requests go on.
                version, snapshot = await anyio.to_thread.run_sync(
                    read_snapshot, self._message, self._version, self._snapshot
                )
            except VersionMismatch:
                self._channel.send(make_frame(RESEND, b""), topic="resend")
                continue
            await publish_apart(self._mesh, "supervisor", snapshot)
            self._version, self._snapshot, self._message = version, snapshot, b""
            logger.debug("version %d of the routes is served", version)
            early, self._early = self._early, []
            self._bindings.adopt(early)
            self._has_routes.set()
            self._report()

    def _obey(self, kind: bytes, body: bytes) -> None:
        if kind == SNAPSHOT:
            self._message = body
            self._message_came.set()
        elif kind == CERTIFICATES:
            self._data_path.use_certificates(read_certificates(body))
        elif kind == BINDINGS:
            self._adopt(parse_bindings(body))
        elif kind == DRAIN:
            self._stop.set()

    def _adopt(self, bindings: list[Binding]) -> None:
        if self._version == NO_VERSION:
            # Those of a predecessor come before the routes that they belong to.
            self._early += bindings
        else:
            self._bindings.adopt(bindings)

    def _orphaned(self) -> None:
        logger.warning("the supervisor is gone: this worker ends")
        self._stop.set()

    def _terminated(self) -> None:
        if self._stop.is_set():
            os._exit(128 + signal.SIGTERM)
        self._stop.set()

    def _share(self, bindings: list[Binding]) -> None:
        for piece in write_bindings(bindings, self._drop):
            self._channel.send(make_frame(BINDINGS, piece))

    def _report_changes(self, changes: list[Change]) -> None:
        for piece in write_changes(changes, self._drop):
            self._channel.send(make_frame(METRICS, piece))
        if self._dropped:
            count, self._dropped = self._dropped, 0
            self._report_changes([Change(DROPPED, (), count)])

    def _drop(self) -> None:
        self._dropped += 1

    def _report(self) -> None:
        data_path = self._data_path
        report = Report(
            self._ready,
            self._version,
            data_path.connections,
            data_path.tunnels,
            self._cut,
            self._counters(),
        )
        ports = data_path.ports
        if ports is not None:
            report = replace(
                report,
                ports=len(ports.open_ports),
                port_connections=ports.connections,
                flows=ports.flows,
                failed=tuple(sorted(ports.failures.items())),
            )
        self._channel.send(make_frame(REPORT, write_report(report)), topic="report")

    def _counters(self) -> Counters:
        log, tls = self._log, self._data_path.tls_counters
        log.format_records()
        classes = [0] * 6
        for status, count in self._request_counters.statuses.items():
            classes[status // 100 if 100 <= status < 600 else 0] += count
        ports = self._data_path.ports
        carried = ports.counters() if ports is not None else {}
        tcp, udp = (Counter(carried.get(scheme, {})) for scheme in ("tcp", "udp"))
        return Counters(
            requests=sum(classes),
            status_1xx=classes[1],
            status_2xx=classes[2],
            status_3xx=classes[3],
            status_4xx=classes[4],
            status_5xx=classes[5],
            status_none=classes[0],
            tls_accepted=tls["accepted"],
            tls_refused=tls["refused"],
            tls_tunnels=tls["tunnels"],
            access_records_lost=log.dropped,
            tcp_accepted=tcp["accepted"],
            tcp_refused=tcp["refused"],
            tcp_tunnels=tcp["tunnels"],
            udp_flows=udp["flows"],
            udp_received=udp["received"],
            udp_sent=udp["sent"],
            udp_dropped=udp["dropped"],
        )


def _sockets(descriptors: Sequence[int]) -> list[socket.socket]:
    return [socket.socket(fileno=descriptor) for descriptor in descriptors]


class _Numbered(logging.Filter):
    """Filter that adds the worker's number to each record."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def filter(self, record: logging.LogRecord) -> bool:
        fields = getattr(record, "fields", None)
        record.fields = {**(fields if isinstance(fields, dict) else {}), "worker": self._number}
        record.msg = f"worker {self._number}: {record.msg}"
        return True


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a worker until it ends."""
    renounce_privileges()
    (descriptor,) = arguments if arguments is not None else sys.argv[1:]
    sock = socket.socket(fileno=int(descriptor))
    with contextlib.suppress(EOFError):  # the supervisor has ended already
        kind, body = receive_frame(sock)
        assert kind == SETUP
        setup = read_setup(body)
        for inherited in (sock.fileno(), *setup.http, *setup.https, setup.log_lock):
            os.set_inheritable(inherited, False)
        if setup.settings.log.spans:
            with contextlib.suppress(ImportError):  # `create_span_writer` says so
                # Before `become`, which may take away the right to read these files.
                importlib.import_module("meshlib_adapters.observe.tracing")
        if setup.settings.termination.certificates:
            importlib.import_module("meshlib_adapters.listeners.https_fronts")
        with contextlib.suppress(ImportError):  # without it there is no HTTP/2 on either side
            importlib.import_module("meshlib_adapters.upstream.http2")
        fast_loop()
        if setup.identity is not None:
            try:
                become(setup.identity)
            except OSError as error:
                message = (
                    f"user: the system does not let workers become {setup.identity.uid}: "
                    f"{explain_os_error(error)}"
                )
                sock.sendall(make_frame(ERROR, write_error(message)))
                sys.exit(2)
        take_over_stderr(setup.settings.log)
        share_lock(setup.log_lock)
        for handler in logging.getLogger().handlers:
            handler.addFilter(_Numbered(setup.number))
        try:
            spans = create_span_writer(setup.settings)
            unpack_hooks(setup.hooks, Hooks())  # said here, if they cannot be imported
        except ConfigurationError as error:
            sock.sendall(make_frame(ERROR, write_error(str(error))))
            sys.exit(2)
        run_async(_run, sock, setup, spans)


async def _run(sock: socket.socket, setup: Setup, spans: SpanWriter | None) -> None:
    await Worker(sock, setup, spans).run()


if __name__ == "__main__":
    try:
        main()
    finally:
        settle_streams()
