"""Parts of routes, made of what a test is given."""

from __future__ import annotations

from meshlib.model import HostPath, ListeningPort, Match, Scheme, ServerName

__all__ = ["match_of"]


def match_of(scheme: Scheme, host: str = "", path: str = "/", port: int | None = None) -> Match:
    """What a route of this scheme matches."""
    if port is not None:
        return ListeningPort(scheme, port)
    return ServerName(host) if scheme is Scheme.SNI else HostPath(host, path)
