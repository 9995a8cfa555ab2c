"""Labels of services, read into routes without endpoints and into diagnostics.

Each schema is a module with a pure `parse_labels`. A schema knows the text of labels and published
ports, but not Docker's objects, endpoints, or what other services ask for.
"""

from meshlib.labels.result import LabelResult, LabelRoute, PublishedPort

__all__ = ["LabelResult", "LabelRoute", "PublishedPort"]
