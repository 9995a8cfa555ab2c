"""`Redirects`: what is redirected, where to, and that everything else is the application's."""

from __future__ import annotations

import asyncio

import pytest

import meshlib
from meshlib_adapters.asgi import Redirects
from meshlib_adapters.asgi.types import Scope
from tests.support.asgi_calls import Sent, call, recording, saying

APP = Redirects(
    saying("own"),
    {
        "old.example.com": "https://shop.example.com",
        "*.old.example.com": "https://shop.example.com/moved",
        "shop.example.com/news": meshlib.redirect("https://news.example.com", 308),
        "tls.example.com": "https://tls.example.com",
    },
)


def ask(host: str | None, path: str = "/", **options: object) -> Sent:
    return asyncio.run(call(APP, host, path, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "path", "status", "target"),
    [
        ("old.example.com", "/a/b", 301, b"https://shop.example.com/a/b?c=d"),
        ("OLD.example.com:8080", "/", 301, b"https://shop.example.com/?c=d"),
        ("very.old.example.com", "/a", 301, b"https://shop.example.com/moved"),
        ("shop.example.com", "/news/today", 308, b"https://news.example.com/news/today?c=d"),
        ("tls.example.com", "/x", 301, b"https://tls.example.com/x?c=d"),
    ],
)
def test_a_redirect(host: str, path: str, status: int, target: bytes) -> None:
    sent = ask(host, path, query=b"c=d")
    assert (sent.status, sent.fields(b"location"), sent.body) == (status, [target], b"")
    assert sent.fields(b"date") == []  # servers write one


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("shop.example.com", "/newspaper"),
        ("other.example.com", "/"),
        (None, "/"),
        ("not a host", "/"),
        ("old.example.com", "/\x00"),
    ],
)
def test_everything_else_is_the_applications(host: str | None, path: str) -> None:
    assert ask(host, path).body == b"own"


def test_what_is_there_already_is_not_redirected() -> None:
    assert ask("tls.example.com", scheme="https").body == b"own"


def test_two_hosts_are_not_ours_to_judge() -> None:
    assert ask("old.example.com", headers=[(b"Host", b"shop.example.com")]).body == b"own"


def test_a_websocket_and_a_lifespan_pass() -> None:
    assert ask("old.example.com", kind="websocket")[0]["type"] == "websocket.accept"
    scopes: list[Scope] = []
    app = Redirects(recording(scopes), {})
    with pytest.raises(RuntimeError, match="it has none"):
        asyncio.run(call(app, kind="lifespan"))
    assert scopes[0]["type"] == "lifespan"


@pytest.mark.parametrize(
    ("redirects", "text"),
    [
        ({"old.example.com": "shop.example.com"}, "old.example.com"),
        ({"https://old.example.com": "https://shop.example.com"}, "by its host and path"),
        ({"old.example.com": ["10.0.0.5:80"]}, "not the target of a redirect"),
        ({"sni://old.example.com": "https://shop.example.com"}, "cannot be redirected"),
    ],
)
def test_a_mistake_is_told_at_once(redirects: dict[str, str], text: str) -> None:
    with pytest.raises(meshlib.ConfigurationError, match=text):
        Redirects(saying(""), redirects)
