"""Bounds of names, texts and weights that services choose."""

from __future__ import annotations

import hashlib
from typing import Final

from meshlib.errors import ConfigurationError

__all__ = ["MAX_NAME", "MAX_TEXT", "MAX_WEIGHT", "bounded_name", "bounded_text"]

# Characters of a name: "http://", a host (253) and a path as people write them, or a service with
# port and protocol.
MAX_NAME: Final = 500
# Characters of a diagnostic's message, and of its hint: ten routes written anew are in one.
MAX_TEXT: Final = 2000
# The weight of an endpoint. Proportions finer than one in a thousand cannot be seen, and weights
# are added up with each request.
MAX_WEIGHT: Final = 1000

_DIGEST_BYTES: Final = 8


def bounded_name(text: str, limit: int = MAX_NAME) -> str:
    """`text` as a name that can be kept and sent: itself, when it has at most `limit` characters
    and UTF-8 can write it.

    Else how it begins, three dots and a digest of the whole, `limit` characters at most (at least
    20): texts that differ keep names that differ, and one text always has one name. Lone surrogates
    become question marks.
    """
    if not isinstance(text, str):
        message = f"{text!a} ({type(text).__name__}) is not a name"
        raise ConfigurationError(message, hint="write a text")
    if len(text) <= limit and _is_writable(text):
        return text
    digest = hashlib.blake2b(
        text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES
    ).hexdigest()
    return f"{_writable(text[: limit - len(digest) - 3])}...{digest}"


def bounded_text(text: str, limit: int = MAX_TEXT) -> str:
    """`text` for people: cut behind `limit` characters, with three dots for the rest; lone
    surrogates become question marks.
    """
    if len(text) > limit:
        text = text[: limit - 3] + "..."
    return text if _is_writable(text) else _writable(text)


def _is_writable(text: str) -> bool:
    # JSON and YAML can name a surrogate without its other half; it is a character to Python, and to
    # no encoder.
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _writable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
