"""Settings that cannot be are refused when they are made, with their place."""

from __future__ import annotations

import pytest

from meshlib.errors import ConfigurationError
from meshlib_adapters.config.transport import RelaySettings, TLSSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("head_read", 0),
        ("tunnel_idle", -1.0),
        ("max_lifetime", 0),
        ("max_connections", 0),
        ("max_connections_per_client", 0),
        ("plain_http", "proxy"),
        ("redirect_status", 200),
        ("public_port", 0),
        ("stickiness", "cookie"),
        ("sticky_sessions_total", 0),
        ("sticky_sessions_per_upstream", 0),
        ("sticky_unknown", -1),
        ("session_ttl", 0),
    ],
)
def test_a_wrong_value_is_named_with_its_setting(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TLSSettings(**{name: value})  # type: ignore[arg-type]
    assert caught.value.where == name


def test_wrong_in_the_relay() -> None:
    with pytest.raises(ConfigurationError, match="buffer_size"):
        RelaySettings(buffer_size=0)
