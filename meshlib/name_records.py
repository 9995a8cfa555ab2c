"""Names of services, tasks and containers, as Docker's embedded DNS resolves them."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["NameKind", "NameRecord"]


class NameKind(enum.StrEnum):
    """Kind of object that a name belongs to, as in Docker's embedded DNS."""

    SERVICE = "service"
    TASKS = "tasks"
    CONTAINER = "container"


@dataclass(frozen=True, slots=True)
class NameRecord:
    """One name as Docker's embedded DNS resolves it inside one network.

    `name` is in lower case and without "tasks."; `network` is the network's name, `addresses` IP
    addresses in a stable order (the VIP alone for a SERVICE in VIP mode).
    """

    network: str
    name: str
    kind: NameKind
    addresses: tuple[str, ...]
