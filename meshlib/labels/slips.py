"""Slips in labels, and the hints that help: what was written for another tool, in another form, or
for several hosts at once.

Each function looks at a text that has failed, so its cost is that of a few searches. A hint shows a
value only if it is one.
"""

from __future__ import annotations

import re
from typing import Final

from meshlib.labels.options import KEYS
from meshlib.labels.proposals import can_be_proposed
from meshlib.labels.suggest import Suggestions
from meshlib.labels.values import is_switch

__all__ = ["external_route_hint", "meant_key", "pair_hint", "redirect_hint", "runs_together"]

# Words of other tools, and what people call things: the key that they mean.
_OTHER_WORDS: Final = {
    "domain": "external_route",
    "host": "external_route",
    "hostname": "external_route",
    "hosts": "external_route",
    "route": "external_route",
    "rule": "external_route",
    "hook": "hooks",
    "middleware": "hooks",
    "middlewares": "hooks",
    "url": "external_route",
    "virtual_host": "external_route",
    "port": "internal_port",
    "virtual_port": "internal_port",
    "cookie": "sticky_sessions",
    "sticky": "sticky_sessions",
    "sticky_cookie": "sticky_sessions",
    "ssl": "https",
    "ssl_only": "https",
    "tls": "https",
}
_RULE: Final = re.compile(r"Host(?:SNI)?\(\s*[`'\"]([^`'\"]+)[`'\"]")
_RULE_PATH: Final = re.compile(r"Path(?:Prefix)?\(\s*[`'\"]([^`'\"]+)[`'\"]")
_SEPARATOR: Final = re.compile(r"[ \t\r\n;|]+")
_NAME: Final = re.compile(r"[A-Za-z0-9*][A-Za-z0-9._*-]*\.[A-Za-z0-9-]+(?:[:/].*)?")
_SCHEMED: Final = re.compile(r"[a-z]+://")
_SWALLOWED: Final = re.compile(r"[ \t\r\n;|]\s*[a-z_]+=")
_OWN_LABEL: Final = "each label has one host"
_PAIR: Final = "write KEY=VALUE; a comma always separates two pairs (in a URL, write it as %2C)"


def meant_key(key: str, suggestions: Suggestions) -> str | None:
    """The key that was probably meant by one that is unknown."""
    return _OTHER_WORDS.get(key.lower()) or suggestions.nearest(key, KEYS, 3)


def pair_hint(text: str, *, beside: bool) -> str:
    """The hint for a text between two commas that is not KEY=VALUE. `beside`: the label has an
    `external_route` besides it.
    """
    if is_switch(text):
        return (
            "this is the value of a network's label; a service needs "
            "external_route=http://HOST,internal_port=PORT"
        )
    key, colon, value = text.partition(":")
    key = key.strip().lower()
    if colon and key in KEYS:
        return f"write {key}={value.strip()}, with an equals sign"
    if text in KEYS:
        return f"write {text}=VALUE"
    rule = _of_traefik(text)
    if rule:
        return rule
    meant = _with_scheme(text.lstrip("="))
    if not meant:
        return _PAIR
    return (
        f"{_OWN_LABEL}: write another with external_route={meant}"
        if beside
        else (f"write external_route={meant}")
    )


def external_route_hint(text: str) -> str:
    """The hint for the value of `external_route` that is several hosts, quoted or a rule of
    another tool; "" when it is none of these.
    """
    rule = _of_traefik(text)
    if rule:
        return rule
    bare = re.sub("[\"'`]", "", text)
    if bare != text:
        meant = bare if can_be_proposed(bare) else "http://shop.example.com"
        return f"leave the quotation marks out: write external_route={meant}"
    scheme = _SCHEMED.match(text)
    start = scheme.end() if scheme is not None else 0
    first, *others = [part for part in _SEPARATOR.split(text[start:]) if part] or [""]
    return _several(text[:start] + first, others) if _SEPARATOR.search(text[start:]) else ""


def _several(first: str, others: list[str]) -> str:
    if not can_be_proposed(first):
        return ""
    if not others:
        return f"leave the space out: write external_route={first}"
    rest = [_with_scheme(other) for other in others]
    if all(rest):
        return (
            f"{_OWN_LABEL}: write external_route={first} here, and external_route={rest[0]} in "
            "another"
        )
    return f"separate the pairs with commas: external_route={first},..."


def runs_together(text: str) -> bool:
    """Whether the value of `external_route` has swallowed the next pair of its label."""
    return _SWALLOWED.search(text) is not None


def redirect_hint(text: str, host: str) -> str:
    """The hint for a `redirect` that is a word or a URL without a host; "" for any other. `host`
    is that of the route ("": several).
    """
    own = f"redirect=https://{host or 'shop.example.com'}"
    word = text.partition(":")[0].lower()
    rest = text[len(word) :].strip(":/")
    if is_switch(text) or (word in ("http", "https", "ssl", "tls") and not rest):
        return (
            f"write {own} for requests without TLS; or https=require in its place, "
            "which serves those over TLS as well"
        )
    if "$" in text:
        return f"write the host itself, {own}; path and query are kept"
    return ""


def _of_traefik(text: str) -> str:
    host = _RULE.search(text)
    if host is None:
        return ""
    path = _RULE_PATH.search(text)
    meant = f"{'sni' if 'HostSNI' in text else 'http'}://{host[1]}{path[1] if path else ''}"
    shown = meant if can_be_proposed(meant) else "http://shop.example.com"
    return f"this is a rule of Traefik: write external_route={shown}, one label for each host"


def _with_scheme(text: str) -> str:
    """The value of `external_route` that a host or a URL by itself means; "" when it is none."""
    if _SCHEMED.match(text) is not None:
        return text if can_be_proposed(text) else ""
    meant = f"http://{text}"
    return meant if _NAME.fullmatch(text) and can_be_proposed(meant) else ""
