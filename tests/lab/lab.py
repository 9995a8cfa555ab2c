"""What a test does with a real Docker engine and its one-node Swarm."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.lab.images import (
    PYTHON_COMMAND,
    SLEEP_COMMAND,
    TLS_COMMAND,
    WEB_COMMAND,
    build_python_root,
    build_tls_root,
    build_web_root,
    pack,
)
from tests.lab.node import Namespace, Node, Popen, wait_until

if TYPE_CHECKING:
    import docker

__all__ = ["MESH_LABEL", "STACKS", "WEB_IMAGE", "Inside", "Lab"]

WEB_IMAGE = "meshlib/web:lab"
MESH_LABEL = "com.docker.ucp.mesh.http"
STACKS = Path(__file__).parents[1] / "vectors" / "stacks"

# The names that the stack files use, and what stands in for them.
_WEB_NAMES = (WEB_IMAGE, "ahromis/session-example:0.1")
_SLEEP_NAMES = ("redis:3.0.7",)


class Inside(Namespace):
    """A helper container on some networks: what is started in its namespace has overlay addresses
    and Docker's DNS server (127.0.0.11, not in the machine's resolv.conf), and still the files of
    this machine."""

    def __init__(self, pid: int, container: str) -> None:
        super().__init__(pid)
        self.container = container


class Lab:
    """A node with an engine, a Swarm and images. `.url` is its DOCKER_HOST, `.client` an SDK client
    of it, `.api` its low level.

    `.host` is the network namespace of the engine: published ports are reached from there.
    """

    def __init__(self, node: Node) -> None:
        import docker

        self.node = node
        self.url = node.url
        self.host = node.namespace
        self.client: docker.DockerClient = docker.DockerClient(base_url=node.url, timeout=60)
        self.api: Any = self.client.api
        self._stacks: list[str] = []
        self._started: list[Popen] = []

    @staticmethod
    def bring_up() -> Lab:
        """An engine with a Swarm and the images of the stack files, in about two seconds. Call
        `close()` at the end.
        """
        node = Node()
        try:
            node.start()
            lab = Lab(node)
            lab.docker(
                "swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1:2377"
            )
            lab._make_images()
        except BaseException:
            node.close()
            raise
        return lab

    def close(self) -> None:
        self.client.close()
        self.node.close()

    def docker(
        self,
        *arguments: str | os.PathLike[str],
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float = 60,
    ) -> str:
        """What `docker ARGUMENTS` printed, stripped; `AssertionError` with its message when it
        failed.
        """
        environment = {
            **os.environ,
            **(env or {}),
            "DOCKER_HOST": self.url,
            "DOCKER_CONFIG": str(self.node.directory / "cli"),
        }
        command = ["docker", *(os.fspath(argument) for argument in arguments)]
        done = subprocess.run(
            command, input=stdin, capture_output=True, env=environment, timeout=timeout, check=False
        )
        assert done.returncode == 0, (
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr.decode()}"
        )
        return done.stdout.decode().strip()

    # Networks and services

    def network_create(
        self, name: str, *, mesh: bool = True, driver: str = "overlay", options: Sequence[str] = ()
    ) -> str:
        """The id of a new network, with the routing label when `mesh`; attachable, so that
        `inside()` can join it.
        """
        extra = ["--attachable"] if driver == "overlay" else []
        if mesh:
            extra += ["--label", f"{MESH_LABEL}=true"]
        return self.docker("network", "create", "-d", driver, *extra, *options, name)

    def service_create(
        self,
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        networks: Sequence[str] = (),
        replicas: int = 1,
        ports: str = "8080",
        publish: Sequence[str] = (),
        options: Sequence[str] = (),
        image: str = WEB_IMAGE,
        command: Sequence[str] = (),
        wait: bool = True,
    ) -> str:
        """The id of a new service; with `wait` only when all its tasks run. The web image listens
        on `ports` ("8000 8001").
        """
        flags = [f"--label={key}={value}" for key, value in (labels or {}).items()]
        flags += [f"--network={network}" for network in networks] + [
            f"--publish={port}" for port in publish
        ]
        service = self.docker(
            "service", "create", "--detach", "--quiet", "--no-resolve-image", "--name", name,
            "--replicas", str(replicas), "--env", f"PORTS={ports}", "--restart-delay", "100ms",
            *flags, *options, image, *command,
        )  # fmt: skip
        if wait:
            self.wait_running(name, replicas)
        return service

    def service_update(self, name: str, *options: str) -> None:
        """`docker service update`, returning as soon as the engine has taken it."""
        self.docker(
            "service", "update", "--detach", "--quiet", "--no-resolve-image", *options, name
        )

    def service_scale(self, name: str, replicas: int, *, wait: bool = True) -> None:
        self.docker("service", "scale", "--detach", f"{name}={replicas}")
        if wait:
            self.wait_running(name, replicas)

    def service_remove(self, name: str) -> None:
        self.docker("service", "rm", name)

    def stack_deploy(
        self, file: Path | str, name: str, env: Mapping[str, str] | None = None
    ) -> None:
        """Deploy a stack file (a name in tests/vectors/stacks, or a path) and wait until its
        services run.
        """
        path = STACKS / file
        self._stacks.append(name)
        self.docker("stack", "deploy", "--resolve-image", "never", "-c", path, name, env=env)
        for service in self.docker("stack", "services", name, "--format", "{{.Name}}").split():
            self.wait_running(service)

    def stack_remove(self, name: str) -> None:
        self.docker("stack", "rm", name)
        self._stacks.remove(name)

    # What the engine says, looked at without any code of ours

    def running_tasks(self, service: str) -> list[dict[str, object]]:
        """The tasks of a service that serve: running, and meant to."""
        tasks = self.api.tasks(filters={"service": service, "desired-state": "running"})
        return [task for task in tasks if task["Status"]["State"] == "running"]

    def task_addresses(self, service: str, network: str) -> list[str]:
        """The addresses of the running tasks in one network, sorted."""
        found = []
        for task in self.api.tasks(filters={"service": service, "desired-state": "running"}):
            for attachment in task.get("NetworksAttachments") or []:
                if (
                    attachment["Network"]["Spec"]["Name"] == network
                    and task["Status"]["State"] == "running"
                ):
                    found.append(attachment["Addresses"][0].partition("/")[0])
        return sorted(found)

    def wait_running(
        self, service: str, replicas: int | None = None, *, timeout: float = 60
    ) -> None:
        """Wait until exactly as many tasks of the service run as it wants (or `replicas`), and no
        others are left over.
        """
        if replicas is None:
            replicas = self.api.inspect_service(service)["Spec"]["Mode"]["Replicated"]["Replicas"]

        def look() -> bool:
            tasks = self.api.tasks(filters={"service": service})
            serving = [task for task in tasks if task["Status"]["State"] == "running"]
            return len(serving) == replicas and all(
                task["DesiredState"] == "running" for task in serving
            )

        try:
            wait_until(look, timeout=timeout, what=f"{replicas} tasks of {service} run")
        except AssertionError as error:
            raise AssertionError(
                f"{error}\n{self.docker('service', 'ps', '--no-trunc', service)}"
            ) from None

    # Containers and processes

    def container_run(
        self, *options: str, image: str = WEB_IMAGE, command: Sequence[str] = ()
    ) -> str:
        """The id of a new container started in the background."""
        return self.docker("run", "--detach", *options, image, *command)

    def inside(self, networks: Sequence[str], *, name: str | None = None) -> Inside:
        """A namespace on all of `networks` (attachable overlays or bridges). A gateway under test,
        and its clients, run there.
        """
        first, *others = networks
        name = name or f"inside-{uuid.uuid4().hex[:8]}"
        container = self.container_run("--name", name, "--network", first, image=_SLEEP_NAMES[0])
        for network in others:
            self.docker("network", "connect", network, container)
        return Inside(self.node.host_pid(container), container)

    def start(
        self, namespace: Namespace, command: Sequence[str | os.PathLike[str]], **options: object
    ) -> Popen:
        """`namespace.popen(...)`, ended by `reset()` if the test does not."""
        process = namespace.popen(command, **options)
        self._started.append(process)
        return process

    # Images

    def import_image(self, root: Path, names: Sequence[str], command: str, *changes: str) -> None:
        """An image of the directory `root`, under every name; `command` as in a Dockerfile's
        CMD.
        """
        flags = [part for change in (f"CMD {command}", *changes) for part in ("--change", change)]
        first, *others = names
        self.docker("import", *flags, "-", first, stdin=pack(root))
        for other in others:
            self.docker("tag", first, other)

    def python_image(self, *names: str) -> None:
        """An image of the Python that runs the tests, under `names`: what a Dockerfile's FROM line
        finds.
        """
        with tempfile.TemporaryDirectory(dir=self.node.directory) as root:
            build_python_root(Path(root))
            self.import_image(
                Path(root), names, PYTHON_COMMAND, "ENV PATH=/usr/local/bin:/usr/bin:/bin"
            )

    def tls_image(self, *names: str) -> None:
        """An image of an application that terminates TLS itself, under `names`; see
        `build_tls_root`.
        """
        with tempfile.TemporaryDirectory(dir=self.node.directory) as root:
            build_tls_root(Path(root))
            self.import_image(
                Path(root), names, TLS_COMMAND, "ENV PATH=/usr/local/bin:/usr/bin:/bin"
            )

    def _make_images(self) -> None:
        with tempfile.TemporaryDirectory(dir=self.node.directory) as root:
            build_web_root(Path(root))
            self.import_image(Path(root), _WEB_NAMES, WEB_COMMAND)
            self.import_image(Path(root), _SLEEP_NAMES, SLEEP_COMMAND)

    # Order

    def reset(self) -> None:
        """Remove what a test made: processes, stacks, services, containers, networks, secrets.
        Images stay.
        """
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        self._started.clear()
        self._stacks.clear()
        for listing, removal in (
            (("service", "ls"), ("service", "rm")),
            (("ps", "-a"), ("rm", "-f", "-v")),
            (("secret", "ls"), ("secret", "rm")),
            (("config", "ls"), ("config", "rm")),
        ):
            found = self.docker(*listing, "-q").split()
            if found:
                # The Swarm removes its containers at the same time; who is left of them is seen
                # below.
                with (
                    contextlib.suppress(AssertionError)
                    if listing[0] == "ps"
                    else contextlib.nullcontext()
                ):
                    self.docker(*removal, *found)
        wait_until(self._quiet, timeout=60, what="the containers of the test are gone", every=0.1)
        wait_until(
            self._networks_removed,
            timeout=30,
            what="the networks of the test are removed",
            every=0.2,
        )

    def _quiet(self) -> bool:
        return not self.docker("ps", "-aq") and not self.api.tasks()

    def _networks_removed(self) -> bool:
        # Refused for a moment after the last container has left: ask again.
        kept = {"bridge", "host", "none", "ingress", "docker_gwbridge"}
        names = [
            name
            for name in self.docker("network", "ls", "--format", "{{.Name}}").split()
            if name not in kept
        ]
        if names:
            with contextlib.suppress(AssertionError):
                self.docker("network", "rm", *names)
        return not names

    @contextlib.contextmanager
    def engine_stopped(self, *, crash: bool = False) -> Iterator[None]:
        """The engine is away inside the block and starts again after it, on a new socket; the Swarm
        comes back with it.
        """
        if crash:
            self.node.kill()
        else:
            self.node.stop()
        try:
            yield
        finally:
            self.node.start()
