"""A TLS client inside a namespace: `python tls_client.py {once|sessions|load} PORT NAME CA_FILE
[VERSION]`. Prints one JSON object.

`once`: sixty clients ask once. `sessions`: six clients, each of which comes back eight times with
the session it was given last. `load`: four at a time, each a new client, until SIGTERM; says
"started" first. Each client has an address of its own.
"""

from __future__ import annotations

import collections
import itertools
import json
import signal
import socket
import ssl
import sys
import threading
from typing import Any

_numbers = itertools.count()


class Client:
    """Verifies the application's certificate; remembers the newest session."""

    def __init__(self, port: int, name: str, authority: str, version: str) -> None:
        self.context = ssl.create_default_context(cafile=authority)
        if version:
            self.context.minimum_version = self.context.maximum_version = ssl.TLSVersion[version]
        self.port = port
        self.name = name
        self.session: ssl.SSLSession | None = None
        number = next(_numbers)
        self.address = f"127.1.{number // 250 % 250}.{number % 250 + 1}"

    def ask(self, *, resume: bool = False) -> dict[str, Any]:
        """What the application responds over a new connection. Raises OSError."""
        with socket.create_connection(("127.0.0.1", self.port), 15, (self.address, 0)) as plain:
            session = self.session if resume else None
            with self.context.wrap_socket(plain, server_hostname=self.name, session=session) as tls:
                tls.sendall(f"GET / HTTP/1.1\r\nHost: {self.name}\r\n\r\n".encode())
                data = b""
                while not data.endswith(b"}"):
                    more = tls.recv(65536)
                    if not more:
                        raise OSError("closed before the response was whole")
                    data += more
                self.session = tls.session  # with TLS 1.3 it comes behind the handshake
                told: dict[str, Any] = json.loads(data.partition(b"\r\n\r\n")[2])
                return told


def load(arguments: tuple[int, str, str, str]) -> dict[str, Any]:
    """See the module."""
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    seen: collections.Counter[str] = collections.Counter()
    failed: list[str] = []

    def ask_on() -> None:
        while not stopped.is_set():
            try:
                seen[Client(*arguments).ask()["replica"]] += 1
            except OSError as error:
                failed.append(repr(error))

    threads = [threading.Thread(target=ask_on) for _ in range(4)]
    for thread in threads:
        thread.start()
    print("started", flush=True)
    stopped.wait()
    for thread in threads:
        thread.join()
    return {"seen": seen, "failed": failed}


def main() -> None:
    """See the module."""
    mode, port, name, authority, *version = sys.argv[1:]
    arguments = (int(port), name, authority, "".join(version))
    if mode == "load":
        result: object = load(arguments)
    elif mode == "once":
        try:
            result = [Client(*arguments).ask() for _ in range(60)]
        except OSError as error:
            sys.exit(repr(error))
    else:
        clients = [Client(*arguments) for _ in range(6)]
        result = [[client.ask(resume=turn > 0) for turn in range(9)] for client in clients]
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
