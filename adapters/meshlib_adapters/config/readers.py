"""Readers of single settings: the value of a file, a variable or an option -> a typed value.

Each reader takes a TOML value or the text of a variable or an option and raises `ValueError`, whose
message says what is expected. It does not know where the value came from; `sources` adds the place.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar
from urllib.parse import urlsplit, urlunsplit

from meshlib.authority import normalize_host
from meshlib.client_claims import UNIX, Trusted
from meshlib.discovery.files.variables import is_variable_name
from meshlib.errors import AuthorityError
from meshlib.model import Endpoint, ListeningPort, Scheme

__all__ = [
    "Address",
    "Network",
    "PortRange",
    "mask_url",
    "read_acme",
    "read_addresses",
    "read_bool",
    "read_choice",
    "read_duration",
    "read_engine",
    "read_hosts",
    "read_integer",
    "read_ip",
    "read_limit",
    "read_names",
    "read_networks",
    "read_ports",
    "read_proxies",
    "read_pseudonym",
    "read_response_size",
    "read_share",
    "read_size",
    "read_text",
    "read_variables",
]

T = TypeVar("T")
C = TypeVar("C", bound=str)

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"([0-9]+)\s*(?:(k|m|g)?(?:i?b)?)?", re.IGNORECASE)
_BYTES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_TOKEN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ENGINE_SCHEMES = ("unix", "tcp", "ssh", "http", "https", "npipe")


@dataclass(frozen=True, slots=True)
class Address:
    """Address to listen on. `host` is an IP address or a name, "" for every address; `port` 0 means
    a free one.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PortRange:
    """The ports from `first` to `last`, both included; of `scheme` alone, where that is set."""

    first: int
    last: int
    scheme: Scheme | None = None

    def __contains__(self, port: ListeningPort) -> bool:
        return self.scheme in (None, port.scheme) and self.first <= port.port <= self.last

    def __str__(self) -> str:
        ports = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return ports if self.scheme is None else f"{ports}/{self.scheme}"


def read_ports(value: object) -> tuple[PortRange, ...]:
    """Ports and ranges of them: a number, "53/udp, 6000-6999", or a list of such; "off" or an empty
    list for none.
    """
    items = [value] if isinstance(value, int | str) and not isinstance(value, bool) else value
    if not isinstance(items, list | tuple):
        raise ValueError(f"expected ports such as 5432 or '6000-6999', not {value!r}")
    names = [name.strip() for item in items for name in str(item).split(",") if name.strip()]
    return (
        ()
        if [name.lower() for name in names] == ["off"]
        else tuple(_port_range(name) for name in names)
    )


def _port_range(text: str) -> PortRange:
    match = re.fullmatch(r"([0-9]{1,5})(?:\s*-\s*([0-9]{1,5}))?(?:/(tcp|udp))?", text, re.ASCII)
    if match is not None:
        first = int(match[1])
        last = int(match[2] or first)
        if 1 <= first <= last <= 65535:
            return PortRange(first, last, Scheme(match[3]) if match[3] else None)
    raise ValueError(
        f"{text!r} is not a port or a range of ports (write 5432 or 6000-6999, 1 to 65535)"
    )


def read_ip(value: object) -> str:
    """An IP address."""
    text = read_text(value)
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address") from None


def read_addresses(value: object) -> tuple[Address, ...]:
    """ "HOST:PORT", several of them (a list, or with commas), or "off"."""
    names = () if value is False else read_names(value)
    return (
        ()
        if [name.lower() for name in names] == ["off"]
        else tuple(_address(name) for name in names)
    )


def read_acme(value: object) -> tuple[Endpoint, ...]:
    """Endpoints for ACME challenges, as `read_addresses`."""
    found = enumerate(read_addresses(value), 1)
    return tuple(Endpoint(f"acme.{number}", to.host, to.port) for number, to in found)


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = "", text
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is not HOST:PORT (write 127.0.0.1:8080, [::1]:8080 or :8080)")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r}: put the IPv6 address in brackets, [::1]:8080")
    if host in ("", "*"):
        return Address("", int(port))
    try:
        return Address(normalize_host(host), int(port))
    except AuthorityError as error:
        raise ValueError(f"{text!r}: {error}") from None


def read_bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    text = value.strip().lower() if isinstance(value, str) else ""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"expected true or false, not {value!r}")


def read_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text, not {value!r}")
    if not value.isprintable():
        raise ValueError("control characters do not belong here")
    return value.strip()


