"""The main table: schedule and unschedule at each size, and the floor beside it in the same run."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import msgspec

from bench import jobs
from bench.cycles import Cycle, Phase, run_cycle, settle
from bench.disk import fsync_seconds
from bench.floor import Floor
from bench.programs import Fleet, fleet, scheduler
from bench.usage import Memory, TreeUsage, cpu_seconds

SIZES = ((1, 1), (10, 100), (100, 1000), (100, 5000), (500, 10_000), (1000, 20_000))
LONGEST_SECONDS = 300.0


class FloorRun(msgspec.Struct, frozen=True, kw_only=True):
    """One way of the floor: seconds, and the CPU seconds of its processes and of its fleet."""

    seconds: float
    client_cpu: float
    fleet_cpu: float


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """Schedule or unschedule at one size; times are medians of the runs, CPU in µs a task.

    `ratio` is the median of seconds / floor of each run, the two of a run being measured one after the
    other. `others` is how many cores everything else on the machine used meanwhile, `unavailable` how many
    changes were answered 503 in all runs.
    """

    seconds: float
    slowest_seconds: float
    agents_seconds: float
    floor_seconds: float
    ratio: float
    scheduler_us: float
    floor_us: float
    added_us: float
    fleet_us: float
    others: float
    unavailable: int
    by_kind_us: dict[str, float]


class SizeResult(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table."""

    agents: int
    tasks: int
    runs: int
    schedule: Way
    unschedule: Way
    start_seconds: float
    memory: Memory
    pss_by_kind_mb: dict[str, float]
    pss_a_state_machine_mb: float
    fleet_pss_mb: float
    fsync_seconds: float


def measure_size(agents: int, tasks: int, runs: int, directory: Path, *fleet_options: str) -> SizeResult:
    """Run one size; the options are for the scheduler's fleet, and not for the floor's. Raises BenchError."""
    cycles: list[Cycle] = []
    floors: list[tuple[FloorRun, FloorRun]] = []
    with (
        fleet(agents, directory / "fleet", *fleet_options) as simulated,
        fleet(agents, directory / "floor") as bare,
        scheduler(simulated, agents, directory / "scheduler") as running,
    ):
        body = jobs.container_body(jobs.config("floor", 1))
        floor = Floor(bare.addresses(), tasks, body)
        try:
            for number in range(runs):
                settle(running.program.pid)
                cycles.append(run_cycle(running, simulated, tasks, f"run{number}-", LONGEST_SECONDS))
                _note(f"{agents} agents, {tasks} tasks: {cycles[-1].schedule.seconds:.3f} s")
                settle(running.program.pid)
                floors.append((_floor_run(floor, bare, "schedule"), _floor_run(floor, bare, "unschedule")))
        finally:
            floor.end()
        usage = TreeUsage(running.program.pid)
        by_kind = usage.memory_by_kind()
        machines, machines_mb = by_kind.get("state machines", (0, 0.0))
        return SizeResult(
            agents=agents,
            tasks=tasks,
            runs=runs,
            schedule=_way([cycle.schedule for cycle in cycles], [there for there, _ in floors], tasks),
            unschedule=_way([cycle.unschedule for cycle in cycles], [back for _, back in floors], tasks),
            start_seconds=running.start_seconds,
            memory=usage.memory(),
            pss_by_kind_mb={name: round(pss, 1) for name, (_, pss) in by_kind.items()},
            pss_a_state_machine_mb=machines_mb / max(machines, 1),
            fleet_pss_mb=TreeUsage(simulated.program.pid).memory().pss_mb,
            fsync_seconds=fsync_seconds(directory),
        )


def _floor_run(floor: Floor, bare: Fleet, way: str) -> FloorRun:
    clients = sum(map(cpu_seconds, floor.pids))
    agents = cpu_seconds(bare.program.pid)
    seconds = floor.run(way)
    return FloorRun(
        seconds=seconds,
        client_cpu=sum(map(cpu_seconds, floor.pids)) - clients,
        fleet_cpu=cpu_seconds(bare.program.pid) - agents,
    )


def _way(phases: list[Phase], floors: list[FloorRun], tasks: int) -> Way:
    def micro(values: list[float]) -> float:
        return statistics.median(values) / tasks * 1e6

    kinds = sorted({kind for phase in phases for kind in phase.scheduler_cpu_by_kind})
    return Way(
        seconds=statistics.median(phase.seconds for phase in phases),
        slowest_seconds=max(phase.seconds for phase in phases),
        agents_seconds=statistics.median(phase.agents_seconds for phase in phases),
        floor_seconds=statistics.median(floor.seconds for floor in floors),
        ratio=statistics.median(
            phase.seconds / floor.seconds for phase, floor in zip(phases, floors, strict=True)
        ),
        scheduler_us=micro([phase.scheduler_cpu for phase in phases]),
        floor_us=micro([floor.client_cpu for floor in floors]),
        added_us=micro(
            [phase.scheduler_cpu - floor.client_cpu for phase, floor in zip(phases, floors, strict=True)]
        ),
        fleet_us=micro([phase.fleet_cpu for phase in phases]),
        others=statistics.median(phase.others_cpu / phase.seconds for phase in phases),
        unavailable=sum(phase.unavailable for phase in phases),
        by_kind_us={
            kind: round(micro([phase.scheduler_cpu_by_kind.get(kind, 0.0) for phase in phases]), 1)
            for kind in kinds
        },
    )


def _note(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)
