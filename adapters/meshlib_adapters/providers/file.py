"""Routes from YAML files (ours, or Compose and stack files), watched for changes.

The last good document stays in force when the file becomes unreadable, empty or wrong: the provider
is then degraded, with the reason and the place in the file. `meshlib.discovery.files.services`
interprets the document, `project_files` reads what it names; this module only follows changes.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from meshlib.discovery.files.own_endpoints import OwnListeners, without_own_endpoints
from meshlib.discovery.files.project import ComposeContext
from meshlib.discovery.files.services import resolve_document
from meshlib.discovery.files.sources import ReadFile
from meshlib.discovery.files.variables import parse_env_file
from meshlib.discovery.limits import DiscoveryLimits
from meshlib.errors import ConfigurationError
from meshlib.model import Snapshot
from meshlib_adapters.os_errors import explain_os_error
from meshlib_adapters.providers.documents import load_document
from meshlib_adapters.providers.project_files import Marks, ProjectFiles, marks_now
from meshlib_adapters.providers.provider import ProviderStatus

__all__ = ["FileProvider", "load_document"]

POLL: Final = 0.2  # seconds; one stat call for each file
_SETTLE_READS: Final = 5
_CLOCK_TICK: Final = 50_000_000  # nanoseconds; the coarsest file systems in use on Linux have 10 ms

# What `docker compose` reads in a directory: the first of each that exists.
_DEFAULT_FILES: Final = (
    ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"),
    (
        "compose.override.yml",
        "compose.override.yaml",
        "docker-compose.override.yml",
        "docker-compose.override.yaml",
    ),
)
_PATH_HINT: Final = 'write FileProvider("compose.yml"), or a list of files that are laid over it'


class FileProvider:
    """Provider of a snapshot of `path`, and of another whenever its content changes to a different
    good document.

    `path` is a file, a directory (of which the files are read that `docker compose` reads there),
    or a list of files of one project, of which each is laid over those before it. Files that a
    Compose file names (`include`, `extends`, `label_file`) are read too, if they are in the
    directory of the first file or below it.

    Watching means polling modification time, size and inode, following symbolic links: this works
    on every file system and with every way to write a file (in place, by rename, by a swapped link
    as orchestrators do it). `variables` are for `${NAME}` in Compose and stack files, and so are
    those in `env_files` (as Compose's `--env-file`; the last of several files has precedence, and
    `variables` over all files), or, without these, in the file `.env` beside the first file.
    Nothing is taken from the environment. Services with `profiles` are routed if one of these is
    among `profiles` ("*": any; None: those in the variable COMPOSE_PROFILES). `own` returns the
    listeners of the gateway, which no endpoint may be.

    `ConfigurationError` for a `path` that is none of these.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        poll: float = POLL,
        variables: Mapping[str, str] | None = None,
        env_files: Sequence[str | os.PathLike[str]] = (),
        profiles: Collection[str] | None = None,
        limits: DiscoveryLimits | None = None,
        own: Callable[[], OwnListeners] = OwnListeners,
    ) -> None:
        self.paths = _paths(path)
        self.path = self.paths[0]
        self.name = f"static:{os.pathsep.join(map(str, self.paths))}"
        self.status = ProviderStatus("starting", None, "")
        self._poll = poll
        self._variables = dict(variables or {})
        self._env_files = tuple(map(Path, env_files))
        self._profiles = None if profiles is None else frozenset(profiles)
        self._limits = limits or DiscoveryLimits()
        self._own = own
        self._look_now = anyio.Event()
        self._remembered: Snapshot | None = None

    def __repr__(self) -> str:
        return f"<FileProvider {self.name.removeprefix('static:')} {self.status.state}>"

    def refresh(self) -> None:
        """Read the file again now, changed or not."""
        self._look_now.set()

    def remember(self, snapshot: Snapshot) -> None:
        """Begin with the snapshot of an earlier run: a label that is wrong in the first document
        keeps the route it had there.
        """
        self._remembered = snapshot

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """Yield snapshots for ever; never raises for trouble with the file."""
        seen: Marks | None = None
        last: Snapshot | None = None
        while True:
            again = self._look_now.is_set()
            if again:
                self._look_now = anyio.Event()
            snapshot, seen = await anyio.to_thread.run_sync(
                self._load_if_changed, None if again else seen, last
            )
            if snapshot is not None and snapshot != last:
                last, self._remembered = snapshot, None
                yield snapshot
            with anyio.move_on_after(self._poll):
                await self._look_now.wait()

    def _load_if_changed(
        self, seen: Marks | None, last: Snapshot | None
    ) -> tuple[Snapshot | None, Marks | None]:
        # In a worker thread: a file may be on a network file system, and a large one takes long to
        # parse.
        if seen is not None and marks_now(seen) == seen:
            if self.status.state == "ok":
                self.status = ProviderStatus("ok", time.monotonic(), "")
            return None, seen
        # Files that change during the read are read again.
        for _ in range(_SETTLE_READS):
            snapshot, marks = self._load(last)
            if marks is None or marks_now(marks) == marks:
                return snapshot, marks if marks is not None and _are_old(marks) else None
        return snapshot, None

    def _load(self, last: Snapshot | None) -> tuple[Snapshot | None, Marks | None]:
        directory = self.path if self.path.is_dir() else self.path.parent
        files = ProjectFiles(directory)
        try:
            first, *overrides = self._main_files(files)
            document = load_document(files.own(first), where=str(first))
            over = tuple(
                ReadFile(str(path), str(directory), load_document(files.own(path), where=str(path)))
                for path in overrides
            )
            snapshot = resolve_document(
                document,
                provider=self.name,
                where=str(first),
                variables=self._read_variables(files),
                previous=last if last is not None else self._remembered,
                limits=self._limits,
                context=ComposeContext(
                    files, str(directory), over, self._profiles, dotenv=not self._env_files
                ),
            )
        except OSError as error:
            self._degrade(
                f"{error.filename or self.path} cannot be read: {explain_os_error(error)}"
            )
            return None, None
        except ConfigurationError as error:
            message = str(error)
            known = tuple(map(str, (*self.paths, *self._env_files)))
            self._degrade(message if message.startswith(known) else f"{self.path}: {message}")
            return None, files.marks
        self.status = ProviderStatus("ok", time.monotonic(), "")
        return without_own_endpoints(snapshot, self._own()), files.marks

    def _main_files(self, files: ProjectFiles) -> list[Path]:
        if not self.path.is_dir():
            return list(self.paths)
        found = [
            next((path for path in paths if files.present(path)), None)
            for paths in ([self.path / name for name in names] for names in _DEFAULT_FILES)
        ]
        if found[0] is None:
            raise ConfigurationError(
                "there is no Compose file in the directory",
                where=str(self.path),
                hint=f"name the file, or call it {_DEFAULT_FILES[0][0]}",
            )
        return [path for path in found if path is not None] + list(self.paths[1:])

    def _read_variables(self, files: ProjectFiles) -> dict[str, str]:
        found: dict[str, str] = {}
        for path in self._env_files:
            try:
                text = files.own(path).decode()
            except UnicodeDecodeError:
                raise ConfigurationError("is not UTF-8", where=str(path)) from None
            before = {**found, **self._variables}
            found.update(parse_env_file(text, where=str(path), variables=before))
        return {**found, **self._variables}

    def _degrade(self, reason: str) -> None:
        self.status = ProviderStatus("degraded", self.status.last_success, reason)


def _paths(path: object) -> tuple[Path, ...]:
    given = [path] if isinstance(path, str | os.PathLike) else path
    if not isinstance(given, list | tuple) or not given:
        raise ConfigurationError(f"{path!r} is not the path of a file", hint=_PATH_HINT)
    for one in given:
        text = os.fspath(one) if isinstance(one, str | os.PathLike) else None
        if not isinstance(text, str) or not text or "\0" in text:
            raise ConfigurationError(f"{one!r} is not the path of a file", hint=_PATH_HINT)
    return tuple(map(Path, given))


def _are_old(marks: Marks) -> bool:
    # Two writes within one clock tick may have the same mark: what was written just now is read
    # once more with the next poll.
    now = time.time_ns()
    return all(abs(now - mark[0]) > _CLOCK_TICK for mark in marks.values() if mark is not None)
