"""Scriptable Docker Engine API: its objects, its responses, and its faults."""

from __future__ import annotations

import collections
import contextlib
import copy
import itertools
import json
import queue
import threading
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from meshlib_adapters.testing.server import EngineServer, Fault

__all__ = ["FakeEngine"]

_ALLOWED = frozenset(
    {"/version", "/events", "/containers/json", "/services", "/tasks", "/networks"}
)
_CREATED = "2017-03-01T10:00:00.000000000Z"


class FakeEngine:
    """Context manager; the engine listens on `path` inside it. A call that a gateway must never
    make raises on exit.

    `services`, `tasks`, `networks`, `nodes` and `containers` hold the engine's responses, and may
    be changed at any time (under `lock`); the methods keep them consistent and send the events a
    real engine sends. `calls` counts calls by path, `queries` has the last thousand of each.
    """

    def __init__(self, path: str | Path, *, api_version: str = "1.45") -> None:
        self.path = Path(path)
        self.url = f"unix://{self.path}"
        self.lock = threading.RLock()
        self.version: object = {
            "Version": "28.0",
            "ApiVersion": api_version,
            "MinAPIVersion": "1.24",
        }
        self.services: list[dict[str, Any]] = []
        self.tasks: list[dict[str, Any]] = []
        self.networks: list[dict[str, Any]] = [
            {
                "Id": "ingress0",
                "Name": "ingress",
                "Driver": "overlay",
                "Scope": "swarm",
                "Ingress": True,
                "Labels": {},
            },
        ]
        self.nodes: list[dict[str, Any]] = [
            {"ID": "node1", "Status": {"State": "ready"}, "Spec": {"Availability": "active"}}
        ]
        self.containers: list[dict[str, Any]] = []
        self.calls: dict[str, int] = {}
        self.queries: dict[str, collections.deque[dict[str, str]]] = {}
        self.forbidden: list[str] = []
        self.deaf = False
        self._faults: dict[str, Fault] = {}
        self._subscribers: set[queue.SimpleQueue[bytes | None]] = set()
        self._numbers = itertools.count(1)
        self._server: EngineServer | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        if error is None and self.forbidden:
            raise AssertionError(f"calls that a gateway must not make: {', '.join(self.forbidden)}")

    # The engine itself

    def start(self) -> None:
        """Listen on a new socket."""
        self._server = EngineServer(str(self.path), self)
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def stop(self) -> None:
        """End every connection and remove the socket, like an engine that stops."""
        server, self._server = self._server, None
        if server is None:
            return
        self.path.unlink(missing_ok=True)
        self.lift()
        self.end_events()
        server.shutdown()
        server.end_connections()
        server.server_close()

    def fault(self, path: str, fault: Fault) -> None:
        """Make `path` respond as `fault` describes from now on."""
        with self.lock:
            self._faults[path] = fault

    def lift(self, path: str | None = None) -> None:
        """Lift the fault on `path`, or all faults; hanging calls get their responses."""
        with self.lock:
            for name in [path] if path else list(self._faults):
                if fault := self._faults.pop(name, None):
                    fault.lifted.set()

    def count(self, path: str) -> int:
        """Number of requests for `path`."""
        with self.lock:
            return self.calls.get(path, 0)

    @property
    def subscribers(self) -> int:
        """Number of open event streams."""
        with self.lock:
            return len(self._subscribers)

    # Events

    def emit(self, kind: str, action: str, identity: str = "", **attributes: str) -> None:
        """Send an event to all subscribers; with `deaf` set it is lost."""
        event = {
            "Type": kind,
            "Action": action,
            "Actor": {"ID": identity, "Attributes": attributes},
            "scope": "swarm",
        }
        self.emit_raw(json.dumps(event).encode() + b"\n")

    def emit_raw(self, data: bytes) -> None:
        """Send arbitrary bytes on the event streams."""
        with self.lock:
            if not self.deaf:
                for subscriber in self._subscribers:
                    subscriber.put(data)

    def end_events(self) -> None:
        """End every event stream, like an engine that has lost its own source."""
        with self.lock:
            for subscriber in self._subscribers:
                subscriber.put(None)

    # The swarm

    def add_network(
        self, name: str, *, mesh: bool = True, driver: str = "overlay", subnet: str = ""
    ) -> str:
        """Add a network and return its id; without `subnet` the engine reports none."""
        identity = f"net{next(self._numbers)}"
        labels = {"com.docker.ucp.mesh.http": "true"} if mesh else {}
        scope = "swarm" if driver == "overlay" else "local"
        with self.lock:
            self.networks.append(
                {
                    "Id": identity,
                    "Name": name,
                    "Driver": driver,
                    "Scope": scope,
                    "Ingress": False,
                    "Labels": labels,
                    "Attachable": True,
                    "IPAM": {"Driver": "default", "Config": [{"Subnet": subnet}] if subnet else []},
                }
            )
        self.emit("network", "create", identity, name=name, type=driver)
        return identity

    def add_service(
        self,
        name: str,
        labels: Mapping[str, str],
        networks: Sequence[str],
        *,
        replicas: int = 1,
        running: bool = True,
    ) -> str:
        """Add a service on networks given by id, and return its id; its tasks run at once, or not
        before `run_tasks`.
        """
        identity = f"svc{next(self._numbers)}"
        attachments = [{"Target": network} for network in networks]
        service = {
            "ID": identity,
            "Version": {"Index": next(self._numbers)},
            "CreatedAt": _CREATED,
            "UpdatedAt": _CREATED,
            "Spec": {
                "Name": name,
                "Labels": dict(labels),
                "TaskTemplate": {"ContainerSpec": {"Image": "example:1"}, "Networks": attachments},
                "Mode": {"Replicated": {"Replicas": replicas}},
                "EndpointSpec": {"Mode": "vip"},
            },
            "Endpoint": {
                "Spec": {"Mode": "vip"},
                "VirtualIPs": [
                    {"NetworkID": n, "Addr": f"10.9.0.{next(self._numbers) % 250 + 1}/24"}
                    for n in networks
                ],
            },
        }
        with self.lock:
            self.services.append(service)
            self._plan_tasks(service)
            if running:
                self.run_tasks(name)
        self.emit("service", "create", identity, name=name)
        return identity

    def update_labels(self, name: str, labels: Mapping[str, str]) -> None:
        """Replace the labels of a service."""
        with self.lock:
            service = self._service(name)
            service["Spec"]["Labels"] = dict(labels)
        self.emit("service", "update", service["ID"], name=name)

    def scale(self, name: str, replicas: int, *, running: bool = True) -> None:
        """Change the wanted number of tasks; surplus ones end at once."""
        with self.lock:
            service = self._service(name)
            service["Spec"]["Mode"]["Replicated"]["Replicas"] = replicas
            self._plan_tasks(service)
            if running:
                self.run_tasks(name)
        self.emit("service", "update", service["ID"], name=name, **{"replicas.new": str(replicas)})

    def remove_service(self, name: str) -> None:
        """Remove a service and its tasks."""
        with self.lock:
            service = self._service(name)
            self.services.remove(service)
            self.tasks = [task for task in self.tasks if task["ServiceID"] != service["ID"]]
        self.emit("service", "remove", service["ID"], name=name)

    def run_tasks(self, name: str) -> None:
        """Let the wanted tasks of a service run from now on. As with a real engine there is no
        event.
        """
        with self.lock:
            identity = self._service(name)["ID"]
            for task in self.tasks:
                if task["ServiceID"] == identity and task["DesiredState"] == "running":
                    task["Status"]["State"] = "running"

    def _service(self, name: str) -> dict[str, Any]:
        return next(service for service in self.services if service["Spec"]["Name"] == name)

    def _plan_tasks(self, service: dict[str, Any]) -> None:
        wanted = service["Spec"]["Mode"]["Replicated"]["Replicas"]
        own = [
            task
            for task in self.tasks
            if task["ServiceID"] == service["ID"] and task["DesiredState"] == "running"
        ]
        for task in own[wanted:]:
            task["DesiredState"] = task["Status"]["State"] = "shutdown"
        for slot in range(len(own) + 1, wanted + 1):
            number = next(self._numbers)
            attachments = [
                {
                    "Network": {
                        "ID": entry["Target"],
                        "Spec": {"Name": self._network_name(entry["Target"])},
                    },
                    "Addresses": [f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}/24"],
                }
                for entry in service["Spec"]["TaskTemplate"]["Networks"]
            ]
            self.tasks.append(
                {
                    "ID": f"task{number}", "ServiceID": service["ID"], "Slot": slot,
                    "NodeID": "node1", "CreatedAt": _CREATED, "DesiredState": "running",
                    "Status": {"State": "preparing", "ContainerStatus": {}},
                    "Spec": {"ContainerSpec": {}}, "NetworksAttachments": attachments,
                }
            )  # fmt: skip

    def _network_name(self, identity: str) -> str:
        return next(
            (str(network["Name"]) for network in self.networks if network["Id"] == identity), ""
        )

    # Containers

    def add_container(
        self,
        name: str,
        labels: Mapping[str, str],
        networks: Mapping[str, str],
        *,
        ports: Sequence[int] = (),
    ) -> str:
        """Add a running container and return its id; `networks` maps names to its address
        in each.
        """
        number = next(self._numbers)
        identity = f"{number:064x}"
        with self.lock:
            ids = {str(network["Name"]): str(network["Id"]) for network in self.networks}
            self.containers.append(
                {
                    "Id": identity, "Names": [f"/{name}"], "Image": "example:1",
                    "Labels": dict(labels), "State": "running", "Status": "Up 2 seconds",
                    "Created": 1488362400 + number,
                    "Ports": [{"PrivatePort": port, "Type": "tcp"} for port in ports],
                    "NetworkSettings": {
                        "Networks": {
                            name: {"NetworkID": ids.get(name, name), "IPAddress": address}
                            for name, address in networks.items()
                        }
                    },
                }
            )  # fmt: skip
        self.emit("container", "start", identity, name=name)
        return identity

    def stop_container(self, name: str) -> None:
        """End a container; it stays in the list of all."""
        with self.lock:
            found = self._container(name)
            found.update(State="exited", Status="Exited (0) 1 second ago", Ports=[])
            for network in found["NetworkSettings"]["Networks"].values():
                network["IPAddress"] = ""
        self.emit("container", "die", found["Id"], name=name)

    def remove_container(self, name: str) -> None:
        """End and remove a container."""
        with self.lock:
            found = self._container(name)
            self.containers.remove(found)
        self.emit("container", "die", found["Id"], name=name)
        self.emit("container", "destroy", found["Id"], name=name)

    def _container(self, name: str) -> dict[str, Any]:
        return next(one for one in self.containers if one["Names"] == [f"/{name}"])

    # Queries from the connections

    def begin(self, method: str, path: str, query: str = "") -> Fault | None:
        """Count a call, and return its fault, if any."""
        with self.lock:
            found = self.queries.setdefault(path, collections.deque(maxlen=1000))
            found.append(dict(urllib.parse.parse_qsl(query)))
            self.calls[path] = self.calls.get(path, 0) + 1
            if method != "GET" or path not in _ALLOWED:
                self.forbidden.append(f"{method} {path}")
            fault = self._faults.get(path)
            if fault is not None and fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    del self._faults[path]
            return fault

    def response(self, path: str, query: str = "") -> object:
        """The response of a healthy engine."""
        shown = self.containers
        if "all=" not in query:
            shown = [one for one in shown if one["State"] in ("running", "paused", "restarting")]
        with self.lock:
            responses: dict[str, object] = {
                "/version": self.version,
                "/info": {"Swarm": {"LocalNodeState": "active", "ControlAvailable": True}},
                "/containers/json": shown, "/services": self.services,
                "/tasks": self.tasks, "/nodes": self.nodes, "/networks": self.networks,
                "/_ping": "OK",
            }  # fmt: skip
            return copy.deepcopy(responses.get(path))

    @contextlib.contextmanager
    def subscription(self) -> Iterator[queue.SimpleQueue[bytes | None]]:
        """One event stream: its bytes, and None at its end."""
        subscriber: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        with self.lock:
            self._subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            with self.lock:
                self._subscribers.discard(subscriber)
