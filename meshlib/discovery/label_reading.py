"""Labels of all services of one poll, read within their limits. Labels that did not change are not
read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from meshlib.discovery.limits import DiscoveryLimits, ServiceQuota, limited_text
from meshlib.labels.limits import label_size
from meshlib.labels.result import LabelResult, PublishedPort
from meshlib.labels.schemas import is_routing_label, read_labels

__all__ = ["LabelReadings", "Labelled", "Reading"]


class Labelled(NamedTuple):
    """A service with its labels. `key` identifies it; `created_at` is as in `Contribution`."""

    key: str
    created_at: int
    service: str
    labels: Mapping[str, str]
    ports: Sequence[PublishedPort] = ()


class Reading(NamedTuple):
    """Result of reading the labels of one service. `size` counts their characters; `text` is how
    many of these may be read (None: all).
    """

    labelled: Labelled
    size: int
    text: int | None
    result: LabelResult


class LabelReadings:
    """Readings of one poll. `before` has those of the last poll by key; `fresh` counts the services
    whose labels were read anew.
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
        """The reading of one of the services: the very same object as before where nothing about
        its labels changed.
        """
        before, text = self._before.get(service.key), self._text.get(service.key)
        if before is not None and before.text == text and before.labelled == service:
            return before
        self.fresh += 1
        limits = ServiceQuota(service.service, self._limits, text).labels
        result = read_labels(
            service.labels, service=service.service, ports=service.ports, limits=limits
        )
        return Reading(service, self._sizes[service.key][2], text, result)

    def _size(self, service: Labelled) -> tuple[int, str, int]:
        before = self._before.get(service.key)
        if before is not None and before.labelled.labels == service.labels:
            size = before.size
        else:
            size = label_size(
                (key, text) for key, text in service.labels.items() if is_routing_label(key)
            )
        return service.created_at, service.key, size
