"""Label schemas: what services say about themselves, read into route fragments and diagnostics.

One module a schema, each with a pure `parse_labels`. A schema knows label text and published ports;
it knows nothing of Docker's objects, endpoints, or what other services ask for.
"""

from meshlib.labels.result import LabelResult, LabelRoute, PublishedPort

__all__ = ["LabelResult", "LabelRoute", "PublishedPort"]
