"""Requests that are kept, and made again."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import httpx
import pytest

from meshlib.errors import ConfigurationError
from meshlib_adapters.hooks.capture import Capture, CapturedRequest, read_captured, replay
from tests.support.hook_requests import asked


def test_nothing_is_kept_before_it_is_switched_on() -> None:
    capture = Capture()
    capture.before(asked())
    assert not capture.requests
    capture.on = True
    capture.before(asked())
    assert len(capture.requests) == 1
    assert repr(capture) == "<Capture on requests=1>"


def test_secrets_are_hidden_and_so_is_what_else_is_named() -> None:
    capture = Capture(hidden=["X-Session"], on=True)
    capture.before(asked("Authorization: Basic eDp5", "COOKIE: SID=1", "x-session: 2", "X-Mine: 3"))
    (kept,) = capture.requests
    shown = {name.lower(): value for name, value in kept.fields}
    assert [shown[name] for name in ("authorization", "cookie", "x-session", "x-mine")] == [
        "***",
        "***",
        "***",
        "3",
    ]


def test_it_is_bounded_in_number_and_size() -> None:
    capture = Capture(2, on=True)
    for number in range(5):
        capture.before(asked(f"X-Number: {number}"))
    capture.before(asked("X-Large: " + "x" * 20_000))
    kept = [dict(one.fields)["X-Number"] for one in capture.requests]
    assert kept == ["3", "4"]
    with pytest.raises(ConfigurationError, match="nothing would be kept"):
        Capture(0)


def test_a_file_is_its_owners_and_can_be_read_again(tmp_path: Path) -> None:
    capture = Capture(on=True)
    capture.before(asked("X-Mine: ä"))
    path = tmp_path / "captured.jsonl"
    assert capture.write(path) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_captured(path) == list(capture.requests)
    path.write_text('{"method": "GET"}\n')
    with pytest.raises(ConfigurationError, match=r"captured\.jsonl:1"):
        read_captured(path)


def test_replay() -> None:
    seen: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(302, headers={"location": "/elsewhere"})

    kept = [
        CapturedRequest(
            "GET",
            "shop.test",
            "/a%2Fb?c=d",
            (("Host", "shop.test"), ("X-Mine", "1"), ("Cookie", "***")),
        ),
        CapturedRequest("POST", "shop.test", "/", (("Content-Length", "3"),)),
    ]

    async def main(base: str | None) -> list[int]:
        async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as client:
            return [found.status_code async for _, found in replay(kept, client, base=base)]

    assert asyncio.run(main("http://127.0.0.1:8080/")) == [302]
    assert asyncio.run(main(None)) == [302]
    assert [str(request.url) for request in seen] == [
        "http://127.0.0.1:8080/a%2Fb?c=d",
        "http://shop.test/a%2Fb?c=d",
    ]
    for request in seen:
        assert request.headers.get_list("host") == ["shop.test"]
        assert request.headers["x-mine"] == "1"
        assert "cookie" not in request.headers
