from __future__ import annotations

from meshlib.model import Diagnostic, Severity
from meshlib.table.telling import MOST_CONFLICTS, first_of_each_service


def conflict(service: str, number: int) -> Diagnostic:
    return Diagnostic("TBL001", Severity.ERROR, service, f"label {number}", "message")


def test_each_service_is_told_its_first_conflicts_and_how_many_more_there_are() -> None:
    found = [conflict("fat", n) for n in range(5)] + [
        conflict("slim", 1),
        conflict("fat", 5),
        conflict("slim", 2),
    ]
    told = list(first_of_each_service(found, 2))
    assert told[:4] == [found[0], found[1], found[5], found[7]]
    (more,) = told[4:]
    assert (more.code, more.service, more.severity) == ("TBL102", "fat", Severity.WARNING)
    assert more.message.startswith("4 more conflicts")
    assert list(first_of_each_service(found)) == found
    assert (
        len(list(first_of_each_service(conflict("fat", n) for n in range(10_000))))
        == MOST_CONFLICTS + 1
    )
