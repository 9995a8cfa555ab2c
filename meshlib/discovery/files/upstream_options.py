"""Keys of a service in a file that say how its endpoints are used: `proxy_protocol`, `protocol`,
`lenient` and `strategy`. A wrong one is reported and left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from meshlib.balancing import check_strategy_name
from meshlib.discovery.files.diagnostics import (
    BAD_LENIENT,
    BAD_PROTOCOL,
    BAD_PROXY_HEADER,
    BAD_STRATEGY,
    FileDiagnostics,
    show_value,
)
from meshlib.discovery.files.endpoints import FileEndpoint
from meshlib.discovery.files.sources import Source, last
from meshlib.errors import ConfigurationError
from meshlib.upstream_key import Transport

__all__ = ["read_strategy", "read_transport"]


def read_transport(
    sources: Sequence[Source], service: str, diagnostics: FileDiagnostics
) -> Transport:
    """The beginning of connections to the endpoints of a service, and the protocol on them."""
    version = _proxy_header(sources, service, diagnostics)
    return Transport(
        _protocol(sources, service, diagnostics),
        proxy_protocol=version,
        lenient=_lenient(sources, service, diagnostics),
    )


def _proxy_header(
    sources: Sequence[Source], service: str, diagnostics: FileDiagnostics
) -> Literal["", "v1", "v2"]:
    layer = last(sources, service, "proxy_protocol")
    if layer is None:
        return ""
    if layer.value == "v1":
        return "v1"
    if layer.value == "v2":
        return "v2"
    message = f"{show_value(layer.value)} is not a version of the PROXY protocol"
    diagnostics.add(BAD_PROXY_HEADER, layer.place, message, "write v1 or v2, or leave it out")
    return ""


def _protocol(
    sources: Sequence[Source], service: str, diagnostics: FileDiagnostics
) -> Literal["", "h2c"]:
    layer = last(sources, service, "protocol")
    if layer is None:
        return ""
    if layer.value == "h2c":
        return "h2c"
    diagnostics.add(
        BAD_PROTOCOL,
        layer.place,
        f"{show_value(layer.value)} is not h2c",
        "write h2c, or leave it out for HTTP/1.1",
    )
    return ""


def _lenient(sources: Sequence[Source], service: str, diagnostics: FileDiagnostics) -> bool:
    layer = last(sources, service, "lenient")
    if layer is None:
        return False
    if isinstance(layer.value, bool):
        return layer.value
    message = f"{show_value(layer.value)} is neither true nor false"
    diagnostics.add(BAD_LENIENT, layer.place, message, "write true, or leave it out")
    return False


def read_strategy(
    sources: Sequence[Source],
    service: str,
    endpoints: Sequence[FileEndpoint],
    diagnostics: FileDiagnostics,
) -> str:
    """The strategy among the `endpoints`, "" for the default."""
    layer = last(sources, service, "strategy")
    if layer is None:
        return ""
    value = layer.value
    hint = "write least_connections, or leave it out"
    message = f"{show_value(value)} is no strategy"
    if isinstance(value, str):
        try:
            check_strategy_name(value)
        except ConfigurationError as error:
            hint = error.hint
        else:
            weights = {endpoint.weight for endpoint in endpoints if endpoint.weight}
            if value != "round_robin" or len(weights) < 2:
                return value
            message = "round_robin ignores weights, and they differ"
            hint = "write weighted_round_robin, or leave it out"
    diagnostics.add(BAD_STRATEGY, layer.place, message, hint)
    return ""
