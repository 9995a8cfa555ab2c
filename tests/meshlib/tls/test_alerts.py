"""The seven bytes of an alert, read by a real TLS client."""

from __future__ import annotations

import ssl

import pytest

from meshlib.tls import alert_record
from meshlib.tls.alerts import INTERNAL_ERROR, UNRECOGNIZED_NAME


@pytest.mark.parametrize(
    ("alert", "text"),
    [(UNRECOGNIZED_NAME, "unrecognized name"), (INTERNAL_ERROR, "internal error")],
)
def test_a_client_understands_it(alert: int, text: str) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="a.example")
    incoming.write(alert_record(alert))
    with pytest.raises(ssl.SSLError, match=text):
        client.do_handshake()


def test_numbers_that_are_no_byte() -> None:
    with pytest.raises(ValueError, match="range"):
        alert_record(256)
