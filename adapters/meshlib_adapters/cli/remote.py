"""Small client for the admin listener of a running gateway."""

from __future__ import annotations

import http.client
import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from meshlib.errors import ConfigurationError
from meshlib_adapters.config.readers import Address

__all__ = ["admin_url", "ask_admin", "ask_health"]

TIMEOUT = 5.0  # seconds; the admin side responds from memory
HEALTH_TIMEOUT = 2.5  # seconds for all of it
MAX_RESPONSE = 256 * 1024 * 1024  # 10,000 services with 100 tasks each are some 100 MB of JSON


def admin_url(addresses: Sequence[Address]) -> str:
    """The URL of a gateway's admin listener as seen from its own machine; `ConfigurationError` when
    it has none.
    """
    if not addresses:
        raise ConfigurationError(
            "the admin listener is off", where="admin", hint="name one: --admin http://HOST:PORT"
        )
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(  # noqa: S104
        addresses[0].host, addresses[0].host
    )
    return f"http://{Address(host, addresses[0].port)}"


def ask_admin(
    url: str, path: str, query: Sequence[tuple[str, str]] = ()
) -> tuple[int, Mapping[str, Any]]:
    """Status and JSON object of GET `url` + `path`; `ConfigurationError` when no gateway
    responds.

    `url` may lack "http://". Proxies of the environment are not used: an admin listener is never
    behind one.
    """
    base = url if "://" in url else f"http://{url}"
    parts = urllib.parse.urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigurationError(
            f"{url!r} is not a URL", where="--admin", hint="write http://127.0.0.1:8081"
        )
    target = base.rstrip("/") + path + ("?" + urllib.parse.urlencode(query) if query else "")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return _ask(opener, target)
    except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise _nobody(url, reason) from None


def ask_health(url: str, path: str) -> tuple[int, Mapping[str, Any]]:
    """`ask_admin` within `HEALTH_TIMEOUT`, however slowly a response comes."""
    found: list[tuple[int, Mapping[str, Any]] | ConfigurationError] = []

    def ask() -> None:
        try:
            found.append(ask_admin(url, path))
        except ConfigurationError as error:
            found.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HEALTH_TIMEOUT)
    result = found[0] if found else _nobody(url, f"no response within {HEALTH_TIMEOUT:g} s")
    if isinstance(result, ConfigurationError):
        raise result
    return result


def _ask(opener: urllib.request.OpenerDirector, target: str) -> tuple[int, Mapping[str, Any]]:
    try:
        with opener.open(target, timeout=TIMEOUT) as response:
            return response.status, _object(response.read(MAX_RESPONSE))
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _object(error.read(MAX_RESPONSE))


def _nobody(url: str, reason: object) -> ConfigurationError:
    return ConfigurationError(
        f"no admin listener responded: {reason}",
        where=f"--admin {url}",
        hint="is the gateway running, with its admin listener on this address?",
    )


def _object(body: bytes) -> Mapping[str, Any]:
    data = json.loads(body)
    if not isinstance(data, dict):
        raise ValueError("the response is not a JSON object")
    return data
