from __future__ import annotations

import dataclasses

from meshlib.bounds import MAX_NAME
from meshlib.labels.limits import MAX_VALUE, LabelLimits, label_size


def test_keys_and_values_count_and_what_is_not_read_does_not() -> None:
    assert label_size([]) == 0
    assert label_size([("ab", "cde"), ("f", "")]) == 6
    assert label_size([("k", "\u20ac\ud800")]) == 1 + 8 + 8
    assert (
        label_size([("k", "external_route=http://b\u00fccher.example.com/x,y=http://a\u3002b")])
        == 1 + 55 + 7 * 6 + 7 * 3
    )
    assert label_size([("k", "v" * MAX_VALUE)]) == 1 + MAX_VALUE
    assert label_size([("k" * 10_000, "v" * (MAX_VALUE + 1))]) == MAX_NAME


def test_limits_are_positive_unless_told_otherwise() -> None:
    limits = LabelLimits()
    numbers = [value for value in dataclasses.astuple(limits) if not isinstance(value, bool)]
    assert min(numbers) >= 1
    assert limits.blank_hosts
