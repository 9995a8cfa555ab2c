"""`make bench`: our gateway beside other proxies, in one run on one machine.

    python tests/benchmarks/run.py [--peers nginx,haproxy,...] [--scenario NAME ...] [--rounds N]
                                   [--seconds S] [--access-log on|off] [--json OUT]
                                   [--markdown OUT] [--require-all] [--list]

The proxy runs alone on one CPU, load and backends on another. The main figure is CPU time per
request, for it says the same on a slow and on a fast machine and hardly changes when the load tool
is the limit. In each round every peer has its turn (A B C, A B C, ...), so that a noisy minute hits
all alike; medians over rounds are shown, and `noise` tells which share of the proxy's CPU other
processes took. Exit status: 0; 1 when `--require-all` and a peer or a measurement is missing, or
`--require-goals` and a goal is missed; 2 for wrong options.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

if __package__ in (None, ""):  # started as a script: make `tests.benchmarks` importable
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.benchmarks.asgi_peers import ASGI_PEERS, register_asgi
from tests.benchmarks.backend import Backend, responds, serving
from tests.benchmarks.configurations import SMALL_HOST, STREAM_HOST, Site
from tests.benchmarks.peers import DEFAULT_PEERS, PEERS, Peer, running
from tests.benchmarks.processes import BenchmarkError, Process, free_port, raise_file_limit
from tests.benchmarks.report import Results, as_data, goals_table, judge, scenario_table
from tests.benchmarks.scenarios import SCENARIOS, Measure, Scenario
from tests.benchmarks.termination import ENDING_PEERS, register_termination, tls_ready
from tests.benchmarks.tls_peers import TLS_PEERS, tls_responds, tls_serving
from tests.benchmarks.tls_scenarios import register_tls
from tests.benchmarks.wsgi_peers import WSGI_PEERS, register_wsgi

__all__ = ["main"]

register_tls()
register_termination()
register_asgi()
register_wsgi()

_PEERS = {
    "http": PEERS,
    "passthrough": TLS_PEERS,
    "termination": ENDING_PEERS,
    "asgi": ASGI_PEERS,
    "wsgi": WSGI_PEERS,
}
_READY: dict[str, Callable[[Site], bool]] = {
    "passthrough": lambda site: tls_responds(site.port),
    "termination": lambda site: tls_ready(site.port),
    "asgi": lambda site: responds(site.port, "/", SMALL_HOST),
    "wsgi": lambda site: responds(site.port, "/", SMALL_HOST),
}

_DUTIES = (
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "via",
    "x-request-id",
)


class Bench:
    """One run: which peers, how long, on which CPUs; and the results so far."""

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        self.peers: list[str] = options.peers
        self.rounds: int = options.rounds
        self.seconds: float = options.seconds
        self.access_log: bool = options.access_log == "on"
        self.proxy_cpu: int = options.proxy_cpu
        self.load_cpus: set[int] = options.load_cpus
        self.results = Results()
        self._work = work
        self._quiet: bool = options.quiet

    def say(self, text: str) -> None:
        """Progress, for people; results go to standard output."""
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)

    def run(self, scenarios: Sequence[Scenario]) -> None:
        """All scenarios, one after the other."""
        with (
            serving(self._work, self.load_cpus) as backend,
            tls_serving(self._work, self.load_cpus) as tls_port,
        ):
            for scenario in scenarios:
                self.say(f"{scenario.name}: {scenario.about}")
                self._scenario(
                    scenario,
                    Backend(tls_port, tls_port) if scenario.kind == "passthrough" else backend,
                )

    def _present(self, scenario: Scenario) -> list[Peer]:
        """Those that can be measured, and a word about the others, once."""
        known = _PEERS[scenario.kind]
        found = []
        for name in scenario.peers or self.peers:
            if name not in known:
                self.results.fail(scenario.name, name, "not part of this comparison")
            elif known[name].find() is None:
                if name not in self.results.missing:
                    self.say(f"{name}: not installed ({known[name].install})")
                self.results.missing[name] = f"not installed: {known[name].install}"
            else:
                found.append(known[name])
        return found

    def _scenario(self, scenario: Scenario, backend: Backend) -> None:
        peers = []
        for peer in self._present(scenario):
            if scenario.routes > peer.most_routes:
                self.results.fail(
                    scenario.name,
                    peer.name,
                    f"not measured: looks through all of {scenario.routes:,} routes",
                )
            else:
                peers.append(peer)
        if scenario.fresh:
            for _ in range(self.rounds):
                for peer in peers:
                    self._alone(scenario, peer, backend)
            return
        with contextlib.ExitStack() as stack:
            started: list[tuple[Peer, Site, Process]] = []
            for peer in peers:
                try:
                    site = self._site(stack, scenario, backend)
                    process = stack.enter_context(self._running(scenario, peer, site))
                    self._warm(scenario, peer, site, process)
                    started.append((peer, site, process))
                except BenchmarkError as error:
                    self._failed(scenario, peer, error)
            for _ in range(self.rounds):
                for peer, site, process in started:
                    self._measure(scenario, peer, site, process)

    def _alone(self, scenario: Scenario, peer: Peer, backend: Backend) -> None:
        with contextlib.ExitStack() as stack:
            try:
                site = self._site(stack, scenario, backend)
                process = stack.enter_context(self._running(scenario, peer, site))
            except BenchmarkError as error:
                self._failed(scenario, peer, error)
            else:
                self._measure(scenario, peer, site, process)

    def _running(
        self, scenario: Scenario, peer: Peer, site: Site
    ) -> contextlib.AbstractContextManager[Process]:
        return running(peer, site, {self.proxy_cpu}, _READY.get(scenario.kind))

    def _site(self, stack: contextlib.ExitStack, scenario: Scenario, backend: Backend) -> Site:
        work = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(dir=self._work, ignore_cleanup_errors=True)
            )
        )
        return Site(
            work, free_port(), backend.fixed, backend.stream, scenario.routes, self.access_log
        )

    def _order(self, scenario: Scenario, site: Site, process: Process, seconds: float) -> Measure:
        return Measure(
            process.pid,
            site.port,
            self.proxy_cpu,
            self.load_cpus,
            site.work,
            seconds,
            scenario.routes,
        )

    def _warm(self, scenario: Scenario, peer: Peer, site: Site, process: Process) -> None:
        """One short measurement that is thrown away; and once for each peer, what its backend gets
        to see.
        """
        if peer.name not in self.results.duties and scenario.kind == "http":
            self.results.duties[peer.name] = sent = _duties(site.port)
            self.say(f"  {peer.name} sends {', '.join(sent)}")
        if scenario.name != "latency":
            scenario.run(self._order(scenario, site, process, 1.0))

    def _measure(self, scenario: Scenario, peer: Peer, site: Site, process: Process) -> None:
        try:
            if not process.alive():
                raise BenchmarkError(f"{peer.name} died: {process.tail()}")
            figures = scenario.run(self._order(scenario, site, process, self.seconds))
        except BenchmarkError as error:
            self._failed(scenario, peer, error)
            return
        if site.log.exists():
            os.truncate(
                site.log, 0
            )  # a minute of load writes gigabytes; all these logs are opened for appending
        self.results.add(scenario.name, peer.name, figures)
        self.say(
            f"  {peer.name:16s} "
            + "  ".join(f"{name} {value:,.2f}" for name, value in figures.items())
        )

    def _failed(self, scenario: Scenario, peer: Peer, error: BenchmarkError) -> None:
        self.results.fail(scenario.name, peer.name, str(error))
        self.say(f"  {peer.name}: {error}")


def _duties(port: int) -> list[str]:
    """Which fields the backend gets from this proxy. Raises when the request did not come through
    as it should.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(
            "GET", "/echo?a=1", headers={"Host": STREAM_HOST, "X-Forwarded-For": "192.0.2.1"}
        )
        head = connection.getresponse().read().decode("latin-1")
    except (OSError, http.client.HTTPException) as error:
        raise BenchmarkError(f"no echo: {error}") from error
    finally:
        connection.close()
    line, *rest = head.split("\r\n")
    fields = {
        name.lower(): value.strip() for name, _, value in (item.partition(":") for item in rest)
    }
    if line != "GET /echo?a=1 HTTP/1.1" or fields.get("host") != STREAM_HOST:
        raise BenchmarkError(f"the backend got {line!r} for host {fields.get('host')!r}")
    return [name for name in _DUTIES if name in fields]


