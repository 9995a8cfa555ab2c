"""What the supervisor tells a worker: how to begin, the newest table's snapshot, sessions, and when
to end.

Pickled: a worker believes its supervisor, which has started it and holds the only other end of
their channel. Nothing that a worker sends is ever unpickled (see `reports`).
"""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from meshlib.model import Snapshot
from meshlib_adapters.config.settings import Settings
from meshlib_adapters.workers.channel import make_frame
from meshlib_adapters.workers.privileges import Identity

if TYPE_CHECKING:
    from meshlib_adapters.tls.certificate_files import CertificateSet

__all__ = [
    "CERTIFICATES",
    "DRAIN",
    "ERROR",
    "METRICS",
    "REPORT",
    "SESSIONS",
    "SETUP",
    "TABLE",
    "Setup",
    "make_certificates",
    "make_setup",
    "make_table",
    "read_certificates",
    "read_setup",
    "read_table",
]

# Kinds of frames: to a worker SETUP (the first one), CERTIFICATES (with keys, in files that a
# worker may be unable to read), TABLE, DRAIN; from a worker REPORT, METRICS, ERROR (why it cannot
# begin); both ways SESSIONS.
SETUP: Final = b"u"
TABLE: Final = b"t"
DRAIN: Final = b"d"
CERTIFICATES: Final = b"c"
REPORT: Final = b"r"
ERROR: Final = b"e"
METRICS: Final = b"m"
SESSIONS: Final = b"s"

_VERSION: Final = struct.Struct("!Q")


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker needs to begin.

    `http` and `https` are descriptors of its own bound sockets, `log_lock` one of a file whose lock
    is taken to write access records. `settings` name no engine and no file of services: those are
    the supervisor's. `identity` None: stay who you are.
    """

    number: int
    settings: Settings
    http: tuple[int, ...]
    https: tuple[int, ...]
    log_lock: int
    identity: Identity | None


def make_setup(setup: Setup) -> bytes:
    """The frame that begins a worker."""
    return make_frame(SETUP, pickle.dumps(setup))


def read_setup(body: bytes) -> Setup:
    """What `make_setup` was given."""
    setup = pickle.loads(body)  # noqa: S301
    assert isinstance(setup, Setup)
    return setup


def make_table(version: int, snapshot: Snapshot) -> bytes:
    """The frame with a snapshot, for all workers."""
    return make_frame(TABLE, _VERSION.pack(version) + pickle.dumps(snapshot, protocol=5))


def read_table(body: bytes, previous: Snapshot) -> tuple[int, Snapshot]:
    """Version and snapshot that `make_table` was given; what is equal in `previous` is taken from
    there.

    So an unchanged service stays the very same object, and the table's next build costs only what
    changed.
    """
    (version,) = _VERSION.unpack_from(body)
    snapshot = pickle.loads(memoryview(body)[_VERSION.size :])  # noqa: S301
    assert isinstance(snapshot, Snapshot)
    known = {item.key: item for item in previous.contributions}
    items = tuple(
        old if (old := known.get(item.key)) == item else item for item in snapshot.contributions
    )
    return version, Snapshot(items, snapshot.tenures)


def make_certificates(found: CertificateSet) -> bytes:
    """The frame with all certificates and their keys."""
    return make_frame(CERTIFICATES, pickle.dumps(found, protocol=5))


def read_certificates(body: bytes) -> CertificateSet:
    """What `make_certificates` was given."""
    found: CertificateSet = pickle.loads(body)  # noqa: S301
    return found
