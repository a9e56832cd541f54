"""Values for the tests of the rules: small, right, and named by what matters in a test."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from hypothesis import settings

from scheduling.actual import AgentStatus, ContainerReport
from scheduling.container import Amount, ContainerInstance, Cores, HostResources, ProcessState
from scheduling.desired import Agent, Copy, Job, Placement
from scheduling.durations import Duration
from scheduling.job import Command, ContainerConfig, Grace, JobConfig, Resources, Storage
from scheduling.lifecycle import Phase

# Examples are searched for, not timed: the machine may be busy.
PROPERTY = settings(deadline=None, max_examples=150)
LONG_PROPERTY = settings(deadline=None, max_examples=60, stateful_step_count=40)

Link = Literal["connecting", "connected", "stale"]


def job_config(
    job: str = "web", scale: int | Literal["all"] = 1, mem: int = 64, cpu: float = 0.5, **more: Any
) -> JobConfig:
    """A config without a problem."""
    fields: dict[str, Any] = {
        "product": "search",
        "environment": "prod",
        "job": job,
        "scale": scale,
        "command": Command(working_dir="/", exec=["./web"]),
        "resources": Resources(mem=mem, cpu=cpu, fd=100),
        "grace": Grace(startup=Duration.parse("3s"), shutdown=Duration.parse("1s")),
        "restart": "on-failure",
    }
    return JobConfig(**(fields | more))


def version_of(config: JobConfig, version: int = 1, **more: Any) -> Job:
    """The job as the registry writes it when it is scheduled."""
    return Job(prefix=config.hash(), hash=config.hash(), config=config, version=version, **more)


def agent(name: str = "a", **more: Any) -> Agent:
    """An agent that one source wants."""
    return Agent(**({"name": name, "endpoint": f"http://{name}:1", "sources": ("file",)} | more))


def placement(task: str, *copies: tuple[str, Any], generation: int = 1) -> Placement:
    """A placement of (agent, intent) pairs."""
    return Placement(task=task, generation=generation, copies=tuple(Copy(*copy) for copy in copies))


def resources(mem: int = 256, cpu: float = 4.0, volumes: tuple[str, ...] = ()) -> HostResources:
    """A host of this size, with reservations that must not matter."""
    return HostResources(
        mem=Amount(total=mem, reserved=mem), cpus=Cores(total=cpu, reserved=cpu), volumes=list(volumes)
    )


def status(
    name: str = "a",
    link: Link = "connected",
    answered: bool = True,
    has: HostResources | None = None,
    error: str = "",
) -> AgentStatus:
    """An agent's link; one that answered has said how large its host is."""
    return AgentStatus(
        name=name,
        endpoint=f"http://{name}:1",
        link=link,
        answered=answered,
        since=0.0,
        error=error,
        resources=has or (resources() if answered else None),
    )


def instance(task: str, says: str = "running", config: ContainerConfig | None = None) -> ContainerInstance:
    """A container as its agent reports it."""
    return ContainerInstance(
        container_id=task,
        status=says,
        config=config or job_config().container(),
        process_state=ProcessState(up=says == "running"),
    )


def report(agent: str, task: str, phase: Phase = Phase.RUNNING, **more: Any) -> ContainerReport:
    """A container as its state machine sees it; there is an instance unless it is absent."""
    there = None if phase is Phase.ABSENT else instance(task)
    return ContainerReport(**({"agent": agent, "task": task, "phase": phase, "instance": there} | more))


def needing(config: JobConfig, **changes: Any) -> JobConfig:
    """The same config with other storage or ports."""
    volumes = changes.pop("volumes", None)
    if volumes is not None:
        changes["storage"] = Storage(volumes=volumes)
    return msgspec.structs.replace(config, **changes)
