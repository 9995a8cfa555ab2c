"""An application that terminates TLS itself: `python3 tls_server.py PORT PEM PASSWORD_FILE`.
Standard library only; runs in a container.

Each response is JSON: the replica's host name, whether this connection resumed a session, and the
TLS version. Session tickets are sealed with keys of this process alone: no other replica can resume
them.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
import sys

# As careful applications do: whoever was sent here a moment before we were told to stop is still
# served (seconds).
_GRACE = 2.0


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
    body = json.dumps(
        {"replica": socket.gethostname(), "resumed": tls.session_reused, "version": tls.version()}
    ).encode()
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (len(body), body)
            )
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass  # the client left
    finally:
        writer.close()


async def _run(port: int, context: ssl.SSLContext) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with await asyncio.start_server(_serve, "", port, ssl=context):
        await stop.wait()
        await asyncio.sleep(_GRACE)


def main() -> None:
    """Serve until SIGTERM, and a little longer."""
    port, pem, password = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with open(password, encoding="utf-8") as file:
        context.load_cert_chain(pem, password=file.read().strip())
    asyncio.run(_run(int(port), context))


if __name__ == "__main__":
    main()
