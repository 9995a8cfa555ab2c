"""Where h11 or httptools read a message otherwise than we do although we accept it: all of it, as
data, with reasons.

The tests fail at every difference that is not listed here. That they accept what we refuse is no
difference of this kind: such a message goes nowhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from tests.differential.readers import Reading

__all__ = ["DIFFERENCES", "Difference", "explained", "unlike"]

Aspect = Literal["refused", "heads", "body", "end", "trailers"]


@dataclass(frozen=True)
class Difference:
    """`when` is searched for in the message as it came, `says` in the reader's error (for the
    aspect "refused").

    `example` is a message, a request or a response, that shows it.
    """

    reader: Literal["h11", "httptools"]
    aspects: tuple[Aspect, ...]
    when: re.Pattern[bytes]
    reason: str
    rfc: str
    example: bytes
    says: str = ""


# In a chunked body: the line of the last chunk, then a trailer of such a name.
_FRAMING_TRAILER: Final = (
    rb"(?is)\r\n0+[ \t]*(?:;[^\r\n]*)?\r\n(?:[^\r\n]+\r\n)*(?:content-length|transfer-encoding):"
)
_EXTENSION: Final = rb"\r\n[0-9A-Fa-f]+[ \t]*;"
_CHUNKED: Final = rb"(?i)\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n(?s:.*)"

DIFFERENCES: Final = (
    Difference(
        "h11",
        ("refused",),
        re.compile(rb"\A\r\n"),
        (
            "One empty line in front of a request is skipped: some clients send one behind a "
            "body. h11 refuses it."
        ),
        "RFC 9112 2.2",
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        says="no request line received",
    ),
    Difference(
        "h11",
        ("refused",),
        re.compile(_CHUNKED + rb"\r\n[0-9A-Fa-f]+[ \t]+;"),
        (
            "White space before a chunk extension is bad but allowed. The size is the same; "
            "the extension is never sent on."
        ),
        "RFC 9112 7.1.1 (BWS)",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1 ;a=b\r\nx\r\n0\r\n\r\n",
        says="illegal chunk header",
    ),
    Difference(
        "h11",
        ("refused",),
        re.compile(_FRAMING_TRAILER),
        (
            "A trailer that would change the framing is dropped unread, whatever its value. "
            "h11 checks the value first."
        ),
        "RFC 9110 6.5.1",
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
            b"Content-Length: x\r\n\r\n"
        ),
    ),
    Difference(
        "httptools",
        ("refused",),
        re.compile(
            rb"\A(?:\r\n)?(?!(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH|ACL|BIND|CHECKOUT|COPY|DESCRIBE|LINK|LOCK|MERGE"
            rb"|MKACTIVITY|MKCALENDAR|MKCOL|MOVE|M-SEARCH|NOTIFY|PAUSE|PLAY|PRI|PROPFIND|PROPPATCH|PURGE|QUERY|REBIND|REPORT|SEARCH"
            rb"|SOURCE|SUBSCRIBE|UNBIND|UNLINK|UNLOCK|UNSUBSCRIBE|ANNOUNCE|FLUSH|GET_PARAMETER|RECORD|REDIRECT|SETUP|SET_PARAMETER"
            rb"|TEARDOWN) )"
        ),
        "A method is any token. httptools knows a list of them.",
        "RFC 9110 9.1",
        b"WALK / HTTP/1.1\r\nHost: a\r\n\r\n",
        says="method",
    ),
    Difference(
        "httptools",
        ("body", "end"),
        re.compile(rb"(?is)(?=.*\nupgrade:)(?=.*\nconnection:[^\r\n]*upgrade)"),
        (
            "The body of a request that asks for an upgrade comes before the other protocol. "
            "httptools stops at the head."
        ),
        "RFC 9110 7.8",
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n"
            b"Content-Length: 2\r\n\r\nhi"
        ),
    ),
    Difference(
        "httptools",
        ("refused",),
        re.compile(_CHUNKED + _EXTENSION),
        (
            "Of a chunk extension only its end matters, for it is never sent on. "
            "httptools checks its grammar."
        ),
        "RFC 9112 7.1.1",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a b\r\nx\r\n0\r\n\r\n",
        says="in chunk",
    ),
    Difference(
        "httptools",
        ("refused",),
        re.compile(_CHUNKED + rb"\r\n[0-9A-Fa-f]+[ \t]+\r\n"),
        (
            "A size in a response may be filled up with blanks, as old servers do. nginx, HAProxy "
            "and h11 take it, and read the same size."
        ),
        "RFC 9112 7.1.1 (BWS)",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1  \r\nx\r\n0\r\n\r\n",
        says="chunk size",
    ),
    Difference(
        "httptools",
        ("refused",),
        re.compile(_FRAMING_TRAILER),
        "A trailer that would change the framing is dropped. httptools refuses the message.",
        "RFC 9110 6.5.1",
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
            b"Content-Length: 5\r\n\r\n"
        ),
        says="Transfer-Encoding",
    ),
    Difference(
        "httptools",
        ("refused", "body", "end"),
        re.compile(rb"(?i)\ntransfer-encoding:[ \t]*chunked[ ]*\t"),
        (
            "A tab behind a value is white space like any other. "
            "httptools takes it for a part of the coding's name. We write the line anew."
        ),
        "RFC 9110 5.5",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\t\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    ),
    Difference(
        "httptools",
        ("refused",),
        re.compile(rb"(?is)\AHTTP/1\.(?:0 1|1 1.*\n(?:connection:[^\r\n]*close|HTTP/1\.0 1))"),
        (
            "After an interim response comes the final one, whatever the former says of the "
            "connection. httptools counts each as a message."
        ),
        "RFC 9110 15.2",
        b"HTTP/1.0 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        says="Data after",
    ),
)


def unlike(us: Reading, them: Reading) -> list[Aspect]:
    """In what two readings of a message that we accept (its head, at least) are unlike."""
    if us.end < 0:
        # Cut off or refused in its body: what went on before that must be the same as far as both
        # got.
        known = min(len(us.body), len(them.body))
        found: list[Aspect] = (
            []
            if us.heads == them.heads[: len(us.heads)]
            else ["refused" if them.refused else "heads"]
        )
        return found if us.body[:known] == them.body[:known] else [*found, "body"]
    if them.refused:
        return ["refused"]
    found = [] if us.heads == them.heads else ["heads"]
    if us.body != them.body:
        found.append("body")
    if us.end != them.end:
        found.append("end")
    return found


def explained(reader: str, aspect: Aspect, data: bytes, refused: str) -> Difference | None:
    """The listed difference that this one is, if any."""
    for known in DIFFERENCES:
        if (
            known.reader == reader
            and aspect in known.aspects
            and known.when.search(data)
            and known.says in refused
        ):
            return known
    return None
