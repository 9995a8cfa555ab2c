"""The image of examples/gateway: built from its Dockerfile, deployed by its stack and compose
files, on a real engine.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.lab.lab import WEB_IMAGE, Lab
from tests.lab.node import wait_until

_ROOT = Path(__file__).parents[2]
_EXAMPLE = _ROOT / "examples" / "gateway"
_IMAGE = "meshlib-gateway:e2e"


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What `docker build` gets: the Dockerfile, and wheels of the checkout and of what it needs."""
    folder = tmp_path_factory.mktemp("image")
    shutil.copy(_EXAMPLE / "Dockerfile", folder)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        f"{_ROOT}[gateway,uvloop]",
        "--wheel-dir",
        str(folder / "wheels"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    yield folder
    shutil.rmtree(folder)


def build(lab: Lab, context: Path) -> None:
    lab.python_image("python:3.11-slim")
    lab.docker("build", "--tag", _IMAGE, context, env={"DOCKER_BUILDKIT": "0"}, timeout=300)


def environment(lab: Lab) -> dict[str, str]:
    socket = lab.url.removeprefix("unix://")
    return {
        "GATEWAY_IMAGE": _IMAGE,
        "DOCKER_SOCKET": socket,
        "DOCKER_GROUP": str(os.stat(socket).st_gid),
        "HTTP_PORT": "8088",
        "HTTPS_PORT": "8448",
        # The engine here may have less than the example asks for.
        "NOFILE": str(min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])),
    }


def fetch(lab: Lab, host: str, *options: str) -> str:
    return lab.host.fetch("http://127.0.0.1:8088/", "-H", f"Host: {host}", *options)


def containers(lab: Lab, service: str = "gateway") -> list[str]:
    return lab.docker(
        "ps", "-q", "--filter", f"label=com.docker.swarm.service.name=gateway_{service}"
    ).split()


def holds_nothing(lab: Lab, container: str) -> None:
    """The process that faces the internet: nobody, without capabilities, the engine's socket, or a
    file system to write to.
    """
    read = "print(open('/proc/1/status').read())"
    lines = lab.docker("exec", container, "/opt/meshlib/bin/python", "-c", read).splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"65534"}
    assert set(status["Groups"].split()) <= {"65534"}
    assert status["NoNewPrivs"] == "1"
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    state = json.loads(lab.docker("inspect", container))[0]
    assert state["HostConfig"]["ReadonlyRootfs"]
    assert not any("docker.sock" in json.dumps(mount) for mount in state["Mounts"])
    script = (
        "import json, socket, os\n"
        "def ask(request):\n"
        "    with socket.socket(socket.AF_UNIX) as sock:\n"
        "        sock.connect('/run/meshlib/engine.sock')\n"
        "        sock.sendall(request)\n"
        "        return sock.recv(12).decode()\n"
        "def write(path):\n"
        "    try:\n"
        "        open(path, 'w').close()\n"
        "    except OSError as error:\n"
        "        return error.strerror\n"
        "host = b' HTTP/1.1\\r\\nHost: docker\\r\\n'\n"
        "print(json.dumps({\n"
        "    'version': ask(b'GET /version' + host + b'\\r\\n'),\n"
        "    'create': ask(b'POST /containers/create' + host"
        " + b'Content-Length: 2\\r\\n\\r\\n{}'),\n"
        "    'secrets': ask(b'GET /secrets' + host + b'\\r\\n'),\n"
        "    'socket': os.path.exists('/var/run/docker.sock'),\n"
        "    'root': write('/opt/x'), 'tmp': write('/tmp/x')}))\n"
    )
    found = json.loads(lab.docker("exec", container, "/opt/meshlib/bin/python", "-c", script))
    assert found == {
        "version": "HTTP/1.1 200",
        "create": "HTTP/1.1 400",
        "secrets": "HTTP/1.1 403",
        "socket": False,
        "root": "Read-only file system",
        "tmp": "Read-only file system",
    }


def health(lab: Lab, container: str) -> str:
    return lab.docker("inspect", "--format", "{{.State.Health.Status}}", container)


@pytest.mark.timeout(300)
def test_the_stack_routes_a_stack_by_its_labels_alone(lab: Lab, context: Path) -> None:
    build(lab, context)
    lab.network_create("ucp-hrm")
    lab.docker(
        "stack",
        "deploy",
        "--resolve-image",
        "never",
        "-c",
        _EXAMPLE / "stack.yml",
        "gateway",
        env=environment(lab),
    )
    lab.stack_deploy("http.yml", "hrm-http-example", {"DOMAIN": "demo.example.com"})
    wait_until(
        lambda: fetch(lab, "demo.example.com").endswith(" 8080\n"),
        timeout=60,
        what="the stack is routed",
        every=0.3,
    )
    wait_until(
        lambda: len({fetch(lab, "demo.example.com") for _ in range(15)}) == 5,
        timeout=30,
        what="all five replicas are seen",
    )
    (container,) = containers(lab)
    wait_until(
        lambda: health(lab, container) == "healthy",
        timeout=60,
        what="the container is healthy",
        every=0.3,
    )
    state = json.loads(lab.docker("inspect", container))[0]
    assert state["Config"]["User"].startswith("65534:")
    assert state["Config"]["StopSignal"] == "SIGTERM"
    assert fetch(lab, "demo.example.com", "-o", "/dev/null", "-w", "%{http_code}") == "200"
    holds_nothing(lab, container)
    (proxy,) = containers(lab, "engine")
    wait_until(
        lambda: health(lab, proxy) == "healthy", timeout=60, what="the proxy is healthy", every=0.3
    )
    # A graceful stop: exit code 0, well within the grace period.
    lab.docker("service", "rm", "gateway_gateway")
    wait_until(lambda: not containers(lab), timeout=30, what="the gateway has stopped")


