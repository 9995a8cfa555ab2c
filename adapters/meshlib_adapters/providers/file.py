"""Routes from a YAML file (ours, or a Compose or stack file), watched for changes.

The last good document stays in force when the file becomes unreadable, empty or wrong: the provider
is then degraded, with the reason and the place in the file. `meshlib.discovery.files.services`
interprets the document; this module only reads the file.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import yaml

from meshlib.discovery.files.services import resolve_document
from meshlib.discovery.files.variables import parse_env_file
from meshlib.discovery.limits import DiscoveryLimits
from meshlib.errors import ConfigurationError
from meshlib.model import Snapshot
from meshlib_adapters.os_errors import explain_os_error
from meshlib_adapters.providers.provider import ProviderStatus

__all__ = ["FileProvider", "load_document"]

# 10,000 services with ten endpoints each take 5 MB. A file far above that is a mistake (a core
# dump, a mounted device).
MAX_FILE = 64 * 1024 * 1024
POLL = 0.2  # seconds; one stat call each
_SETTLE_READS = 5
_CLOCK_TICK = 50_000_000  # nanoseconds; the coarsest file systems in use on Linux have 10 ms

_Mark = tuple[int, int, int, int]
_Marks = tuple[_Mark, ...]  # of the file, and of the files with variables


class FileProvider:
    """Provider of a snapshot of `path`, and of another whenever its content changes to a different
    good document.

    Watching means polling modification time, size and inode, following symbolic links: this works
    on every file system and with every way to write a file (in place, by rename, by a swapped link
    as orchestrators do it). `variables` are for `${NAME}` in Compose and stack files, and so are
    those in `env_files` (as Compose's `--env-file`; the last of several files has precedence, and
    `variables` over all files). Nothing is taken from the environment.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        poll: float = POLL,
        variables: Mapping[str, str] | None = None,
        env_files: Sequence[str | os.PathLike[str]] = (),
        limits: DiscoveryLimits | None = None,
    ) -> None:
        self.path = Path(path)
        self.name = f"static:{self.path}"
        self.status = ProviderStatus("starting", None, "")
        self._poll = poll
        self._variables = dict(variables or {})
        self._env_files = tuple(map(Path, env_files))
        self._limits = limits or DiscoveryLimits()
        self._look_now = anyio.Event()
        self._remembered: Snapshot | None = None

    def __repr__(self) -> str:
        return f"<FileProvider {self.path} {self.status.state}>"

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
        seen: _Marks | None = None
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
        self, seen: _Marks | None, last: Snapshot | None
    ) -> tuple[Snapshot | None, _Marks | None]:
        mark: _Marks | None
        # In a worker thread: a file may be on a network file system, and a large one takes long to
        # parse.
        try:
            mark = self._marks()
            if mark == seen:
                if self.status.state == "ok":
                    self.status = ProviderStatus("ok", time.monotonic(), "")
                return None, seen
            texts, mark = self._read_settled(mark)
            document = load_document(texts[0], where=str(self.path))
            variables = {**self._read_variables(texts[1:]), **self._variables}
            snapshot = resolve_document(
                document,
                provider=self.name,
                variables=variables,
                previous=last if last is not None else self._remembered,
                limits=self._limits,
            )
        except OSError as error:
            self._degrade(
                f"{error.filename or self.path} cannot be read: {explain_os_error(error)}"
            )
            return None, None
        except ConfigurationError as error:
            message = str(error)
            files = tuple(str(path) for path in (self.path, *self._env_files))
            self._degrade(message if message.startswith(files) else f"{self.path}: {message}")
            return None, mark
        self.status = ProviderStatus("ok", time.monotonic(), "")
        return snapshot, mark

    def _marks(self) -> _Marks:
        return tuple(_mark(path) for path in (self.path, *self._env_files))

    def _read_settled(self, mark: _Marks) -> tuple[list[bytes], _Marks | None]:
        # Files that change during the read are read again. The mark is None, which makes the next
        # poll read once more, when they never held still or were written just now: two writes
        # within one clock tick may have the same mark.
        for _ in range(_SETTLE_READS):
            texts, before = [_read(path) for path in (self.path, *self._env_files)], mark
            mark = self._marks()
            if mark == before:
                return texts, mark if all(
                    abs(time.time_ns() - one[0]) > _CLOCK_TICK for one in mark
                ) else None
        return texts, None

    def _read_variables(self, texts: list[bytes]) -> dict[str, str]:
        found: dict[str, str] = {}
        for path, text in zip(self._env_files, texts, strict=True):
            try:
                found.update(parse_env_file(text.decode(), where=str(path)))
            except UnicodeDecodeError:
                raise ConfigurationError("is not UTF-8", where=str(path)) from None
        return found

    def _degrade(self, reason: str) -> None:
        self.status = ProviderStatus("degraded", self.status.last_success, reason)


def _mark(path: Path) -> _Mark:
    found = path.stat()
    return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise ConfigurationError(
            f"is larger than {MAX_FILE >> 20} MiB", where=str(path), hint="is this the right file?"
        )
    return data


def load_document(text: str | bytes, *, where: str = "YAML") -> object:
    """Load the one document in YAML `text`. Raises `ConfigurationError` with `where:line:column`
    for anything else.

    A key given twice in one mapping is an error: YAML's usual rule, that the last one silently
    wins, loses services. So is an empty file, because that is how a file looks while it is being
    written.
    """
    try:
        document: object = yaml.load(text, _StrictLoader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise ConfigurationError(problem, where=place, hint="check the YAML there") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # Bytes that are not text, a date that does not exist, endless nesting.
        raise ConfigurationError(
            f"is not YAML: {' '.join(str(error).split())}", where=where
        ) from None
    if document is None:
        raise ConfigurationError(
            "is empty", where=where, hint="write 'services: {}' for no services"
        )
    return document


class _StrictLoader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                name = (key.tag, key.value)
                if name in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is here twice", key.start_mark
                    )
                seen.add(name)
        return super().construct_mapping(node, deep)
