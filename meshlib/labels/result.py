"""The result of reading labels: the part of each route that labels can know.

The resolver adds the rest (upstream and endpoints). This module knows no schema.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshlib.model import Diagnostic, Match, RedirectRule
from meshlib.route_options import NO_OPTIONS, RouteOptions
from meshlib.upstream_key import PLAIN, Transport

__all__ = ["InternalPort", "LabelResult", "LabelRoute", "PublishedPort"]


@dataclass(frozen=True, slots=True)
class InternalPort:
    """The port inside the container that a label forwards to, the transport to endpoints, and the
    strategy among them ("": the label asks for none). Of those that the labels of a service ask for
    at one port the first counts.
    """

    number: int
    transport: Transport = PLAIN
    strategy: str = ""


@dataclass(frozen=True, slots=True)
class LabelRoute:
    """One route as a label asks for it.

    `label` is the label's key, `schema` the name of the schema that read it ("hrm").
    """

    match: Match
    action: InternalPort | RedirectRule
    label: str
    schema: str
    options: RouteOptions = NO_OPTIONS

    @property
    def forwards(self) -> bool:
        """Whether it forwards to endpoints."""
        return isinstance(self.action, InternalPort)


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A port that a service publishes: `target` inside the container, `published` outside (None:
    not known, or not yet).
    """

    target: int
    published: int | None = None
    protocol: str = "tcp"
    mode: str = "ingress"


@dataclass(frozen=True, slots=True)
class LabelResult:
    """Everything that was read from the labels of one service.

    `routes` are in order of their labels' keys, no two of them with the same match, except for a
    redirect to https at its own host beside what serves that (`is_for_plain`). `diagnostics`
    begin with those about limits of the service; the others are in order of their labels' keys,
    those of one label as they were found. `failed` are the keys of labels with an error, of which
    the resolver keeps the last good routes. `unreported` counts the diagnostics that there was no
    room for.
    """

    routes: tuple[LabelRoute, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    failed: frozenset[str] = frozenset()
    unreported: int = 0
