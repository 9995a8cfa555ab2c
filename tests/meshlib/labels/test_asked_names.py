"""Names that are read from labels that have failed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.labels.asked_names import MAX_NAMES, asked_names
from meshlib.labels.limits import MAX_VALUE


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("external_route=http://A.example.com./*,internal_port=80", ("a.example.com",)),
        ("internal_port=80,external_route=https://a.example:443/x", ("a.example",)),
        ("external_route:http://a.example", ("a.example",)),
        ("external_route = 'http://a.example'", ("a.example",)),
        ("external_route=a.example", ("a.example",)),
        ("external_route=Host(`a.example`) && Path(`/x`)", ("a.example",)),
        ("external_route=http://*.a.example/x?y", ("*.a.example",)),
        ("external_route=http://*/x?y", ("",)),
        ("external_route=http://[::1]:80/x?", ("::1",)),
        ("external_route=http://[::1]/x?", ("::1",)),
        ("external_route=tcp://db:5432", ("tcp://:5432",)),
        ("external_route=udp://:x", ()),
        ("external_route=http://a.example,b.example", ("a.example", "b.example")),
        ("80=http://a.example,http://b.example/*", ("a.example", "b.example")),
        ("external_route=http://a.example,redirect=https://b.example", ("a.example",)),
        ("external_route=http://a_b!c", ()),
        ("external_route=", ()),
        ("", ()),
        ("," * MAX_VALUE + "a.example", ()),
        (",".join(f"h{n}.example" for n in range(50)), tuple(f"h{n}.example" for n in range(20))),
    ],
)
def test_names_as_people_write_them(value: str, names: tuple[str, ...]) -> None:
    assert asked_names(value) == names


@given(st.text(" ,;=:/`'\"()*abc.[]0179external_route", max_size=60))
def test_any_text_can_be_read(text: str) -> None:
    assert len(asked_names(text)) <= MAX_NAMES
