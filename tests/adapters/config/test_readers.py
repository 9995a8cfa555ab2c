"""Readers of settings: every spelling that is taken, and what is said about the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meshlib.model import ListeningPort, Scheme
from meshlib_adapters.config.readers import (
    Address,
    mask_url,
    read_acme,
    read_addresses,
    read_bool,
    read_choice,
    read_duration,
    read_engine,
    read_integer,
    read_limit,
    read_names,
    read_networks,
    read_ports,
    read_proxies,
    read_pseudonym,
    read_response_size,
    read_share,
    read_size,
    read_text,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8080", [("127.0.0.1", 8080)]),
        ("[::1]:8080", [("::1", 8080)]),
        (":80", [("", 80)]),
        ("80", [("", 80)]),
        ("*:80", [("", 80)]),
        ("LocalHost:0", [("localhost", 0)]),
        ("off", []),
        ("", []),
        (False, []),
        (["OFF"], []),
        ("10.0.0.1:80, 10.0.0.2:80", [("10.0.0.1", 80), ("10.0.0.2", 80)]),
        (["10.0.0.1:80", "[::]:80"], [("10.0.0.1", 80), ("::", 80)]),
    ],
)
def test_addresses_are_read_from_text(text: object, expected: list[tuple[str, int]]) -> None:
    assert read_addresses(text) == tuple(Address(host, port) for host, port in expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("localhost", "HOST:PORT"),
        ("localhost:http", "HOST:PORT"),
        ("localhost:65536", "HOST:PORT"),
        ("localhost:\u0661", "HOST:PORT"),
        ("::1:80", "brackets"),
        ("a b:80", "cannot be in a host name"),
        (8080, "list of texts"),
        ([80], "expected text"),
    ],
)
def test_addresses_that_cannot_be_read_say_why(text: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_addresses(text)


def test_an_address_is_written_as_it_is_read() -> None:
    for text in ("127.0.0.1:80", "[::1]:80", ":80"):
        assert str(read_addresses(text)[0]) == text


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (read_bool, True, True),
        (read_bool, "On", True),
        (read_bool, "0", False),
        (read_text, " a ", "a"),
        (read_names, "a, b,", ("a", "b")),
        (read_names, ["a,b"], ("a,b",)),
        (read_choice("a", "b"), "B", "b"),
        (read_integer(1, 9), 9, 9),
        (read_integer(1, 9), " 3 ", 3),
        (read_duration, 3, 3.0),
        (read_duration, "500ms", 0.5),
        (read_duration, "1.5h", 5400.0),
        (read_duration, "75", 75.0),
        (read_size, 4096, 4096),
        (read_response_size, "1g", 2**30),
        (read_size, "32k", 32768),
        (read_size, "1 MiB", 1048576),
        (read_size, "10B", 10),
        (read_share, "0.5", 0.5),
        (read_share, 1, 1.0),
        (read_pseudonym, "edge-1", "edge-1"),
        (read_pseudonym, "off", ""),
        (read_pseudonym, False, ""),
        (read_engine, True, ""),
        (read_engine, "true", ""),
        (read_engine, False, None),
        (read_engine, "off", None),
        (read_engine, "unix:///var/run/docker.sock", "unix:///var/run/docker.sock"),
    ],
)
def test_values_are_read_in_every_form(
    read: Callable[[object], object], value: object, expected: object
) -> None:
    assert read(value) == expected


@pytest.mark.parametrize(
    ("read", "value", "said"),
    [
        (read_bool, "maybe", "true or false"),
        (read_bool, 1, "true or false"),
        (read_text, 1, "expected text"),
        (read_text, "a\nb", "control characters"),
        (read_choice("a", "b", "c"), "d", "a, b or c"),
        (read_choice("a", "b"), ["a"], "a or b"),
        (read_integer(1, 9), 10, "1 to 9"),
        (read_integer(1, 9), True, "1 to 9"),
        (read_integer(1, 9), "1.5", "1 to 9"),
        (read_integer(1, 9), 1.5, "1 to 9"),
        (read_duration, "soon", "duration"),
        (read_duration, -1, "duration"),
        (read_duration, float("nan"), "duration"),
        (read_duration, "31d", "duration"),
        (read_duration, True, "duration"),
        (read_size, "32 kilo", "size"),
        (read_response_size, "1023k", "from 1m to 1g"),
        (read_response_size, "2g", "from 1m to 1g"),
        (read_size, 1.5, "size"),
        (read_size, -1, "size"),
        (read_share, "half", "0 to 1"),
        (read_share, 2, "0 to 1"),
        (read_pseudonym, "a b", "a name of letters"),
        (read_engine, "docker.sock", "unix:///"),
        (read_engine, "ftp://host", "unix:///"),
        (read_networks, "10.0.0.1/8", "host bits"),
        (read_networks, "unix:", "not an address"),
        (read_proxies, "unix:/run/x", "not an address"),
    ],
)
def test_values_that_cannot_be_read_say_why(
    read: Callable[[object], object], value: object, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        read(value)


def test_networks_are_read_from_a_list_in_text() -> None:
    assert [str(n) for n in read_networks("10.0.0.0/8, ::1")] == ["10.0.0.0/8", "::1/128"]
    proxies = ["unix:", "10.0.0.0/8"]
    assert [str(n) for n in read_proxies(proxies)] == proxies


def test_a_password_in_a_url_is_never_shown() -> None:
    assert mask_url("tcp://me:secret@host:2376") == "tcp://me:***@host:2376"
    assert mask_url("ssh://me@host") == "ssh://me@host"
    assert mask_url("tcp://host") == "tcp://host"
    with pytest.raises(ValueError, match="unix:///") as caught:
        read_engine("ftp://me:secret@host")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", [0, "0", "off", "OFF", False, None])
def test_a_limit_that_there_is_not(value: object) -> None:
    assert read_limit(read_size)(value) is None


def test_a_limit_is_a_positive_size() -> None:
    assert read_limit(read_size)("2k") == 2048
    for wrong in (-1, "none", True):
        with pytest.raises(ValueError, match="expected a size"):
            read_limit(read_size)(wrong)


def test_endpoints_for_challenges() -> None:
    assert read_acme("off") == ()
    assert [(one.id, one.address) for one in read_acme("a:1, [::1]:2")] == [
        ("acme.1", "a:1"),
        ("acme.2", "[::1]:2"),
    ]


def test_a_range_of_ports_contains_its_ends() -> None:
    (few,) = read_ports("53-55")
    found = [port for port in range(50, 60) if ListeningPort(Scheme.UDP, port) in few]
    assert found == [53, 54, 55]


def test_a_range_of_ports_may_be_those_of_one_protocol() -> None:
    (few,) = read_ports("53-55/udp")
    assert ListeningPort(Scheme.UDP, 54) in few
    assert ListeningPort(Scheme.TCP, 54) not in few
    assert str(few) == "53-55/udp"
