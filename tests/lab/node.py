"""A machine of its own for a Docker engine: namespaces, a private socket, and everything in them
gone at the end.

The engine gets its own network, mount, process and host-name namespaces. Its bridges, firewall
rules, mounts and containers exist only in there: an engine that already runs on this machine is not
touched, and the kernel takes everything away when the first process of the namespaces ends, which
it does at the latest with the process that made it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

__all__ = ["Namespace", "Node", "Popen", "missing_parts", "wait_until"]

Popen = subprocess.Popen[bytes]
_T = TypeVar("_T")

_TOOLS = {
    "dockerd": "docker.io", "docker": "docker.io or docker-cli", "iptables": "iptables",
    "busybox": "busybox-static", "ip": "iproute2", "unshare": "util-linux", "nsenter": "util-linux",
    "setpriv": "util-linux",
}  # fmt: skip

# Waits for all children, so that orphans of the engine are reaped; ends only by a signal.
_FIRST_PROCESS = (
    'ip link set lo up && hostname "$1" && : > "$2" && mount --bind "$2" /etc/resolv.conf'
    " && echo ready && sleep 2147483 & wait"
)


def missing_parts() -> str:
    """Why no engine can be run here ("" when it can)."""
    if os.geteuid() != 0:
        return "a Docker engine can only be started by root"
    absent = [f"{tool} (package {package})" for tool, package in _TOOLS.items() if not _which(tool)]
    if absent:
        return f"not installed: {', '.join(absent)}"
    busybox = Path(_which("busybox"))
    if subprocess.run(["ldd", busybox], capture_output=True, check=False).returncode == 0:
        return "busybox is linked dynamically (package busybox-static)"
    namespaces = ["unshare", "--net", "--mount", "--pid", "--fork", "true"]
    probe = subprocess.run(namespaces, capture_output=True, text=True, check=False)
    if probe.returncode:
        return f"no namespaces can be made: {probe.stderr.strip()}"
    return ""


def _which(tool: str) -> str:
    return shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") or ""


def wait_until(look: Callable[[], _T], *, timeout: float, what: str, every: float = 0.05) -> _T:
    """The first true value of `look()`; `AssertionError` naming `what` and the last value after
    `timeout` seconds.
    """
    end = time.monotonic() + timeout
    while True:
        value = look()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout:g} s: {what} (last seen: {value!r})")
        time.sleep(every)


class Namespace:
    """A network namespace, named by a process in it. Files, and so Docker's socket, are those of
    the machine.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def command(self, command: Sequence[str | os.PathLike[str]]) -> list[str]:
        """`command` as it has to be started to run in here."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", *(os.fspath(part) for part in command)]

    def popen(self, command: Sequence[str | os.PathLike[str]], **options: object) -> Popen:
        """Start `command`; nsenter replaces itself by it, so that `.pid` is its own. Ending it is
        the caller's duty.
        """
        return subprocess.Popen(self.command(command), **options)  # type: ignore[call-overload,no-any-return]

    def run(self, command: Sequence[str | os.PathLike[str]], *, timeout: float = 30) -> str:
        """What `command` printed; `AssertionError` with everything it said when it failed."""
        done = subprocess.run(
            self.command(command), capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, (
            f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def fetch(self, url: str, *options: str) -> str:
        """The body that `curl URL` gets from in here; "" when it gets none."""
        command = self.command(["curl", "-sS", "-m", "10", *options, url])
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout


class Node:
    """One engine in its own namespaces. `start()`, `stop()` and `kill()` are those of dockerd;
    `close()` ends everything.
    """

    def __init__(self, name: str = "node1") -> None:
        self.name = name
        self.directory = Path(tempfile.mkdtemp(prefix="meshlib-lab-"))
        self.socket = self.directory / "docker.sock"
        self.url = f"unix://{self.socket}"
        self._group = f"/{self.directory.name}"
        self._log = (self.directory / "dockerd.log").open("ab")
        self._engine: Popen | None = None
        self._holder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--uts", "--ipc",
             "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--propagation", "private",
             "sh", "-c", _FIRST_PROCESS, "sh", name, self.directory / "resolv.conf"],
            stdout=subprocess.PIPE, stderr=self._log, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            self.close()
            raise AssertionError("the namespaces of the engine could not be made")
        self.first_pid = _children(self._holder.pid)[0]
        self.namespace = Namespace(self.first_pid)

    def start(self, *, timeout: float = 60) -> None:
        """Start dockerd and wait until it responds."""
        if self._engine is not None:
            self.kill()
        options = {"--data-root": "data", "--exec-root": "exec", "--pidfile": "dockerd.pid"}
        paths = [
            part
            for option, name in options.items()
            for part in (option, str(self.directory / name))
        ]
        self._engine = subprocess.Popen(
            ["nsenter", f"--target={self.first_pid}", "--net", "--mount", "--pid", "--uts", "--ipc",
             _which("dockerd"), "-H", self.url, *paths, "--cgroup-parent", self._group],
            stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            wait_until(self._responds, timeout=timeout, what="the engine responds")
        except AssertionError as error:
            raise AssertionError(f"{error}; its log ends with:\n{self.log()}") from None

    def log(self, lines: int = 20) -> str:
        """The end of the engine's log."""
        return "\n".join(
            (self.directory / "dockerd.log").read_text(errors="replace").splitlines()[-lines:]
        )

    def stop(self) -> None:
        """Let dockerd end in order; containers end with it."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End dockerd as a crash does."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze dockerd: its socket accepts, nothing responds."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause()`."""
        self._signal(signal.SIGCONT)
        assert self._engine is not None
        self._engine.send_signal(signal.SIGCONT)  # nsenter stops itself with its child

    def host_pid(self, container_id: str) -> int:
        """The first process of a container, as this machine numbers it (the engine has its own
        process namespace).
        """
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                if container_id in (entry / "cgroup").read_text() and _is_first(entry):
                    return int(entry.name)
        raise AssertionError(f"container {container_id[:12]} has no process")

    def close(self) -> None:
        """End everything that ever ran in here, and remove every trace."""
        if self._engine is not None:
            # In order first, because a killed engine leaves its mounts to the kernel; then without
            # asking.
            with contextlib.suppress(subprocess.TimeoutExpired, OSError, IndexError):
                self._end(signal.SIGTERM, timeout=10)
        for pid in _children(self._holder.pid):
            os.kill(pid, signal.SIGKILL)  # and with it all in its process namespace
        self._holder.wait()
        if self._engine is not None:
            self._engine.wait()
        if self._holder.stdout is not None:
            self._holder.stdout.close()
        self._log.close()
        wait_until(
            lambda: not self._processes(), timeout=20, what="the processes of the engine are gone"
        )
        for pattern in (
            self._group[1:],
            "*" + self._group,
        ):  # one hierarchy, or one for each controller
            for group in Path("/sys/fs/cgroup").glob(pattern):
                _remove_groups(group)
        shutil.rmtree(self.directory)

    def _responds(self) -> bool:
        assert self._engine is not None
        assert self._engine.poll() is None, f"dockerd ended:\n{self.log()}"
        done = subprocess.run(
            ["docker", "-H", self.url, "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            check=False,
            timeout=30,
        )
        return done.returncode == 0

    def _signal(self, number: signal.Signals) -> None:
        assert self._engine is not None
        for pid in _children(self._engine.pid):
            os.kill(pid, number)

    def _end(self, number: signal.Signals, *, timeout: float = 30) -> None:
        assert self._engine is not None
        if self._engine.poll() is None:
            self._signal(number)
        self._engine.wait(timeout)
        self._engine = None

    def _processes(self) -> list[str]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if self._group + "/" in (entry / "cgroup").read_text():
                        found.append(entry.name)
        return found


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_first(process: Path) -> bool:
    for line in (process / "status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return line.split()[-1] == "1"
    return False


def _remove_groups(top: Path) -> None:
    for directory in sorted(
        (path for path in [top, *top.rglob("*")] if path.is_dir()), reverse=True
    ):
        with contextlib.suppress(OSError):
            directory.rmdir()
