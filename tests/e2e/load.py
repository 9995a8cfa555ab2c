"""Steady requests from inside a namespace, until SIGTERM: `python load.py URL HOST [CONNECTIONS]`.
Prints one JSON object at its end.

`ok` counts responses with status 200, `failed` has what was wrong with others, `seen` how often
each body came.
"""

from __future__ import annotations

import asyncio
import collections
import json
import signal
import sys
from urllib.parse import urlsplit


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, path: str
) -> tuple[int, str, bool]:
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").lower().split("\r\n")
    status = int(lines[0].split()[1])
    length = next(
        (int(line.partition(":")[2]) for line in lines if line.startswith("content-length:")), 0
    )
    body = await reader.readexactly(length) if length else b""
    return status, body.decode("latin-1").strip(), "connection: close" in lines


async def client(url: str, host: str, stopped: asyncio.Event, result: dict[str, object]) -> None:
    parts = urlsplit(url)
    seen: collections.Counter[str] = result["seen"]  # type: ignore[assignment]
    failed: list[str] = result["failed"]  # type: ignore[assignment]
    writer: asyncio.StreamWriter | None = None
    while not stopped.is_set():
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            status, body, closing = await asyncio.wait_for(
                ask(reader, writer, host, parts.path or "/"), 15
            )
            if status == 200:
                seen[body] += 1
                result["ok"] = int(result["ok"]) + 1  # type: ignore[call-overload]
            else:
                failed.append(f"{status} {body}")
            if closing:
                writer.close()
                writer = None
        except (OSError, EOFError, TimeoutError) as error:
            failed.append(repr(error))
            if writer is not None:
                writer.close()
            writer = None
        await asyncio.sleep(0.002)
    if writer is not None:
        writer.close()


async def main() -> None:
    url, host, count = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 4
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    result: dict[str, object] = {"ok": 0, "failed": [], "seen": collections.Counter()}
    print("started", flush=True)
    await asyncio.gather(*(client(url, host, stopped, result) for _ in range(count)))
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
