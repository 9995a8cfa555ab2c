"""One path, and what different servers make of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.errors import PathError
from meshlib.patterns import parse_path_prefix
from meshlib.table.paths import equivalent_path, has_other_readings, readings


@pytest.mark.parametrize("path", [b"/", b"/a", b"/a/b.c/~d", b"/a;b=c/d", b"*", b"/a/b."])
def test_a_plain_path_has_one_reading(path: bytes) -> None:
    assert not has_other_readings(path)
    assert readings(path) == [path]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/%61pi", b"/api"),
        (b"/caf%c3%a9", b"/caf%C3%A9"),
        (b"/a%2fb", b"/a%2Fb"),
        (b"/a%zz%4", b"/a%zz%4"),
        (b"/%7e%2E", b"/~."),
        (b"/a", b"/a"),
    ],
)
def test_the_form_that_is_equivalent_as_a_uri(path: bytes, expected: bytes) -> None:
    assert equivalent_path(path) == expected
    assert readings(path)[0] == expected


@pytest.mark.parametrize(
    ("path", "reading"),
    [
        (b"/public/../admin", b"/admin"),
        (b"/public/%2e%2E/admin", b"/admin"),
        (b"/public/..%2fadmin", b"/admin"),
        (b"/public/..\\admin", b"/admin"),
        (b"/public%5c..%5Cadmin", b"/admin"),
        (b"/public/..;x=1/admin", b"/admin"),
        (b"/./admin", b"/admin"),
        (b"/../../admin", b"/admin"),
        (b"//admin", b"/admin"),
        (b"/a//../admin", b"/admin"),
        (b"/a//../admin", b"/a/admin"),
        (b"/a/.hidden", b"/a/.hidden"),
        (b"/a/...", b"/a/..."),
    ],
)
def test_what_a_careless_server_reads(path: bytes, reading: bytes) -> None:
    assert has_other_readings(path)
    assert reading in readings(path)


@given(st.text("/.%2eEfF\\;ab", max_size=30).map(lambda text: b"/" + text.encode()))
def test_readings_differ_and_are_paths(path: bytes) -> None:
    found = readings(path)
    assert len(set(found)) == len(found) <= 6
    assert all(reading.startswith(b"/") for reading in found)
    if not has_other_readings(path):
        assert found == [path]


@given(st.binary(max_size=40))
def test_any_bytes_can_be_read(path: bytes) -> None:
    assert readings(path)[0] == equivalent_path(path)


_SEGMENTS = st.lists(
    st.sampled_from(["a", "b%41", "%7e", "%2e", "caf%c3%a9", "%20", "%21!", "x;y=z", "%25", "%", "%zz", "."]), min_size=1
).map("".join)


@given(st.lists(_SEGMENTS, max_size=4).map(lambda segments: "/" + "/".join(segments)))
def test_paths_and_prefixes_have_one_normal_form(path: str) -> None:
    try:
        prefix = parse_path_prefix(path)
    except PathError:
        return
    assert equivalent_path(path.encode()).decode() == prefix
    assert equivalent_path(prefix.encode()).decode() == prefix
    assert parse_path_prefix(prefix) == prefix
