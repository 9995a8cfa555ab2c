"""CPU time per request of a client of httpx: by its own transport, and by ours.

    PYTHONPATH=.:adapters python -m tests.benchmarks.httpx_cost

Prints microseconds of this process alone for a GET with a response of 100 bytes on a kept
connection: the best of many batches, taken in turns, so that a busy machine counts little. "no
transport" is what httpx itself takes.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import httpx

import meshlib
from meshlib_adapters.httpx_transport import MeshTransport, SyncMeshTransport

BATCHES = 30
REQUESTS = 50
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nContent-Type: text/plain\r\n\r\n" + bytes(
    100
)


class _Endpoint(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n"):
            self._transport.write(RESPONSE)


def _serve(ready: Callable[[int], None]) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(_Endpoint, "127.0.0.1", 0)
        ready(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


async def _batch(client: httpx.AsyncClient, url: str) -> float:
    began = time.thread_time()
    for _ in range(REQUESTS):
        assert len((await client.get(url)).content) == 100
    return (time.thread_time() - began) / REQUESTS * 1e6


async def _measure(port: int) -> dict[str, float]:
    nothing = httpx.MockTransport(lambda request: httpx.Response(200, content=bytes(100)))
    mesh = _mesh(port)
    best: dict[str, float] = {}
    async with (
        httpx.AsyncClient(transport=nothing) as without,
        httpx.AsyncClient(trust_env=False) as own,
        httpx.AsyncClient(transport=MeshTransport(mesh)) as ours,
    ):
        for _ in range(BATCHES):
            for name, client, url in (
                ("no transport", without, "http://orders/"),
                ("httpx", own, f"http://127.0.0.1:{port}/"),
                ("meshlib", ours, "http://orders/"),
            ):
                best[name] = min(best.get(name, 1e9), await _batch(client, url))
    return best


def _mesh(port: int) -> meshlib.Mesh:
    service = meshlib.Service([f"127.0.0.1:{port}"], name="orders")
    return meshlib.Mesh({"shop.example.com": service})


def _measure_sync(port: int) -> dict[str, float]:
    best: dict[str, float] = {}
    with (
        httpx.Client(trust_env=False) as own,
        httpx.Client(transport=SyncMeshTransport(_mesh(port))) as ours,
    ):
        for _ in range(BATCHES):
            for name, client, url in (
                ("httpx, synchronous", own, f"http://127.0.0.1:{port}/"),
                ("meshlib, synchronous", ours, "http://orders/"),
            ):
                began = time.perf_counter()
                for _ in range(REQUESTS):
                    assert len(client.get(url).content) == 100
                spent = (time.perf_counter() - began) / REQUESTS * 1e6
                best[name] = min(best.get(name, 1e9), spent)
    return best


def main() -> None:
    """Measure and print."""
    found: list[int] = []
    ready = threading.Event()

    def on_ready(port: int) -> None:
        found.append(port)
        ready.set()

    threading.Thread(target=_serve, args=(on_ready,), daemon=True).start()
    assert ready.wait(10)
    for name, spent in asyncio.run(_measure(found[0])).items():
        print(f"{name:24} {spent:7.0f} us of CPU")
    for name, spent in _measure_sync(found[0]).items():
        print(f"{name:24} {spent:7.0f} us until the response")


if __name__ == "__main__":
    main()
