"""Taking JSON apart: the right type, or `Wrong` with the field's name; never anything else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.bounds import bounded_name
from meshlib.discovery.engine.json_fields import (
    MAX_ENTRIES,
    Wrong,
    address,
    entries,
    integer,
    items,
    mapping,
    ports,
    read_each,
    string,
    strings,
    subnet,
)
from meshlib.discovery.engine.records import Malformed
from meshlib.labels.result import PublishedPort

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
)


def test_what_is_absent_is_empty() -> None:
    assert mapping(None, "f") == {}
    assert entries(None, "f") == items(None, "f") == []
    assert string(None, "f") == address(None, "f") == address("", "f") == ""
    assert integer(None, "f") == 0
    assert strings(None, "f") == {}


def test_what_is_right_is_returned() -> None:
    assert mapping({"a": 1}, "f") == {"a": 1}
    assert items([{}, None], "f") == [{}, {}]
    assert string("a", "f", needed=True) == "a"
    assert integer(-3, "f") == -3
    assert strings({"a": "b", "c": None}, "f") == {"a": "b", "c": ""}


@pytest.mark.parametrize(
    ("read", "value", "said"),
    [
        (mapping, [], "f is not an object"),
        (entries, {}, "f is not an array"),
        (items, [5], "f is not an object"),
        (string, 5, "f is not a string"),
        (integer, True, "f is not a whole number"),
        (integer, 1.0, "f is not a whole number"),
        (integer, "1", "f is not a whole number"),
        (strings, {"a": 1}, "f['a'] is not a string"),
        (address, "10.0.0", "f is not an IP address"),
        (address, "10.0.0.256/24", "f is not an IP address"),
        (address, "host", "f is not an IP address"),
        (address, "fe80::1%eth0", "f is not an IP address"),
        (address, "fd00::1%a\r\nb", "f is not an IP address"),
    ],
)
def test_what_is_wrong_is_said(
    read: Callable[[object, str], object], value: object, said: str
) -> None:
    with pytest.raises(Wrong) as caught:
        read(value, "f")
    assert str(caught.value) == said


@pytest.mark.parametrize("value", [None, "", 3])
def test_a_text_that_is_needed(value: object) -> None:
    with pytest.raises(Wrong):
        string(value, "f", needed=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10.0.0.3/24", "10.0.0.3"), ("10.0.0.3", "10.0.0.3"), ("2001:DB8::0:1/64", "2001:db8::1")],
)
def test_addresses_are_in_normal_form(text: str, expected: str) -> None:
    assert address(text, "f") == expected


def test_ports_of_a_service() -> None:
    value = [
        {"Protocol": "udp", "TargetPort": 53, "PublishedPort": 53, "PublishMode": "host"},
        {"TargetPort": 80, "PublishedPort": 0},
        {"TargetPort": 80},
        {"TargetPort": 0},
        {"TargetPort": 80, "PublishedPort": 65536},
    ]
    found = ports(value, "f", target="TargetPort", published="PublishedPort", mode="PublishMode")
    assert found == (
        PublishedPort(53, 53, "udp", "host"),
        PublishedPort(80, None, "tcp", "ingress"),
    )


def test_ports_of_a_container() -> None:
    value = [
        {"IP": ip, "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"} for ip in ("0.0.0.0", "::")
    ] + [{"PrivatePort": 443}]
    found = ports(value, "f", target="PrivatePort", published="PublicPort")
    assert found == (
        PublishedPort(80, 8080, "tcp", "host"),
        PublishedPort(443, None, "tcp", "host"),
    )


def _name(item: Mapping[str, object]) -> str | None:
    return string(item.get("Name"), "Name") or None


def test_one_wrong_object_spoils_only_itself() -> None:
    malformed: list[Malformed] = []
    value = [
        {"Name": "a"},
        {"Name": 1, "ID": "x"},
        {"Name": 1, "Id": "y"},
        {"Name": 1, "ID": 2},
        {},
        None,
        5,
        {"Name": "b"},
    ]
    assert read_each(value, "thing", _name, malformed) == ["a", "b"]
    assert [(wrong.what, wrong.id) for wrong in malformed] == [
        ("thing ?", ""),
        ("thing ?", ""),
        ("thing x", "x"),
        ("thing y", "y"),
    ]
    assert [wrong.why for wrong in malformed[:2]] == [
        "Name is not a string",
        "thing is not an object",
    ]
    again: list[Malformed] = []
    read_each(value[::-1], "thing", _name, again)
    assert again == malformed


def test_no_array_is_no_objects() -> None:
    malformed: list[Malformed] = []
    assert read_each({"message": "oops"}, "thing", _name, malformed) == []
    assert malformed == [Malformed("thing", "the engine sent no array")]


@given(JSON)
def test_any_json_gives_a_value_or_wrong(value: object) -> None:
    readers: list[Callable[[object, str], object]] = [
        mapping,
        entries,
        items,
        string,
        integer,
        strings,
        address,
        subnet,
    ]
    for read in readers:
        with contextlib.suppress(Wrong):
            read(value, "f")
    read_each(value, "thing", _name, [])


def test_names_are_bounded_and_labels_are_as_they_are() -> None:
    assert string("n" * 10_000, "f") == bounded_name("n" * 10_000)
    assert string("\ud800", "f").encode()
    assert strings({"k" * 10_000: "v" * 10_000}, "f") == {"k" * 10_000: "v" * 10_000}


def test_lists_without_end_are_refused() -> None:
    assert len(entries([1] * MAX_ENTRIES, "f")) == MAX_ENTRIES
    with pytest.raises(Wrong, match="f has 1001 entries, more than 1000"):
        entries([1] * (MAX_ENTRIES + 1), "f")
    with pytest.raises(Wrong, match="more than 1000"):
        items([{}] * (MAX_ENTRIES + 1), "f")
    assert len(ports([{"T": n} for n in range(1, 5001)], "f", target="T", published="P")) == 5000


def test_a_subnet_is_read_with_or_without_host_bits() -> None:
    assert [subnet(value, "f") for value in (None, "")] == [None, None]
    assert [
        str(subnet(value, "f"))
        for value in ("10.0.0.0/24", "10.0.0.5/24", "10.0.0.5", "2001:db8::/64")
    ] == [
        "10.0.0.0/24",
        "10.0.0.0/24",
        "10.0.0.5/32",
        "2001:db8::/64",
    ]
    for wrong in ("10.0.0.0/33", "fe80::%eth0/64", "shop", 5):
        with pytest.raises(Wrong):
            subnet(wrong, "f")
