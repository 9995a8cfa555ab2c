"""The log's queue: nobody who logs waits, nothing grows, and what is lost or held back is counted
and told.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from meshlib_adapters.observe.log_output import QueuedOutput
from meshlib_adapters.observe.repeats import RepeatLimit

logger = logging.getLogger("meshlib.gateway.test_log_output")


class Sink:
    """Takes lines when it is open; fails when `error` is set."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.error: OSError | None = None
        self.data = b""

    def __call__(self, data: bytes) -> None:
        self.open.wait()
        if self.error is not None:
            raise self.error
        self.data += data

    @property
    def lines(self) -> list[str]:
        return self.data.decode().splitlines()


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.open.set()


Logging = Callable[[QueuedOutput], QueuedOutput]


@pytest.fixture
def attach() -> Iterator[Logging]:
    added: list[QueuedOutput] = []

    def add(output: QueuedOutput) -> QueuedOutput:
        logger.addHandler(output)
        added.append(output)
        return output

    logger.propagate = False
    logger.setLevel(logging.INFO)
    yield add
    for output in added:
        logger.removeHandler(output)
    logger.propagate = True


def unlimited() -> RepeatLimit:
    return RepeatLimit(None)


def test_a_stuck_sink_holds_up_nobody_and_what_is_lost_is_told(sink: Sink, attach: Logging) -> None:
    output = attach(QueuedOutput(sink, limit=unlimited(), max_lines=100))
    for number in range(1000):
        logger.info("line %d", number)
    assert 890 <= output.lost <= 900
    lost = output.lost
    output.flush()  # gives up, and does not wait again
    sink.open.set()
    while len(sink.lines) < 1001 - lost:
        time.sleep(0.01)
    told = [line for line in sink.lines if not line.startswith("line ")]
    assert told == [f"{lost} log lines were lost, because stderr did not take them"]
    assert [line for line in sink.lines if line not in told] == [
        f"line {number}" for number in range(1000 - lost)
    ]


def test_long_lines_are_bounded_by_their_size(sink: Sink, attach: Logging) -> None:
    output = attach(QueuedOutput(sink, limit=unlimited()))
    for _ in range(20):
        logger.info("%s", "x" * 1_000_000)
    assert output.lost >= 15


def test_a_sink_that_fails_loses_lines_and_the_next_that_works_is_told(
    sink: Sink, attach: Logging
) -> None:
    output = attach(QueuedOutput(sink, limit=unlimited()))
    sink.open.set()
    sink.error = OSError("full")
    logger.info("one")
    output.flush()
    assert output.lost == 1
    sink.error = None
    logger.info("two")
    output.flush()
    assert sink.lines == ["two", "1 log lines were lost, because stderr did not take them"]


def test_a_record_that_cannot_be_formatted_is_told_and_nothing_else(
    sink: Sink, capfd: pytest.CaptureFixture[str]
) -> None:
    output = QueuedOutput(sink)
    sink.open.set()
    output.handle(logging.LogRecord("x", logging.INFO, "", 0, "%d", ("no number",), None))
    output.flush()
    assert sink.lines == ["a record could not be written (TypeError): '%d'"]
    assert capfd.readouterr().err == ""


def test_lines_of_one_kind_are_told_in_one(sink: Sink, attach: Logging) -> None:
    output = attach(QueuedOutput(sink, limit=RepeatLimit(5, 1)))
    sink.open.set()
    for number in range(1000):
        logger.info("refused 192.0.2.%d", number, extra={"kind": "a"})
    logger.info("refused %s", "b", extra={"kind": "b"})
    logger.info("something else")
    output.flush()
    first = [f"refused 192.0.2.{number}" for number in range(5)]
    assert sink.lines[:5] == first
    assert sink.lines[5:7] == ["refused b", "something else"]
    assert sink.lines[7].startswith("and 995 more like it in ")
    assert sink.lines[7].endswith(" s: refused 192.0.2.5")
    assert len(sink.lines) == 8
    assert output.limit.held_back == 995


def record(name: str, message: str) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "", 0, message, None, None)


def test_a_bucket_fills_again_and_others_names_are_not_kinds() -> None:
    limit = RepeatLimit(2, 60)
    for number in range(10):  # a library that writes addresses into its messages
        assert limit.admit(record("asyncio", f"failed for {number}"), 0.0) == (number < 2)
    assert limit.take(9.0) == []
    (told,) = limit.take(10.0)
    assert (told.count, told.seconds, told.example, told.logger) == (
        8,
        10.0,
        "failed for 2",
        "asyncio",
    )
    assert not limit.waiting
    assert [limit.admit(record("asyncio", "again"), 10.0) for _ in range(3)] == [True, True, False]
    assert limit.waiting


def test_kinds_are_bounded() -> None:
    limit = RepeatLimit(1, 1)
    admitted = sum(
        limit.admit(record("meshlib.x", f"made up {number}"), 0.0) for number in range(10_000)
    )
    assert admitted <= 501
    assert len(limit._buckets) <= 501
    (told, *_) = limit.take(100.0)
    assert sum(item.count for item in [told, *_]) == 10_000 - admitted