def read_names(value: object) -> tuple[str, ...]:
    """A list of texts, or one text with commas."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise ValueError(f"expected text or a list of texts, not {value!r}")
    return tuple(text for text in (read_text(item) for item in items) if text)


def read_hosts(value: object) -> tuple[str, ...]:
    """Host names, in their normal form."""
    names = []
    for text in read_names(value):
        try:
            names.append(normalize_host(text))
        except AuthorityError as error:
            raise ValueError(f"{text!r} is not a host name: {error}") from None
    return tuple(names)


def read_choice(*choices: C) -> Callable[[object], C]:
    """A reader of one of `choices`, in lower case."""

    def read(value: object) -> C:
        text = value.strip().lower() if isinstance(value, str) else value
        for choice in choices:
            if choice == text:
                return choice
        raise ValueError(f"expected {', '.join(choices[:-1])} or {choices[-1]}, not {value!r}")

    return read


def read_integer(low: int, high: int) -> Callable[[object], int]:
    """A reader of a whole number from `low` to `high`."""

    def read(value: object) -> int:
        number: object = value
        if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,18}\s*", value, re.ASCII):
            number = int(value)
        if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
            raise ValueError(f"expected a number from {low} to {high}, not {value!r}")
        return number

    return read


def read_limit(read: Callable[[object], T]) -> Callable[[object], T | None]:
    """A reader of an optional limit: None for 0, "off" and, in settings from code, None; else what
    `read` makes of it.
    """

    def read_or_none(value: object) -> T | None:
        text = value.strip().lower() if isinstance(value, str) else value
        if text is None or text is False or text == "off":
            return None
        return read(value) or None

    return read_or_none


def read_duration(value: object) -> float:
    """Seconds: a number, or a number with ms, s, m, h or d; 0 to 30 days."""
    seconds = -1.0
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        seconds = float(match[1]) * _SECONDS[match[2] or "s"]
    if not 0 <= seconds <= 30 * 86400:
        raise ValueError(
            f"expected a duration such as 10, 0.5, '500ms', '75s' or '1h', not {value!r}"
        )
    return seconds


def read_share(value: object) -> float:
    """A number from 0 to 1."""
    try:
        share = (
            float(value)
            if isinstance(value, int | float | str) and not isinstance(value, bool)
            else -1.0
        )
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ValueError(f"expected a number from 0 to 1, not {value!r}")
    return share


def read_size(value: object) -> int:
    """Bytes: a whole number, or one with k, m or g (powers of 1024)."""
    size = -1
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        size = int(match[1]) * _BYTES[(match[2] or "").lower()]
    if not 0 <= size <= 2**50:
        raise ValueError(f"expected a size such as 32768, '32k' or '10MiB', not {value!r}")
    return size


def read_response_size(value: object) -> int:
    """Bytes of an engine's response that are read: from a mebibyte to a gibibyte, since it is read
    whole.
    """
    size = read_size(value)
    if not 2**20 <= size <= 2**30:
        raise ValueError(f"expected a size from 1m to 1g, not {value!r}")
    return size


def read_engine(value: object) -> str | None:
    """A Docker Engine: None is off; "" is what DOCKER_HOST and the current context say; else its
    URL.
    """
    if isinstance(value, bool):
        return "" if value else None
    text = read_text(value)
    if text.lower() in _FALSE:
        return None
    if text.lower() in _TRUE or not text:
        return ""
    scheme, found, rest = text.partition("://")
    if not found or scheme not in _ENGINE_SCHEMES or not rest:
        raise ValueError(
            f"{mask_url(text)!r} is not an engine's URL "
            "(unix:///var/run/docker.sock, tcp://HOST:2376, ssh://HOST)"
        )
    return text


def read_variables(value: object) -> tuple[str, ...]:
    """Names of variables, as `read_names`."""
    names = read_names(value)
    for name in names:
        if not is_variable_name(name):
            raise ValueError(f"{name!r} is not the name of a variable (letters, digits and _)")
    return names


def read_networks(value: object) -> tuple[Network, ...]:
    """A list of addresses or networks in CIDR form."""
    networks = []
    for text in read_names(value):
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise ValueError(f"{text!r} is not an address or a network: {error}") from None
    return tuple(networks)


def read_proxies(value: object) -> tuple[Trusted, ...]:
    """As `read_networks`, and "unix:" for the other ends of Unix sockets."""
    proxies: list[Trusted] = []
    for text in read_names(value):
        if text == UNIX:
            proxies.append(UNIX)
        else:
            proxies += read_networks([text])
    return tuple(proxies)


def read_pseudonym(value: object) -> str:
    """A token (RFC 9110 5.6.2), or "off": ""."""
    if value is False or (isinstance(value, str) and value.strip().lower() in ("off", "")):
        return ""
    text = read_text(value)
    if not _TOKEN.fullmatch(text):
        raise ValueError(
            f"expected a name of letters, digits, '-', '.' and '_', or off, not {value!r}"
        )
    return text


def mask_url(url: str) -> str:
    """`url` without the password in it, for display."""
    parts = urlsplit(url) if "@" in url else None
    if parts is None or parts.password is None:
        return url
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:***@{host}"))
