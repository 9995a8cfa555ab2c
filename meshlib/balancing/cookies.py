"""Cookies as far as stickiness reads them: the values in a request, and the value that a response
sets or removes (RFC 6265).
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from typing import Final

__all__ = ["MAX_VALUES", "cookie_values", "set_cookie_value"]

# Values of one name that are read from one request. Browsers keep at most some 180 cookies of a
# domain, whatever their names.
MAX_VALUES: Final = 256

_MAX_AGE = re.compile(rb"-?[0-9]+")
# RFC 6265 5.1.1: a date is cut at these, and each piece is the first of time, day, month and year
# that it can be.
_DATE_PIECES = re.compile(rb"[^\x09\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_TIME = re.compile(rb"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?![0-9])")
_DAY = re.compile(rb"([0-9]{1,2})(?![0-9])")
_YEAR = re.compile(rb"([0-9]{2,4})(?![0-9])")
_MONTHS: Final = (
    b"jan",
    b"feb",
    b"mar",
    b"apr",
    b"may",
    b"jun",
    b"jul",
    b"aug",
    b"sep",
    b"oct",
    b"nov",
    b"dec",
)
# Longer texts are not dates, and only the first pieces of a date count.
_LONGEST_DATE: Final = 100


def cookie_values(fields: Iterable[bytes], name: bytes) -> tuple[bytes, ...]:
    """The values of the cookie `name` in Cookie field values (RFC 6265 4.2), in order, each once;
    empty ones are left out.

    A client sends several when paths or domains differ (RFC 6265 5.4), and the one that the
    application means is not known here. Of more than `MAX_VALUES` the first count.
    """
    found: dict[bytes, None] = {}
    for value in fields:
        if name not in value:
            continue
        for pair in value.split(b";"):
            key, equals, content = pair.partition(b"=")
            if equals and key.strip(b" \t") == name:
                text = _unquoted(content.strip(b" \t"))
                if text and len(found) < MAX_VALUES:
                    found[text] = None
    return tuple(found)


def set_cookie_value(fields: Iterable[bytes], name: bytes, now: float) -> bytes | None:
    """The value that Set-Cookie field values give the cookie `name` (RFC 6265 4.1); None when they
    do not name it.

    b"" means that it is removed: an empty value, a Max-Age of zero or less, or an Expires before
    `now` (seconds since the epoch; a Max-Age has precedence over an Expires, RFC 6265 5.3). Of
    several the last that gives a value counts: applications remove a cookie from an old path beside
    the one that they set. Other attributes and prefixes of names do not concern the session.
    """
    found: bytes | None = None
    for value in fields:
        pair, _, attributes = value.partition(b";")
        key, equals, content = pair.partition(b"=")
        if not equals or key.strip(b" \t") != name:
            continue
        text = _unquoted(content.strip(b" \t"))
        if text and not _is_over(attributes, now):
            found = text
        elif found is None:
            found = b""
    return found


def _is_over(attributes: bytes, now: float) -> bool:
    max_age: bytes | None = None
    expires: float | None = None
    for attribute in attributes.split(b";"):
        key, _, value = attribute.partition(b"=")
        key, value = key.strip(b" \t").lower(), value.strip(b" \t")
        if key == b"max-age" and _MAX_AGE.fullmatch(value):
            max_age = value
        elif key == b"expires" and (date := _date(value)) is not None:
            expires = date
    if max_age is not None:
        return max_age.startswith(b"-") or not max_age.strip(b"0")
    return expires is not None and expires <= now


def _date(text: bytes) -> float | None:
    """Seconds since the epoch by the rules of RFC 6265 5.1.1; None for text that is not a date."""
    time: tuple[int, int, int] | None = None
    day = month = year = None
    for piece in _DATE_PIECES.findall(text[:_LONGEST_DATE]):
        if time is None and (match := _TIME.match(piece)):
            time = (int(match[1]), int(match[2]), int(match[3]))
        elif day is None and (match := _DAY.match(piece)):
            day = int(match[1])
        elif month is None and piece[:3].lower() in _MONTHS:
            month = _MONTHS.index(piece[:3].lower()) + 1
        elif year is None and (match := _YEAR.match(piece)):
            year = int(match[1])
    if time is None or day is None or month is None or year is None:
        return None
    if year < 100:
        year += 1900 if year >= 70 else 2000
    try:
        return datetime.datetime(year, month, day, *time, tzinfo=datetime.UTC).timestamp()
    except ValueError:
        return None


def _unquoted(value: bytes) -> bytes:
    return value[1:-1] if len(value) >= 2 and value[:1] == value[-1:] == b'"' else value
