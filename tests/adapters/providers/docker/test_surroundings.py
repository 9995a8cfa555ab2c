"""Where this process is: its container, its addresses, and whether an engine is on the same
machine.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from meshlib_adapters.providers.docker.address import EngineAddress
from meshlib_adapters.providers.docker.surroundings import (
    find_containers,
    find_surroundings,
    is_local,
)

ID = "0123456789abcdef" * 4
OTHER = "f" * 64


def proc(tmp_path: Path, mounts: str = "", groups: str = "") -> Path:
    folder = tmp_path / "self"
    folder.mkdir()
    (folder / "mountinfo").write_text(mounts)
    (folder / "cgroup").write_text(groups)
    return tmp_path


@pytest.mark.parametrize(
    ("mounts", "groups", "hostname", "found"),
    [
        (
            (
                f"756 743 8:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw,relatime "
                "- ext4 /dev/sda1 rw\n"
            ),
            "0::/\n",
            "web",
            {ID},
        ),
        (
            (
                f"756 743 0:25 /containers/overlay-containers/{ID}/userdata/hosts /etc/hosts "
                "rw - tmpfs tmpfs rw\n"
            ),
            "0::/\n",
            "web",
            {ID},
        ),
        # On a host the mounts of all its containers are seen; none of them is its own.
        (
            f"756 743 0:50 / /var/lib/docker/containers/{ID}/mounts/shm rw - tmpfs shm rw\n",
            "0::/init.scope\n",
            "host",
            set(),
        ),
        (
            f"756 743 0:50 / /var/lib/docker/overlay2/{ID}/merged rw - overlay overlay rw\n",
            "0::/user.slice\n",
            "host",
            set(),
        ),
        ("", f"12:cpu:/docker/{ID}\n11:memory:/docker/{ID}\n0::/\n", "web", {ID}),
        ("", f"0::/system.slice/docker-{ID}.scope\n", "web", {ID}),
        ("", f"0::/machine.slice/libpod-{ID}.scope/container\n", "web", {ID}),
        ("", f"0::/docker/{OTHER}/docker/{ID}\n", "web", {ID, OTHER}),
        ("", "0::/\n", ID[:12], {ID[:12]}),
        ("", "0::/\n", "abcdef", set()),
        ("", "", "", set()),
    ],
)
def test_the_container_that_this_may_be(
    tmp_path: Path, mounts: str, groups: str, hostname: str, found: set[str]
) -> None:
    assert find_containers(proc(tmp_path, mounts, groups), hostname) == found


def test_without_proc_there_is_no_container(tmp_path: Path) -> None:
    assert find_containers(tmp_path / "none", "host") == frozenset()


def test_a_machine_that_does_not_tell_its_interfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_NETLINK")
    here = find_surroundings(EngineAddress("unix:///var/run/docker.sock"))
    assert (here.interfaces, here.local) == (None, True)


@pytest.mark.parametrize(
    ("url", "local"),
    [
        (None, True),
        ("unix:///var/run/docker.sock", True),
        ("http+unix:///var/run/docker.sock", True),
        ("npipe:////./pipe/docker_engine", True),
        ("tcp://127.0.0.1:2375", True),
        ("http://[::1]:2375", True),
        ("tcp://localhost:2375", True),
        ("tcp://192.0.2.5:2376", True),
        ("tcp://192.0.2.6:2376", False),
        ("tcp://proxy:2375", False),
        ("ssh://root@localhost", False),
        ("ssh://root@127.0.0.1", False),
    ],
)
def test_which_engine_is_on_this_machine(url: str | None, local: bool) -> None:
    assert is_local(EngineAddress(url), frozenset({"127.0.0.1/8", "192.0.2.5/24"})) is local
