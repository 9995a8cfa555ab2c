"""A share of the requests to another host's route."""

from __future__ import annotations

import pytest

from meshlib.errors import ConfigurationError
from meshlib_adapters.hooks.canary import Canary
from tests.support.hook_requests import MESH, asked

THERE = MESH.route("GET", "http://canary.test/")


def test_a_field_decides() -> None:
    hook = Canary("canary.test", field="X-Canary", value="yes")
    assert hook.before(asked("X-Canary: yes")) == THERE
    assert hook.before(asked("X-Canary: no")) is None
    assert hook.before(asked()) is None
    assert Canary("canary.test", field="X-Canary").before(asked("X-Canary: any")) == THERE


def test_a_share_of_the_clients_stays_there() -> None:
    hook = Canary("canary.test", share=0.3)
    clients = [f"192.0.2.{number}" for number in range(200)]
    chosen = [hook.before(asked(address=address)) is not None for address in clients]
    assert 30 < sum(chosen) < 90
    assert chosen == [hook.before(asked(address=address)) is not None for address in clients]
    assert all(Canary("canary.test", share=1).before(asked(address=one)) for one in clients)


def test_nobody_is_sent_where_nobody_is() -> None:
    assert Canary("empty.test", share=1).before(asked()) is None
    assert Canary("unknown.test", share=1).before(asked()) is None
    assert Canary("canary.test", share=1).before(asked(host="unknown.test")) is None


@pytest.mark.parametrize("share", [-0.1, 0, 1.1])
def test_a_share_is_one(share: float) -> None:
    with pytest.raises(ConfigurationError):
        Canary("canary.test", share=share)
