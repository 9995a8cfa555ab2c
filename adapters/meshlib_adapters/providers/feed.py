"""Feed from providers into the mesh: publishes each snapshot, in a thread where that takes long,
and logs trouble.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import anyio
import anyio.to_thread

from meshlib.errors import ConfigurationError
from meshlib.mesh import Mesh
from meshlib.model import Snapshot
from meshlib_adapters.providers.provider import Provider

__all__ = ["Feed", "log_failure", "offer", "publish_apart"]

_logger = logging.getLogger("meshlib.providers")

# Routes that are compiled in the event loop, within some milliseconds; more are compiled in a
# thread while requests go on. Known contributions cost little, but are compared.
_AT_ONCE: Final = 300
_KNOWN_FOR_A_NEW: Final = 20
_TRIES: Final = 3
# Seconds between checks for names that have been kept long enough, and of the providers' status for
# the log.
_FREE_EVERY: Final = 60.0
_STATUS_SWEEP: Final = 0.5
_REFUSED: Final = "its snapshot cannot be served, and the previous one stays"


async def offer(mesh: Mesh, name: str, snapshot: Snapshot) -> str:
    """Publish what a provider delivered, through `publish_apart`; return "", or why it cannot be
    served.

    Then the log has the reason, too, and the provider's previous snapshot stays: one wrong snapshot
    ends neither its provider nor the others.
    """
    try:
        changed = await publish_apart(mesh, name, snapshot)
    except ConfigurationError as error:
        _log_refused(name, error)
        return f"{_REFUSED}: {error}"
    _logger.debug(
        "%s: snapshot of %d contributions taken: %s",
        name,
        len(snapshot.contributions),
        f"version {mesh.version}" if changed else "nothing changes",
    )
    return ""


def _log_refused(name: str, error: ConfigurationError) -> None:
    _logger.error("%s: %s: %s", name, _REFUSED, error)


async def publish_apart(mesh: Mesh, name: str, snapshot: Snapshot) -> bool:
    """Publish as `mesh.publish` does, from the event loop's thread, which is not blocked: long
    computations run in another thread.

    If something else is published meanwhile, the result is computed again, the last time in this
    thread, so nothing is lost.
    """
    for _ in range(_TRIES if _takes_long(mesh, name, snapshot) else 0):
        draft = await anyio.to_thread.run_sync(lambda: mesh.draft(name, snapshot, now=time.time()))
        if mesh.is_fresh(draft):
            return mesh.commit(draft)
    return mesh.publish(name, snapshot, now=time.time())


def log_failure(error: Exception) -> None:
    """Log the error of a subscriber of the mesh; for `Mesh.on_error`."""
    _logger.error("a subscriber of the mesh failed on a change of routes", exc_info=error)


def _takes_long(mesh: Mesh, name: str, snapshot: Snapshot) -> bool:
    before = mesh.parts.get(name)
    known = set(map(id, before.contributions)) if before is not None else set()
    new = sum(1 + len(item.routes) for item in snapshot.contributions if id(item) not in known)
    return new + len(snapshot.contributions) // _KNOWN_FOR_A_NEW > _AT_ONCE


class Feed:
    """Follows providers into a mesh: publishes their snapshots and logs their status.

    `kept` returns a provider's snapshot from before the last stop, None for nothing. A provider
    that has a method `remember` gets it, for the last good routes of labels that are wrong now. It
    is published for a provider that is still silent when `first_snapshots` has waited long enough.
    Two providers with one name are a `ConfigurationError`.
    """

    def __init__(
        self,
        mesh: Mesh,
        providers: Sequence[Provider],
        kept: Callable[[str], Snapshot | None],
        logger: logging.Logger,
    ) -> None:
        names = [provider.name for provider in providers]
        for name in names:
            if names.count(name) > 1:
                raise ConfigurationError(
                    f"two providers have the name {name!r}",
                    where="providers",
                    hint="name each differently",
                )
        self._mesh = mesh
        self._providers = providers
        self._kept = kept
        self._logger = logger
        self._delivered: set[str] = set()
        self._from_disk: set[str] = set()
        self._failed: set[str] = set()
        self._cut_off_since: dict[str, float] = {}
        self._arrived = anyio.Event()
        self._refused: dict[str, str] = {}

    @property
    def refused(self) -> Mapping[str, str]:
        """Providers whose newest snapshot cannot be served, each with the reason."""
        return self._refused

    @property
    def from_disk(self) -> tuple[str, ...]:
        """Providers that have not delivered, and whose services come from the state kept before the
        start.
        """
        return tuple(sorted(self._from_disk))

    @property
    def has_delivered(self) -> bool:
        """Whether any provider has delivered: before that, unknown is not empty."""
        return bool(self._delivered)

    @property
    def missing(self) -> list[Provider]:
        """Providers that have not delivered yet."""
        return [provider for provider in self._providers if provider.name not in self._delivered]

    def cut_off(self, patience: float) -> str:
        """The provider whose source cannot be read for longer than `patience` seconds, with the
        reason; "" for none. With a patience of 0, none ever is.
        """
        now = anyio.current_time()
        for provider in self._providers if patience else ():
            seconds = now - self._cut_off_since.get(provider.name, now)
            if seconds > patience:
                return f"{provider.name} is cut off for {seconds:.0f} s: {provider.status.reason}"
        return ""

    async def run(self) -> None:
        """Follow all providers until cancelled. One that raises is logged and followed no longer;
        its last snapshot stands.
        """
        async with anyio.create_task_group() as group:
            for provider in self._providers:
                group.start_soon(self._follow, provider)
            group.start_soon(self._watch_status)
            group.start_soon(self._free_names)

    async def first_snapshots(
        self, seconds: float, stop: anyio.Event, *, even_empty: bool = False
    ) -> None:
        """Wait until all providers have delivered, or `stop` is set, or `seconds` have passed and
        there is something to serve: routes of a provider, from before the last stop, or given in
        code. With `even_empty`, no longer than `seconds` in any case, nor for one that has failed.
        """
        # Unknown is not empty: without any snapshot, every response would be a wrong 404, while
        # refused connections let a load balancer try another gateway. One silent provider delays
        # the others only for a while.
        deadline = anyio.current_time() + seconds
        while self.missing and not stop.is_set():
            failed = even_empty and all(p.name in self._failed for p in self.missing)
            if failed or anyio.current_time() >= deadline:
                self._serve_from_disk()
                if even_empty or self._delivered or self._from_disk or self._mesh.table.routes:
                    break
            with anyio.move_on_after(min(0.25, max(0.0, deadline - anyio.current_time()) or 0.25)):
                await self._arrived.wait()
        for provider in self.missing:
            if not stop.is_set() and provider.name not in self._from_disk:
                reason = provider.status.reason or "no snapshot yet"
                self._logger.warning("starting without the routes of %s: %s", provider.name, reason)

    def refresh(self) -> None:
        """Make the providers that can, read their sources again at once."""
        for provider in self._providers:
            refresh = getattr(provider, "refresh", None)
            if callable(refresh):
                refresh()

    def _serve_from_disk(self) -> None:
        for provider in self.missing:
            kept = self._kept(provider.name)
            if kept is not None:
                try:
                    # Synchronous: it must not overwrite what the provider itself delivers
                    # meanwhile.
                    self._mesh.publish(provider.name, kept, now=time.time())
                except ConfigurationError as error:
                    _log_refused(provider.name, error)
                    continue
                self._from_disk.add(provider.name)
                reason = provider.status.reason or "no snapshot yet"
                self._logger.warning(
                    "%s: serving its routes from before the last stop: %s",
                    provider.name,
                    reason,
                )

    async def _follow(self, provider: Provider) -> None:
        try:
            await self._publish_all(provider)
        except Exception:  # of a provider's own code: it costs the others nothing
            self._logger.exception(
                "provider %s has failed; its last snapshot stands", provider.name
            )
            self._failed.add(provider.name)
            self._wake()

    async def _publish_all(self, provider: Provider) -> None:
        kept, remember = self._kept(provider.name), getattr(provider, "remember", None)
        if kept is not None and callable(remember):
            remember(kept)
        async for snapshot in provider.snapshots():
            if reason := await offer(self._mesh, provider.name, snapshot):
                self._refused[provider.name] = reason
                continue
            if self._refused.pop(provider.name, ""):
                self._logger.info("%s: its newest snapshot is served again", provider.name)
            if provider.name in self._from_disk:
                self._from_disk.discard(provider.name)
                self._logger.info(
                    "%s: has delivered; what was on disk is no longer used", provider.name
                )
            self._delivered.add(provider.name)
            self._wake()

    def _wake(self) -> None:
        self._arrived.set()
        self._arrived = anyio.Event()

    async def _free_names(self) -> None:
        while True:
            await anyio.sleep(_FREE_EVERY)
            self._mesh.settle(now=time.time())

    async def _watch_status(self) -> None:
        reported: dict[str, str] = {}
        while True:
            for provider in self._providers:
                if provider.status.cut_off:
                    self._cut_off_since.setdefault(provider.name, anyio.current_time())
                else:
                    self._cut_off_since.pop(provider.name, None)
                reason = provider.status.reason if provider.status.state == "degraded" else ""
                if reason and not reported.get(provider.name):
                    self._logger.warning(
                        "%s: degraded, the last snapshot stands: %s", provider.name, reason
                    )
                elif reported.get(provider.name) and not reason:
                    self._logger.info("%s: recovered", provider.name)
                elif reason != reported.get(provider.name, ""):
                    self._logger.warning("%s: still degraded: %s", provider.name, reason)
                reported[provider.name] = reason
            await anyio.sleep(_STATUS_SWEEP)
