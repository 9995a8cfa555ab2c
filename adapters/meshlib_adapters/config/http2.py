"""Limits of HTTP/2 connections that have no counterpart in HTTP/1; all others are those of
`HTTPSettings`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from meshlib.errors import ConfigurationError
from meshlib_adapters.config.declaration import setting
from meshlib_adapters.config.readers import read_integer

__all__ = ["HTTP2Settings"]


@dataclass(frozen=True, slots=True)
class HTTP2Settings:
    """The section `http2`. Sizes in bytes, rates per second. Raises `ConfigurationError`, naming
    the field, for values that make no sense.
    """

    # Requests of one connection under way at a time (nginx: 128, Apache: 100; RFC 9113 5.1.2
    # advises 100 at least).
    max_streams: int = setting(
        100, read_integer(1, 10**5), "concurrent requests of one HTTP/2 connection"
    )
    # What a client may send of one request body, and of all those of its connection, before an
    # upstream has taken it. The second is what the bodies of one connection can cost in memory,
    # behind what waits in the sockets of upstreams.
    stream_window: int = setting(
        256 * 1024,
        read_integer(65535, 2**31 - 1),
        "bytes of one request's body that may be in flight",
    )
    connection_window: int = setting(
        1024 * 1024, read_integer(65535, 2**31 - 1), "the same for all requests of a connection"
    )
    # Requests that the client takes back, or that we refuse as malformed: so many at once, and so
    # many a second in the long run (CVE-2023-44487; nghttp2: 1000 and 33).
    resets: int = setting(
        400,
        read_integer(1, 10**6),
        "requests that a client may cancel or send malformed, in a burst",
    )
    resets_per_second: int = setting(40, read_integer(1, 10**6), "... and per second after that")
    # Frames that bring nothing forward (PING, SETTINGS, PRIORITY, empty DATA, WINDOW_UPDATE beyond
    # what was sent, unknown ones, all that is on closed streams): so many at once, and so many a
    # second in the long run (CVE-2019-9511 to 9518). Each request and each frame of a response
    # earns some more. Endpoints have the same.
    idle_frames: int = setting(
        2000,
        read_integer(1, 10**6),
        "frames without progress (PING, SETTINGS, ...), in a burst",
    )
    idle_frames_per_second: int = setting(
        100, read_integer(1, 10**6), "... and per second after that"
    )
    # DATA frames with less in them than their own head is long, and more to come: the smallest
    # message of gRPC has five bytes.
    small_frames: int = setting(
        20_000,
        read_integer(1, 10**9),
        "DATA frames of less than nine bytes, in a burst",
    )
    small_frames_per_second: int = setting(
        2000, read_integer(1, 10**9), "... and per second after that"
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            if getattr(self, item.name) < 1:
                raise ConfigurationError(
                    f"{getattr(self, item.name)!r} is too small",
                    where=item.name,
                    hint="write a positive number",
                )
        if not self.stream_window <= self.connection_window < 2**31:
            raise ConfigurationError(
                "it is smaller than stream_window, or 2 GiB",
                where="connection_window",
                hint="write a larger number",
            )
        if self.stream_window < 65535:
            raise ConfigurationError(
                "clients begin with 65535", where="stream_window", hint="write 65535 or more"
            )