def _facts() -> dict[str, str]:
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(
            line.partition(":")[2].strip() for line in lines if line.startswith("model name")
        )
    return {
        "cpu": model,
        "cpus": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py", description="Our gateway beside other proxies.")
    parser.add_argument("--peers", default=",".join(DEFAULT_PEERS), help=f"of {', '.join(PEERS)}")
    parser.add_argument(
        "--scenario",
        action="append",
        metavar="NAME",
        help="may be repeated or a list with commas; default: all",
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one measurement")
    parser.add_argument("--access-log", choices=("on", "off"), default="on")
    parser.add_argument("--proxy-cpu", type=int)
    parser.add_argument("--load-cpus", help="list with commas; default: the CPU after the proxy's")
    parser.add_argument("--json", type=Path, metavar="OUT")
    parser.add_argument("--markdown", type=Path, metavar="OUT")
    parser.add_argument(
        "--require-all", action="store_true", help="a missing peer or measurement is a failure"
    )
    parser.add_argument("--require-goals", action="store_true", help="a missed goal is a failure")
    parser.add_argument("--list", action="store_true", help="show scenarios and peers")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    options = parser.parse_args(arguments)
    options.peers = [name.strip() for name in options.peers.split(",") if name.strip()]
    options.scenario = [
        name
        for value in options.scenario or [",".join(SCENARIOS)]
        for name in value.split(",")
        if name
    ]
    for names, known in ((options.peers, list(PEERS)), (options.scenario, list(SCENARIOS))):
        for name in names:
            if name not in known:
                parser.error(f"there is no {name!r}; known are {', '.join(known)}")
    if options.rounds < 1 or options.seconds < 1:
        parser.error("at least one round of one second")
    cpus = sorted(os.sched_getaffinity(0))
    options.proxy_cpu = cpus[0] if options.proxy_cpu is None else options.proxy_cpu
    others = [cpu for cpu in cpus if cpu != options.proxy_cpu] or cpus
    options.load_cpus = (
        {int(cpu) for cpu in options.load_cpus.split(",")} if options.load_cpus else {others[0]}
    )
    return options


def _report(bench: Bench, names: Sequence[str], options: argparse.Namespace) -> str:
    facts = bench.results.facts
    machine = ", ".join(f"{name} {value}" for name, value in facts.items())
    method = f"access log {options.access_log}, {options.rounds} rounds of {options.seconds:g} s"
    text = [f"Medians, in brackets the ratio to nginx or the first peer; {method}; {machine}.\n"]
    text += [
        scenario_table(bench.results, SCENARIOS[name], SCENARIOS[name].peers or options.peers)
        for name in names
    ]
    sent = "\n".join(
        f"- {peer}: {', '.join(fields)}" for peer, fields in bench.results.duties.items()
    )
    if sent:
        text.append(f"Fields the backend gets:\n\n{sent}\n")
    judgements = judge(bench.results)
    if judgements:
        text.append("### Goals\n\n" + goals_table(judgements))
    return "\n".join(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, save; the exit status."""
    options = _options(arguments)
    if options.list:
        print(
            "\n".join(
                [
                    *(f"{item.name:18s} {item.about}" for item in SCENARIOS.values()),
                    "",
                    "peers: " + ", ".join(PEERS),
                ]
            )
        )
        return 0
    raise_file_limit()
    with tempfile.TemporaryDirectory(prefix="meshlib-bench-", ignore_cleanup_errors=True) as work:
        bench = Bench(options, Path(work))
        bench.results.facts = _facts()
        try:
            bench.run([SCENARIOS[name] for name in options.scenario])
        except BenchmarkError as error:
            print(f"run.py: {error}", file=sys.stderr)
            return 1
        finally:
            judgements = judge(bench.results)
            if options.json:
                options.json.write_text(
                    json.dumps(as_data(bench.results, judgements), indent=1), encoding="utf-8"
                )
    text = _report(bench, options.scenario, options)
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    incomplete = [*bench.results.missing, *bench.results.failures]
    if options.require_all and incomplete:
        print(f"run.py: incomplete: {', '.join(incomplete)}", file=sys.stderr)
        return 1
    if options.require_goals and any(item.passed is not True for item in judgements):
        return 1
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that peers are stopped then, too
    sys.exit(main())
