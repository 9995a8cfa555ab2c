"""Listeners of a gateway, as `routes` and `explain` ask them: a table says where traffic would go,
not that anything accepts it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from meshlib.messages import ClientHello, RequestHead
from meshlib.model import HostPath, ListeningPort, Match, Route, ServerName
from meshlib_adapters.config.settings import Settings

__all__ = ["ALL_OPEN", "Listening", "listening", "none_listening", "unopened_ports"]


@dataclass(frozen=True, slots=True)
class Listening:
    """Reasons why listeners accept nothing, at one moment; "" for one that accepts.

    `http` is for requests without TLS, `tls` for TLS connections, `ports` for ports that routes ask
    for (those that are open are left out). `terminates` says whether TLS for a host is terminated
    here (None: for no host).
    """

    http: str = ""
    tls: str = ""
    ports: Mapping[ListeningPort, str] = field(default_factory=dict)
    terminates: Callable[[str], bool] | None = None

    def closed_for(self, route: Route) -> str:
        """Reason why nothing comes to the route, on any listener; "" if something does."""
        return self._closed(route.match)

    def closed_to(self, asked: RequestHead | ClientHello | ListeningPort) -> str:
        """Reason why what is asked about is not accepted; "" if it is. A request comes without
        TLS.
        """
        if isinstance(asked, ListeningPort):
            return self.ports.get(asked, "")
        return self.tls if isinstance(asked, ClientHello) else self.http

    def _closed(self, match: Match) -> str:
        if isinstance(match, ListeningPort):
            return self.ports.get(match, "")
        if isinstance(match, ServerName):
            return self.tls
        return "" if self.http and self._over_tls(match) else self.http

    def _over_tls(self, match: HostPath) -> bool:
        if self.tls or self.terminates is None:
            return False
        # A wildcard is open if any of its names may be.
        return not match.host or match.host.startswith("*.") or self.terminates(match.host)


# For a table whose listeners nobody knows: an embedder's.
ALL_OPEN: Final = Listening()


def listening(
    settings: Settings,
    ports: Mapping[ListeningPort, str],
    *,
    terminates: Callable[[str], bool] | None = None,
) -> Listening:
    """The listeners that `settings` configure.

    `ports` are those that are not open, with the reason: of a running gateway, or `unopened_ports`.
    """
    plain = settings.http or (settings.https and settings.tls.plain_http == "serve")
    return Listening(
        "" if plain else "there is no listener for HTTP: the setting http names no address",
        ""
        if settings.https
        else "there is no listener for TLS: the setting https names no address",
        ports,
        terminates,
    )


def none_listening(reason: str, ports: Iterable[ListeningPort]) -> Listening:
    """The listeners of a gateway that accepts nothing at this moment."""
    reason = f"no listener is open: {reason}"
    return Listening(reason, reason, dict.fromkeys(ports, reason))


def unopened_ports(settings: Settings, wanted: Iterable[ListeningPort]) -> dict[ListeningPort, str]:
    """Those of the `wanted` ports that a gateway with these settings does not open, with the
    reason; what only an attempt shows is not known here.
    """
    rules = settings.ports
    if rules.open == "off":
        return dict.fromkeys(wanted, "ports.open is off; set it to labels to have it opened")
    own = {address.port for address in (*settings.http, *settings.https, *settings.admin)}
    found: dict[ListeningPort, str] = {}
    count = 0
    for port in sorted(wanted):
        reason = rules.refusal(port, own, count)
        if reason:
            found[port] = reason
        else:
            count += 1
    return found
