"""One path, and what different servers make of it."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meshlib.errors import PathError
from meshlib.patterns import parse_path_prefix
from meshlib.table.paths import equivalent_path, has_other_readings, most_readings, readings


@pytest.mark.parametrize(
    "path",
    [
        b"/",
        b"/a",
        b"/a/b.c/~d",
        b"/a=b,c/d",
        b"*",
        b"/.well-known/x",
        b"/a/.hidden",
        b"/@a:b",
        b"/a/...b",
    ],
)
def test_a_plain_path_has_one_reading(path: bytes) -> None:
    assert not has_other_readings(path)
    assert readings(path) == [path]


@pytest.mark.parametrize(
    "path",
    [
        b"/a%20b",
        b"/caf%C3%A9",
        b"/caf%E9",
        b"/%E3%81%82",
        b"/%22x%22",
        b"/a/.",
        b"relative/..",
        b"",
    ],
)
def test_a_path_may_look_suspicious_and_have_one_reading(path: bytes) -> None:
    assert [found for found in readings(path) if found not in (path, b"/a")] == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/%61pi", b"/api"),
        (b"/caf%c3%a9", b"/caf%C3%A9"),
        (b"/a%2fb", b"/a%2Fb"),
        (b"/a%zz%4", b"/a%zz%4"),
        (b"/%7e%2E", b"/~."),
        (b"/a", b"/a"),
        (b'/{a}"\xe9', b"/%7Ba%7D%22%E9"),
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
        (b"/a/...", b"/a/..."),
        (b"/admin;x/y;z", b"/admin/y"),  # out of each segment
        (b"/admin;x/y;z", b"/admin;x/y"),  # out of the last
        (b"/admin;x/y;z", b"/admin"),  # the rest is one parameter
        (b"/a%2fb/..;/c", b"/a/c"),
        (b"/a%2fb/..;/c", b"/c"),
        (b"/a%2fb/../%40c", b"/@c"),  # dots first, then escapes
        (b"/admin.%20/x", b"/admin/x"),
        (b"/a/..%20/admin", b"/admin"),
    ],
)
def test_what_a_careless_server_reads(path: bytes, reading: bytes) -> None:
    assert has_other_readings(path)
    assert reading in readings(path)


# The same, slowly and one reading after the other.


def reference(path: bytes) -> set[bytes]:
    """Every reading: each combination of the module's steps, done or not."""
    plain = _decode(path, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
    steps = [
        (_same, _slash),
        (_same, _dots, _merge, lambda text: _dots(_merge(text))),
        (_same, _each, _last, _first),
        (
            _same,
            _once,
            _twice,
            lambda text: _once(_loose(text)),
            lambda text: _once(_loose(_unpercent(text))),
        ),
        (_same, _slash),
        (_same, _each, _last, _first),
        (_same, lambda text: text.split("%00")[0], lambda text: re.split("%3F|%23", text)[0]),
        (_same, _trim),
        (_same, _dots, _merge, lambda text: _dots(_merge(text))),
    ]
    texts = {plain}
    for ways in steps:
        texts = {way(text) for text in texts for way in ways}
    return {text.encode() for text in texts}


_SEGMENT = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/\\"


def _same(text: str) -> str:
    return text


def _decode(path: bytes, literal: str) -> str:
    pieces, at = [], 0
    text = path.decode("latin-1")
    while at < len(text):
        if re.fullmatch("%[0-9A-Fa-f]{2}", text[at : at + 3]):
            character = chr(int(text[at + 1 : at + 3], 16))
            pieces.append(character if character in literal else text[at : at + 3].upper())
            at += 3
        else:
            pieces.append(text[at] if text[at] in _SEGMENT + "%" else f"%{ord(text[at]):02X}")
            at += 1
    return "".join(pieces)


def _once(text: str) -> str:
    return _decode(text.encode(), _SEGMENT)


def _unpercent(text: str) -> str:
    return _decode(re.sub("%25(?=[0-9A-Fa-f]{2}|[uU][0-9A-Fa-f]{4})", "%", text).encode(), "")


def _twice(text: str) -> str:
    return _once(_unpercent(text))


def _loose(text: str) -> str:
    for match in set(re.findall("%[uU][0-9A-Fa-f]{4}", text)):
        if not 0xD800 <= int(match[2:], 16) <= 0xDFFF:
            text = text.replace(
                match, "".join(f"%{byte:02X}" for byte in chr(int(match[2:], 16)).encode())
            )
    for code in range(128):
        low = f"%{0x80 | code & 0x3F:02X}"
        for form in (f"%E0%{0x80 | code >> 6:02X}{low}", f"%F0%80%{0x80 | code >> 6:02X}{low}"):
            text = text.replace(form, f"%{code:02X}")
        for second in {code & 0x3F, 0x40 | code & 0x3F, 0x80 | code & 0x3F, 0xC0 | code & 0x3F}:
            text = text.replace(f"%C{code >> 6}%{second:02X}", f"%{code:02X}")
    for character in (*map(chr, range(0xFF01, 0xFF5F)), *"\u2024\u2025\u2044\u2215\u2216\u00a0"):
        plain = {"\u2044": "/", "\u2215": "/", "\u2216": "\\"}.get(
            character
        ) or unicodedata.normalize("NFKC", character)
        text = text.replace(
            "".join(f"%{byte:02X}" for byte in character.encode()), plain.replace(" ", "%20")
        )
    return text


def _slash(text: str) -> str:
    return text.replace("\\", "/")


def _merge(text: str) -> str:
    return re.sub("/+", "/", text)


def _dots(text: str) -> str:
    if not {".", ".."} & set(text.split("/")[1:]):
        return text
    kept: list[str] = []
    for segment in text.split("/")[1:]:
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    return "/" + "/".join(kept)


def _each(text: str) -> str:
    return "/".join(segment.split(";")[0] for segment in text.split("/"))


def _last(text: str) -> str:
    *others, last = text.split("/")
    return "/".join([*others, last.split(";")[0]])


def _first(text: str) -> str:
    return text.split(";")[0]


def _trim(text: str) -> str:
    segments = []
    for segment in text.split("/"):
        bare = segment
        while bare.endswith((".", "%20")):
            bare = bare.removesuffix(".").removesuffix("%20")
        if not bare:
            bare = segment
            while bare.endswith("%20"):
                bare = bare.removesuffix("%20")
        segments.append(bare)
    return "/".join(segments)


_PIECES = [
    "/",
    "/a",
    "a",
    "b",
    "..",
    ".",
    "/../",
    "\\",
    ";",
    "%2f",
    "%5C",
    "%3b",
    "%252e",
    "%2e",
    "%40",
    "@",
    "%25",
    "%00",
    "%3f",
    "%20",
]
_WILD = [
    "%c0%af",
    "%C0%2f",
    "%e0%80%ae",
    "%F0%80%80%AF",
    "%u002f",
    "%25u002e",
    "%ud800",
    "%ef%bc%8f",
    "%EF%BC%8E",
    "%e2%88%95",
]
_WILD += ["%41", "%c3%a9", "%E9", "%zz"]
_PATHS = st.lists(st.sampled_from(_PIECES) | st.sampled_from(_WILD), max_size=6).map(
    lambda pieces: ("/" + "".join(pieces)).encode()
)


@settings(deadline=None)
@given(_PATHS)
@example(b"/a%2fb/..;/%40c")
@example(b"/a\\..;a/%3b/%2fx//%252f/../b%00c./%20")
@example(b"/%25c0%25ae%25u002f%c0%ae")
def test_the_readings_are_those_of_the_reference(path: bytes) -> None:
    found, expected = readings(path), reference(path)
    assert len(set(found)) == len(found)
    if len(expected) > most_readings(path):
        assert len(found) > most_readings(path)
        assert set(found) <= expected
    else:
        assert set(found) == expected


@given(st.text("/.%2eEfF\\;ab", max_size=30).map(lambda text: b"/" + text.encode()))
def test_readings_differ_and_are_paths(path: bytes) -> None:
    found = readings(path)
    assert len(set(found)) == len(found) <= most_readings(path) * 20
    assert all(reading.startswith(b"/") for reading in found)
    if not has_other_readings(path):
        assert found == [path]


@given(st.binary(max_size=40))
def test_any_bytes_can_be_read(path: bytes) -> None:
    assert readings(path)[0] == equivalent_path(path)


def test_the_work_has_a_limit_in_bytes_too() -> None:
    assert most_readings(b"/" * 100) == 64
    assert most_readings(b"/" * 32768) == 4
    path = b"/;/../\\%2f%00.//" * 2000
    assert most_readings(path) < len(readings(path)) < 64
    honest = b"/files/" + b"%E3%81%82;v=1/" * 2000
    assert len(readings(honest)) <= most_readings(honest)


_PARTS = [
    "a",
    "b%41",
    "%7e",
    "%2e",
    "caf%c3%a9",
    "%20",
    "%21!",
    "x;y=z",
    "%40",
    "%25",
    "%2541",
    "%",
    "%zz",
    ".",
    "\uff41",
    "%c0%af",
    "%3f",
]
_SEGMENTS = st.lists(st.sampled_from(_PARTS), min_size=1).map("".join)


@given(st.lists(_SEGMENTS, max_size=4).map(lambda segments: "/" + "/".join(segments)))
def test_a_prefix_of_a_route_has_one_reading_and_is_one_of_its_text(path: str) -> None:
    try:
        prefix = parse_path_prefix(path)
    except PathError:
        return
    assert readings(prefix.encode()) == [prefix.encode()]
    assert prefix.encode() in readings(path.removesuffix("/").encode() or b"/")
    assert parse_path_prefix(prefix) == prefix
