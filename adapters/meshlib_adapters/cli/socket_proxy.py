"""Read-only access to an engine's socket, served for gateways: `meshlib socket-proxy`."""

from __future__ import annotations

import logging
import signal

import anyio

from meshlib.errors import ConfigurationError
from meshlib_adapters.providers.docker.address import EngineAddress
from meshlib_adapters.providers.docker.engine import Engine, EngineError
from meshlib_adapters.providers.docker.socket_proxy import SocketProxy, bind_socket

__all__ = ["check_proxy", "run_proxy"]

logger = logging.getLogger("meshlib.cli")

_CHECK_TIMEOUT = 2.0


async def run_proxy(listen: str, engine: str) -> int:
    """Serve until SIGTERM or SIGINT; `ConfigurationError` when `listen` cannot be taken."""
    if not engine.startswith("/") or not listen.startswith("/"):
        raise ConfigurationError("name the paths of two Unix sockets", where="--listen, --engine")
    with (
        bind_socket(listen) as sock,
        anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received,
    ):
        async with anyio.create_task_group() as group:
            group.start_soon(SocketProxy(engine).serve, sock)
            logger.info("ready: %s reads %s", listen, engine)
            async for number in received:
                logger.info("%s", number.name)
                break
            group.cancel_scope.cancel()
    logger.info("stopped")
    return 0


def check_proxy(listen: str) -> str:
    """ "" when the engine's version can be read through the proxy at `listen`, else why not."""
    engine = Engine(EngineAddress(f"unix://{listen}"), timeout=_CHECK_TIMEOUT)
    try:
        engine.get("/version")
    except EngineError as error:
        return str(error)
    finally:
        engine.close()
    return ""
