"""Certificates as files, and which of them a gateway shows."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import trustme

from tests.support.commands import PATIENCE, Running

__all__ = ["issue", "serial"]


def issue(authority: trustme.CA, folder: Path, name: str) -> None:
    """Write a certificate as NAME.crt and NAME.key, which only its owner may read; both at once, as
    tools of renewal do.
    """
    folder.mkdir(exist_ok=True)
    issued = authority.issue_cert(name)
    for suffix, data in (
        (".crt", issued.cert_chain_pems[0].bytes()),
        (".key", issued.private_key_pem.bytes()),
    ):
        new = folder / f"{name}{suffix}.new"
        new.write_bytes(data)
        new.chmod(0o600)
        new.rename(folder / f"{name}{suffix}")


def serial(running: Running, authority: trustme.CA, name: str = "app.example.com") -> str:
    """Ask for / over TLS; the serial number of the certificate that is shown."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with (
        socket.create_connection(running.addresses["https"], PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname=name) as sock,
    ):
        sock.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        response = b""
        while data := sock.recv(65536):
            response += data
        assert response.startswith(b"HTTP/1.1 200 "), response
        assert response.endswith(b"one")
        shown = sock.getpeercert()
        assert shown is not None
        return str(shown["serialNumber"])
