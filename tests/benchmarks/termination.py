"""TLS ended at the proxy: the same certificate for all, requests over kept connections, and full
handshakes.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import trustme

from tests.benchmarks import configurations
from tests.benchmarks.configurations import SMALL_HOST, Site
from tests.benchmarks.load import BROWSER_FIELDS
from tests.benchmarks.measure import measured, pinned
from tests.benchmarks.peers import PEERS, Launch, Peer, mesh
from tests.benchmarks.processes import BenchmarkError
from tests.benchmarks.scenarios import SCENARIOS, Figures, Goal, Measure, Scenario, register
from tests.benchmarks.tls_load import run_load

__all__ = ["ENDING_PEERS", "register_termination", "tls_ready"]

_CONNECTIONS = 64
_MESH = (
    "{python} -m meshlib_adapters.cli serve --services {services} "
    "--http off --https 127.0.0.1:{port}"
)
_MESH += " --admin 127.0.0.1:{admin} --log-level warning --log-format json"
_ENVOY_TLS = "envoy.extensions.transport_sockets.tls.v3"
_TOTAL = re.compile(r"finished in [\d.]+m?s, ([\d.]+) req/s")
_DONE = re.compile(r"requests: \d+ total, .* (\d+) succeeded, (\d+) failed, (\d+) errored")


def _certificate(site: Site) -> Path:
    """A folder with one PEM file: key and certificate of an ECDSA authority, as public ones are."""
    folder = site.work / "certificates"
    folder.mkdir(exist_ok=True)
    issued = trustme.CA().issue_cert(SMALL_HOST)
    (folder / "shop.pem").write_bytes(issued.private_key_and_cert_chain_pem.bytes())
    return folder


def _nginx(program: str, site: Site) -> Launch:
    file = _certificate(site) / "shop.pem"
    text = configurations.nginx(site, buffering=True)
    text = text.replace(f"listen 127.0.0.1:{site.port}", f"listen 127.0.0.1:{site.port} ssl")
    text = text.replace(
        "    keepalive_timeout 600s;\n",
        f"    keepalive_timeout 600s; ssl_certificate {file}; ssl_certificate_key {file};\n",
        1,
    )
    return Launch((program, "-p", str(site.work), "-c", site.write("nginx.conf", text)), {})


def _haproxy(program: str, site: Site) -> Launch:
    site.write("hosts.map", configurations.haproxy_map(site))
    text = configurations.haproxy(site).replace(
        "backlog 4096", f"backlog 4096 ssl crt {_certificate(site)}/shop.pem"
    )
    return Launch((program, "-db", "-f", site.write("haproxy.cfg", text)), {})


def _envoy(program: str, site: Site) -> Launch:
    file = f"{_certificate(site)}/shop.pem"
    config = json.loads(configurations.envoy(site))
    config["static_resources"]["listeners"][0]["filter_chains"][0]["transport_socket"] = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"type.googleapis.com/{_ENVOY_TLS}.DownstreamTlsContext",
            "common_tls_context": {
                # Envoy's own highest version for clients' connections is 1.2; the others' is 1.3.
                "tls_params": {
                    "tls_minimum_protocol_version": "TLSv1_2",
                    "tls_maximum_protocol_version": "TLSv1_3",
                },
                "tls_certificates": [
                    {"certificate_chain": {"filename": file}, "private_key": {"filename": file}}
                ],
                "alpn_protocols": ["http/1.1"],
            },
        },
    }
    command = (
        program,
        "-c",
        site.write("envoy.json", json.dumps(config)),
        "--concurrency",
        "1",
        "--disable-hot-restart",
    )
    return Launch((*command, "--log-level", "error"), {})


def _traefik(program: str, site: Site) -> Launch:
    file = f"{_certificate(site)}/shop.pem"
    config = json.loads(configurations.traefik_routes(site))
    for router in config["http"]["routers"].values():
        router["tls"] = {}
    config["tls"] = {"certificates": [{"certFile": file, "keyFile": file}]}
    routes = site.write("routes.json", json.dumps(config))
    return Launch((program, *configurations.traefik_options(site, routes)), {"GOMAXPROCS": "1"})


def _caddy(program: str, site: Site) -> Launch:
    file = f"{_certificate(site)}/shop.pem"
    config = json.loads(configurations.caddy(site))
    config["apps"]["tls"] = {"certificates": {"load_files": [{"certificate": file, "key": file}]}}
    for server in config["apps"]["http"]["servers"].values():
        server["tls_connection_policies"] = [{}]
    home = {
        "HOME": str(site.work),
        "XDG_DATA_HOME": str(site.work),
        "XDG_CONFIG_HOME": str(site.work),
    }
    return Launch(
        (program, "run", "--config", site.write("caddy.json", json.dumps(config))),
        {"GOMAXPROCS": "1", **home},
    )


def _mesh(loop: str, program: str, site: Site) -> Launch:
    folder = _certificate(site)
    launch = mesh(loop, _MESH)(program, site)
    return Launch(launch.command, {**launch.environment, "MESHLIB_TLS_CERTIFICATES": str(folder)})


ENDING_PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("nginx", PEERS["nginx"].find, _nginx, PEERS["nginx"].install),
        Peer("haproxy", PEERS["haproxy"].find, _haproxy, PEERS["haproxy"].install),
        Peer("envoy", PEERS["envoy"].find, _envoy, PEERS["envoy"].install),
        Peer("traefik", PEERS["traefik"].find, _traefik, PEERS["traefik"].install),
        Peer("caddy", PEERS["caddy"].find, _caddy, PEERS["caddy"].install),
        Peer(
            "meshlib",
            PEERS["meshlib"].find,
            lambda program, site: _mesh("uvloop", program, site),
            PEERS["meshlib"].install,
        ),
        Peer(
            "meshlib-asyncio",
            PEERS["meshlib-asyncio"].find,
            lambda program, site: _mesh("asyncio", program, site),
            "",
        ),
    )
}


def tls_ready(port: int) -> bool:
    """Whether a request over TLS gets a 200."""
    try:
        return run_load(port, SMALL_HOST, "handshakes", 0.01, 1).count > 0
    except BenchmarkError:
        return False


def requests(measure: Measure) -> Figures:
    """The request of the scenario `keepalive`, over TLS."""
    program = shutil.which("h2load")
    if program is None:
        raise BenchmarkError("h2load is not installed (apt-get install nghttp2-client)")
    fields = [part for name, value in BROWSER_FIELDS.items() for part in ("-H", f"{name}: {value}")]
    seconds = max(1, round(measure.seconds))
    command = [
        program,
        "--h1",
        f"-c{_CONNECTIONS}",
        f"-D{seconds}",
        f"--connect-to=127.0.0.1:{measure.port}",
        *fields,
    ]
    with measured(measure.pid, measure.proxy_cpu) as spent, pinned(measure.load_cpus):
        done = subprocess.run(
            [*command, f"https://{SMALL_HOST}/catalogue/items?page=2"],
            capture_output=True,
            text=True,
            check=False,
        )
    rate, counts = _TOTAL.search(done.stdout), _DONE.search(done.stdout)
    if rate is None or counts is None or not int(counts[1]) or int(counts[2]) + int(counts[3]):
        raise BenchmarkError(f"h2load said: {(done.stdout + done.stderr).strip()[-500:]}")
    return {
        "cpu_us": spent.cpu / int(counts[1]) * 1e6,
        "rate": float(rate[1]),
        "noise": spent.others / spent.elapsed,
    }


def handshakes(measure: Measure) -> Figures:
    """A full TLS 1.3 handshake, one request, and the end, eight at once."""
    with measured(measure.pid, measure.proxy_cpu) as spent, pinned(measure.load_cpus):
        result = run_load(measure.port, SMALL_HOST, "handshakes", measure.seconds, 8)
    return {
        "cpu_us": spent.cpu / result.count * 1e6,
        "rate": result.count / result.seconds,
        "noise": spent.others / spent.elapsed,
    }


def register_termination() -> None:
    """Make the scenarios known; again does nothing."""
    if "tls-requests" in SCENARIOS:
        return
    goal = (Goal("cpu_us", 2.0, "nginx"),)
    for scenario in (
        Scenario(
            "tls-requests",
            "keepalive over TLS that the proxy ends",
            requests,
            ("cpu_us", "rate"),
            kind="termination",
        ),
        Scenario(
            "tls-handshakes",
            "a full handshake for each request",
            handshakes,
            ("cpu_us", "rate"),
            goal,
            kind="termination",
        ),
    ):
        register(scenario)
