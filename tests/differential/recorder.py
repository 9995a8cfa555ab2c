"""A gateway in front of a backend that records every request, as h11 reads it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import h11

from tests.differential.readers import Head, Reading, plain, request_start
from tests.support.backend import Backend, Lost, Peer
from tests.support.running import RunningGateway, quick, snapshot_of

__all__ = ["Recorder", "recording"]

# No body after it, whatever the method was: so the responses on a connection can be counted.
_NO_CONTENT: Final = b"HTTP/1.1 204 No Content\r\n\r\n"


class Recorder:
    """A script for backends: responds with 204 and keeps every request, read by h11, and those that
    were cut off apart.
    """

    def __init__(self) -> None:
        self.complete: list[Reading] = []
        self.cut: list[Reading] = []

    def __call__(self, peer: Peer) -> None:
        connection = h11.Connection(h11.SERVER)
        reading = Reading()
        try:
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    data = peer.more()
                    if not data:
                        raise Lost
                    connection.receive_data(data)
                elif isinstance(event, h11.Request):
                    fields = plain(event.headers.raw_items())
                    reading.heads.append(
                        Head(
                            request_start(event.method, event.target, event.http_version, fields),
                            fields,
                        )
                    )
                elif isinstance(event, h11.Data):
                    reading.body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    reading.trailers = plain(event.headers.raw_items())
                    self.complete.append(reading)
                    reading = Reading()
                    connection.send(h11.Response(status_code=204, headers=[]))
                    connection.send(h11.EndOfMessage())
                    peer.send(_NO_CONTENT)
                    connection.start_next_cycle()
        except h11.RemoteProtocolError as error:
            raise AssertionError(
                f"the gateway sent what h11 refuses: {error}: {bytes(peer.raw)!r}"
            ) from error
        finally:
            if reading.heads:
                self.cut.append(reading)


@contextmanager
def recording() -> Iterator[tuple[RunningGateway, Recorder]]:
    recorder = Recorder()
    backend = Backend(recorder)
    site = RunningGateway(snapshot_of({"": [backend]}), quick())
    try:
        yield site, recorder
    finally:
        site.stop()
        backend.stop()
