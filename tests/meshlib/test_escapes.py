"""Escapes in a path, and what undoing them makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.escapes import decoded, equivalent, unescaped_forms


@pytest.mark.parametrize(
    ("path", "normal", "once"),
    [
        (b"/a", b"/a", b"/a"),
        (b"/%61%40%2f%5c%3b%25%00%20", b"/a%40%2F%5C%3B%25%00%20", b"/a@/\\;%25%00%20"),
        (b"/%c3%A9%7b", b"/%C3%A9%7B", b"/%C3%A9%7B"),
        (b"/ \xc3\xa9{%zz%", b"/%20%C3%A9%7B%zz%", b"/%20%C3%A9%7B%zz%"),
    ],
)
def test_one_normal_form(path: bytes, normal: bytes, once: bytes) -> None:
    assert equivalent(path) == normal
    assert decoded(normal) == once


@pytest.mark.parametrize(
    ("path", "form"),
    [
        (b"/%2540", b"/@"),
        (b"/%25u0040", b"/@"),
        (b"/%U0040", b"/@"),
        (b"/%C0%AF", b"/"),
        (b"/%C1%1C", b"\\"),
        (b"/%E0%81%80", b"/@"),
        (b"/%F0%80%81%80", b"/@"),
        (b"/%25c0%25ae", b"/."),
        (b"/%EF%BC%8F", b"/"),
        (b"/%EF%BC%BC", b"\\"),
        (b"/%E2%88%95", b"/"),
        (b"/%E2%80%A5", b"/.."),
        (b"/%u2215", b"/"),
        (b"/%E2%84%80", b"/a/c"),
    ],
)
def test_escapes_that_some_servers_undo(path: bytes, form: bytes) -> None:
    assert any(found.endswith(form) and b"%" not in found for found in unescaped_forms(path))


@pytest.mark.parametrize(
    "path", [b"/a", b"/%C3%A9", b"/%E9", b"/%20", b"/%ud800", b"/%25zz", b"/%E3%81%82%CC%81"]
)
def test_paths_that_all_servers_decode_alike(path: bytes) -> None:
    assert set(unescaped_forms(path)) == {path}


@given(st.binary(max_size=30).map(equivalent))
def test_normal_forms_stay_and_so_do_their_parts(path: bytes) -> None:
    assert decoded(decoded(path)) == decoded(path) or b"%" in path
    forms = unescaped_forms(path)
    assert forms[0] == path
    for form in forms:
        assert equivalent(form) == form or b"%%" in form or b"%" in path
