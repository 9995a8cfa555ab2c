from __future__ import annotations

import ipaddress
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.authority import (
    Authority,
    client_network,
    host_of,
    is_ip_address,
    normalize_host,
    parse_authority,
    parse_port,
)
from meshlib.errors import AuthorityError

LONGEST = ".".join(["a" * 49] * 5) + ".abc"  # 253 characters


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("example.com", "example.com", None),
        ("Example.COM", "example.com", None),
        ("example.com.", "example.com", None),
        ("example.com:8080", "example.com", 8080),
        ("example.com.:8080", "example.com", 8080),
        ("example.com:", "example.com", None),
        ("a:1", "a", 1),
        ("a:65535", "a", 65535),
        ("a:00080", "a", 80),
        ("my_service", "my_service", None),
        ("tasks.my_service", "tasks.my_service", None),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
        ("b\u00fccher.example", "xn--bcher-kva.example", None),
        ("B\u00dcCHER.example:80", "xn--bcher-kva.example", 80),
        ("a\u3002b", "a.b", None),
        ("10.0.0.1", "10.0.0.1", None),
        ("10.0.0.1.:80", "10.0.0.1", 80),
        ("[::1]", "::1", None),
        ("[::1]:80", "::1", 80),
        ("[::1]:", "::1", None),
        ("[2001:DB8:0:0:0:0:0:1]", "2001:db8::1", None),
        ("1a.2b", "1a.2b", None),
        ("a" * 63, "a" * 63, None),
        (LONGEST, LONGEST, None),
        (LONGEST + ".", LONGEST, None),
    ],
)
def test_an_authority_is_read_in_normal_form(text: str, host: str, port: int | None) -> None:
    assert parse_authority(text) == Authority(host, port)


@pytest.mark.parametrize(
    ("text", "reason", "position"),
    [
        ("", "empty_host", 0),
        (".", "empty_host", 0),
        (":80", "empty_host", 0),
        ("a b", "bad_host", 1),
        (" a", "bad_host", 0),
        ("a\t", "bad_host", 1),
        ("a\r\nX: y", "bad_host", 1),
        ("a\x00", "bad_host", 1),
        ("a\x7f", "bad_host", 1),
        ("joe@a", "bad_host", 3),
        ("joe:secret@a:80", "bad_host", 10),
        ("a/b", "bad_host", 1),
        ("a?b", "bad_host", 1),
        ("a#b", "bad_host", 1),
        ("a\\b", "bad_host", 1),
        ("a%2e", "bad_host", 1),
        ("*.a", "bad_host", 0),
        ("a,b", "bad_host", 1),
        ("a..b", "bad_host", 2),
        (".a", "bad_host", 0),
        ("a..", "bad_host", 2),
        ("-a", "bad_host", 0),
        ("b.a-", "bad_host", 2),
        ("a" * 64, "bad_host", 0),
        (LONGEST + "d", "bad_host", 253),
        (LONGEST + "de", "bad_host", 253),
        ("a\ud800", "bad_host", 0),
        ("\uff0f", "bad_host", 0),
        ("\u00e9" * 70, "bad_host", 0),
        ("1.2.3.400", "bad_ipv4", 0),
        ("1.2.3", "bad_ipv4", 0),
        ("01.2.3.4", "bad_ipv4", 0),
        ("a.80", "bad_ipv4", 0),
        ("a:80:81", "bad_host", 2),
        ("::1", "bad_host", 1),
        ("[::1", "bad_ipv6", 0),
        ("[]", "bad_ipv6", 0),
        ("[::g]", "bad_ipv6", 0),
        ("[fe80::1%25eth0]", "bad_ipv6", 0),
        ("[1.2.3.4]", "bad_ipv6", 0),
        ("[::1]80", "bad_host", 5),
        ("[::1]:x", "bad_port", 6),
        ("a:0", "bad_port", 2),
        ("a:65536", "bad_port", 2),
        ("a:123456", "bad_port", 2),
        ("a:+1", "bad_port", 2),
        ("a:1_0", "bad_port", 2),
        ("a: 1", "bad_port", 2),
        ("a:\u0661", "bad_port", 2),
    ],
)
def test_what_is_none(text: str, reason: str, position: int) -> None:
    with pytest.raises(AuthorityError) as raised:
        parse_authority(text)
    assert (raised.value.reason, raised.value.position, raised.value.status_hint) == (
        reason,
        position,
        400,
    )


@pytest.mark.parametrize(
    ("text", "port"),
    [("a", 443), ("a:", 443), ("a:80", 80), ("[::1]", 443), ("[::1]:", 443), ("[::1]:80", 80)],
)
def test_the_default_port_is_used_when_the_text_has_none(text: str, port: int) -> None:
    assert parse_authority(text, default_port=443).port == port


@pytest.mark.parametrize(
    ("raw", "host"),
    [(b"", ""), (b"SHOP.example.com.:80", "shop.example.com"), (b"[2001:DB8::1]", "2001:db8::1")],
)
def test_the_host_of_a_raw_authority(raw: bytes, host: str) -> None:
    assert host_of(raw) == host


@pytest.mark.parametrize(("raw", "position"), [(b"a\xe9", 1), (b"a b", 1)])
def test_a_raw_authority_that_names_no_host(raw: bytes, position: int) -> None:
    with pytest.raises(AuthorityError) as caught:
        host_of(raw)
    assert caught.value.position == position


def test_a_port_is_a_number_up_to_65535() -> None:
    assert (parse_port("1"), parse_port("65535")) == (1, 65535)
    with pytest.raises(AuthorityError) as raised:
        parse_port("", position=7)
    assert (raised.value.reason, raised.value.position) == ("bad_port", 7)


