"""What an agent has left: totals it reports, less the union of our placements and its containers.

A container is counted once, by its id, whether we placed it, the agent reports it, or both; foreign
containers count too. The agent's own `reserved` is not used: it would count twice what is on its way.
"""

from __future__ import annotations

import msgspec

from scheduling.actual import Actual
from scheduling.constraints import Constraint, parse
from scheduling.container import HostResources
from scheduling.desired import Agent, Desired, Job
from scheduling.job import DRIVERS, ContainerConfig, task_prefix
from scheduling.lifecycle import Phase

# Sums of floats drift; a billionth of a core is none.
CPU_TOLERANCE = 1e-9


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """What one task takes: MB, cores, fixed ports, host paths; what must run and limit it; what it demands.

    `prefix`: the version it belongs to, where that matters; `alone`: no other of them may be there.
    """

    mem: int
    cpu: float
    ports: frozenset[int] = frozenset()
    volumes: frozenset[str] = frozenset()
    constraints: tuple[Constraint, ...] = ()
    prefix: str = ""
    alone: bool = False
    driver: str = DRIVERS[0]
    limits: frozenset[str] = frozenset()


class Room(msgspec.Struct, kw_only=True):
    """What one agent has and what of it is taken. Mutable: an algorithm takes from it as it places.

    `closed` says why nothing new may be placed there at all; empty when it may. `attributes` are its labels
    and what it reports of itself; `prefixes`: how many tasks of each version are there.
    """

    agent: str
    closed: str = ""
    mem_total: int = 0
    cpu_total: float = 0.0
    volumes: frozenset[str] = frozenset()
    drivers: frozenset[str] = frozenset(DRIVERS[:1])
    limits: frozenset[str] = frozenset()
    mem_used: int = 0
    cpu_used: float = 0.0
    ports: dict[int, str] = msgspec.field(default_factory=dict)
    tasks: int = 0
    attributes: dict[str, str] = msgspec.field(default_factory=dict)
    prefixes: dict[str, int] = msgspec.field(default_factory=dict)

    def take(self, need: Need, task: str = "") -> None:
        """Count one more task with this need."""
        self.mem_used += need.mem
        self.cpu_used += need.cpu
        self.tasks += 1
        prefix = need.prefix or task_prefix(task)
        if prefix:
            self.prefixes[prefix] = self.prefixes.get(prefix, 0) + 1
        for port in need.ports:
            self.ports[port] = task

    def give_back(self, need: Need) -> None:
        """Count one task with this need less."""
        self.mem_used -= need.mem
        self.cpu_used -= need.cpu
        self.tasks -= 1
        self.prefixes[need.prefix] = self.prefixes.get(need.prefix, 0) - 1
        for port in need.ports:
            self.ports.pop(port, None)

    @property
    def use(self) -> float:
        """How full it is: the larger of the used shares of memory and cores."""
        return max(
            self.mem_used / self.mem_total if self.mem_total else 1.0,
            self.cpu_used / self.cpu_total if self.cpu_total else 1.0,
        )


def need_of(config: ContainerConfig) -> Need:
    """What a task of this config takes; a port 0 is the agent's choice and takes none."""
    return Need(
        mem=config.resources.mem,
        cpu=config.resources.cpu,
        ports=frozenset(port for port in (config.ports or {}).values() if port),
        volumes=frozenset((config.storage.volumes or {}).values()),
        driver=config.driver or DRIVERS[0],
        limits=frozenset(limits_of(config)),
    )


def need_of_job(job: Job) -> Need:
    """What each task of a version takes and demands."""
    config = job.config
    return msgspec.structs.replace(
        need_of(config),
        constraints=tuple(parse(text) for text in config.constraints or ()),
        prefix=job.prefix,
        alone=config.distinct_hosts,
    )


def attributes_of(agent: Agent, resources: HostResources) -> dict[str, str]:
    """What constraints look at: what the agent reports, its name, and above these the labels it was given."""
    return {**(resources.attributes or {}), "name": agent.name, **agent.labels}


def limits_of(config: ContainerConfig) -> list[str]:
    """Which limits a config asks for by name: it must not run where they do not hold."""
    limits = config.limits
    return [name for name in limits.__struct_fields__ if getattr(limits, name)] if limits else []


def measure(agent: Agent, desired: Desired, actual: Actual) -> Room:
    """The room on one agent as it is known now."""
    status = actual.agents.get(agent.name)
    resources = status.resources if status else None
    if status is None or resources is None:
        return Room(agent=agent.name, closed="it has not answered yet")
    room = Room(
        agent=agent.name,
        closed=_closed(agent, link=status.link, answered=status.answered, error=status.error),
        mem_total=resources.mem.total,
        cpu_total=resources.cpus.total,
        volumes=frozenset(resources.volumes or ()),
        attributes=attributes_of(agent, resources),
        drivers=frozenset(resources.drivers or DRIVERS[:1]),
        limits=frozenset(resources.limits or ()),
    )
    reports = actual.containers.get(agent.name, {})
    for task, report in reports.items():
        if report.instance is not None and report.phase is not Phase.ABSENT:
            room.take(need_of(report.instance.config), task)
    for task in sorted(desired.by_agent.get(agent.name, ())):
        there = reports.get(task)
        counted = there is not None and there.instance is not None and there.phase is not Phase.ABSENT
        job = desired.jobs.get(task_prefix(task))
        if counted:
            continue
        if job is not None:
            room.take(need_of(job.config), task)
        elif there is None or not there.proves_absence(desired.placements[task].generation):
            # Its job is gone and with it how much it needs; until it is seen or proven absent, who knows.
            # A proof for an earlier generation is none: it may have been placed here since.
            room.closed = room.closed or "it is stopping a task of unknown size"
    return room


def _closed(agent: Agent, *, link: str, answered: bool, error: str) -> str:
    if not agent.sources:
        return "it is being removed"
    if agent.drained:
        return "it is drained"
    if agent.lost_since is not None:
        return "it is lost"
    if link != "connected" or not answered:
        return f"it is not connected{': ' + error if error else ''}"
    return ""
