"""Keeper of a running gateway's state file: reads it at the start and writes after changes, off the
event loop.

Changes within a moment are written together, and at the end whatever is left. A full or read-only
disk is reported once and tried again with the next change; the gateway goes on serving.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Collection, Iterable, Mapping

import anyio
import anyio.to_thread

from meshlib.errors import ConfigurationError
from meshlib.mesh import Mesh
from meshlib.model import Snapshot, Tenure
from meshlib_adapters.os_errors import explain_os_error
from meshlib_adapters.providers.state import KeptState, StateDirectory, encode_state

__all__ = ["DEFAULT_DIRECTORY", "StateKeeper", "existing_directory", "find_directory"]

logger = logging.getLogger("meshlib.providers")

DEFAULT_DIRECTORY = "/var/lib/meshlib"
# Seconds from a change to its writing: a deployment is many changes.
_DEBOUNCE = 1.0
# Names given up that are still told apart from another gateway's names. With one too many, a name
# is only kept for longer.
_MAX_GONE = 10_000


def find_directory(
    setting: str, environment: Mapping[str, str], default: str = DEFAULT_DIRECTORY
) -> StateDirectory | None:
    """Find or make the state directory: that of the setting `state`, of systemd
    (`STATE_DIRECTORY`), or `default` if it exists.

    None for "off", and without any. Raises `ConfigurationError` for a configured directory that
    cannot be written.
    """
    if setting.lower() == "off":
        return None
    configured = _configured(setting, environment)
    if not configured:
        return (
            StateDirectory(default)
            if os.path.isdir(default) and os.access(default, os.W_OK | os.X_OK)
            else None
        )
    where = "state" if setting else "STATE_DIRECTORY"
    try:
        os.makedirs(configured, mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{configured} cannot be made: {explain_os_error(error)}",
            where=where,
            hint="name a directory, or off",
        ) from None
    if not os.access(configured, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"{configured} cannot be written",
            where=where,
            hint="let the gateway's user write there, or state = off",
        )
    return StateDirectory(configured)


def existing_directory(
    setting: str, environment: Mapping[str, str], default: str = DEFAULT_DIRECTORY
) -> StateDirectory | None:
    """The directory that `find_directory` would find, for reading only: it is not made, and need
    not be writable.
    """
    if setting.lower() == "off":
        return None
    configured = _configured(setting, environment) or default
    return StateDirectory(configured) if os.path.isdir(configured) else None


def _configured(setting: str, environment: Mapping[str, str]) -> str:
    # systemd separates several by colons; ours is the first.
    return setting or environment.get("STATE_DIRECTORY", "").partition(":")[0]


class StateKeeper:
    """Keeper of what `mesh` knows, in `directory` (None: nowhere).

    `providers` are the names of the configured providers, `snapshots` their last good snapshots as
    read from the file.
    """

    def __init__(
        self, mesh: Mesh, directory: StateDirectory | None, providers: Collection[str]
    ) -> None:
        self.snapshots: dict[str, Snapshot] = {}
        self._mesh = mesh
        self._providers = providers
        self._directory = directory
        self._written = b""
        self._changed = anyio.Event()
        self._trouble = ""
        self._lock = threading.Lock()
        self._mark: tuple[int, ...] | None = (
            None  # of the file as this gateway last read or wrote it
        )
        self._own: set[str] = set()  # names that it had then
        self._gone: dict[str, None] = {}  # names that it had before and has no longer
        self._others: dict[
            str, Tenure
        ] = {}  # names known to another gateway that uses the directory, and not to this one
        self._shared = False

    @property
    def keeps(self) -> bool:
        """Whether there is a directory."""
        return self._directory is not None

    async def load(self) -> None:
        """Read the state; the owners of names apply from here on. To be called before anything is
        published.
        """
        if self._directory is None:
            if not self._mesh.parts:  # otherwise nothing could replace what the mesh knows already
                self._mesh.restore(())
            return
        found = await anyio.to_thread.run_sync(self._read, self._directory)
        for complaint in found.complaints:
            logger.warning("%s", complaint)
        self.snapshots = {
            name: found.snapshots[name] for name in self._providers if name in found.snapshots
        }
        self._mesh.restore(found.tenures)
        if found.tenures:
            logger.info(
                "%d names have owners, read from %s", len(found.tenures), self._directory.file
            )

    async def run(self) -> None:
        """Write after changes, until cancelled."""
        if self._directory is None:
            return
        unsubscribe = self._mesh.subscribe(self._on_change)
        self._changed.set()
        try:
            while True:
                await self._changed.wait()
                self._changed = anyio.Event()
                await anyio.to_thread.run_sync(self._write, self._mesh.tenures, self._known())
                await anyio.sleep(_DEBOUNCE)
        finally:
            unsubscribe()

    def finish(self) -> None:
        """Write unwritten changes now."""
        self._write(self._mesh.tenures, self._known())

    async def release(self) -> None:
        """Release the names for which `meshlib owners release` was called."""
        if self._directory is None:
            return
        try:
            names = await anyio.to_thread.run_sync(self._directory.released)
            if names:
                self._mesh.release(names, now=time.time())
                await anyio.to_thread.run_sync(self._let_go, names)
                await anyio.to_thread.run_sync(self._write, self._mesh.tenures, self._known())
                await anyio.to_thread.run_sync(self._directory.forget_released)
                logger.info("released: %s", ", ".join(name or "any host" for name in names[:20]))
        except OSError as error:
            logger.warning(
                "the names to release cannot be read: %s: %s",
                self._directory.path,
                explain_os_error(error),
            )

    def _known(self) -> dict[str, Snapshot]:
        # The kept snapshot of a provider that has not delivered since the start stays in the file.
        return {**self.snapshots, **self._mesh.parts}

    def _on_change(self, _: Mesh) -> None:
        self._changed.set()

    def _write(self, tenures: Iterable[Tenure], snapshots: Mapping[str, Snapshot]) -> None:
        if self._directory is None:
            return
        with self._lock:
            try:
                with self._directory.turn():
                    self._write_in_turn(self._directory, tuple(tenures), snapshots)
            except OSError as error:
                trouble = f"{self._directory.file} cannot be written: {explain_os_error(error)}"
                if trouble != self._trouble:
                    logger.warning("%s; after a restart the owners of names are unknown", trouble)
                self._trouble = trouble
                return
            if self._trouble:
                logger.info("%s is written again", self._directory.file)
            self._trouble = ""

    def _write_in_turn(
        self,
        directory: StateDirectory,
        tenures: tuple[Tenure, ...],
        snapshots: Mapping[str, Snapshot],
    ) -> None:
        own = {tenure.name for tenure in tenures}
        self._forget(self._own - own)
        self._own = own
        if directory.mark() != self._mark:
            self._hear_others(directory)
        self._others = {name: tenure for name, tenure in self._others.items() if name not in own}
        data = encode_state((*tenures, *self._others.values()), snapshots)
        if data != self._written or self._mark != directory.mark():
            directory.write(data)
            self._written, self._mark = data, directory.mark()

    def _hear_others(self, directory: StateDirectory) -> None:
        # Names given up by this gateway are still in what the other one read of it, and must not
        # come back.
        self._others = {
            tenure.name: tenure
            for tenure in directory.peek().tenures
            if tenure.name not in self._gone
        }
        if self._others and not self._shared:
            self._shared = True
            what = (
                "is also written by another gateway: owners of names are kept for both, "
                "services of one only"
            )
            logger.warning(
                "%s %s; give each a directory of its own (state), or end one", directory.file, what
            )

    def _let_go(self, names: Collection[str]) -> None:
        with self._lock:
            self._others = {
                name: tenure for name, tenure in self._others.items() if name not in names
            }
            self._forget(names)

    def _forget(self, names: Iterable[str]) -> None:
        self._gone = {**self._gone, **dict.fromkeys(names)}
        for name in [*self._gone][: max(len(self._gone) - _MAX_GONE, 0)]:
            del self._gone[name]

    def _read(self, directory: StateDirectory) -> KeptState:
        try:
            with directory.turn():
                found = directory.read()
                self._mark = directory.mark()
        except OSError:  # reading works without it; a failed write is reported when it happens
            found = directory.read()
        self._own = {tenure.name for tenure in found.tenures}
        return found
