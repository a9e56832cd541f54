"""What the scheduler uses when nobody asks for anything: no task, many tasks with samples, and churn."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from bench.running import Cluster, churn, cluster
from bench.usage import Memory, TreeUsage, spent


class IdleResult(msgspec.Struct, frozen=True, kw_only=True):
    """One state that lasts; `cores` are those of the whole scheduler, by kind of process too."""

    what: str
    agents: int
    tasks: int
    seconds: float
    cores: float
    cores_by_kind: dict[str, float]
    fleet_cores: float
    memory: Memory
    pss_a_state_machine_mb: float

    def lines(self) -> list[str]:
        """As a sentence."""
        most = ", ".join(f"{kind} {cores:.1%}" for kind, cores in list(self.cores_by_kind.items())[:4])
        return [
            f"{self.what} ({self.tasks:,} tasks on {self.agents:,} agents, {self.seconds:.0f} s): "
            f"{self.cores:.1%} of a core ({most}; the fleet {self.fleet_cores:.1%}), PSS "
            f"{self.memory.pss_mb:,.0f} MB, {self.pss_a_state_machine_mb:.2f} MB a state machine."
        ]


def measure_idle(
    agents: int, tasks: int, seconds: float, metrics_seconds: float, deaths_a_minute: float, directory: Path
) -> list[IdleResult]:
    """Three states of one scheduler, each for so long. `deaths_a_minute` is the share of tasks that die."""
    with cluster(agents, directory) as running:
        found = [_measure(running, "No task", agents, 0, seconds)]
        running.schedule("idle", tasks, "always")
        running.fleet.client.expect(200, "POST", f"/metrics?seconds={metrics_seconds:g}")
        what = f"Samples of every task each {metrics_seconds:g} s"
        found.append(_measure(running, what, agents, tasks, seconds))
        with churn(running.fleet, tasks * deaths_a_minute / 60.0):
            what += f", {deaths_a_minute:.0%} of the tasks dying each minute"
            found.append(_measure(running, what, agents, tasks, seconds))
    return found


def _measure(running: Cluster, what: str, agents: int, tasks: int, seconds: float) -> IdleResult:
    usage = TreeUsage(running.scheduler.program.pid)
    before, fleet_before = usage.cpu_by_kind(), running.fleet.stats()["cpu_seconds"]
    started = time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - started
    used = spent(before, usage.cpu_by_kind())
    machines, machines_mb = usage.memory_by_kind().get("state machines", (0, 0.0))
    return IdleResult(
        what=what,
        agents=agents,
        tasks=tasks,
        seconds=elapsed,
        cores=sum(used.values()) / elapsed,
        cores_by_kind={kind: cpu / elapsed for kind, cpu in used.items()},
        fleet_cores=(running.fleet.stats()["cpu_seconds"] - fleet_before) / elapsed,
        memory=usage.memory(),
        pss_a_state_machine_mb=machines_mb / max(machines, 1),
    )
