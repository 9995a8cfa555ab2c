from __future__ import annotations

import dataclasses

import pytest

from meshlib.name_records import NameKind, NameRecord


def test_a_record_is_a_value() -> None:
    record = NameRecord("net", "shop", NameKind.TASKS, ("10.0.0.2",))
    assert record == NameRecord("net", "shop", NameKind("tasks"), ("10.0.0.2",))
    assert str(record.kind) == "tasks"
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.name = "blog"  # type: ignore[misc]
