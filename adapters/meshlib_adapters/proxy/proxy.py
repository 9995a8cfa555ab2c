"""`Proxy`: what all requests of one data path share, whatever protocol they came by."""

from __future__ import annotations

import asyncio
import email.utils
import logging
import secrets
from collections.abc import Callable
from time import monotonic
from typing import Final

from meshlib.client_claims import ForwardingPolicy, Peer
from meshlib.http2.sections import Pair
from meshlib.mesh import Mesh
from meshlib.messages import FieldSection
from meshlib_adapters.config.http import HTTPSettings
from meshlib_adapters.fast_paths import ALL, FastPaths
from meshlib_adapters.observe.access_log import AccessLog
from meshlib_adapters.observe.debug_lines import wanted
from meshlib_adapters.observe.end_reasons import EndReason
from meshlib_adapters.observe.hook_records import HookRecords
from meshlib_adapters.proxy.hook_run import HookTerms, tell_failure
from meshlib_adapters.proxy.hooks import ProxyHooks
from meshlib_adapters.proxy.request_cache import RequestCache
from meshlib_adapters.upstream.registry import UpstreamRegistry

__all__ = ["Proxy"]

_ID_LINE: Final = len(b"X-Request-ID: ")

_logger = logging.getLogger("meshlib.proxy")


class Proxy:
    """The mesh, the settings, the pools of upstreams and the access log of one data path.

    Create and use it inside one running event loop (asyncio's or uvloop's). `mesh` is read once per
    request, so a new snapshot never touches a request under way. `access_log` may be None for none.
    `fast_paths` are those of `upstreams`, where that is given. `request_cache` may outlive it, but
    belongs to the same settings and policy.
    `requests` counts the requests that have ended. Whoever drives it (`HTTPClients` for listeners)
    calls `sweep` about once a second, and `close` at the end.
    """

    def __init__(
        self,
        mesh: Mesh,
        settings: HTTPSettings | None = None,
        *,
        policy: ForwardingPolicy | None = None,
        access_log: AccessLog | None = None,
        request_cache: RequestCache | None = None,
        upstreams: UpstreamRegistry | None = None,
        fast_paths: FastPaths = ALL,
    ) -> None:
        self.mesh = mesh
        self.settings = settings or HTTPSettings()
        self.policy = policy or ForwardingPolicy()
        self.access_log = access_log
        self.loop = asyncio.get_running_loop()
        self.upstreams = upstreams or UpstreamRegistry(
            mesh, self.settings, self.loop, fast_paths=fast_paths
        )
        self.fast_paths = self.upstreams.fast_paths
        self.write_batch = self.upstreams.write_batch
        self.request_cache = request_cache or RequestCache(
            self.policy,
            self.settings.field_count,
            self.upstreams.known_lines,
            remember=self.fast_paths.request_cache,
        )
        # Where clients must show certificates: whether TLS for a host is terminated here. Set by
        # whoever terminates it; then nothing is forwarded that comes without TLS.
        self.certified_hosts: Callable[[str], bool] | None = None
        self.requests = 0
        self.debug = wanted()  # asked for once: requests do not look at the log
        self.hooks = ProxyHooks(
            HookTerms(mesh, self.policy, self.request_cache, self.settings.hooks, self.loop)
        )
        # Whether a request is to be told of, or shown to hooks: one look for both.
        self.attentive = self.debug or mesh.hooks.serving
        self._records: HookRecords | None = None
        self._follow_records()
        self._unwatch = mesh.hooks.watch(self._hooks_changed)
        self._dropped = 0
        self._date = ("", 0.0)
        # Random: an id must not repeat over processes and restarts.
        self._id_prefix = secrets.token_hex(8).encode()
        self._id_counter = 0

    def _hooks_changed(self) -> None:
        self.attentive = self.debug or self.mesh.hooks.serving
        self._follow_records()

    def _follow_records(self) -> None:
        # Hooks read the records of the access log, in batches: requests do not know of them.
        hooks = self.mesh.hooks
        if self._records is None and hooks.on_record.hooks:
            self._records = HookRecords(hooks, tell_failure)
            if self.access_log is None:
                self.access_log = AccessLog(_write_nothing, form=None)
            self.access_log.follow(self._records)

    def request_id(self, fields: FieldSection, peer: Peer) -> bytes:
        """The X-Request-ID line to send on, or nothing: switched off, or a trusted peer has sent
        one.
        """
        if not self.policy.request_id or (peer.trusted and b"x-request-id" in fields.names):
            return b""
        self._id_counter = count = self._id_counter + 1
        return b"X-Request-ID: %s%012x\r\n" % (self._id_prefix, count)

    def request_id_pairs(self, fields: FieldSection, peer: Peer) -> list[Pair]:
        """The line of `request_id`, if any, as pairs."""
        line = self.request_id(fields, peer)
        return [(b"X-Request-ID", line[_ID_LINE:-2])] if line else []

    def date(self) -> str:
        """The Date of responses of our own, to the second."""
        text, at = self._date
        now = self.loop.time()
        if now - at >= 1.0 or not text:
            text = email.utils.formatdate(usegmt=True)
            self._date = (text, now)
        return text

    def record_unread(self, address: str, started: float, ending: EndReason) -> None:
        """Write the access record of a request whose head could not be read. `started` is of
        `time.monotonic`.
        """
        self.requests += 1
        log = self.access_log
        if log is not None:
            now = monotonic()
            log.add(
                (now + log.offset, address, None, 0, 0, None, None, 0, now - started, -1.0, ending)
            )

    def sweep(self, now: float) -> None:
        """Close connections to endpoints that were idle for too long, and hand over the access
        log's records. `now` is the loop's time.
        """
        self.upstreams.sweep(now)
        log = self.access_log
        if log is None:
            return
        log.hand_over()
        if log.dropped != self._dropped:
            self._dropped = log.dropped
            _logger.warning(
                "access log: %d records lost so far, because what takes them is too slow or fails",
                log.dropped,
            )

    def close(self) -> None:
        """Close the connections to endpoints; write the access log's last records."""
        self._unwatch()
        self.upstreams.close()
        if self.access_log is not None:
            self.access_log.flush()
        self.hooks.close()


def _write_nothing(_lines: str) -> None:
    """No line is written."""
