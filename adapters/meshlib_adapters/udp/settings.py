"""What a UDP listener can be told, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass

from meshlib.errors import ConfigurationError

__all__ = ["UDPSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UDPSettings:
    """Limits and time-outs of a UDP listener; seconds. Raises `ConfigurationError` for what cannot be.

    A flow ends when nothing came either way for `flow_timeout`, or for `drain_silence` while the listener drains.
    `max_flows` in all (each has a socket of its own), `max_flows_per_client` of one client (as in `TLSSettings`; None: no limit); a
    datagram that would begin another is dropped, unless a flow that was never answered can make room. `sweep_interval` is the
    grain of the time-outs.
    """

    flow_timeout: float = 60.0
    drain_silence: float = 1.0
    max_flows: int = 10_000
    max_flows_per_client: int | None = 1000
    sweep_interval: float = 0.5

    def __post_init__(self) -> None:
        for name in ("flow_timeout", "drain_silence", "sweep_interval"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} must be more than 0", where=name)
        for name in ("max_flows", "max_flows_per_client"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} must be at least 1", where=name)
