"""Request heads from a URL, a method and header fields as people write them.

Knows nothing of routes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias
from urllib.parse import quote, urlsplit

from meshlib.authority import normalize_host
from meshlib.errors import AuthorityError, ConfigurationError, ProtocolError
from meshlib.http1 import parse_request_head
from meshlib.messages import RequestHead

__all__ = ["Headers", "request_head"]

# Header fields: names with values, or pairs where a name occurs more than once.
Headers: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]

_BROKEN = re.compile(r"[\t\r\n]")
# Characters that a URL may hold already (RFC 3986); "%" too, so that encoded text stays as it is.
_SAFE = "/%:@!$&'()*+,;=~-._?"
_SHAPE = 'write "https://HOST/PATH", or "/PATH" with a Host among the headers'


def request_head(method: str, url: str, headers: Headers = ()) -> tuple[RequestHead, bool]:
    """The head of a request for `url`, and whether it is one over TLS (https).

    `url` is "http://HOST/PATH?QUERY", or https, or only the part behind the host ("*" is that of
    OPTIONS). A Host among `headers` replaces the URL's host; with neither it is a request of
    HTTP/1.0, which need not have one. Internationalised hosts become A-labels, and characters that
    a URL cannot have are escaped. Raises `ConfigurationError` when no such request would be
    accepted.
    """
    if not isinstance(url, str) or not isinstance(method, str):
        raise ConfigurationError(
            "method and URL are texts", where=f"{method!a} {url!a}", hint=_SHAPE
        )
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    try:
        lines = [f"{name}: {value}" for name, value in pairs]
    except (TypeError, ValueError):
        message = "these are not pairs of a name and a value"
        hint = "write {NAME: VALUE}, or [(NAME, VALUE)]"
        raise ConfigurationError(message, where="headers", hint=hint) from None
    if _BROKEN.search(url) or any("\n" in line or "\r" in line for line in lines):
        # In a URL they would be dropped silently, in a field they would begin another one.
        raise ConfigurationError(
            "no request has a line end or a tab in it", where=_shown(url), hint=_SHAPE
        )
    authority, target, secure = _parts(url)
    if any(line[:5].lower() == "host:" for line in lines):
        version = 1
    elif authority:
        lines.insert(0, f"Host: {authority}")
        version = 1
    else:
        version = 0
    text = "\r\n".join([f"{method} {target} HTTP/1.{version}", *lines, "", ""])
    try:
        return parse_request_head(text.encode("utf-8", "replace")), secure
    except ProtocolError as error:
        message = f"no such request would be taken: {error}"
        raise ConfigurationError(message, where=_shown(url), hint=_SHAPE) from None


def _parts(url: str) -> tuple[str, str, bool]:
    scheme, mark, _ = url.partition("://")
    whole = bool(mark) and scheme.lower() in ("http", "https")
    if url == "*":
        return "", url, False
    if not whole and not url.startswith("/"):
        raise ConfigurationError(
            "this is not what a request asks for", where=_shown(url), hint=_SHAPE
        )
    try:
        parts = urlsplit(url if whole else f"http://host{url}")
        authority = parts.netloc if whole else ""
        port = f":{parts.port}" if parts.port is not None else ""
        if not authority.isascii():
            authority = normalize_host(parts.hostname or "") + port
    except (ValueError, AuthorityError) as error:
        raise ConfigurationError(str(error), where=_shown(url), hint=_SHAPE) from None
    if whole and not authority:
        raise ConfigurationError("there is no host", where=_shown(url), hint=_SHAPE)
    query = f"?{quote(parts.query, safe=_SAFE)}" if parts.query else ""
    return (
        authority,
        quote(parts.path or "/", safe=_SAFE) + query,
        scheme.lower() == "https" and whole,
    )


def _shown(url: str) -> str:
    return url if url and url.isprintable() else ascii(url)
