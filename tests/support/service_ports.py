"""Gateways with the ports of services, an echo behind them, and clients of these ports."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from tests.support.commands import PATIENCE, Running
from tests.support.worker_lab import Lab, labels

__all__ = ["ask", "echoing", "serve", "services"]


def serve(gateways: Lab, *arguments: str, services: str) -> Running:
    return gateways.serve(
        *arguments, services=services, MESHLIB_PORTS_OPEN="labels", MESHLIB_PORTS_HOST="127.0.0.1"
    )


@contextlib.contextmanager
def echoing() -> Iterator[int]:
    """An echo over TCP and UDP on one port, in threads."""
    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(tcp.getsockname())

        def talk(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                while data := connection.recv(65536):
                    connection.sendall(data)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = tcp.accept()
                    threading.Thread(target=talk, args=(connection,), daemon=True).start()

        def respond() -> None:
            with contextlib.suppress(OSError):
                while (found := udp.recvfrom(65536))[0] != b"end":
                    udp.sendto(*found)

        threads = [threading.Thread(target=call) for call in (accept, respond)]
        for thread in threads:
            thread.start()
        try:
            yield tcp.getsockname()[1]
        finally:
            udp.sendto(b"end", udp.getsockname())
            tcp.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(PATIENCE)


def ask(kind: socket.SocketKind, port: int, data: bytes = b"hello") -> bytes:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(("127.0.0.1", port))
        sock.sendall(data)
        return sock.recv(65536)


def services(port: int, *more: str, backend: int) -> str:
    routes = [f"external_route={scheme}://:{port},internal_port=1" for scheme in ("tcp", "udp")]
    return labels(*routes, *more, endpoints=[f"127.0.0.1:{backend}"])
