"""What a label schema yields: the part of a route that labels can know.

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
    """Where a label forwards to: the port inside the container, and how endpoints are spoken to."""

    number: int
    transport: Transport = PLAIN


@dataclass(frozen=True, slots=True)
class LabelRoute:
    """One route as a label asks for it. `label` is the label's key, `schema` the schema that read
    it ("hrm").
    """

    match: Match
    action: InternalPort | RedirectRule
    label: str
    schema: str
    options: RouteOptions = NO_OPTIONS

    @property
    def forwards(self) -> bool:
        """Whether it asks endpoints."""
        return isinstance(self.action, InternalPort)


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

    `routes` in order of label key, never two with the same match.
    `diagnostics` in order of label key, then as found, but those of a limit of the service first.
    `failed`: keys of labels with an error; the resolver keeps their last good routes. `unreported`:
    how many diagnostics there was no room for.
    """

    routes: tuple[LabelRoute, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    failed: frozenset[str] = frozenset()
    unreported: int = 0
