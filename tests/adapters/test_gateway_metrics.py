"""`/metrics` of real gateways, read with Prometheus' own parser: one process, several, and deaths
among them.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.support.certificates import issue, serial
from tests.support.commands import free_port
from tests.support.metrics_page import Page
from tests.support.service_ports import ask as send
from tests.support.service_ports import echoing, serve, services
from tests.support.worker_lab import Clients, Lab, ask, backend, lab, labels, status_of, wait_for

APP = "external_route=http://app.example.com,internal_port=80"
ROUTE = "http://app.example.com"


@pytest.fixture
def gateways(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path) as made:
        yield made


@pytest.mark.parametrize("workers", ["1", "2"])
def test_requests_are_counted_over_all_processes(gateways: Lab, workers: str) -> None:
    with backend() as one:
        running = gateways.serve(
            "--workers", workers, services=labels(APP, endpoints=[one.address])
        )
        for _ in range(20):
            assert ask(running.addresses["http"])[0] == 200
        for _ in range(5):
            assert ask(running.addresses["http"], host="nobody.example.com")[0] == 404
        wait_for(lambda: Page(running).get("meshlib_http_requests_total") == 25, running)
        told = (
            1 if workers == "1" else 3
        )  # each process tells by itself, one without a request perhaps later
        wait_for(
            lambda: (
                len(Page(running).labels("meshlib_process_resident_memory_bytes", "process"))
                == told
            ),
            running,
        )
        page = Page(running)
        assert page.get("meshlib_http_requests_total", route=ROUTE, code="2xx", method="GET") == 20
        assert (
            page.get("meshlib_http_requests_total", route="(none)", code="4xx", method="GET") == 5
        )
        assert page.get("meshlib_http_endings_total", reason="no_route", termination="PQ") == 5
        for histogram in (
            "meshlib_http_request_duration_seconds",
            "meshlib_http_first_byte_seconds",
        ):
            assert (
                page.get(f"{histogram}_count", route=ROUTE)
                == page.get(f"{histogram}_bucket", route=ROUTE, le="+Inf")
                == 20
            )
            assert page.get(f"{histogram}_sum", route=ROUTE) > 0
        assert page.get("meshlib_http_response_bytes_total", route=ROUTE) > 20 * len("one")
        assert page.get("meshlib_upstream_connects_total") >= 1
        assert (
            page.get("meshlib_routes", scheme="http"),
            page.get("meshlib_endpoints", state="ready"),
        ) == (1, 1)
        assert (page.get("meshlib_ready"), page.get("meshlib_provider_up")) == (1, 1)
        processes = page.labels("meshlib_process_cpu_seconds_total", "process")
        assert processes == ({"main"} if workers == "1" else {"supervisor", "1", "2"})
        assert page.get("meshlib_process_resident_memory_bytes") > 10_000_000 * len(processes)
        assert page.get("meshlib_workers", state="ready") == (0 if workers == "1" else 2)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_numbers_are_kept_when_the_access_log_is_off(gateways: Lab, workers: str) -> None:
    with backend() as one:
        running = gateways.serve(
            "--workers",
            workers,
            services=labels(APP, endpoints=[one.address]),
            MESHLIB_LOG_ACCESS="off",
        )
        assert ask(running.addresses["http"])[0] == 200
        wait_for(
            lambda: Page(running).get("meshlib_http_requests_total", route=ROUTE) == 1, running
        )
        assert (gateways.path / "access.log").read_text() == ""


def test_a_workers_death_takes_no_count_back(gateways: Lab) -> None:
    with backend() as one:
        running = gateways.serve(services=labels(APP, endpoints=[one.address]))
        seen = 0.0
        with Clients(running.addresses["http"]) as clients:
            for restarts in (1, 2):
                goal = seen + 200
                wait_for(
                    lambda g=goal: Page(running).get("meshlib_http_requests_total") >= g,  # type: ignore[misc]
                    running,
                )
                os.kill(status_of(running)["workers"][restarts % 2]["pid"], signal.SIGKILL)

                def restarted(wanted: int = restarts) -> bool:
                    nonlocal seen
                    page = Page(running)
                    count = page.get("meshlib_http_requests_total")
                    assert count >= seen
                    seen = count
                    return (
                        page.get("meshlib_worker_restarts_total") == wanted
                        and page.get("meshlib_workers", state="ready") == 2
                    )

                wait_for(restarted, running)
        responded = clients.responded
        wait_for(
            lambda: (
                Page(running).get("meshlib_process_snapshot_version")
                == 2 * Page(running).get("meshlib_snapshot_version")
            ),
            running,
        )
        assert seen <= responded + len(clients.failures)
        # Workers tell their gauges at intervals: the last one told may be from before the clients
        # left.
        wait_for(
            lambda: Page(running).get("meshlib_upstream_connections", state="active") == 0, running
        )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_handshakes_are_counted_and_the_end_of_a_certificate_is_told(
    gateways: Lab, tmp_path: Path, workers: str
) -> None:
    authority = trustme.CA()
    folder = tmp_path / "certificates"
    issue(authority, folder, "app.example.com")
    with backend() as one:
        running = gateways.serve(
            "--workers",
            workers,
            services=labels(APP, endpoints=[one.address]),
            MESHLIB_TLS_CERTIFICATES=str(folder),
        )
        for _ in range(3):
            serial(running, authority)
        with pytest.raises(ssl.SSLError):
            serial(running, trustme.CA())  # a client that does not believe in the certificate
        wait_for(
            lambda: Page(running).get("meshlib_http_requests_total", route=ROUTE) == 3, running
        )
        wait_for(lambda: Page(running).get("meshlib_tls_handshakes_failed_total") == 1, running)
        page = Page(running)
        assert (
            page.get("meshlib_tls_handshakes_total"),
            page.get("meshlib_tls_accepted_total"),
        ) == (3, 4)
        assert (
            page.get("meshlib_certificate_not_after_seconds", name="app.example.com") > time.time()
        )


def test_what_upstreams_do_is_counted(gateways: Lab) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        endpoint = f"127.0.0.1:{nobody.getsockname()[1]}"
        running = gateways.serve("--workers", "1", services=labels(APP, endpoints=[endpoint]))
        for _ in range(4):
            assert ask(running.addresses["http"])[0] == 502
    wait_for(lambda: Page(running).get("meshlib_upstream_connect_failures_total") >= 4, running)
    wait_for(
        lambda: (
            Page(running).get(
                "meshlib_http_endings_total", reason="connect_refused", termination="SC"
            )
            == 4
        ),
        running,
    )
    page = Page(running)
    assert page.get("meshlib_upstream_ejections_total") == 1
    assert page.labels("meshlib_endpoint_ejected", "endpoint") == {endpoint}
    assert page.get("meshlib_http_endings_total", reason="connect_refused", termination="SC") == 4


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ports_of_services_are_counted(gateways: Lab, workers: str) -> None:
    port = free_port()
    with echoing() as echo:
        running = serve(gateways, "--workers", workers, services=services(port, backend=echo))
        for kind in (socket.SOCK_STREAM, socket.SOCK_STREAM, socket.SOCK_DGRAM):
            assert send(kind, port) == b"hello"
        wait_for(
            lambda: Page(running).get("meshlib_udp_datagrams_total", what="sent") == 1, running
        )
        wait_for(lambda: Page(running).get("meshlib_tcp_tunnels_total") == 2, running)
        wait_for(lambda: Page(running).get("meshlib_udp_flows") == 1, running)
        page = Page(running)
        assert (page.get("meshlib_tcp_accepted_total"), page.get("meshlib_tcp_refused_total")) == (
            2,
            0,
        )
        assert (page.get("meshlib_udp_flows"), page.get("meshlib_udp_flows_begun_total")) == (1, 1)
