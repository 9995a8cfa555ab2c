"""What engines respond, with what it means: each file has the lists as the API sends them, and the
facts expected of the snapshot.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshlib.discovery.engine.options import ResolveOptions
from meshlib.model import Snapshot
from meshlib.name_records import NameKind

__all__ = ["Scene", "expected_facts", "facts", "scenes"]

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Scene:
    """One file. `lists` are the engine's responses by name ("services"), `expected` the facts."""

    name: str
    lists: Mapping[str, object]
    options: ResolveOptions
    expected: Mapping[str, Any]


def scenes(prefix: str) -> list[Scene]:
    """The scenes whose file begins with `prefix` ("swarm", "containers"), in order of name."""
    found = []
    for path in sorted(_FOLDER.glob(f"{prefix}*.json")):
        data = json.loads(path.read_text())
        asked = data.get("options", {})
        options: dict[str, Any] = {
            key: frozenset(value) if isinstance(value, list) else value
            for key, value in asked.items()
        }
        found.append(Scene(path.stem, data, ResolveOptions(**options), data["expected"]))
    return found


def facts(snapshot: Snapshot, names: Mapping[str, object]) -> dict[str, object]:
    """A snapshot in the form of `expected`, as far as `names` ("NETWORK NAME") are concerned."""
    return {
        "routes": sorted(
            (_route(snapshot, index) for index in range(len(snapshot.routes))),
            key=lambda r: (r["service"], r["route"]),
        ),
        "diagnostics": sorted([d.code, d.service, d.label] for d in snapshot.diagnostics),
        "names": {asked: _addresses(snapshot, *asked.split(" ")) for asked in names},
    }


def expected_facts(scene: Scene) -> dict[str, object]:
    """What `facts` has to be for a scene."""
    expected = scene.expected
    return {
        "routes": sorted(expected["routes"], key=lambda r: (r["service"], r["route"])),
        "diagnostics": sorted(expected["diagnostics"]),
        "names": {asked: sorted(addresses) for asked, addresses in expected["names"].items()},
    }


def _route(snapshot: Snapshot, index: int) -> dict[str, Any]:
    route = snapshot.routes[index]
    endpoints = route.upstream.endpoints if route.upstream else ()
    found: dict[str, Any] = {
        "route": route.name,
        "service": route.service,
        "port": route.upstream.key.port if route.upstream else None,
        "endpoints": [[e.id, e.address, str(e.state)] for e in endpoints],
    }
    if route.redirect is not None:
        found["redirect"] = route.redirect.target
    return found


def _addresses(snapshot: Snapshot, network: str, name: str) -> list[str]:
    tasks = name.startswith("tasks.")
    name = name.removeprefix("tasks.")
    return sorted(
        {
            address
            for record in snapshot.names
            if (record.network, record.name, record.kind is NameKind.TASKS)
            == (network, name, tasks)
            for address in record.addresses
        }
    )
