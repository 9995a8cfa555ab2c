"""An SNI router on raw sockets: TLS goes to the endpoint of its server name, undecrypted.

    python examples/sni_router.py 8443    # until Ctrl-C

`TLSGateway(mesh, listen=":8443").run()` does the same with strategies, limits and a drain; here
every step is the program's own. Needs no extra.
"""

import asyncio
import contextlib
import sys

import meshlib
from meshlib_adapters import sniff, splice

MESH = meshlib.Mesh({"sni://shop.example.com": ["10.0.0.5:443"], "sni://*": ["10.0.0.6:443"]})


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, EOFError, meshlib.ProtocolError), contextlib.closing(writer):
        found = await sniff(reader, timeout=5)
        decision = MESH.route_tls(found.hello) if found.hello is not None else None
        if isinstance(decision, meshlib.Passthrough):
            endpoint = decision.upstream.ready[0]
            upstream = await asyncio.open_connection(endpoint.host, endpoint.port)
            with contextlib.closing(upstream[1]):
                result = await splice((reader, writer), upstream, first=found.bytes, idle=600)
            print(f"{decision.route.name}: {result.received} bytes in, {result.sent} out")


async def main(port: int) -> None:
    async with await asyncio.start_server(serve, port=port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
