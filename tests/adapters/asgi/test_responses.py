"""Responses as messages of ASGI."""

from __future__ import annotations

import pytest

from meshlib.http1 import parse_response_head
from meshlib_adapters.asgi.responses import fields_of
from meshlib_adapters.upstream.messages import ForwardResponse


@pytest.mark.parametrize("status", [200, 304])
def test_middleware_may_change_what_it_is_sent(status: int) -> None:
    """Equal responses of an endpoint share one head: what is changed is the message's alone."""
    head = b"HTTP/1.1 %d X\r\nContent-Length: 9\r\nX-One: 1\r\n\r\n" % status
    response = ForwardResponse.of_http1(parse_response_head(head))
    first = fields_of(response)
    first.append((b"set-cookie", b"somebody=else"))
    first.remove((b"x-one", b"1"))
    assert (b"x-one", b"1") in fields_of(response)
    assert (b"set-cookie", b"somebody=else") not in fields_of(response)
    assert ((b"content-length", b"9") in fields_of(response)) is (status == 200)
