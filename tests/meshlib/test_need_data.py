from __future__ import annotations

from collections.abc import Callable

import pytest

from meshlib.http1 import HeadBuffer
from meshlib.need_data import NEED_DATA, NeedData
from meshlib.proxy_protocol import ProxyProtocolReader
from meshlib.tls import ClientHelloSniffer


@pytest.mark.parametrize(
    ("reader", "begun"),
    [
        (lambda: HeadBuffer(100).receive_data, b"GET / HT"),
        (lambda: ProxyProtocolReader().receive_data, b"PROXY TC"),
        (lambda: ClientHelloSniffer().receive_data, b"\x16\x03\x01"),
    ],
)
def test_every_reader_says_the_same_of_a_part_that_has_only_begun(
    reader: Callable[[], Callable[[bytes], object]], begun: bytes
) -> None:
    found = reader()(begun)
    assert found is NEED_DATA
    assert isinstance(found, NeedData)
