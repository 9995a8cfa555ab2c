from __future__ import annotations

import dataclasses

import pytest

from meshlib.messages import ClientHello, FieldSection, RequestHead, ResponseHead


def section(block: bytes, *names: bytes) -> FieldSection:
    return FieldSection(block, names, None, None, False, frozenset(), None, False)


FIELDS = section(
    b"Host: a\r\nX-A: 1\r\nx-a:\t2 , 3 \r\nEmpty:\r\nTime: 12:30\r\n",
    b"host",
    b"x-a",
    b"x-a",
    b"empty",
    b"time",
)


def test_pairs_keep_order_and_the_names_as_sent() -> None:
    assert FIELDS.pairs() == [
        (b"Host", b"a"),
        (b"X-A", b"1"),
        (b"x-a", b"2 , 3"),
        (b"Empty", b""),
        (b"Time", b"12:30"),
    ]


def test_an_empty_section_has_no_fields() -> None:
    assert section(b"").pairs() == []
    assert section(b"").get_all(b"host") == []


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (b"x-a", [b"1", b"2 , 3"]),
        (b"host", [b"a"]),
        (b"empty", [b""]),
        (b"absent", []),
        (b"X-A", []),
    ],
)
def test_all_values_of_a_name_are_found(name: bytes, values: list[bytes]) -> None:
    assert FIELDS.get_all(name) == values


def test_heads_are_compared_by_value() -> None:
    assert RequestHead(b"GET", b"/", b"a", 1, FIELDS) == RequestHead(b"GET", b"/", b"a", 1, FIELDS)
    assert ResponseHead(200, b"", 1, FIELDS) != ResponseHead(204, b"", 1, FIELDS)


def test_a_client_hello_may_say_nothing_and_cannot_change() -> None:
    hello = ClientHello()
    assert (hello.server_name, hello.alpn_protocols) == (None, ())
    assert hello == ClientHello(None, ())
    with pytest.raises(dataclasses.FrozenInstanceError):
        hello.server_name = "a"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("hello", "grease"),
    [
        (ClientHello(), False),
        (ClientHello(cipher_suites=(0x1301, 0x2A2A)), True),
        (ClientHello(extensions=(0xFAFA,)), True),
        (ClientHello(groups=(0x0A0A,)), True),
        (ClientHello(versions=(0x1A1A, 0x0304)), True),
        (ClientHello(cipher_suites=(0x1A2A,)), False),
        (ClientHello(cipher_suites=(0x1B1B,)), False),
    ],
)
def test_grease_is_seen_wherever_it_is(hello: ClientHello, grease: bool) -> None:
    assert hello.grease is grease


@pytest.mark.parametrize(
    ("groups", "post_quantum"),
    [((), False), ((0x001D, 0x0017), False), ((0x11EC, 0x001D), True), ((0x6399,), True)],
)
def test_a_post_quantum_group_is_seen(groups: tuple[int, ...], post_quantum: bool) -> None:
    assert ClientHello(groups=groups).post_quantum is post_quantum


@pytest.mark.parametrize(
    ("name", "values"), [(b"host", [b"a"]), (b"x", [b"1", b"2"]), (b"missing", [])]
)
def test_the_first_value_of_a_name_is_found(name: bytes, values: list[bytes]) -> None:
    section = FieldSection(
        b"X: 1\r\nHost:a\r\nx:  2\t\r\n",
        (b"x", b"host", b"x"),
        b"a",
        None,
        False,
        frozenset(),
        None,
        False,
    )
    assert section.get_all(name) == values
    assert section.first(name) == (values[0] if values else None)


def test_lines_are_the_block() -> None:
    fields = FieldSection(
        b"Host: a\r\nX: 1\r\n", (b"host", b"x"), b"a", None, False, frozenset(), None, False
    )
    assert fields.lines() == fields.block == b"Host: a\r\nX: 1\r\n"
