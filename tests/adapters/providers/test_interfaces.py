"""Addresses of the interfaces, as the kernel tells them."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from meshlib_adapters.providers import interfaces
from meshlib_adapters.providers.interfaces import find_interfaces


def test_interfaces_are_those_of_the_kernel() -> None:
    found = find_interfaces()
    assert found is not None
    assert "127.0.0.1/8" in found
    for text in found:
        address = ipaddress.ip_interface(text).ip
        if address.is_link_local:
            continue
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((str(address), 0))  # it is ours


def test_a_machine_that_does_not_tell_its_interfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_NETLINK")
    assert find_interfaces() is None


def test_a_kernel_that_responds_oddly(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with theirs:
        monkeypatch.setattr(socket, "socket", lambda *_: ours)
        theirs.send(interfaces._HEADER.pack(20, 2, 0, 1, 0) + bytes(4))
        assert find_interfaces() is None
