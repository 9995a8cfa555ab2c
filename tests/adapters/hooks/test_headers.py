"""Fields that are always set, or never there."""

from __future__ import annotations

from meshlib.http1 import parse_response_head
from meshlib_adapters.hooks.headers import Headers
from tests.support.hook_requests import asked


def test_both_directions() -> None:
    hook = Headers(
        request={"X-From": "gateway"},
        request_remove=["Cookie"],
        response={"X-Frame-Options": "DENY"},
    )
    changes = hook.before(asked())
    assert changes.added == ((b"X-From", b"gateway"),)
    assert changes.removed == {b"x-from", b"cookie"}
    head = parse_response_head(b"HTTP/1.1 200 OK\r\n\r\n")
    assert hook.after(asked(), head).added == ((b"X-Frame-Options", b"DENY"),)
    assert repr(hook).startswith("<Headers request=<Changes added=1 removed=2>")
