"""What is logged: one line a record, nothing that starts a line of its own, each diagnostic
once.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from meshlib.mesh import Mesh
from meshlib.model import (
    Contribution,
    Diagnostic,
    HostPath,
    RedirectRule,
    Route,
    Severity,
    Snapshot,
)
from meshlib_adapters.observe.log_output import QueuedOutput
from meshlib_adapters.observe.logs import SnapshotLog, escape_control, set_up_logging

logger = logging.getLogger("meshlib.gateway.test")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = tuple(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


class Written(io.StringIO):
    """What was logged; `getvalue` waits for what is under way."""

    output: QueuedOutput

    def getvalue(self) -> str:
        self.output.flush()
        return super().getvalue()


def written(form: str, level: str = "info") -> Written:
    stream = Written()
    stream.output = set_up_logging(level, form, stream)
    return stream


@pytest.mark.parametrize("form", ["text", "json"])
def test_one_line_a_record_whatever_is_in_it(form: str) -> None:
    stream = written(form)
    logger.info("a\r\n2026 INFO forged\x1b[2J\u2028\x85%s", "\u202e")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logger.exception("broken")
    text = stream.getvalue()
    assert len(text.splitlines()) == 2
    assert "\x1b" not in text
    assert "ValueError" in text


def test_text_lines_have_time_level_and_logger() -> None:
    stream = written("text")
    logger.warning("hello %s", "you")
    assert stream.getvalue().endswith("Z WARNING gateway.test: hello you\n")


def test_json_holds_the_fields_of_a_record() -> None:
    stream = written("json")
    logger.info("ready", extra={"fields": {"port": 80, "message": "not mine"}})
    data = json.loads(stream.getvalue())
    assert (data["level"], data["logger"], data["message"], data["port"]) == (
        "info",
        "gateway.test",
        "ready",
        80,
    )


def test_level_and_the_noise_of_libraries() -> None:
    stream = written("text", "info")
    logger.debug("no")
    logging.getLogger("uvicorn.error").info("no")
    assert stream.getvalue() == ""


def test_escaping_keeps_what_can_be_read() -> None:
    assert escape_control("grüße\tü\u2066") == "grüße\\tü\\u2066"


def snapshot(*diagnostics: Diagnostic, hosts: tuple[str, ...] = ()) -> Snapshot:
    rule = RedirectRule("http://target.example.com")
    routes = tuple(
        Route(HostPath(host), rule, service="shop", label="label", schema="hrm") for host in hosts
    )
    return Snapshot.of([Contribution("k", "shop", 0, routes, diagnostics)])


def wrong(code: str) -> Diagnostic:
    return Diagnostic(code, Severity.ERROR, "shop", "label.80", "is wrong\n!", "do it right", 7)


def test_a_diagnostic_is_logged_when_it_appears_and_when_it_goes() -> None:
    stream = written("text")
    mesh = Mesh()
    mesh.subscribe(SnapshotLog(logger))
    mesh.publish("p", snapshot(wrong("HRM001"), hosts=("a.example.com",)))
    lines = stream.getvalue().splitlines()
    assert [line.partition("test: ")[2] for line in lines] == [
        "1 routes (1 added: http://a.example.com; 0 removed)",
        "HRM001 shop: label.80, character 7: is wrong\\n! (do it right)",
    ]
    assert " ERROR " in lines[1]
    mesh.publish("p", snapshot(wrong("HRM001"), wrong("HRM002"), hosts=("a.example.com",)))
    mesh.publish("p", snapshot(hosts=("a.example.com",)))
    later = [
        line.partition("test: ")[2].partition(" ")[0] for line in stream.getvalue().splitlines()[2:]
    ]
    assert later == ["HRM002", "settled:", "settled:"]


def test_only_routes_that_changed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = written("text")
    mesh = Mesh()
    mesh.subscribe(SnapshotLog(logger))
    services = [
        Contribution(f"k{n}", "shop", 1, snapshot(hosts=(f"h{n}",)).routes) for n in range(2000)
    ]
    mesh.publish("p", Snapshot.of(services))
    named: list[str] = []

    def name(one: Route) -> str:
        named.append(one.host)
        return one.host

    monkeypatch.setattr(Route, "name", property(name))
    changed = Contribution("k7", "shop", 1, snapshot(hosts=("other",)).routes)
    mesh.publish("p", Snapshot.of([changed if item.key == "k7" else item for item in services]))
    assert sorted(named) == ["h7", "other"]
    assert (
        stream.getvalue().splitlines()[-1].endswith("2000 routes (1 added: other; 1 removed: h7)")
    )


def test_the_text_names_the_first_routes_in_short() -> None:
    stream = written("text")
    mesh = Mesh()
    mesh.subscribe(SnapshotLog(logger))
    long = ".".join(["a" * 60] * 4)
    mesh.publish("p", snapshot(hosts=(long, "d.example.com", "b.example.com", "c.example.com")))
    text = stream.getvalue().splitlines()[-1].partition("test: ")[2]
    assert text.startswith("4 routes (4 added: http://aaa")
    assert text.endswith(", http://b.example.com, http://c.example.com and 1 more; 0 removed)")
    assert len(text) < 200


def test_a_flood_of_diagnostics_is_cut() -> None:
    stream = written("text")
    mesh = Mesh()
    mesh.subscribe(SnapshotLog(logger))
    mesh.publish("p", snapshot(*(wrong(f"HRM{n:03}") for n in range(500))))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 51
    assert "and 450 more diagnostics appeared" in lines[-1]
