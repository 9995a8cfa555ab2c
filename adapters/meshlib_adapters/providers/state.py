"""State that outlives the gateway: the owners of names, and the last good snapshot of each
provider, as one JSON file.

Written whole, next to its place, synced and renamed, readable by its owner only. Read strictly: the
file is the operator's, but a disk may have lost half of it, and somebody may have edited it. A
mistake in one record costs that record; a file in another format is put aside.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from meshlib.errors import ConfigurationError
from meshlib.model import Contribution, Snapshot, Tenure
from meshlib.snapshot_checks import check_contribution
from meshlib_adapters.os_errors import explain_os_error
from meshlib_adapters.providers.kept_contributions import KeptContribution
from meshlib_adapters.providers.state_checks import check_route, check_tenure, check_text

__all__ = ["FILE", "MAX_FILE", "RELEASED", "KeptState", "StateDirectory", "encode_state"]

FILE: Final = "state.json"
# Names that the operator has released from their owners, one a line, until a gateway has read them.
RELEASED: Final = "released"
# 10,000 services with ten tasks each take some 20 MB.
MAX_FILE: Final = 128 * 1024 * 1024
_MAX_RELEASED: Final = 1024 * 1024
_FORMAT: Final = "meshlib state"
# Locked while one of the gateways that share a directory reads and writes.
_LOCK: Final = ".lock"
_PATIENCE: Final = 5.0
_AGAIN: Final = 0.05

_encoder: Final = msgspec.json.Encoder()


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    version: int
    tenures: msgspec.Raw
    snapshots: dict[str, msgspec.Raw]


class _Written(msgspec.Struct):
    format: str
    version: int
    tenures: list[msgspec.Raw]
    snapshots: dict[str, list[msgspec.Raw]]


class KeptState(msgspec.Struct):
    """Content of a state file, and the mistakes found in it."""

    tenures: list[Tenure]
    snapshots: dict[str, Snapshot]
    complaints: list[str]


def encode_state(tenures: Iterable[Tenure], snapshots: Mapping[str, Snapshot]) -> bytes:
    """Encode the state for its file: routes without diagnostics and names, which only the provider
    itself can report.

    Whatever would make the file larger than `MAX_FILE` is left out before it is encoded: of the
    services the largest, so that others' services stay; the owners of names have precedence, and of
    these the last are left out. A provider that has lost all its services is left out itself:
    nothing known is not the same as nothing there.
    """
    room = MAX_FILE - len(
        _encoder.encode(_Written(_FORMAT, 1, [], {name: [] for name in snapshots}))
    )
    owned: list[msgspec.Raw] = []
    for tenure in tenures:
        raw = msgspec.Raw(_encoder.encode(tenure))
        room -= len(raw) + 1
        if room < 0:
            break
        owned.append(raw)
    kept: dict[str, dict[str, msgspec.Raw]] = {name: {} for name in snapshots}
    services = (
        (name, one) for name, snapshot in snapshots.items() for one in snapshot.contributions
    )
    for name, one in sorted(services, key=lambda item: _weight(item[1])):
        data = _encoded(one, room)
        if data is None:
            break
        room -= len(data) + 1
        kept[name][one.key] = msgspec.Raw(data)
    written = {
        name: [kept[name][one.key] for one in snapshot.contributions if one.key in kept[name]]
        for name, snapshot in snapshots.items()
        if kept[name] or not snapshot.contributions
    }
    return _encoder.encode(_Written(_FORMAT, 1, owned, written))


def _weight(one: Contribution) -> int:
    # A route takes some 300 bytes, an endpoint 80; the largest service need not be known to the
    # byte.
    return sum(
        4 + len(route.upstream.endpoints) if route.upstream is not None else 4
        for route in one.routes
    )


def _encoded(one: Contribution, room: int) -> bytes | None:
    # Route by route: routes to one port of a service share their endpoints, and each written copy
    # adds up to a hundred times the service's size in memory.
    routes = []
    for route in one.routes:
        raw = msgspec.Raw(_encoder.encode(route))
        room -= len(raw) + 1
        if room < 0:
            return None
        routes.append(raw)
    bare: dict[str, object] = msgspec.to_builtins(replace(one, routes=(), diagnostics=()))
    data = _encoder.encode({**bare, "routes": routes})
    return data if len(data) - sum(len(raw) + 1 for raw in routes) < room else None


class StateDirectory:
    """The directory that holds the state file. Refusals by the system are raised as OSError."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @property
    def file(self) -> Path:
        """Path of the state file."""
        return self.path / FILE

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Lock the directory against other gateways that use it, so that nothing is written between
        a read and the write that follows.

        Raises OSError when another gateway holds the lock for more than 5 s.
        """
        descriptor = os.open(
            self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            deadline = time.monotonic() + _PATIENCE
            while not _locked(descriptor):
                if time.monotonic() >= deadline:
                    raise OSError(
                        errno.EWOULDBLOCK,
                        (
                            f"{self.path / _LOCK} is locked by another process; stop that one, "
                            "or use another directory"
                        ),
                    )
                time.sleep(_AGAIN)
            yield
        finally:
            os.close(descriptor)

    def mark(self) -> tuple[int, ...] | None:
        """A value that differs once the file has been written since; None without a file."""
        try:
            found = self.file.lstat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def peek(self) -> KeptState:
        """Read the state without changing anything; empty, with a complaint, where it cannot be
        read.
        """
        try:
            return _parse(_read(self.file, MAX_FILE), str(self.file))
        except FileNotFoundError:
            return KeptState([], {}, [])
        except OSError as error:
            return KeptState([], {}, [f"{self.file} cannot be read: {explain_os_error(error)}"])
        except ValueError as error:
            return KeptState([], {}, [f"{self.file} is not a state of meshlib: {error}"])

    def read(self) -> KeptState:
        """Read the state for the gateway, which is about to write it anew: an unusable file is
        renamed to `state.json.broken`.
        """
        found = self.peek()
        if not found.complaints or found.tenures or found.snapshots:
            return found
        aside = self.file.with_name(f"{FILE}.broken")
        try:
            self.file.replace(aside)
            kept = f"it is kept as {aside}"
        except OSError as error:
            kept = f"it cannot be kept aside: {explain_os_error(error)}"
        hint = "names get new owners; to keep the old ones, restore a good copy and restart"
        return KeptState(
            [], {}, [*found.complaints[:-1], f"{found.complaints[-1]}; {kept}; {hint}"]
        )

    def write(self, data: bytes) -> None:
        """Replace the file. No reader ever sees half of it, and after a power failure it is either
        the old one or the new one.
        """
        temporary = self.path / f".{FILE}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
            with open(descriptor, "wb", closefd=False) as file:
                file.write(data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(self.file)
        directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def ask_release(self, names: Iterable[str]) -> None:
        """Request that the gateway that uses this directory releases `names` from their owners,
        when it starts or gets SIGHUP.
        """
        descriptor = os.open(
            self.path / RELEASED,
            os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o600,
        )
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write("".join(f"{name or '*'}\n" for name in names))

    def released(self) -> list[str]:
        """Names passed to `ask_release` and not forgotten since."""
        try:
            text = _read(self.path / RELEASED, _MAX_RELEASED).decode("utf-8", "replace")
        except FileNotFoundError:
            return []
        return ["" if line == "*" else line for line in text.splitlines() if line]

    def forget_released(self) -> None:
        """Forget the names in `released`: their release is done."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / RELEASED).unlink()


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path, limit: int) -> bytes:
    # Non-blocking, for a FIFO; a device or a directory is never a state file.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is not a regular file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(f"it is larger than {limit >> 20} MiB")
    return data


