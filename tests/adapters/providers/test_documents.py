"""YAML as Compose reads it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.discovery.files.sources import Tagged
from meshlib.errors import ConfigurationError
from meshlib_adapters.providers.documents import load_document


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a: [1", "file.yml:1:6: while parsing a flow sequence"),
        (b"a:\n  b: 1\n  b: 2\n", "file.yml:3:3: the key 'b' is here twice"),
        (
            b"a: 1\n---\nb: 2",
            "file.yml:2:1: expected a single document in the stream but found another document",
        ),
        (b"a: \xff\xfe", "file.yml: is not YAML: "),
        (b"a: !!timestamp 2026-99-99", "file.yml: is not YAML: "),
        (b"a: !!int 5x", "file.yml:1:4: '5x' is not of the kind int"),
        (b"a: !!float x", "file.yml:1:4: 'x' is not of the kind float"),
        (b"a: !!bool 2", "file.yml:1:4: '2' is not of the kind bool"),
        (b"? !reset {a: 1}\n: 2", "while constructing a mapping found unhashable key"),
        (b"a: &a !reset [*a]", "file.yml"),
        (b"[" * 5000, "file.yml"),
        (b"# nothing", "file.yml: is empty (write 'services: {}' for no services)"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: bytes, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_document(text, where="file.yml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_merge_keys_and_anchors_are_no_repeated_keys() -> None:
    text = b"x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: {<<: [*x, {c: 4}]}\n"
    assert load_document(text) == {
        "x": {"a": 1, "b": 2},
        "y": {"a": 1, "b": 3},
        "z": {"a": 1, "b": 2, "c": 4},
    }
    # An anchor within another mapping, which is complete only after it was merged elsewhere.
    text = b"x: &x {a: 1}\nb: {c: &y {<<: *x, a: 2}}\nz: {<<: *y, d: {<<: *y, a: 3}}\n"
    assert load_document(text) == {
        "x": {"a": 1},
        "b": {"c": {"a": 2}},
        "z": {"a": 2, "d": {"a": 3}},
    }
    text = b"x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz: {c: 3, <<: [*x, *y], <<: {d: 4, a: 4}}\n"
    found = load_document(text)
    assert isinstance(found, dict)
    assert found["z"] == {"a": 1, "b": 1, "c": 3, "d": 4}
    assert load_document(b"x: &x {<<: *x, a: 1}") == {"x": {"a": 1}}


@pytest.mark.parametrize("text", ["a: {<<: 5}", "a: {<<: [5]}", "a: {<<: [[]]}"])
def test_only_mappings_are_merged(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"YAML:1:\d+: only mappings can be merged by <<"):
        load_document(text)


def test_mappings_that_merge_each_other_stay_small() -> None:
    lines = ["a0: &a0 {k: 0, ? [x] : 1}"]
    lines += [f"a{n}: {{b: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], k: {n}}}}}" for n in range(1, 90)]
    with pytest.raises(ConfigurationError, match="unhashable key"):
        load_document("\n".join(lines))
    lines[0] = "a0: &a0 {k: 0}"
    found = load_document("\n".join(lines))
    assert isinstance(found, dict)
    assert found["a89"] == {"b": {"k": 89}}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("53:53", "53:53"),
        ("22:22", "22:22"),
        ("1:30:00", "1:30:00"),
        ("8080:80/udp", "8080:80/udp"),
        ("on", "on"),
        ("Off", "Off"),
        ("yes", "yes"),
        ("N", "N"),
        ("=", "="),
        ("2026-01-01", "2026-01-01"),
        ("2026-99-99", "2026-99-99"),
        ("1.2.3", "1.2.3"),
        ("true", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("~", None),
        ("NULL", None),
        ("", None),
        ("nULL", "nULL"),
        ("80", 80),
        ("-1", -1),
        ("+7", 7),
        ("1_000", 1000),
        ("0", 0),
        ("012", 10),
        ("0o12", 10),
        ("0x1F", 31),
        ("0b11", 3),
        ("-0x10", -16),
        ("08", 8.0),
        ("1.50", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("_1", "_1"),
        ("1__", 1),
        ("0x", "0x"),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", float(2**64)),
        ("-9223372036854775809", -float(2**63)),
        ("9" * 5000, math.inf),
        ("!!str 80", "80"),
        ("!!int '80'", 80),
        ("!!bool yes", True),
        ("!!bool Off", False),
        ("!!float '2'", 2.0),
        ("'80'", "80"),
        ("!reset null", Tagged("!reset", None)),
        ("!reset", Tagged("!reset", None)),
        ("!override [80, '80', !vault x]", Tagged("!override", [80, "80", Tagged("!vault", "x")])),
        ("!override {a: 1}", Tagged("!override", {"a": 1})),
        ("!vault 'null'", Tagged("!vault", "null")),
        ("!!unknown 5", Tagged("tag:yaml.org,2002:unknown", 5)),
    ],
)
def test_texts_without_quotes_are_read_by_yaml_1_2(written: str, value: object) -> None:
    found = load_document(f"a: {written}\n")
    assert found == {"a": value}
    assert isinstance(found, dict)
    assert type(found["a"]) is type(value)


def test_not_a_number() -> None:
    found = load_document("a: .nan")
    assert isinstance(found, dict)
    assert math.isnan(found["a"])


def test_a_tag_stands_beside_merge_keys() -> None:
    text = "x: &x {a: 1}\ny: !override {<<: *x, b: 2}\nz: !override {a: 1, a: 2}"
    with pytest.raises(ConfigurationError, match="the key 'a' is here twice"):
        load_document(text)
    found = load_document(text.rpartition("\n")[0])
    assert found == {"x": {"a": 1}, "y": Tagged("!override", {"a": 1, "b": 2})}


@given(st.text("-+_.:0123456789abexoXEtrufalsyn!~<= '\"", max_size=12))
def test_any_scalar_is_read_or_refused(text: str) -> None:
    try:
        found = load_document(f"a: {text}\n")
    except ConfigurationError:
        return
    assert isinstance(found, dict)
