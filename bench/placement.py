"""Placement alone: how many tasks a second the scheduler's rule finds a place for, without any I/O."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from bench import jobs
from scheduling.actual import AGENT as ACTUAL_AGENT
from scheduling.actual import AgentStatus
from scheduling.container import Amount, Cores, HostResources
from scheduling.desired import AGENT, JOB, Agent, Job
from scheduling.job import JobConfig
from scheduling.placement import ALGORITHMS
from scheduling.registry import WritePlacement
from scheduling.replica import Changes
from scheduling.scheduler import Scheduler

_ZONES = 5
_NOW = 1_000_000.0


class PlacementResult(msgspec.Struct, frozen=True, kw_only=True):
    """One algorithm on one kind of jobs. `digest` stands for who went where: equal for equal seeds."""

    algorithm: str
    variant: str
    agents: int
    tasks: int
    placed: int
    seconds: float
    tasks_a_second: float
    repeatable: bool
    digest: str


def measure_placement(agents: int, tasks: int, runs: int) -> list[PlacementResult]:
    """Every algorithm on plain jobs and, where configs have them, on jobs with constraints and spread."""
    return [
        _measure(name, variant, change, agents, tasks, runs)
        for name in ALGORITHMS
        for variant, change in _variants()
    ]


def _variants() -> list[tuple[str, Callable[[JobConfig], JobConfig]]]:
    fields = JobConfig.__struct_fields__
    variants: list[tuple[str, Callable[[JobConfig], JobConfig]]] = [("plain", lambda config: config)]
    if "constraints" in fields:
        more: dict[str, Any] = {"constraints": ["disk = ssd"]}
        if "spread" in fields:
            more["spread"] = "zone"
        variants.append(("constraints and spread", lambda config: _with(config, more)))
    return variants


def _with(config: JobConfig, more: dict[str, Any]) -> JobConfig:
    """The config with these fields, read as a user's JSON would be."""
    kinds = {field.name: field.type for field in msgspec.structs.fields(JobConfig)}
    values = {name: msgspec.convert(value, kinds[name]) for name, value in more.items()}
    return msgspec.structs.replace(config, **values)


def _measure(
    algorithm: str,
    variant: str,
    change: Callable[[JobConfig], JobConfig],
    agents: int,
    tasks: int,
    runs: int,
) -> PlacementResult:
    configs = [change(config) for config in jobs.split("p", tasks)]
    seconds, digests, placed = [], set(), 0
    for _ in range(max(runs, 2)):
        rule = Scheduler(ALGORITHMS[algorithm], Random(1))
        rule.desired_changed(_agents(agents))
        rule.actual_changed(_statuses(agents))
        rule.decide(_NOW)
        rule.desired_changed({(JOB, job.prefix): job for job in map(_job, configs)})
        started = time.process_time()
        decisions = rule.decide(_NOW)
        seconds.append(time.process_time() - started)
        writes = [write for write in decisions.writes if isinstance(write, WritePlacement)]
        placed = len(writes)
        whole = repr([(write.task, write.copies) for write in writes])
        digests.add(hashlib.blake2b(whole.encode(), digest_size=8).hexdigest())
    median = statistics.median(seconds)
    return PlacementResult(
        algorithm=algorithm,
        variant=variant,
        agents=agents,
        tasks=tasks,
        placed=placed,
        seconds=median,
        tasks_a_second=tasks / median,
        repeatable=len(digests) == 1,
        digest=min(digests),
    )


def _job(config: JobConfig) -> Job:
    return Job(prefix=config.hash(), hash=config.hash(), config=config, version=1)


def _agents(count: int) -> Changes:
    return {
        (AGENT, f"a{number}"): Agent(
            name=f"a{number}",
            endpoint=f"http://10.0.{number // 250}.{number % 250}:3333",
            labels={"zone": f"z{number % _ZONES}", "disk": "ssd" if number % 2 else "hdd"},
            sources=("file",),
        )
        for number in range(count)
    }


def _statuses(count: int) -> Changes:
    """Hosts of three sizes, as a real cluster has them."""
    return {
        (ACTUAL_AGENT, f"a{number}"): AgentStatus(
            name=f"a{number}",
            endpoint=f"http://10.0.{number // 250}.{number % 250}:3333",
            link="connected",
            answered=True,
            since=0.0,
            resources=HostResources(
                mem=Amount(total=32_768 << number % 3), cpus=Cores(total=8.0 * 2 ** (number % 3))
            ),
        )
        for number in range(count)
    }
