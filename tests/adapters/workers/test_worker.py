"""One worker process, whose supervisor is the test: which snapshots it takes, and what it says."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

from meshlib.model import ForwardTo, Snapshot
from meshlib_adapters.config.settings import Settings
from meshlib_adapters.workers.channel import make_frame, receive_frame
from meshlib_adapters.workers.messages import (
    DRAIN,
    NO_VERSION,
    REPORT,
    RESEND,
    Setup,
    make_setup,
    make_snapshot,
)
from meshlib_adapters.workers.reports import Report, parse_report
from tests.support.commands import PATIENCE, environment
from tests.support.tables import service

A = Snapshot.of([service("stack a", "http://a.example.com", name="a")])
B = Snapshot.of([*A.contributions, service("stack b", "http://b.example.com", name="b")])


@contextlib.contextmanager
def worker() -> Iterator[socket.socket]:
    """The supervisor's end of a channel to a worker without listening sockets."""
    lock = os.memfd_create("lock")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(PATIENCE)
        process = subprocess.Popen(
            [sys.executable, "-m", "meshlib_adapters.workers.worker", str(theirs.fileno())],
            pass_fds=[theirs.fileno(), lock],
            env=environment(),
            stderr=subprocess.DEVNULL,
        )
        os.close(lock)
        theirs.close()
        ours.sendall(make_setup(Setup(1, Settings(), (), (), lock, None)))
        try:
            yield ours
            ours.sendall(make_frame(DRAIN, b""))
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            process.wait()


def heard(sock: socket.socket) -> Report | bytes:
    """The next report, or the kind of another frame that is not about numbers."""
    while True:
        kind, body = receive_frame(sock)
        if kind == REPORT:
            return parse_report(body)
        if kind == RESEND:
            return kind


def until_version(sock: socket.socket, version: int) -> None:
    while True:
        found = heard(sock)
        assert isinstance(found, Report), found
        if found.version == version:
            return


def test_a_difference_from_another_version_is_not_taken_and_everything_is_asked_for() -> None:
    with worker() as sock:
        sock.sendall(make_snapshot(NO_VERSION, Snapshot(), 3, A))
        until_version(sock, 3)
        sock.sendall(make_snapshot(4, A, 5, B))
        while (found := heard(sock)) != RESEND:
            assert isinstance(found, Report)
            assert found.version == 3
        sock.sendall(make_snapshot(NO_VERSION, Snapshot(), 5, B))
        until_version(sock, 5)
        sock.sendall(make_snapshot(5, B, 6, A))
        until_version(sock, 6)


def test_a_difference_before_anything_is_not_taken() -> None:
    with worker() as sock:
        sock.sendall(make_snapshot(0, A, 1, B))
        assert heard(sock) == RESEND
        sock.sendall(make_snapshot(NO_VERSION, Snapshot(), 1, B))
        until_version(sock, 1)


def test_a_version_is_reported_when_it_is_served_not_once_a_second() -> None:
    with worker() as sock:
        sock.sendall(make_snapshot(NO_VERSION, Snapshot(), 0, A))
        until_version(sock, 0)
        versions = []
        for version in range(1, 20):
            before, after = (A, B) if version % 2 else (B, A)
            sock.sendall(make_snapshot(version - 1, before, version, after))
            found = heard(sock)
            while isinstance(found, Report) and found.version == version - 1:
                versions.append(found.version)
                found = heard(sock)
            assert isinstance(found, Report)
            assert found.version == version
        # Reports of every second that came between are few.
        assert len(versions) <= 10


def test_a_strategy_of_the_supervisors_program_is_stood_in_for() -> None:
    (contribution,) = A.contributions
    (route,) = contribution.routes
    assert route.upstream is not None
    mine = replace(route, action=ForwardTo(replace(route.upstream, strategy="not_here")))
    with worker() as sock:
        sock.sendall(
            make_snapshot(
                NO_VERSION, Snapshot(), 1, Snapshot((replace(contribution, routes=(mine,)),))
            )
        )
        until_version(sock, 1)
