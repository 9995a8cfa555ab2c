"""`TCPGateway` and `TLSGateway`: gateways of one kind, for programs that think in sockets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from meshlib.errors import ConfigurationError
from meshlib.mesh import Mesh
from meshlib.routes import Target
from meshlib_adapters.config.readers import Address, read_addresses
from meshlib_adapters.gateway import Gateway
from meshlib_adapters.providers.provider import Provider
from meshlib_adapters.sockets.binding import bind_address, bound_port

__all__ = ["TCPGateway", "TLSGateway"]

# Stands for a port that is not known yet.
_ANY: Final = 65535


class TLSGateway(Gateway):
    """A `Gateway` for TLS alone: by server name, undecrypted, to the endpoints of its route.

        TLSGateway({"sni://shop.example.com": ["10.0.0.5:443"]}, listen=":8443").run()

    `routes` is a `Mesh`, or what makes one; `listen` as `tls` of `Gateway`, and everything else as
    there. `certificates`: TLS for their hosts is terminated here, and its requests go by the routes
    for HTTP. Connections that are over are told to hooks of `mesh.on_record`.
    `addresses["https"]` says where it listens.
    """

    def __init__(
        self,
        routes: Mesh | Mapping[str, Target],
        *,
        listen: object,
        certificates: object = None,
        providers: Iterable[Provider] | None = None,
        workers: int | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        _addresses(listen, "TLSGateway(listen=)")
        super().__init__(
            routes if isinstance(routes, Mesh) else Mesh(routes),
            providers=providers,
            tls=listen,
            certificates=certificates,
            workers=workers,
            settings=settings,
        )
        self._places["https"] = "TLSGateway(listen=)"


class TCPGateway(Gateway):
    """A `Gateway` for one TCP port: its connections are relayed, unread, to the endpoints of a
    route, the next one when one does not take it.

        TCPGateway(["10.0.0.5:5432", "10.0.0.6:5432"], listen=":5432").run()

    `target` is a list of addresses, a `Service` (with a strategy, weights, the PROXY protocol), or
    a `Mesh`, whose route "tcp://:PORT" serves `listen`: "IP:PORT" or ":PORT" (of IPv4). With
    addresses or a service, port 0 is any free one. Everything else is as in `Gateway`. No other
    port is opened, whatever other routes there are. Connections that are over are told to hooks
    of `mesh.on_record`. `addresses["tcp"]` says where it listens.
    """

    def __init__(
        self,
        target: Mesh | Target,
        *,
        listen: object,
        providers: Iterable[Provider] | None = None,
        workers: int | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        providers = tuple(providers or ())
        self._listen = _one_address(listen)
        self._target = None if isinstance(target, Mesh) else target
        port = self._listen.port
        if not port and (self._target is None or providers):
            raise _wrong("the port is that of a route, and 0 is none", 'write ":5432"')
        super().__init__(
            Mesh({f"tcp://:{port or _ANY}": target}) if not isinstance(target, Mesh) else target,
            providers=providers,
            ports="labels",
            workers=workers,
            settings={
                **(settings or {}),
                "ports.host": self._listen.host or "0.0.0.0",  # noqa: S104
                "ports.allowed": f"{port}/tcp" if port else "1-65535/tcp",
            },
        )

    async def serve(self, *, signals: bool = False) -> int:
        """Serve as `Gateway.serve` does. `ConfigurationError` when the port cannot be had."""
        self._check_unserved()
        # Held to the end, without listening: what is wrong with it is said now, and a free port is
        # nobody else's before the route that names it is served.
        address = Address(self._listen.host or "0.0.0.0", self._listen.port)  # noqa: S104
        with bind_address(address, setting="TCPGateway(listen=)") as held:
            port = bound_port(held)
            if self._target is not None and not address.port:
                self.mesh.replace({f"tcp://:{port}": self._target})
            self.addresses["tcp"] = (Address(address.host, port),)
            return await super().serve(signals=signals)


def _addresses(listen: object, where: str) -> tuple[Address, ...]:
    try:
        return read_addresses(str(listen) if type(listen) is int else listen)
    except ValueError as error:
        raise ConfigurationError(str(error), where=where) from None


def _one_address(listen: object) -> Address:
    found = _addresses(listen, "TCPGateway(listen=)")
    if len(found) != 1:
        raise _wrong("one address is wanted", 'write ":5432"')
    return found[0]


def _wrong(message: str, hint: str) -> ConfigurationError:
    return ConfigurationError(message, where="TCPGateway(listen=)", hint=hint)
