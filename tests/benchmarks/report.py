"""Medians over rounds, ratios to nginx, goals; as text, Markdown and JSON. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from tests.benchmarks.scenarios import SCENARIOS, Goal, Scenario

__all__ = [
    "SUBJECTS",
    "Judgement",
    "Results",
    "as_data",
    "goals_table",
    "judge",
    "median",
    "scenario_table",
]

SUBJECTS = ("meshlib", "meshlib-asyncio")  # whom the goals are about
REFERENCE = "nginx"


@dataclass(slots=True)
class Results:
    """Raw figures: scenario -> peer -> metric -> one value a round. `failures`: scenario -> peer ->
    what went wrong.
    """

    figures: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    failures: dict[str, dict[str, str]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    duties: dict[str, list[str]] = field(default_factory=dict)

    def add(self, scenario: str, peer: str, figures: Mapping[str, float]) -> None:
        """Keep the figures of one round."""
        kept = self.figures.setdefault(scenario, {}).setdefault(peer, {})
        for metric, value in figures.items():
            kept.setdefault(metric, []).append(value)

    def fail(self, scenario: str, peer: str, reason: str) -> None:
        """Keep the first reason why a peer could not be measured."""
        self.failures.setdefault(scenario, {}).setdefault(peer, reason)


@dataclass(frozen=True, slots=True)
class Judgement:
    """One goal and what was seen. `passed` is None when there is nothing to compare with."""

    scenario: str
    subject: str
    goal: Goal
    value: float | None
    passed: bool | None


def median(results: Results, scenario: str, peer: str, metric: str) -> float | None:
    """The median over rounds, or None when it was not measured."""
    values = results.figures.get(scenario, {}).get(peer, {}).get(metric)
    return statistics.median(values) if values else None


def judge(results: Results) -> list[Judgement]:
    """Every goal of every scenario that ran, for each of our subjects that ran."""
    found = []
    for name in results.figures:
        for subject in (peer for peer in SUBJECTS if peer in results.figures[name]):
            for goal in SCENARIOS[name].goals if name in SCENARIOS else ():
                value = _compare(results, name, subject, goal)
                passed = (
                    None
                    if value is None
                    else (value >= goal.limit if goal.least else value <= goal.limit)
                )
                found.append(Judgement(name, subject, goal, value, passed))
    return found


def _compare(results: Results, scenario: str, subject: str, goal: Goal) -> float | None:
    own = median(results, scenario, subject, goal.metric)
    if goal.peer is None and goal.scenario is None:
        return own
    reference = median(results, goal.scenario or scenario, goal.peer or subject, goal.metric)
    return own / reference if own is not None and reference else None


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def scenario_table(results: Results, scenario: Scenario, peers: Sequence[str]) -> str:
    """A Markdown table: one line a peer, for each metric the median and, in brackets, its ratio to
    nginx, or to the first of the scenario's own peers.
    """
    first = scenario.peers[0] if scenario.peers else REFERENCE
    lines = [
        f"### {scenario.name}: {scenario.about}",
        "",
        "| peer | " + " | ".join(scenario.metrics) + " | noise |",
        "|---|" + "---|" * (len(scenario.metrics) + 1),
    ]
    for peer in peers:
        failure = results.failures.get(scenario.name, {}).get(peer)
        if peer not in results.figures.get(scenario.name, {}):
            reason = failure or results.missing.get(peer) or "not measured"
            last = (
                reason.strip().splitlines()[-1][:150].replace("|", "/")
            )  # of a traceback, the line that says it
            lines.append(f"| {peer} | {last} |" + " |" * len(scenario.metrics))
            continue
        cells = []
        for metric in scenario.metrics:
            value = median(results, scenario.name, peer, metric)
            reference = median(results, scenario.name, first, metric)
            ratio = (
                f" ({value / reference:.2f}x)"
                if value is not None and reference and peer != first
                else ""
            )
            cells.append("-" if value is None else _number(value) + ratio)
        noise = median(results, scenario.name, peer, "noise")
        cells.append("-" if noise is None else f"{noise:.0%}")
        lines.append(
            f"| {peer}{' (failed in a round)' if failure else ''} | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines) + "\n"


def goals_table(judgements: Sequence[Judgement]) -> str:
    """A Markdown table of goals: limit, value, pass or fail."""
    lines = ["| scenario | subject | goal | seen | |", "|---|---|---|---|---|"]
    for item in judgements:
        goal = item.goal
        against = goal.peer or (f"own {goal.scenario}" if goal.scenario else "")
        text = (
            f"{goal.metric} {'>=' if goal.least else '<='} "
            f"{goal.limit:g}{' x ' + against if against else ''}"
        )
        seen = "-" if item.value is None else f"{item.value:.2f}"
        verdict = {True: "pass", False: "FAIL", None: "not comparable"}[item.passed]
        lines.append(f"| {item.scenario} | {item.subject} | {text} | {seen} | {verdict} |")
    return "\n".join(lines) + "\n"


def as_data(results: Results, judgements: Sequence[Judgement]) -> dict[str, object]:
    """Everything raw, for JSON."""
    return {**asdict(results), "goals": [asdict(item) for item in judgements]}
