"""Labels of a Swarm service that stand where nobody reads them: on its containers."""

from __future__ import annotations

from meshlib.discovery.engine.networks import LABELS_ON_CONTAINER
from meshlib.discovery.engine.records import ServiceRecord
from meshlib.labels.interlock import unread_interlock
from meshlib.labels.schemas import is_routing_label
from meshlib.model import Diagnostic

__all__ = ["labels_on_containers"]


def labels_on_containers(service: ServiceRecord) -> list[Diagnostic]:
    """One diagnostic for each routing label that is on the containers of `service` alone; without
    any, one for labels of Interlock there.
    """
    # Written under `labels:` of a stack file instead of `deploy: labels:`, they stay on the
    # containers, where Swarm never looks.
    keys = sorted(
        key
        for key in service.container_labels
        if is_routing_label(key) and key not in service.labels
    )
    if not keys and not any(is_routing_label(key) for key in service.labels):
        unread = unread_interlock(service.container_labels, service.name)
        told = unread_interlock(service.labels, service.name) is not None
        return [unread] if unread is not None and not told else []
    return [
        Diagnostic(
            code=LABELS_ON_CONTAINER.code,
            severity=LABELS_ON_CONTAINER.severity,
            service=service.name,
            label=key,
            message=(
                "this label is on the containers of the service and not on the service, "
                "so it routes nothing"
            ),
            hint=(
                "in a stack file write it under deploy: labels:, on the command line use --label "
                "instead of --container-label"
            ),
        )
        for key in keys
    ]
