"""Scriptable Docker Engine API: its objects, its responses, and its faults."""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import queue
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from meshlib_adapters.testing.calls import ScriptedCalls
from meshlib_adapters.testing.objects import (
    Place,
    check_ports,
    container_json,
    host_of,
    network_json,
    service_json,
    task_json,
)
from meshlib_adapters.testing.rolling import UpdateStep, rolling_update
from meshlib_adapters.testing.server import EngineServer

__all__ = ["FakeEngine"]


class FakeEngine(ScriptedCalls):
    """A Docker engine on a Unix socket, in threads of its own, from the entry of its context to the
    end. A call that a gateway must never make raises AssertionError there.

        with FakeUpstream("shop-1", port=8080) as upstream, FakeEngine() as engine:
            engine.service("shop", labels=LABELS, tasks=[upstream])
            provider = SwarmProvider(engine.url, allow_loopback_for_tests=True)

    `path` is that of its socket (None: in a directory of its own). `service`, `container` and
    `network` are short for what most tests want; what begins with `add_` says more.

    `services`, `tasks`, `networks`, `nodes` and `containers` hold the engine's responses, and may
    be changed at any time (under `lock`); the methods keep them consistent and send the events a
    real engine sends. With `deaf` set all events are lost. `calls` counts calls by path, `queries`
    has the last thousand of each.
    """

    def __init__(self, path: str | Path | None = None, *, api_version: str = "1.45") -> None:
        self._own = path is None  # a directory of its own
        place = Path(tempfile.gettempdir(), f"engine-{secrets.token_hex(8)}", "docker.sock")
        self.path = place if path is None else Path(path)
        self.url = f"unix://{self.path}"
        super().__init__()
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
        self.deaf = False
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
        if self._own:
            shutil.rmtree(self.path.parent, ignore_errors=True)
        if error is None and self.forbidden:
            raise AssertionError(f"calls that a gateway must not make: {', '.join(self.forbidden)}")

    # The engine itself

    def start(self) -> None:
        """Listen on a new socket."""
        if self._own:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
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

    def end_events(self, *, cut: bool = False) -> None:
        """End every event stream, like an engine that has lost its own source; `cut`: in the
        middle, like one that has crashed.
        """
        with self.lock:
            for subscriber in self._subscribers:
                subscriber.put(b"" if cut else None)

    # The swarm

    def add_network(
        self, name: str, *, mesh: bool = True, driver: str = "overlay", subnet: str = ""
    ) -> str:
        """Add a network and return its id; without `subnet` the engine reports none."""
        identity = f"net{next(self._numbers)}"
        with self.lock:
            self.networks.append(
                network_json(identity, name, mesh=mesh, driver=driver, subnet=subnet)
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
        tasks: Sequence[Place] = (),
    ) -> str:
        """Add a service on networks given by id, and return its id; its tasks run at once, or not
        before `run_tasks`. They are at `tasks`, as many as there are, further ones nowhere (10.x).
        """
        identity = f"svc{next(self._numbers)}"
        virtual = {n: f"10.9.0.{next(self._numbers) % 250 + 1}/24" for n in networks}
        version = next(self._numbers)
        service = service_json(
            identity, name, labels, version=version, replicas=replicas, virtual=virtual
        )
        check_ports(name, labels, tasks)
        with self.lock:
            self.services.append(service)
            self._plan_tasks(service, tasks)
            if running:
                self.run_tasks(name)
        self.emit("service", "create", identity, name=name)
        return identity

    def service(
        self,
        name: str,
        *,
        labels: Mapping[str, str],
        tasks: Sequence[Place],
        network: str = "front",
    ) -> str:
        """Add a service of one running task at each of `tasks`, on a network of the mesh that is
        made if need be, and return its id. The port of all is that of the labels: ValueError where
        one listens on another.
        """
        return self.add_service(
            name, labels, [self.network(network)], replicas=len(tasks), tasks=tasks
        )

    def network(self, name: str = "front", *, driver: str = "overlay") -> str:
        """The id of a network of the mesh, which is made if it is not there."""
        with self.lock:
            found = (str(one["Id"]) for one in self.networks if one["Name"] == name)
            return next(found, "") or self.add_network(name, driver=driver)

    def update_labels(self, name: str, labels: Mapping[str, str]) -> None:
        """Replace the labels of a service."""
        with self.lock:
            service = self._service(name)
            service["Spec"]["Labels"] = dict(labels)
        self.emit("service", "update", service["ID"], name=name)

    def scale(
        self, name: str, replicas: int, *, running: bool = True, tasks: Sequence[Place] = ()
    ) -> None:
        """Change the wanted number of tasks; new ones are at `tasks`, surplus ones end at once."""
        with self.lock:
            service = self._service(name)
            check_ports(name, service["Spec"]["Labels"], tasks)
            service["Spec"]["Mode"]["Replicated"]["Replicas"] = replicas
            self._plan_tasks(service, tasks)
            if running:
                self.run_tasks(name)
        self.emit("service", "update", service["ID"], name=name, **{"replicas.new": str(replicas)})

    def rolling_update(
        self,
        name: str,
        tasks: Sequence[Place],
        *,
        order: Literal["stop-first", "start-first"] = "stop-first",
    ) -> Iterator[UpdateStep]:
        """Replace the running tasks of a service by those at `tasks`, one after the other, a step
        for each value that is taken; when none is left, the update is over. Raises ValueError
        unless there are as many of the ones as of the others.

            for step in engine.rolling_update("shop", [next_one, next_two]):
                assert client.get("http://shop.example.com/").status_code == 200
        """
        with self.lock:
            service = self._service(name)
            check_ports(name, service["Spec"]["Labels"], tasks)
            old = self._running(service)
        if len(old) != len(tasks):
            raise ValueError(f"{name} has {len(old)} running tasks; {len(tasks)} are to come")
        return rolling_update(self, service, old, tasks, self._new_task, order)

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

    def _running(self, service: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            task
            for task in self.tasks
            if task["ServiceID"] == service["ID"] and task["DesiredState"] == "running"
        ]

    def _plan_tasks(self, service: dict[str, Any], places: Sequence[Place] = ()) -> None:
        wanted = service["Spec"]["Mode"]["Replicated"]["Replicas"]
        own = self._running(service)
        for task in own[wanted:]:
            task["DesiredState"] = task["Status"]["State"] = "shutdown"
        at = iter(places)
        for slot in range(len(own) + 1, wanted + 1):
            self._new_task(service, slot, next(at, None))

    def _new_task(
        self, service: dict[str, Any], slot: int, place: Place | None = None
    ) -> dict[str, Any]:
        number = next(self._numbers)
        networks = {
            entry["Target"]: self._network_name(entry["Target"])
            for entry in service["Spec"]["TaskTemplate"]["Networks"]
        }
        nowhere = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        address = nowhere if place is None else host_of(place)
        task = task_json(number, service["ID"], slot, networks, address)
        with self.lock:
            self.tasks.append(task)
        return task

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
        with self.lock:
            ids = {str(network["Name"]): str(network["Id"]) for network in self.networks}
            placed = {one: (ids.get(one, one), address) for one, address in networks.items()}
            container = container_json(number, name, labels, placed, ports)
            self.containers.append(container)
        identity = str(container["Id"])
        self.emit("container", "start", identity, name=name)
        return identity

    def container(
        self, name: str, *, labels: Mapping[str, str], at: Place, network: str = "front"
    ) -> str:
        """Add a running container that listens `at` a place, on a network of the mesh that is made
        if need be, and return its id. Its port is that of the labels, as with `service`.
        """
        check_ports(name, labels, [at])
        self.network(network, driver="bridge")
        return self.add_container(name, labels, {network: host_of(at)})

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
