"""Listening addresses, taken early: what is wrong with one is said at once, naming the setting and
the cure.

A socket that is bound but does not listen yet keeps the port for us while connections to it are
still refused; that is how the gateway holds its ports while it waits for the first snapshot.
"""

from __future__ import annotations

import errno
import socket

from meshlib.errors import ConfigurationError
from meshlib_adapters.config.readers import Address
from meshlib_adapters.os_errors import explain_os_error

__all__ = ["bind_address", "bind_failure", "bind_shared", "bound_port", "explain_bind_error"]


def bind_shared(address: Address, count: int, *, setting: str) -> list[socket.socket]:
    """`count` sockets on one address (SO_REUSEPORT), as `bind_address` makes them; the kernel
    spreads connections over those that listen.

    Such sockets would share the port with another gateway of the same user without a word; so it is
    taken for ourselves alone first, for a moment, and that says who else is there.
    """
    with bind_address(address, setting=setting) as probe:
        port = bound_port(probe)
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sockets.append(bind_address(Address(address.host, port), setting=setting, shared=True))
    except ConfigurationError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def bind_address(address: Address, *, setting: str, shared: bool = False) -> socket.socket:
    """A TCP socket bound to `address`, not listening; `ConfigurationError` names `setting`:
    a key ("http"), or how else the address was given ("--listen", "Gateway(tls=)").

    `shared`: other sockets of ours may have the same address (see `bind_shared`).
    """
    if not address.host and socket.has_dualstack_ipv6():
        family, target = socket.AF_INET6, ("::", address.port)
    else:
        try:
            found = socket.getaddrinfo(
                address.host or "0.0.0.0",  # noqa: S104
                address.port,
                type=socket.SOCK_STREAM,
                flags=socket.AI_PASSIVE,
            )
        except socket.gaierror as error:
            raise ConfigurationError(
                f"the name has no address: {explain_os_error(error)}", where=f"{setting} {address}"
            ) from None
        family, target = found[0][0], found[0][4]  # type: ignore[assignment]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if not address.host else 1)
        sock.bind(target)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise explain_bind_error(error, address, setting=setting) from None
    return sock


def explain_bind_error(error: OSError, address: Address, *, setting: str) -> ConfigurationError:
    """The same, with the setting and the cure."""
    return ConfigurationError(
        bind_failure(error), where=f"{setting} {address}", hint=_cure(error, setting, address.port)
    )


def bound_port(sock: socket.socket) -> int:
    """The port a socket got."""
    return int(sock.getsockname()[1])


def bind_failure(error: OSError) -> str:
    """Reason for which we cannot listen, in a few words."""
    return {
        errno.EADDRINUSE: "the port is in use by another program",
        errno.EACCES: "no permission to open this port",
        errno.EADDRNOTAVAIL: "this machine does not have that address",
    }.get(error.errno or 0, f"cannot listen: {explain_os_error(error)}")


def _cure(error: OSError, setting: str, port: int) -> str:
    # Of a key of the settings there is an option; "--listen" and "Gateway(tls=)" are shown as is.
    option = f"--{setting}" if setting.isidentifier() else ""
    if error.errno == errno.EACCES:
        return (
            "ports below 1024 need root, CAP_NET_BIND_SERVICE or sysctl "
            f"net.ipv4.ip_unprivileged_port_start={port};"
            f" or choose another: {option or setting} :{port + 8000}"
        )
    if error.errno == errno.EADDRINUSE:
        stop = f"stop it (ss -ltnp 'sport = :{port}' shows which)"
        if not option:
            return f"{stop}, or choose another"
        return f"{stop}, choose another with {option} HOST:PORT, or {option} off"
    if not option:
        return "choose another"
    return f"change {option}, MESHLIB_{setting.upper()} or {setting} in the TOML file"