def _parse(data: bytes, where: str) -> KeptState:
    document = msgspec.json.decode(data, type=_Document)
    if document.format != _FORMAT or document.version != 1:
        raise ValueError(
            f"its format is {document.format[:50]!r}, version {document.version}; "
            f"expected {_FORMAT!r}, version 1"
        )
    found = KeptState([], {}, [])
    tenures = msgspec.json.decode(document.tenures, type=list[Tenure])
    for tenure in tenures:
        try:
            check_tenure(tenure)
        except ValueError as error:
            _complain(
                found, f"{where}: tenures: {tenure.name[:100]!r}: {error}; the record is left out"
            )
        else:
            found.tenures.append(tenure)
    for provider, raw in document.snapshots.items():
        try:
            contributions = msgspec.json.decode(raw, type=tuple[KeptContribution, ...])
            found.snapshots[provider] = Snapshot.of(_checked(contributions, provider, found, where))
        except ValueError as error:
            _complain(
                found, f"{where}: snapshots: {provider[:100]!r}: {error}; this snapshot is left out"
            )
    return found


def _complain(found: KeptState, message: str) -> None:
    if len(found.complaints) < 20:
        found.complaints.append(message)


def _checked(
    contributions: Iterable[KeptContribution], provider: str, found: KeptState, where: str
) -> list[Contribution]:
    good = []
    for one in contributions:
        try:
            check_text(one.key, one.service, one.owner, *one.networks)
            if not one.key.startswith(f"{provider}/"):
                raise ValueError(f"the key {one.key[:100]!r} is not one of {provider}")
            made = one.contribution()
            for route in made.routes:
                check_route(route, from_engine=not provider.startswith("static:"))
            check_contribution(made, provider)  # else the mesh refuses all that the provider has
        except (ValueError, ConfigurationError) as error:
            _complain(
                found,
                (
                    f"{where}: snapshots: {provider[:100]!r}: {one.service[:100]!r}: {error}; "
                    "this service is left out"
                ),
            )
        else:
            good.append(made)
    return good
