"""Messages from the supervisor to a worker: how to begin, the newest snapshot, bindings, and when
to end.

Pickled: a worker trusts its supervisor, which has started it and holds the only other end of their
channel. Nothing that a worker sends is ever unpickled (see `reports`).
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from meshlib.balancing.registered import stand_in
from meshlib.model import Snapshot
from meshlib_adapters.config.settings import Settings
from meshlib_adapters.workers.channel import make_frame
from meshlib_adapters.workers.differences import SnapshotDifference, apply, difference
from meshlib_adapters.workers.privileges import Identity

if TYPE_CHECKING:
    from meshlib_adapters.tls.certificate_files import CertificateSet

__all__ = [
    "BINDINGS",
    "CERTIFICATES",
    "DRAIN",
    "ERROR",
    "METRICS",
    "NO_VERSION",
    "REPORT",
    "RESEND",
    "SETUP",
    "SNAPSHOT",
    "Setup",
    "VersionMismatch",
    "make_certificates",
    "make_setup",
    "make_snapshot",
    "read_certificates",
    "read_setup",
    "read_snapshot",
]

# Kinds of frames: to a worker SETUP (the first one), CERTIFICATES (with keys, in files that a
# worker may be unable to read), SNAPSHOT, DRAIN; from a worker REPORT, METRICS, RESEND (it cannot
# use the last SNAPSHOT and wants everything), ERROR (why it cannot start); both ways BINDINGS.
SETUP: Final = b"u"
SNAPSHOT: Final = b"t"
DRAIN: Final = b"d"
CERTIFICATES: Final = b"c"
REPORT: Final = b"r"
RESEND: Final = b"a"
ERROR: Final = b"e"
METRICS: Final = b"m"
BINDINGS: Final = b"s"

# The version of who has no snapshot yet.
NO_VERSION: Final = -1


class VersionMismatch(Exception):
    """A difference leads from another version than the worker has."""


@dataclass(frozen=True, slots=True)
class Setup:
    """Setup of a worker.

    `http` and `https` are descriptors of its own bound sockets, `log_lock` one of a file whose lock
    is taken to write access records. `settings` name no engine and no file of services: those are
    the supervisor's. `identity` None: the process keeps its user. `hooks` are `pack_hooks`'s.
    """

    number: int
    settings: Settings
    http: tuple[int, ...]
    https: tuple[int, ...]
    log_lock: int
    identity: Identity | None
    hooks: bytes = b""


def make_setup(setup: Setup) -> bytes:
    """The frame that begins a worker."""
    return make_frame(SETUP, pickle.dumps(setup))


def read_setup(body: bytes) -> Setup:
    """The setup in a frame of `make_setup`."""
    setup = pickle.loads(body)  # noqa: S301
    assert isinstance(setup, Setup)
    return setup


def make_snapshot(base: int, before: Snapshot, version: int, after: Snapshot) -> bytes:
    """The frame that leads workers from version `base` of the routes, which is `before`, to
    `version`; from `NO_VERSION`, an empty snapshot, it has everything.
    """
    return make_frame(SNAPSHOT, pickle.dumps((base, version, difference(before, after)), 5))


def read_snapshot(body: bytes, current: int, before: Snapshot) -> tuple[int, Snapshot]:
    """The version and the snapshot in a frame of `make_snapshot`, for a worker that has version
    `current`, which is `before`.

    `VersionMismatch` when the difference does not begin there. Strategies that the supervisor's
    program has defined are stood in for: routes that use one are served in turn.
    """
    base, version, change = pickle.loads(body)  # noqa: S301
    assert isinstance(change, SnapshotDifference)
    if base == NO_VERSION:
        before = Snapshot()
    elif base != current:
        raise VersionMismatch(f"a difference from version {base}, not from {current}")
    snapshot = apply(before, change)
    for name in {
        route.upstream.strategy for route in snapshot.routes if route.upstream is not None
    }:
        stand_in(name, "the program that defined it is not run by worker processes")
    return version, snapshot


def make_certificates(found: CertificateSet) -> bytes:
    """The frame with all certificates and their keys."""
    return make_frame(CERTIFICATES, pickle.dumps(found, protocol=5))


def read_certificates(body: bytes) -> CertificateSet:
    """The certificates in a frame of `make_certificates`."""
    found: CertificateSet = pickle.loads(body)  # noqa: S301
    return found
