"""The labels of all services of one look, read within their limits; what is as it was is not read
again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from meshlib.discovery.limits import Allowance, DiscoveryLimits, limited_text
from meshlib.labels.hrm import is_hrm_label, parse_labels
from meshlib.labels.limits import label_size
from meshlib.labels.result import LabelResult, PublishedPort

__all__ = ["LabelReadings", "Labelled", "Reading"]


class Labelled(NamedTuple):
    """A service with its labels. `key` tells it from all others, `created_at` is its age as in
    `Contribution`.
    """

    key: str
    created_at: int
    service: str
    labels: Mapping[str, str]
    ports: Sequence[PublishedPort] = ()


class Reading(NamedTuple):
    """What the labels of one service say. `size`: their characters; `text`: how many of these may
    be read (None: all).
    """

    labelled: Labelled
    size: int
    text: int | None
    result: LabelResult


class LabelReadings:
    """One look. `before` are the readings of the last one by key, `fresh` counts the services whose
    labels were read anew.
    """

    def __init__(
        self, services: Iterable[Labelled], limits: DiscoveryLimits, before: Mapping[str, Reading]
    ) -> None:
        self.fresh = 0
        self._limits = limits
        self._before = before
        self._sizes = {service.key: self._size(service) for service in services}
        self._text = limited_text(self._sizes.values(), limits)

    def read(self, service: Labelled) -> Reading:
        """One of the services: the very same reading as before where nothing about its labels is
        new.
        """
        before, text = self._before.get(service.key), self._text.get(service.key)
        if before is not None and before.text == text and before.labelled == service:
            return before
        self.fresh += 1
        limits = Allowance(service.service, self._limits, text).labels
        result = parse_labels(
            service.labels, service=service.service, ports=service.ports, limits=limits
        )
        return Reading(service, self._sizes[service.key][2], text, result)

    def _size(self, service: Labelled) -> tuple[int, str, int]:
        before = self._before.get(service.key)
        if before is not None and before.labelled.labels == service.labels:
            size = before.size
        else:
            size = label_size(
                (key, text) for key, text in service.labels.items() if is_hrm_label(key)
            )
        return service.created_at, service.key, size
