"""Taking ports: what is wrong with an address is said with the setting and the cure."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from meshlib.errors import ConfigurationError
from meshlib_adapters.config.readers import Address
from meshlib_adapters.sockets.binding import bind_address, bound_port


def test_a_bound_port_refuses_until_it_listens() -> None:
    with bind_address(Address("127.0.0.1", 0), setting="http") as held:
        address = ("127.0.0.1", bound_port(held))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=5)
        held.listen()
        socket.create_connection(address, timeout=5).close()


def test_every_address_means_both_families() -> None:
    with bind_address(Address("", 0), setting="http") as held:
        held.listen()
        socket.create_connection(("127.0.0.1", bound_port(held)), timeout=5).close()


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError) as caught:
            bind_address(Address("127.0.0.1", port), setting="http")
    text = str(caught.value)
    assert text.startswith(f"http 127.0.0.1:{port}: the port is in use by another program")
    assert "--http off" in text


def test_an_address_of_another_machine() -> None:
    with pytest.raises(
        ConfigurationError,
        match=(
            r"^admin 192\.0\.2\.1:0: this machine does not have that address \(change "
            r"--admin, MESHLIB_ADMIN"
        ),
    ):
        bind_address(Address("192.0.2.1", 0), setting="admin")


def test_an_address_that_no_option_gave_is_shown_as_it_was_given() -> None:
    with pytest.raises(ConfigurationError) as caught:
        bind_address(Address("192.0.2.1", 80), setting="Gateway(tls=)")
    assert str(caught.value) == (
        "Gateway(tls=) 192.0.2.1:80: this machine does not have that address (choose another)"
    )
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(ConfigurationError) as caught,
    ):
        bind_address(Address("127.0.0.1", other.getsockname()[1]), setting="--listen")
    assert caught.value.hint.endswith("shows which), or choose another")


def test_a_name_without_an_address() -> None:
    with pytest.raises(
        ConfigurationError, match=r"^http nobody\.invalid:80: the name has no address"
    ):
        bind_address(Address("nobody.invalid", 80), setting="http")


def test_a_port_without_permission_tells_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    # Tests may run as root, who has every permission; so the refusal itself is made.
    def refuse(self: socket.socket, address: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(
        ConfigurationError, match=r"no permission .* CAP_NET_BIND_SERVICE .*--http :8080\)"
    ):
        bind_address(Address("0.0.0.0", 80), setting="http")
