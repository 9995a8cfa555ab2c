"""Identity of an upstream: a key that is a value, with a name for people."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from meshlib.bounds import MAX_NAME, bounded_name

__all__ = ["PLAIN", "Transport", "UpstreamKey"]

# Services in the name of a merged upstream when not all of them fit.
_SHOWN_SERVICES: Final = 3

# No two keys have the same name. So the signs that separate the parts of a name are percent-encoded
# within a part: these in every part, "/" also in a server name, and in the name of a service
# whatever would read like the next part ("shop:80" without a port, "shop/h2c"). Common names stay
# as they are.
_SIGNS: Final = str.maketrans({sign: f"%{ord(sign):02X}" for sign in "%+@"})
_NO_SLASH: Final = str.maketrans({"/": "%2F"})
_NO_PLUS: Final = str.maketrans({"%": "%25", "+": "%2B"})  # "@" may occur in a provider
# An entry in code may be "tcp://:5432"; so "//" in front of a port is encoded and not this colon.
_LIKE_A_PORT: Final = re.compile(r"(?<!/):(?=[0-9]+\Z)")
_LIKE_A_TRANSPORT: Final = re.compile(r"/(?=(?:tls-[^/]*|h2c|proxy-v[12]|lenient)\Z)")
_LAST_SLASH: Final = re.compile(r"/\Z")


@dataclass(frozen=True, slots=True)
class Transport:
    """Protocols on connections to endpoints.

    `protocol` is that of HTTP routes: "" for HTTP/1.1, "h2c" for HTTP/2 without TLS. With a
    `tls_name` connections are TLS, and the endpoint's certificate must be valid for that name ("":
    no TLS). With `proxy_protocol` ("v1" or "v2") each connection begins with a PROXY protocol
    header that names the client (`meshlib.proxy_protocol`), and serves that client only. `lenient`:
    odd responses over HTTP/1.1 are read as old clients read them (`meshlib.http1.odd_response`).
    """

    protocol: Literal["", "h2c"] = ""
    tls_name: str = ""
    proxy_protocol: Literal["", "v1", "v2"] = ""
    lenient: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "tls_name", bounded_name(self.tls_name))

    def __str__(self) -> str:
        parts = (
            f"/tls-{_server_name(self.tls_name)}" if self.tls_name else "",
            f"/{self.protocol}" if self.protocol else "",
            f"/proxy-{self.proxy_protocol}" if self.proxy_protocol else "",
            "/lenient" if self.lenient else "",
        )
        return "".join(parts)


PLAIN: Final = Transport()


def _server_name(name: str) -> str:
    return name.translate(_SIGNS).translate(_NO_SLASH)


class _Named:
    # Not fields of the key: they are made of those, and neither compared nor written.
    __slots__ = ("_hash", "name")
    name: str
    _hash: int


@dataclass(frozen=True, slots=True)
class UpstreamKey(_Named):
    """Key of an upstream: a service at one of its ports, and the transport to it.

    `service` is the service's name, or the match of its route from code; `port` is the port inside
    the container (None: there is only one). `provider` is "", unless two providers know such a
    service: it names the one whose upstream gave way. `beside` are the keys of other services that
    share the upstream; raises ValueError when one of them has keys `beside` it.

    `name` is the key for people, in logs and metrics: "shop:8080", "shop:8080/tls-shop.internal",
    "shop:8080@swarm", "blog:80+shop:80"; bounded (`bounded_name`), and never taken apart again. No
    two keys have one name: what reads like another part of it is percent-encoded.
    """

    service: str
    port: int | None = None
    provider: str = ""
    transport: Transport = PLAIN
    beside: tuple[UpstreamKey, ...] = ()

    def __post_init__(self) -> None:
        if any(other.beside for other in self.beside):
            raise ValueError("a key beside another has keys beside it")
        object.__setattr__(self, "service", bounded_name(self.service))
        object.__setattr__(self, "provider", bounded_name(self.provider))
        # Every request looks state up by key.
        object.__setattr__(self, "name", self._name())
        object.__setattr__(self, "_hash", hash(self.name))

    @staticmethod
    def merged(keys: Iterable[UpstreamKey]) -> UpstreamKey:
        """The key of what these upstreams, one at least, are together: the first by name, with the
        others beside it.

        The names order them and not the services' ages: state is kept under the key, which must not
        change when one of the services is re-created.
        """
        alone = dict.fromkeys(one for key in keys for one in (replace(key, beside=()), *key.beside))
        first, *others = sorted(alone, key=lambda key: key.name)
        return replace(first, beside=tuple(others))

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[object, ...]:
        # Another process has other hashes.
        fields = (self.service, self.port, self.provider, self.transport, self.beside)
        return UpstreamKey, fields

    def _name(self) -> str:
        service = self.service.translate(_SIGNS)
        if self.port is not None:
            service = f"{_LAST_SLASH.sub('%2F', service)}:{self.port}"
        else:
            service = _LIKE_A_TRANSPORT.sub("%2F", _LIKE_A_PORT.sub("%3A", service))
        provider = f"@{self.provider.translate(_NO_PLUS)}" if self.provider else ""
        name = f"{service}{self.transport}{provider}"
        return _joined([bounded_name(name), *(key.name for key in self.beside)])


def _joined(names: Sequence[str]) -> str:
    # All names if they fit; else the first ones, the number of the others, and a digest of all, so
    # that no other set has the same name, and this set always has it.
    name = "+".join(names)
    if len(name) <= MAX_NAME:
        return name
    first = bounded_name("+".join(names[:_SHOWN_SERVICES]), MAX_NAME // 2)
    digest = hashlib.blake2b("\0".join(names).encode(), digest_size=8).hexdigest()
    return f"{first}+{max(len(names) - _SHOWN_SERVICES, 0)} more ({digest})"
