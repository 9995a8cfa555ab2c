"""Foreign protocols by their first bytes: as early as possible, and the same in any cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.need_data import NEED_DATA
from meshlib.tls.prelude import identify_prelude
from tests.vectors.tls.hellos import CASES

FOREIGN = [
    (case.data, case.verdict.partition(":")[2])
    for case in CASES
    if case.verdict.startswith("not_tls:")
]


@pytest.mark.parametrize(("data", "kind"), [*FOREIGN, (b"\x16\x03", "tls"), (b"\x17\x03", "tls")])
def test_known_from_its_first_bytes(data: bytes, kind: str) -> None:
    assert identify_prelude(data) == kind


@given(
    st.one_of(st.sampled_from([data for data, _ in FOREIGN]), st.binary(min_size=1, max_size=40))
)
def test_a_verdict_never_changes_and_comes_soon(data: bytes) -> None:
    final = identify_prelude(data)
    for end in range(1, len(data)):
        early = identify_prelude(data[:end])
        assert early is NEED_DATA or early == final
        assert early is not NEED_DATA or end < 22
