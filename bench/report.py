"""What a run found: as tables for people, as JSON, and against an earlier run as ratios."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import msgspec

from bench.agent import AgentResult
from bench.http_load import HttpResult
from bench.idle import IdleResult
from bench.latency import LatencyResult
from bench.members import MembersResult
from bench.placement import PlacementResult
from bench.sizes import SizeResult, Way

# Two runs of the same program differ by this much on a quiet machine.
NOISE = 1.25


class Report(msgspec.Struct, kw_only=True):
    """All results of one run; absent ones were not asked for."""

    machine: str
    sizes: list[SizeResult] = []
    # The same with agents that take many containers in one request.
    batch: list[SizeResult] = []
    placement: list[PlacementResult] = []
    http: HttpResult | None = None
    latency: LatencyResult | None = None
    idle: list[IdleResult] = []
    agent: AgentResult | None = None
    members: MembersResult | None = None


def new_report() -> Report:
    """An empty one, of this machine."""
    return Report(machine=f"{platform.machine()}, {_cores()} cores, CPython {platform.python_version()}")


def read_report(path: Path) -> Report:
    """A saved run. Raises OSError or msgspec.MsgspecError."""
    return msgspec.json.decode(path.read_bytes(), type=Report)


def write_report(report: Report, path: Path) -> None:
    """Save a run."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def text(report: Report) -> str:
    """The tables."""
    lines = [report.machine]
    if report.sizes:
        lines += ["", *_size_lines(report.sizes)]
    if report.batch:
        lines += ["", "Agents that take batches:", "", *_size_lines(report.batch)]
    if report.placement:
        lines += ["", "| placement | tasks on agents | tasks/s | placed | same for same seed |", _rule(5)]
        lines += [
            f"| {one.algorithm}, {one.variant} | {one.tasks:,} on {one.agents:,} | {one.tasks_a_second:,.0f} "
            f"| {one.placed:,} | {'yes' if one.repeatable else 'NO'} |"
            for one in report.placement
        ]
    for what in (report.http, report.latency, *report.idle, report.agent, report.members):
        if what is not None:
            lines += ["", *what.lines()]
    return "\n".join(lines)


def compare(report: Report, earlier: Report) -> tuple[str, list[str]]:
    """Each ratio now / then, and those that are worse by more than noise.

    What is compared is already a ratio within its run (to the floor) or CPU, so that a slower machine
    does not look like a slower program.
    """
    now, then = _ratios(report), _ratios(earlier)
    lines, worse = ["| compared | then | now | now/then |", _rule(4)], []
    for name in [name for name in now if name in then]:
        ratio = now[name] / then[name] if then[name] else float("inf")
        lines.append(f"| {name} | {then[name]:.3g} | {now[name]:.3g} | {ratio:.2f} |")
        if ratio > NOISE:
            worse.append(f"{name}: {ratio:.2f} times what it was")
    return "\n".join(lines), worse


def _ratios(report: Report) -> dict[str, float]:
    """Values that may be compared between runs; less is better."""
    found: dict[str, float] = {}
    for size, batch in [
        *((each, "") for each in report.sizes),
        *((each, "batch, ") for each in report.batch),
    ]:
        for name, way in (("schedule", size.schedule), ("unschedule", size.unschedule)):
            where = f"{batch}{name} {size.agents:,} × {size.tasks:,}"
            found[f"{where}: time / floor"] = way.ratio
            found[f"{where}: CPU / CPU of the floor"] = way.scheduler_us / max(way.floor_us, 1e-9)
        found[f"{batch}PSS a state machine, {size.agents:,} × {size.tasks:,}"] = size.pss_a_state_machine_mb
    for one in report.placement:
        found[f"placement µs a task, {one.algorithm}, {one.variant}"] = 1e6 / one.tasks_a_second
    if report.agent is not None:
        found["agent CPU ms a start"] = report.agent.agent_ms_a_start
        found["agent PSS"] = report.agent.agent_mb
    return found


def _size_lines(sizes: list[SizeResult]) -> list[str]:
    lines = [
        "| agents, tasks | schedule | floor | × | unschedule | floor | × | CPU µs/task: scheduler | floor "
        "| added | fleet | PSS, of a state machine | others' cores |",
        _rule(13),
    ]
    for size in sizes:
        there, back = size.schedule, size.unschedule
        lines.append(
            f"| {size.agents:,}, {size.tasks:,} | {_times(there)} | {_times(back)} "
            f"| {there.scheduler_us:,.0f}, {back.scheduler_us:,.0f} | {there.floor_us:,.0f} "
            f"| {there.added_us:,.0f} | {there.fleet_us:,.0f} "
            f"| {size.memory.pss_mb:,.0f} MB, {size.pss_a_state_machine_mb:.1f} MB "
            f"| {max(there.others, back.others):.1f} |"
        )
    one = next((size for size in sizes if size.tasks == 1), None)
    unavailable = sum(size.schedule.unavailable + size.unschedule.unavailable for size in sizes)
    if unavailable:
        lines += ["", f"{unavailable} changes were answered 503 and had to be sent again."]
    if one is not None:
        lines += ["", f"An fsync on the disk of the data directory takes {one.fsync_seconds * 1e3:.1f} ms."]
    return lines


def _times(way: Way) -> str:
    return f"{way.seconds:.3f} s | {way.floor_seconds:.3f} s | {way.ratio:.1f}"


def _rule(columns: int) -> str:
    return "|" + " --- |" * columns


def _cores() -> int:
    return len(os.sched_getaffinity(0))