@pytest.mark.parametrize(
    ("host", "address"),
    [("10.0.0.1", True), ("::1", True), ("a", False), ("a1", False), ("1a.b", False), ("", False)],
)
def test_is_ip_address(host: str, address: bool) -> None:
    assert is_ip_address(host) is address


def test_an_ipv6_address_needs_no_brackets_where_no_port_can_follow() -> None:
    assert normalize_host("2001:DB8::1") == "2001:db8::1"


@pytest.mark.parametrize("text", ["a", "a:80", "[::1]", "[::1]:80", "10.0.0.1:1"])
def test_an_authority_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_authority(text)) == text


def attempt(text: str) -> Authority | AuthorityError:
    """Any other exception is a bug and fails the test."""
    try:
        return parse_authority(text)
    except AuthorityError as error:
        return error


def check(text: str) -> None:
    result = attempt(text)
    if isinstance(result, AuthorityError):
        assert 0 <= result.position <= len(text)
        assert str(result).isprintable()
        return
    assert parse_authority(str(result)) == result
    assert normalize_host(result.host) == result.host
    assert result.host == result.host.lower()
    assert result.host.isascii()
    assert 0 < len(result.host) <= 253
    assert result.port is None or 1 <= result.port <= 65535


label = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=8)
hosts = (
    st.lists(label, min_size=1, max_size=4).map(".".join)
    | st.ip_addresses(v=4).map(str)
    | st.ip_addresses(v=6).map("[{}]".format)
)
authorities = st.builds(
    "{}{}{}".format,
    hosts,
    st.sampled_from(["", "."]),
    st.just("") | st.integers(-1, 70000).map(":{}".format),
)
odd = st.sampled_from(
    [
        "\u00df",
        "\u3002",
        "\uff0e",
        "\u0130",
        "\uff11",
        "\u200d",
        "\ud800",
        "xn--",
        "%",
        "@",
        "[",
        "]",
        ":",
        ".",
    ]
)


@given(st.text() | authorities | st.lists(odd | label, max_size=8).map("".join))
def test_one_normal_form_or_one_kind_of_error(text: str) -> None:
    check(text)


@given(authorities, st.data())
def test_cut_and_corrupted(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    check(text[:at])
    check(text[at:])
    check(text[:at] + data.draw(st.characters()) + text[at + 1 :])


@given(authorities)
def test_case_does_not_matter(text: str) -> None:
    lower, upper = attempt(text.lower()), attempt(text.upper())
    assert lower == upper or (
        isinstance(lower, AuthorityError) and isinstance(upper, AuthorityError)
    )


@pytest.mark.parametrize(
    "piece", ["a", "a.", ".", ":", "[", "]", "1", "\u00e9", "\u00e9.", "@", "0:"]
)
def test_a_long_text_is_refused_before_anything_costly_looks_at_it(piece: str) -> None:
    assert isinstance(attempt(piece * 1_000_000), AuthorityError)


@pytest.mark.parametrize(
    ("text", "said", "position"),
    [
        ("a.\u4e00" + "\u4e01" * 63, "a label of a host name has at most 63 characters", 2),
        ("a." + "a" * 63 + "\u00e9", "a label of a host name has at most 63 characters", 2),
        (
            "b\u3002\ufdfa\ufdfa\ufdfa\ufdfa.c",
            "a label of a host name has at most 63 characters",
            2,
        ),
        (".".join(["\ufdfa\ufdfa\ufdfa"] * 5), "a host name has at most 253 characters", 0),
    ],
)
def test_what_idna_would_make_too_long_is_refused_before_it_begins(
    text: str, said: str, position: int
) -> None:
    with pytest.raises(AuthorityError, match=said) as caught:
        normalize_host(text)
    assert (caught.value.reason, caught.value.position) == ("bad_host", position)


def test_letters_in_pieces_count_as_they_are_put_together() -> None:
    jamo = "\u1112\u1161\u11ab" * 30  # 90 characters, 30 syllables
    assert normalize_host(f"{jamo}.example") == normalize_host("\ud55c" * 30 + ".example")
    four = "\u00e9.".join(["a" * 50] * 4)
    assert normalize_host(four + ".").count(".") == 3


@given(
    st.lists(
        st.text(
            st.characters(exclude_categories=["Cs", "Cf", "Cc", "Mn"]), min_size=1, max_size=20
        ),
        min_size=1,
        max_size=14,
    )
)
def test_nothing_that_idna_could_make_short_enough_is_refused_for_its_length(
    labels: list[str],
) -> None:
    text = ".".join(labels)
    try:
        short = len(text.encode("idna")) <= 253
    except UnicodeError:
        short = False
    if short:
        said = str(attempt(text))
        assert "at most" not in said


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::FFFF:a00:1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:DB8:0:0:ffff::2", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("/run/socket", ""),
        ("not:an:address", ""),
        ("unknown", ""),
    ],
)
def test_what_makes_a_client(address: str, network: str) -> None:
    assert client_network(address) == network


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_a_network_of_ipv6_is_one_client_however_it_is_written(
    address: ipaddress.IPv6Address, other: int
) -> None:
    neighbour = ipaddress.IPv6Address(int(address) >> 64 << 64 | other)
    if address.ipv4_mapped is None and neighbour.ipv4_mapped is None:
        assert (
            client_network(str(address))
            == client_network(neighbour.exploded)
            == client_network(f"{address}%eth0")
        )
    apart = ipaddress.IPv6Address(int(address) ^ 1 << 64)
    assert client_network(str(address)) != client_network(str(apart))


@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_each_address_of_ipv4_is_one_client(
    one: ipaddress.IPv4Address, other: ipaddress.IPv4Address
) -> None:
    assert client_network(f"::ffff:{one}") == client_network(str(one)) == str(one)
    assert (client_network(str(one)) == client_network(str(other))) is (one == other)
