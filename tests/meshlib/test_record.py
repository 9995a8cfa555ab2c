from __future__ import annotations

from meshlib.record import Record


def test_what_is_not_known_has_a_value_that_says_so() -> None:
    record = Record("TCP", "192.0.2.1", "", "closed", 0.5)
    assert (record.status, record.tries, record.received, record.first_byte_seconds) == (
        0,
        0,
        -1,
        -1,
    )
    assert {record.method, record.target, record.route, record.service} == {""}
