"""A network namespace for the calling thread alone, in which packets can be made to vanish;
everything is as before at its end.

Threads and processes that are started within are in it too, so gateways, backends and clients made
there reach each other, by the loopback address, and nobody else.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator

__all__ = ["Apart", "apart", "missing_for_apart"]

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET, clone(2)
_OWN = "/proc/thread-self/ns/net"
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def missing_for_apart() -> str:
    """Why there can be no namespace with a firewall here ("" when there can)."""
    if os.geteuid() != 0:
        return "only root can make a network namespace with a firewall"
    absent = [
        package
        for tool, package in (("iptables", "iptables"), ("ip", "iproute2"))
        if not shutil.which(tool, path=_PATH)
    ]
    return f"not installed: {', '.join(absent)}" if absent else ""


class Apart:
    """Rules of the namespace's firewall, by TCP port."""

    def drop(self, port: int, *, only_new: bool = False) -> None:
        """From now on packets to and from the port vanish; with `only_new` those that ask for a
        connection.
        """
        for rule in self._rules(port, only_new=only_new):
            _run("iptables", "-A", *rule)

    def let_through(self, port: int, *, only_new: bool = False) -> None:
        """As it was before `drop`."""
        for rule in self._rules(port, only_new=only_new):
            _run("iptables", "-D", *rule)

    @staticmethod
    def dropped() -> int:
        """How many packets have vanished so far."""
        listed = _run("iptables", "-nvxL", "INPUT").splitlines()
        return sum(
            int(line.split()[0])
            for line in listed
            if " DROP " in line and not line.startswith("Chain")
        )

    @staticmethod
    def _rules(port: int, *, only_new: bool) -> list[list[str]]:
        if only_new:
            return [["INPUT", "-p", "tcp", "--dport", str(port), "--syn", "-j", "DROP"]]
        return [
            ["INPUT", "-p", "tcp", way, str(port), "-j", "DROP"] for way in ("--dport", "--sport")
        ]


def _run(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": _PATH}
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@contextlib.contextmanager
def apart() -> Iterator[Apart]:
    """See the module. Raises OSError when the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open(_OWN, os.O_RDONLY)
    try:
        if libc.unshare(_NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            _run("ip", "link", "set", "lo", "up")
            yield Apart()
        finally:
            if libc.setns(before, _NEW_NETWORK):
                raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(before)
