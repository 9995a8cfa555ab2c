"""Plaintext comes out of a TLS engine in the pieces that fit a turn, and its end behind it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator

import pytest

from meshlib_adapters.tls.engine import LARGE_READ, SMALL_READ, TLSEngine
from meshlib_adapters.turns import FRAME, WORK, Turn
from tests.support.tls_engines import established


@pytest.fixture
def turn() -> Iterator[Turn]:
    loop = asyncio.new_event_loop()
    yield Turn(loop)
    loop.close()


@pytest.fixture(params=["server", "client"])
def pair(request: pytest.FixtureRequest) -> tuple[TLSEngine, TLSEngine]:
    """One that decrypts, and its peer."""
    server, client = established()
    return (server, client) if request.param == "server" else (client, server)


def passed(peer: TLSEngine, engine: TLSEngine, *pieces: bytes) -> None:
    """Records of `peer`, one for each piece, in the buffer of `engine`."""
    for piece in pieces:
        peer.session.write(piece)
    engine.incoming.write(peer.outgoing.read())


def test_each_record_is_a_piece(pair: tuple[TLSEngine, TLSEngine], turn: Turn) -> None:
    engine, peer = pair
    passed(peer, engine, b"one", b"two")
    assert engine.decrypt(turn, ended=False) == ([b"one", b"two"], None)
    assert turn.left == WORK - 2 * FRAME
    assert engine.decrypt(turn, ended=False) == ([], None)


def test_half_a_record_waits_for_the_rest(pair: tuple[TLSEngine, TLSEngine], turn: Turn) -> None:
    engine, peer = pair
    peer.session.write(b"whole")
    data = peer.outgoing.read()
    engine.incoming.write(data[:10])
    assert engine.decrypt(turn, ended=False) == ([], None)
    engine.incoming.write(data[10:])
    assert engine.decrypt(turn, ended=False) == ([b"whole"], None)


def test_a_turn_has_so_many_records(pair: tuple[TLSEngine, TLSEngine], turn: Turn) -> None:
    engine, peer = pair
    passed(peer, engine, *[b"x"] * 500)
    pieces, end = engine.decrypt(turn, ended=False)
    assert len(pieces) == WORK // FRAME
    assert end is None
    assert engine.decrypt(turn, ended=False) == ([], None), "the turn is over"
    turn.cancel()
    assert engine.decrypt(turn, ended=False) == ([b"x"] * (WORK // FRAME), None)


def test_close_notify_is_the_end(pair: tuple[TLSEngine, TLSEngine], turn: Turn) -> None:
    engine, peer = pair
    peer.session.write(b"last")
    with contextlib.suppress(ssl.SSLWantReadError):
        peer.session.unwrap()
    engine.incoming.write(peer.outgoing.read())
    pieces, end = engine.decrypt(turn, ended=False)
    assert pieces == [b"last"]
    assert isinstance(end, ssl.SSLZeroReturnError)


@pytest.mark.parametrize("rest", [b"", b"half a record", b"\x17\x03\x03\x00\x50half"])
def test_so_is_a_fin_without_one(
    pair: tuple[TLSEngine, TLSEngine], turn: Turn, rest: bytes
) -> None:
    engine, peer = pair
    passed(peer, engine, b"last")
    if rest.startswith(b"\x17"):
        engine.incoming.write(rest)
    pieces, end = engine.decrypt(turn, ended=True)
    assert pieces == [b"last"]
    assert isinstance(end, ssl.SSLZeroReturnError)
    engine.session.write(b"we can still speak")
    assert engine.outgoing.pending


def test_a_broken_record_ends_it_behind_what_was_whole(
    pair: tuple[TLSEngine, TLSEngine], turn: Turn
) -> None:
    engine, peer = pair
    passed(peer, engine, b"whole")
    engine.incoming.write(b"\x17\x03\x03\x00\x20" + bytes(32))
    pieces, end = engine.decrypt(turn, ended=False)
    assert pieces == [b"whole"]
    assert isinstance(end, ssl.SSLError)
    assert not isinstance(end, ssl.SSLZeroReturnError)
    assert engine.outgoing.pending, "the alert"


def test_reads_are_large_while_records_carry_something(
    pair: tuple[TLSEngine, TLSEngine], turn: Turn
) -> None:
    engine, peer = pair
    passed(peer, engine, bytes(64_000))
    engine.decrypt(turn, ended=False)
    assert engine.read_size == LARGE_READ


def test_and_small_while_they_carry_little(pair: tuple[TLSEngine, TLSEngine], turn: Turn) -> None:
    engine, peer = pair
    passed(peer, engine, *[b"x"] * 300)
    while engine.decrypt(turn, ended=False)[0]:
        turn.cancel()
        assert engine.read_size in (SMALL_READ, LARGE_READ)
    passed(peer, engine, *[b"x"] * 300)
    turn.left = 10 * WORK
    engine.decrypt(turn, ended=False)
    assert engine.read_size == SMALL_READ


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="server_hostname"):
        TLSEngine(ssl.create_default_context(), "")


def test_it_says_which_side_it_is(pair: tuple[TLSEngine, TLSEngine]) -> None:
    assert {repr(engine) for engine in pair} == {
        "<TLSEngine server TLSv1.3>",
        "<TLSEngine client TLSv1.3>",
    }


def test_reads_are_small_while_they_have_to_be(
    pair: tuple[TLSEngine, TLSEngine], turn: Turn
) -> None:
    engine, peer = pair
    engine.limit_reads(100)
    assert engine.read_size == 100
    passed(peer, engine, b"x" * 16_000)
    engine.decrypt(turn, ended=False)
    assert engine.read_size == 100
    engine.limit_reads(0)
    passed(peer, engine, b"x" * 16_000)
    engine.decrypt(turn, ended=False)
    assert engine.read_size == LARGE_READ