@pytest.mark.timeout(300)
def test_tls_ends_with_a_certificate_from_secrets(lab: Lab, context: Path, tmp_path: Path) -> None:
    """Redirected, served, kept on a replica by the application's cookie, and routed by path: what
    HRM could do for http alone.
    """
    build(lab, context)
    lab.network_create("ucp-hrm")
    authority = trustme.CA()
    issued = authority.issue_cert("shop.example.com")
    trusted = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    lab.docker(
        "secret",
        "create",
        "gateway.crt",
        "-",
        stdin=b"".join(blob.bytes() for blob in issued.cert_chain_pems),
    )
    lab.docker("secret", "create", "gateway.key", "-", stdin=issued.private_key_pem.bytes())
    files = ["-c", str(_EXAMPLE / "stack.yml"), "-c", str(_EXAMPLE / "tls.yml")]
    lab.docker(
        "stack", "deploy", "--resolve-image", "never", *files, "gateway", env=environment(lab)
    )
    route = "internal_port=8080,sticky_sessions=SESSION,https=require,hsts=300"
    route += ",share_with=service:environment"
    label = {"com.docker.ucp.mesh.http.8080": f"external_route=http://shop.example.com,{route}"}
    lab.service_create("shop", labels=label, networks=["ucp-hrm"], replicas=3)
    label = {
        "com.docker.ucp.mesh.http.8080": "external_route=http://shop.example.com/cgi-bin/env,internal_port=8080,https=require"
    }
    lab.service_create("environment", labels=label, networks=["ucp-hrm"])

    def get(path: str, *options: str) -> str:
        resolved = ["--cacert", str(trusted), "--resolve", "shop.example.com:8448:127.0.0.1"]
        return lab.host.fetch(f"https://shop.example.com:8448{path}", *resolved, *options)

    wait_until(
        lambda: len({get("/") for _ in range(12)}) == 3,
        timeout=60,
        what="all replicas respond over TLS",
        every=0.3,
    )
    assert "strict-transport-security: max-age=300" in get("/", "-D", "-", "--http2").lower()
    assert get("/", "-o", "/dev/null", "-w", "%{http_version}", "--http2") == "2"
    cookie = next(
        line.split()[1]
        for line in get("/cgi-bin/login", "-D", "-").splitlines()
        if line.lower().startswith("set-cookie: session=")
    )
    assert len({get("/", "-H", f"Cookie: {cookie}") for _ in range(8)}) == 1
    replicas = {get("/").split()[0] for _ in range(12)}

    def another() -> bool:
        host = re.search(r"(?m)^HOSTNAME=(.+)$", get("/cgi-bin/env"))
        return host is not None and host[1] not in replicas

    wait_until(another, timeout=30, what="the path is routed to the other service", every=0.3)
    told = fetch(lab, "shop.example.com", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}")
    assert told == "308 https://shop.example.com:8448/"
    (container,) = containers(lab)
    assert "PRIVATE KEY" not in lab.docker("logs", container)


@pytest.mark.timeout(300)
def test_one_host_without_a_swarm(lab: Lab, context: Path) -> None:
    build(lab, context)
    lab.docker("network", "create", "--label", "com.docker.ucp.mesh.http=true", "routed")
    # What compose.yml says, by hand: the machine's docker has no compose plugin.
    values = environment(lab)
    rules = [
        "--detach",
        "--read-only",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges:true",
        "--volume",
        "engine:/run/meshlib",
    ]
    lab.docker(
        "run", *rules, "--name", "engine", "--network", "none",
        "--user", f"65534:{values['DOCKER_GROUP']}",
        "--volume", f"{values['DOCKER_SOCKET']}:/var/run/docker.sock", _IMAGE, "socket-proxy",
    )  # fmt: skip
    lab.docker(
        "run", *rules, "--name", "gateway", "--network", "routed", "--user", "65534:65534",
        "--publish", "8088:80", _IMAGE, "serve", "--docker", "unix:///run/meshlib/engine.sock",
    )  # fmt: skip
    label = "com.docker.ucp.mesh.http.1=external_route=http://hello.example.com,internal_port=8080"
    lab.container_run("--name", "hello", "--network", "routed", "--label", label, image=WEB_IMAGE)
    wait_until(
        lambda: fetch(lab, "hello.example.com").endswith(" 8080\n"),
        timeout=30,
        what="the container is routed",
        every=0.3,
    )
    wait_until(
        lambda: health(lab, "gateway") == "healthy",
        timeout=60,
        what="the container is healthy",
        every=0.3,
    )
    holds_nothing(lab, "gateway")
    lab.docker("stop", "gateway")
    assert lab.docker("inspect", "--format", "{{.State.ExitCode}}", "gateway") == "0"
