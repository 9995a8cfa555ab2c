"""The benchmark harness itself: does it read and count right. No time is asserted; nothing here
says what is fast.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.benchmarks import configurations, pacer, run, tcp_load
from tests.benchmarks.backend import responds, serving
from tests.benchmarks.configurations import Site
from tests.benchmarks.load import parse_wrk, request_head
from tests.benchmarks.measure import cpu_seconds, family, measured, pinned, rss_bytes
from tests.benchmarks.pacer import percentile
from tests.benchmarks.processes import BenchmarkError, Process, free_port
from tests.benchmarks.report import Results, goals_table, judge, scenario_table
from tests.benchmarks.scenarios import SCENARIOS, numbered
from tests.benchmarks.stream_server import StreamProtocol
from tests.benchmarks.tls_configurations import TLS_NAME
from tests.benchmarks.tls_peers import TLS_PEERS, tls_serving

WRK = """\
Running 4s test @ http://127.0.0.1:20123/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.04ms  183.42us   7.41ms   91.43%
    Req/Sec    61.34k     2.69k   64.28k    80.00%
  Latency Distribution
     50%    1.02ms
     75%    1.08ms
     90%    1.15ms
     99%    1.47s
  244127 requests in 4.00s, 58.20MB read
{extra}Requests/sec:  61011.29
Transfer/sec:     14.55MB
"""


def _need(*programs: str) -> None:
    missing = [
        name
        for name in programs
        if shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin") is None
    ]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"missing: {', '.join(missing)}")
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


def test_the_output_of_wrk_is_read() -> None:
    result = parse_wrk(WRK.format(extra=""))
    assert (result.requests, result.seconds, result.received) == (244127, 4.0, 58.2 * 1024**2)
    assert result.latency == {50.0: 1020.0, 75.0: 1080.0, 90.0: 1150.0, 99.0: 1470000.0}
    assert (result.socket_errors, result.bad_responses, result.rate) == (0, 0, 244127 / 4)


def test_wrk_errors_are_counted() -> None:
    result = parse_wrk(
        WRK.format(
            extra=(
                "  Socket errors: connect 1, read 2, write 3, timeout 4\n"
                "  Non-2xx or 3xx responses: 17\n"
            )
        )
    )
    assert (result.socket_errors, result.bad_responses) == (10, 17)


def test_anything_else_from_wrk_is_an_error() -> None:
    with pytest.raises(BenchmarkError, match="unable to connect"):
        parse_wrk("unable to connect to 127.0.0.1:1 Connection refused\n")


def test_busy_process_and_its_children_are_counted(tmp_path: Path) -> None:
    work = "sum(i * i for i in range(6_000_000))"
    child = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}]); "
        "print('done', flush=True); input()"
    )
    with pinned({min(os.sched_getaffinity(0))}):
        process = subprocess.Popen(
            [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    assert process.stdout is not None
    with process, measured(process.pid, min(os.sched_getaffinity(0))) as spent:
        process.stdout.readline()
        assert process.pid in family(process.pid)
        assert rss_bytes(process.pid) > 1_000_000
        alone = cpu_seconds(process.pid)
        process.communicate(b"\n")
    assert alone > 0  # nearly all of it the ended child's
    assert spent.elapsed > 0


def test_processes_are_told_apart_from_a_dead_one(tmp_path: Path) -> None:
    with Process("sleeper", ["sleep", "60"], cpus={0}, output=tmp_path / "out") as process:
        assert process.alive()
    assert not process.alive()
    assert cpu_seconds(process.pid) == 0
    fails = Process(
        "fails", ["sh", "-c", "echo no such option; exit 3"], cpus={0}, output=tmp_path / "out"
    )
    with fails, pytest.raises(BenchmarkError, match="ended with 3: no such option"):
        fails.wait_until(lambda: False, 10)
    with pytest.raises(BenchmarkError, match="cannot be started"):
        Process("nothing", [str(tmp_path / "nothing")], cpus={0}, output=tmp_path / "out")


def test_request_has_thirteen_fields() -> None:
    head = request_head("shop.bench.test", "/a")
    assert head.startswith("GET /a HTTP/1.1\r\nHost: shop.bench.test\r\n")
    assert head.endswith("\r\n\r\n")
    assert head.count("\r\n") == 15


def test_numbers_are_put_between_the_parts() -> None:
    script = numbered('GET /@ HTTP/1.1\r\nCookie: "@"\r\n\r\n', 5)
    assert r'return "GET /" .. id .. " HTTP/1.1\r\nCookie: \"" .. id .. "\"\r\n\r\n"' in script
    assert "local n = 5" in script


def test_percentiles_of_few_and_of_many_values() -> None:
    assert percentile([], 0.99) == 0.0
    assert percentile([float(value) for value in range(1000)], 0.99) == 990.0
    assert percentile([1.0], 0.999) == 1.0


def test_open_loop_counts_from_the_intended_time() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            while connection.recv(4096):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
                connection.sendall(b"ok")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        result = pacer.run(
            "127.0.0.1", listener.getsockname()[1], b"GET / HTTP/1.1\r\n\r\n", 100.0, 0.3, 1
        )
    finally:
        thread.join()
        listener.close()
    assert result.errors == 0
    assert 25 <= result.requests <= 31  # the last may be due at the very end
    assert 0 < result.p50 <= result.p99 <= result.p999


class _Transport:
    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.sent.append(data)


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize(
    ("message", "count"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", b"5\n"),
        (
            (
                b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n"
                b"0123456789\r\n0\r\n\r\n"
            ),
            b"15\n",
        ),
        (b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /echo HTTP/1.1\r\nHost: a"),
    ],
)
def test_stream_backend_reads_bodies_in_any_pieces(message: bytes, count: bytes, size: int) -> None:
    transport = _Transport()
    protocol = StreamProtocol()
    connection_made: Callable[[object], None] = protocol.connection_made  # type: ignore[assignment]
    connection_made(transport)
    stream = message * 3
    for start in range(0, len(stream), size):
        piece = stream[start : start + size]
        protocol.get_buffer(0)[: len(piece)] = piece
        protocol.buffer_updated(len(piece))
    assert [response.partition(b"\r\n\r\n")[2] for response in transport.sent] == [count] * 3


def test_configurations_name_every_route(tmp_path: Path) -> None:
    site = Site(tmp_path, 20001, 20002, 20003, 12, access_log=True)
    texts = [
        configurations.nginx(site, buffering=True),
        configurations.haproxy_map(site),
        configurations.envoy(site),
        configurations.traefik_routes(site),
        configurations.caddy(site),
        configurations.meshlib_services(site),
    ]
    for text in texts:
        assert all(
            host in text
            for host in ("shop.bench.test", "stream.bench.test", "h0.bench.test", "h9.bench.test")
        )
        assert "h10.bench.test" not in text


def test_goals_compare_medians() -> None:
    results = Results()
    for nginx, own in ((10.0, 14.0), (20.0, 28.0), (100.0, 10.0)):
        results.add("keepalive", "nginx", {"cpu_us": nginx})
        results.add("keepalive", "meshlib", {"cpu_us": own})
    results.fail("keepalive", "caddy", "Traceback\n  it | died")
    judgements = judge(results)
    assert [(item.goal.peer, item.value, item.passed) for item in judgements] == [
        ("nginx", 0.7, True),
        ("envoy", None, None),
        ("traefik", None, None),
        ("caddy", None, None),
    ]
    assert "| keepalive | meshlib | cpu_us <= 1.5 x nginx | 0.70 | pass |" in goals_table(
        judgements
    )
    table = scenario_table(results, SCENARIOS["keepalive"], ["nginx", "meshlib", "caddy", "envoy"])
    assert "| meshlib | 14.0 (0.70x) |" in table
    assert "| caddy | it / died |" in table.replace("  it", "it")
    assert "| envoy | not measured |" in table


def test_unknown_names_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run.main(["--peers", "nginx,apache"])
    assert stopped.value.code == 2
    assert "there is no 'apache'" in capsys.readouterr().err


def test_backend_responds(tmp_path: Path) -> None:
    _need("nginx")
    with serving(tmp_path, {0}) as backend:
        assert responds(backend.fixed, "/anything", "a")
        assert responds(backend.fixed, "/large", "a")
        assert responds(backend.stream, "/chunked", "a")
    assert not responds(backend.fixed, "/", "a")


def test_one_second_of_nginx(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _need("nginx", "wrk")
    saved = tmp_path / "raw.json"
    options = ["--rounds", "1", "--seconds", "1", "--quiet", "--require-all", "--json", str(saved)]
    assert run.main(["--peers", "nginx", "--scenario", "keepalive", *options]) == 0
    raw = json.loads(saved.read_text(encoding="utf-8"))
    figures = raw["figures"]["keepalive"]["nginx"]
    assert figures["rate"][0] > 0
    assert figures["cpu_us"][0] > 0
    assert set(raw["duties"]["nginx"]) >= {
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
    }
    assert "| nginx |" in capsys.readouterr().out


def test_a_missing_peer_is_a_failure_when_all_are_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _need("nginx", "wrk")
    monkeypatch.setenv("MESHLIB_BENCH_COMMAND", "{python} -c 'raise SystemExit(\"not there yet\")'")
    options = [
        "--rounds",
        "1",
        "--seconds",
        "1",
        "--quiet",
        "--peers",
        "meshlib-asyncio",
        "--scenario",
        "keepalive",
    ]
    assert run.main(options) == 0
    assert "| meshlib-asyncio | " in capsys.readouterr().out
    assert run.main([*options, "--require-all"]) == 1
    assert "not there yet" in capsys.readouterr().out


def test_a_free_port_is_nobody_elses_until_its_server_comes() -> None:
    port = free_port()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    for _ in range(2):  # a server that is started again, too
        with (
            socket.create_server(("127.0.0.1", port)) as server,
            socket.create_connection(("127.0.0.1", port), 5),
        ):
            server.accept()[0].close()


def test_one_second_of_tls_through_every_peer_that_is_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _need("nginx", "haproxy")
    saved = tmp_path / "raw.json"
    present = [
        peer.name for peer in TLS_PEERS.values() if peer.find()
    ]  # those of PyPI are installed by `make bench` only
    assert {"haproxy", "meshlib-asyncio"} <= set(present)
    options = [
        "--rounds",
        "1",
        "--seconds",
        "1",
        "--quiet",
        "--json",
        str(saved),
        "--scenario",
        "tls-connections",
    ]
    assert run.main(["--peers", ",".join(["caddy", *present]), *options]) == 0
    raw = json.loads(saved.read_text(encoding="utf-8"))
    assert set(raw["figures"]["tls-connections"]) == set(present)
    assert all(figures["rate"][0] > 0 for figures in raw["figures"]["tls-connections"].values())
    assert raw["failures"]["tls-connections"] == {"caddy": "not part of this comparison"}


@pytest.mark.parametrize("mode", ["bulk", "messages"])
def test_load_without_a_proxy(tmp_path: Path, mode: str) -> None:
    with tls_serving(tmp_path, {0}) as port:
        order = {"port": port, "name": TLS_NAME, "mode": mode, "seconds": 0.3, "connections": 2}
        command = [sys.executable, str(Path(tcp_load.__file__))]
        done = subprocess.run(
            command, input=json.dumps(order), capture_output=True, text=True, check=True
        )
    assert json.loads(done.stdout)["count"] >= 1
