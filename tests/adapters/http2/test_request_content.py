"""The content of a request: counted, checked against its head, and sent on once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshlib.errors import LimitExceeded
from meshlib.http2.sections import MalformedRequest, pair_section
from meshlib.messages import RequestHead
from meshlib_adapters.http2.request_content import RequestContent
from meshlib_adapters.proxy.exchange import Exchange


class ListExchange:
    """Lists what is sent on; bodies may have ten bytes."""

    def __init__(self, *, forwarded: bool = True) -> None:
        self.sent: list[tuple[bytes, bool]] = []
        self.decision = object() if forwarded else None
        self.responding = False
        fields = pair_section([(b"host", b"a"), (b"trailer", b"x-sum")])
        self.head = RequestHead(b"PUT", b"/", b"a", 2, fields)
        self.request = self
        self.message = SimpleNamespace(trailers=())

    def send(self, data: bytes, *, done: bool) -> None:
        self.sent.append((data, done))

    def check_body(self, size: int) -> None:
        if size > 10:
            raise LimitExceeded("size of the body", 10, reason="body_too_large", status_hint=413)


def content_of(exchange: Any, length: int | None = None) -> RequestContent:
    content = RequestContent(cast("Exchange", exchange))
    content.left = length
    return content


def test_content_of_a_known_length() -> None:
    exchange = ListExchange()
    content = content_of(exchange, 5)
    assert content.pending
    content.receive(b"abc", ended=False, wanted=True)
    content.receive(b"", ended=False, wanted=True)
    content.receive(b"de", ended=False, wanted=True)
    assert not content.pending
    content.receive(b"", ended=True, wanted=True)
    assert exchange.sent == [(b"abc", False), (b"de", True)]


def test_content_of_an_unknown_length() -> None:
    exchange = ListExchange()
    content = content_of(exchange)
    content.receive(b"abc", ended=False, wanted=True)
    content.receive(b"", ended=False, wanted=True)
    assert repr(content) == "<RequestContent open received=3 left=None>"
    content.receive(b"", ended=True, wanted=True)
    assert exchange.sent == [(b"abc", False), (b"", True)]


@pytest.mark.parametrize(
    "parts", [[(b"abcd", False)], [(b"ab", True)], [(b"ab", False), (b"", True)]]
)
def test_content_that_is_not_as_long_as_its_head_says(parts: list[tuple[bytes, bool]]) -> None:
    content = content_of(ListExchange(), 3)
    with pytest.raises(MalformedRequest) as caught:
        for data, ended in parts:
            content.receive(data, ended=ended, wanted=True)
    assert caught.value.reason == "bad_body_length"


def test_content_that_is_too_large() -> None:
    exchange = ListExchange()
    content = content_of(exchange)
    content.receive(b"x" * 10, ended=False, wanted=True)
    with pytest.raises(LimitExceeded):
        content.receive(b"x", ended=False, wanted=True)
    assert exchange.sent == [(b"x" * 10, False)]


def test_what_nobody_wants_is_not_sent_on() -> None:
    exchange, refused = ListExchange(), ListExchange(forwarded=False)
    content_of(exchange).receive(b"x" * 99, ended=True, wanted=False)
    content_of(refused).receive(b"x", ended=True, wanted=True)
    content_of(exchange).receive_trailers([(b"x-sum", b"1")], 10, wanted=False)
    assert exchange.sent == refused.sent == []


def test_trailers_go_on_behind_content_of_an_unknown_length() -> None:
    exchange = ListExchange()
    content_of(exchange).receive_trailers([(b"x-sum", b"1"), (b"x-user", b"me")], 10, wanted=True)
    assert (exchange.message.trailers, exchange.sent) == ([(b"x-sum", b"1")], [(b"", True)])
    known = ListExchange()
    content_of(known, 0).receive_trailers([(b"x-sum", b"1")], 10, wanted=True)
    assert (known.message.trailers, known.sent) == ((), [])
    for length, pairs in ((3, []), (None, [(b":x", b"1")]), (None, [(b"x", b"1")] * 11)):
        with pytest.raises(MalformedRequest):
            content_of(ListExchange(), length).receive_trailers(pairs, 10, wanted=True)


def test_credit_is_given_once() -> None:
    content = content_of(ListExchange())
    content.credit += 3
    content.credit += 4
    assert [content.take_credit(), content.take_credit()] == [7, 0]


def test_the_pace_of_what_comes() -> None:
    def looks(content: RequestContent, **changes: bool) -> bool:
        given = {"waiting": False, **changes}
        return any(content.too_slow(float(now), 100.0, 1.0, **given) for now in range(1, 60))

    slow = content_of(ListExchange())
    assert not looks(slow)  # nothing has come: it has time-outs of its own
    slow.receive(b"x", ended=False, wanted=True)
    assert not looks(slow, waiting=True)
    assert looks(slow)
    slow.rest()
    assert not slow.too_slow(100.0, 100.0, 1.0, waiting=False)
    slow.receive(b"", ended=True, wanted=True)
    assert not looks(slow)
