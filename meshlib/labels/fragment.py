"""What a label schema yields: the part of a route that labels can know.

The resolver adds the rest (upstream and endpoints). This module knows no schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from meshlib.model import Diagnostic, RedirectRule, Scheme

__all__ = ["LabelResult", "PublishedPort", "RouteFragment"]


@dataclass(frozen=True, slots=True)
class RouteFragment:
    """One route as a label asks for it.

    `scheme`, `host` and `path` as in `meshlib.model.Route`, in normal form. `label` is the label's
    key, `schema` the schema that read it ("hrm"). `internal_port` is the port inside the container:
    always set unless `redirect` is. `port` is the gateway's port that a TCP or UDP route has for
    itself, None for others. `proxy_protocol` is the version of the PROXY header that endpoints get
    ("": none). With a `server_name` endpoints are spoken to over TLS, and have to be of that name.
    `https_only`: requests without TLS are sent to https. `hsts`: as in `Route`.
    `upstream_protocol`: as `Upstream.protocol`. `share_with`: as `Route.share_with`.
    """

    scheme: Scheme
    host: str
    path: str
    label: str
    schema: str
    internal_port: int | None = None
    redirect: RedirectRule | None = None
    sticky_cookie: str | None = None
    forwarded_for: bool = False
    port: int | None = None
    proxy_protocol: Literal["", "v1", "v2"] = ""
    server_name: str = ""
    https_only: bool = False
    hsts: str = ""
    upstream_protocol: Literal["", "h2c"] = ""
    share_with: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A port that a service publishes: `target` inside the container, `published` outside (None:
    not known (yet)).
    """

    target: int
    published: int | None = None
    protocol: str = "tcp"
    mode: str = "ingress"


@dataclass(frozen=True, slots=True)
class LabelResult:
    """What the labels of one service say.

    `fragments` in order of label key, never two with the same scheme, host, path and port.
    `diagnostics` in order of label key, then as found, but those of a limit of the service first.
    `failed`: keys of labels with an error; the resolver keeps their last good routes. `unreported`:
    how many diagnostics there was no room for.
    """

    fragments: tuple[RouteFragment, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    failed: frozenset[str] = frozenset()
    unreported: int = 0
