"""The page of metrics of a running gateway, read with Prometheus' own parser."""

from __future__ import annotations

import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from meshlib_adapters.observe.metrics.exposition import CONTENT_TYPE
from tests.support.commands import PATIENCE, Running

__all__ = ["Page"]


class Page:
    """A scraped page: numbers by name and labels."""

    def __init__(self, running: Running) -> None:
        host, port = running.addresses["admin"]
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=PATIENCE) as response:
            assert response.headers["Content-Type"] == CONTENT_TYPE
            self.families = {
                family.name: family
                for family in text_string_to_metric_families(response.read().decode())
            }

    def get(self, name: str, /, **wanted: str) -> float:
        """The sum of the samples of that name that have these labels."""
        return sum(
            sample.value
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name and wanted.items() <= sample.labels.items()
        )

    def labels(self, name: str, label: str) -> set[str]:
        return {
            sample.labels[label]
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name and label in sample.labels
        }
