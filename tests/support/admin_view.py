"""A gateway as its admin side sees it, without the gateway."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from meshlib.mesh import Mesh
from meshlib.model import (
    Contribution,
    Diagnostic,
    Endpoint,
    ForwardTo,
    HostPath,
    RedirectRule,
    Route,
    Severity,
    Snapshot,
    Upstream,
)
from meshlib.upstream_key import UpstreamKey
from meshlib_adapters.observe.admin.view import CertificateEnds
from meshlib_adapters.providers.file import FileProvider
from meshlib_adapters.providers.provider import Provider

__all__ = ["View"]


class View:
    """A gateway as the admin side sees it."""

    def __init__(self) -> None:
        self.mesh = Mesh()
        upstream = Upstream(UpstreamKey("shop", 80), (Endpoint("shop.1", "10.0.0.5", 80),))
        routes = (
            Route(
                HostPath("shop.example.com"),
                ForwardTo(upstream),
                service="shop",
                label="l",
                schema="hrm",
            ),
            Route(
                HostPath("old.example.com"),
                RedirectRule("https://shop.example.com"),
                service="shop",
                label="l",
                schema="hrm",
            ),
        )
        wrong = Diagnostic("HRM001", Severity.ERROR, "shop", "l.1", "wrong", "right")
        self.mesh.publish("p", Snapshot.of([Contribution("p/shop", "shop", 0, routes, (wrong,))]))
        self.provider = FileProvider("services.yml")
        self.providers: Sequence[Provider] = [self.provider]
        self.not_ready = ""
        self.certificates: CertificateEnds | None = None
        self.from_disk: Sequence[str] = ()
        self.refused: Mapping[str, str] = {}
        self.started_at = time.monotonic()
