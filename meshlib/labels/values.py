"""Values of a label's options: each reader turns the text of one into what it means.

This module knows no key, no route and no diagnostic; `meshlib.labels.options` brings them together.
"""

from __future__ import annotations

import re
from typing import Literal

from meshlib.authority import is_ip_address, normalize_host
from meshlib.balancing.registered import registered_names
from meshlib.balancing.strategy import STRATEGIES
from meshlib.errors import AuthorityError

__all__ = [
    "OptionValueError",
    "is_switch",
    "read_cookie_name",
    "read_flag",
    "read_hooks",
    "read_hsts",
    "read_proxy_protocol",
    "read_require",
    "read_seconds",
    "read_server_name",
    "read_share_with",
    "read_strategy",
    "read_upstream_protocol",
]

# A token of RFC 9110 5.6.2, which RFC 6265 4.1.1 uses for cookie names.
_NOT_TOKEN = re.compile(r"[^!#$%&'*+.^_`|~0-9A-Za-z-]")
# Up to 31 years; browsers cap it at one or two.
_HSTS_SECONDS = re.compile(r"[0-9]{1,9}")
_HSTS_DIRECTIVES = {"includesubdomains": "includeSubDomains", "preload": "preload"}
# Names of stacks, projects, services, containers and networks, as Docker accepts them.
_GRANT = re.compile(
    r"(?:(?:stack|project|service|container|network):)?[A-Za-z0-9][A-Za-z0-9_.-]{0,252}"
)
_MAX_GRANTS = 32
# A hook of the gateway (`meshlib.hooks.HOOK_NAME`), and how many a route may name.
_HOOK = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_MAX_HOOKS = 16
_SECONDS = re.compile(r"[0-9]{1,5}")
# No label can have a connection wait for ever: it takes a place of `limits.max_connections`.
MAX_SECONDS = 86_400
_SHOWN = 10  # strategies named in a message
_SWITCHES = frozenset({"true", "false", "yes", "no", "on", "off", "1", "0"})


class OptionValueError(ValueError):
    """A text that is not a value of its option; the message says why, as the rest of "KEY is TEXT:
    ...".

    `position` is the index of the first wrong character; 0 when the whole text is wrong.
    """

    def __init__(self, message: str, position: int = 0) -> None:
        super().__init__(message)
        self.position = position


def is_switch(text: str) -> bool:
    """Whether a text turns something on or off: it names nothing."""
    return text.lower() in _SWITCHES


def read_cookie_name(text: str) -> str:
    """The name of a cookie (RFC 6265 token)."""
    _refuse_switch(text, "a cookie")
    bad = _NOT_TOKEN.search(text)
    if bad:
        message = f"the character {bad.group()!a} cannot be in the name of a cookie"
        raise OptionValueError(message, bad.start())
    if not text:
        raise OptionValueError("the name of a cookie is not empty")
    return text


def _refuse_switch(text: str, wanted: str) -> None:
    if is_switch(text):
        raise OptionValueError(f"it is the name of {wanted}, and no switch")


def read_flag(text: str) -> bool:
    """`true` or `false`, in any case."""
    if text.lower() not in ("true", "false"):
        raise OptionValueError("it is neither true nor false")
    return text.lower() == "true"


def read_proxy_protocol(text: str) -> Literal["v1", "v2"]:
    """`v1` or `v2`, in any case: a version of the PROXY protocol."""
    version = text.lower()
    if version == "v1":
        return "v1"
    if version == "v2":
        return "v2"
    raise OptionValueError("it is neither v1 nor v2")


def read_server_name(text: str) -> str:
    """The host name in a certificate, in normal form."""
    _refuse_switch(text, "the host in a certificate")
    try:
        name = normalize_host(text)
    except AuthorityError as error:
        raise OptionValueError(str(error), error.position) from None
    if is_ip_address(name):
        raise OptionValueError("it is an IP address and not a host name")
    return name


def read_upstream_protocol(text: str) -> Literal["h2c"]:
    """`h2c`, in any case: HTTP/2 without TLS."""
    if text.lower() != "h2c":
        raise OptionValueError("the only value is h2c")
    return "h2c"


def read_require(text: str) -> bool:
    """`require`, in any case, which is True."""
    if text.lower() != "require":
        raise OptionValueError("the only value is require")
    return True


def read_hsts(text: str) -> str:
    """The value of Strict-Transport-Security (RFC 6797 6.1): seconds, then directives, separated by
    semicolons.
    """
    seconds, *asked = [word.strip() for word in text.split(";")]
    wanted = {word.lower() for word in asked}
    if not _HSTS_SECONDS.fullmatch(seconds):
        raise OptionValueError("it does not begin with a number of seconds")
    if not wanted <= _HSTS_DIRECTIVES.keys() or len(wanted) != len(asked):
        message = "only includeSubDomains and preload may follow the seconds, each once"
        raise OptionValueError(message, text.index(";") + 1)
    directives = [written for word, written in _HSTS_DIRECTIVES.items() if word in wanted]
    return "; ".join([f"max-age={int(seconds)}", *directives])


def read_seconds(text: str) -> int:
    """A time-out: whole seconds from 1 to 86400, a day."""
    if not _SECONDS.fullmatch(text) or not 1 <= int(text) <= MAX_SECONDS:
        raise OptionValueError(f"it is not a number of seconds from 1 to {MAX_SECONDS}")
    return int(text)


def read_share_with(text: str) -> tuple[str, ...]:
    """The names in `NAME[;NAME...]`, sorted: of stacks or Compose projects, or with "stack:",
    "project:", "service:", "container:" or "network:" in front.
    """
    _refuse_switch(text, "a stack")
    names = [name.strip() for name in text.split(";") if name.strip()]
    wrong = next((name for name in names if not _GRANT.fullmatch(name)), None)
    if wrong is not None:
        raise OptionValueError(f"{wrong[:60]!a} is not a name", text.index(wrong))
    if not 0 < len(names) <= _MAX_GRANTS:
        raise OptionValueError(f"there are {len(names)} names, not 1 to {_MAX_GRANTS}")
    return tuple(sorted(set(names)))


def read_strategy(text: str) -> str:
    """The name of a strategy: built in, or one that the gateway's program has defined."""
    if text in STRATEGIES:
        return text
    own = registered_names()
    if text in own:
        return text
    known = [*sorted(STRATEGIES), *own]
    more = ", ..." if len(known) > _SHOWN else ""
    message = f"it is not the name of a strategy; known are {', '.join(known[:_SHOWN])}{more}"
    raise OptionValueError(message)


def read_hooks(text: str) -> tuple[str, ...]:
    """The names in `NAME[;NAME...]`, in their order, each once: of hooks that the gateway has."""
    _refuse_switch(text, "a hook")
    names = [name.strip() for name in text.split(";")]
    wrong = next((name for name in names if not _HOOK.fullmatch(name)), None)
    if wrong is not None:
        raise OptionValueError(f"{wrong[:60]!a} is not the name of a hook", text.index(wrong))
    found = tuple(dict.fromkeys(names))
    if len(found) > _MAX_HOOKS:
        raise OptionValueError(f"there are {len(found)} names, more than {_MAX_HOOKS}")
    return found
