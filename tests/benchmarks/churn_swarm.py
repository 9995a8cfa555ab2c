"""A Swarm of thousands of services whose tasks are replaced on request: `python -m
tests.benchmarks.churn_swarm SOCKET SERVICES`.

Every task has an address of its own out of 10.64.0.0/10 and responds on port 8080 with that address
and the host it was asked for, so each response tells which task it is of. All these addresses must
lead here (see `churn`). A line "NUMBER" on standard input replaces the task of that service; the
response is a line with the new address. The engine is one that has its responses ready: what takes
time is the gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import json
import sys
from pathlib import Path
from typing import Any

from meshlib_adapters.testing import FakeEngine, Fault

__all__ = ["NETWORK", "PORT", "host_of", "main"]

NETWORK = ipaddress.ip_network("10.64.0.0/10")
PORT = 8080
_LABEL = "com.docker.ucp.mesh.http.8080"


def host_of(number: int) -> str:
    """The host of a service."""
    return f"s{number}.example.com"


class _Swarm(FakeEngine):
    def __init__(self, path: str, services: int) -> None:
        super().__init__(path)
        self._network = self.add_network("mesh")
        self._fresh = itertools.count(int(NETWORK.network_address) + 1)
        for number in range(services):
            label = f"external_route=http://{host_of(number)},internal_port={PORT}"
            self.add_service(f"s{number}", {_LABEL: label}, [self._network], running=False)
        # By number, as the bytes in which they are sent; `services` stay as they are from now on.
        self.addresses = [""] * services
        self._tasks = [b""] * services
        self._bodies = {"/services": json.dumps(self.services).encode()}
        self._written = {str(task["ServiceID"]): task for task in self.tasks}
        self._ids = [str(service["ID"]) for service in self.services]
        for number in range(services):
            self._run(number)

    def replace(self, number: int) -> str:
        """The service has another task at once; its address."""
        with self.lock:
            self._run(number)
        self.emit("service", "update", self._ids[number], name=f"s{number}")
        return self.addresses[number]

    def begin(self, method: str, path: str, query: str = "") -> Fault | None:
        """What a list is, as bytes that are ready."""
        fault = super().begin(method, path, query)
        if path == "/tasks":
            with self.lock:
                return Fault(body=b"[" + b",".join(self._tasks) + b"]")
        return Fault(body=self._bodies[path]) if path in self._bodies else fault

    def _run(self, number: int) -> None:
        fresh = next(self._fresh)
        address = str(ipaddress.ip_address(fresh))
        task: dict[str, Any] = {
            **self._written[self._ids[number]],
            "ID": f"task{fresh}",
            "Status": {"State": "running"},
        }
        task["NetworksAttachments"] = [
            {
                "Network": {"ID": self._network, "Spec": {"Name": "mesh"}},
                "Addresses": [f"{address}/10"],
            }
        ]
        self.addresses[number] = address
        self._tasks[number] = json.dumps(task).encode()


async def _respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    address = writer.get_extra_info("sockname")[0]
    with contextlib.suppress(OSError, EOFError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            host = head.lower().partition(b"\r\nhost: ")[2].partition(b"\r\n")[0].decode("latin-1")
            text = f"{address} {host}".encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))
    writer.close()


async def _serve(swarm: _Swarm) -> None:
    async with await asyncio.start_server(_respond, "0.0.0.0", PORT, backlog=4096):
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
        )
        print(" ".join(swarm.addresses), flush=True)
        while line := await lines.readline():
            print(swarm.replace(int(line)), flush=True)


def main() -> None:
    """See the module."""
    with _Swarm(str(Path(sys.argv[1])), int(sys.argv[2])) as swarm:
        asyncio.run(_serve(swarm))


if __name__ == "__main__":
    main()
