"""A page in the place of a service."""

from __future__ import annotations

from meshlib_adapters.hooks.maintenance import Maintenance
from tests.support.hook_requests import asked


def test_all_but_those_who_work_on_it_see_the_page() -> None:
    hook = Maintenance("<h1>Soon</h1>", retry_after=60, allowed=["10.0.0.0/8"])
    response = hook.before(asked())
    assert response is not None
    assert (response.status, response.body) == (503, b"<h1>Soon</h1>")
    assert (b"Retry-After", b"60") in response.fields
    assert hook.before(asked(address="10.0.0.1")) is None
    assert repr(hook) == "<Maintenance on>"
    hook.on = False
    assert hook.before(asked()) is None
