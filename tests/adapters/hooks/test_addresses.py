"""Networks that may ask."""

from __future__ import annotations

import pytest

from meshlib.decision import Respond
from meshlib.errors import ConfigurationError
from meshlib_adapters.hooks.addresses import AllowAddresses
from tests.support.hook_requests import asked


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("2001:db8::1", True),
        ("2001:db8::2", False),
        ("192.0.2.7", False),
        ("unix:", False),
        ("", False),
    ],
)
def test_others_are_refused(address: str, allowed: bool) -> None:
    hook = AllowAddresses(["10.0.0.0/8", "2001:db8::1"])
    refusal = None if allowed else Respond(403, "address")
    assert hook.before(asked(address=address)) == refusal


def test_claims_of_clients_do_not_count() -> None:
    hook = AllowAddresses("10.0.0.0/8")
    assert hook.before(asked("X-Forwarded-For: 10.0.0.1")) is not None
    assert repr(hook) == "<AllowAddresses 10.0.0.0/8>"


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        AllowAddresses(["10.0.0.1/8"])
