"""What agents report: containers, their process state, and the resources of a host (wire format v0)."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from scheduling.canonical import GoStruct
from scheduling.job import ContainerConfig, decode_hook

CREATED, RUNNING, FINISHED, FAILED, DELETED = "created", "running", "finished", "failed", "deleted"


class ExitStatus(GoStruct, frozen=True, kw_only=True):
    """How a task's process ended; empty while it has not."""

    omit_empty: ClassVar[frozenset[str]] = frozenset({"exited", "exit_status", "signaled", "signal", "oomed"})

    exited: bool = False
    exit_status: int = 0
    signaled: bool = False
    signal: int = 0
    oomed: bool = False


class Metrics(GoStruct, frozen=True, kw_only=True):
    """A sample of a running task: `cpu_time` in ns, memory in bytes."""

    cpu_time: int = 0
    memory_usage: int = 0
    memory_limit: int = 0


class ProcessState(GoStruct, frozen=True, kw_only=True):
    """The process of a container; `err` says why it could not be started, or is not started any more.

    `next_start_at`: while it is `restarting`, when that will be, in seconds since 1970; from our agents.
    """

    omit_empty: ClassVar[frozenset[str]] = frozenset({"err", "next_start_at"})

    up: bool = False
    restarting: bool = False
    err: str = ""
    container_exit_status: ExitStatus = ExitStatus()
    restarts: int = 0
    ooms: int = 0
    container_metrics: Metrics = Metrics()
    next_start_at: float = 0.0


class ContainerInstance(GoStruct, frozen=True, kw_only=True):
    """One container of an agent; `config.ports` hold the ports really used.

    `last_lines`: the end of its log, from our agents, once its process has ended.
    """

    omit_empty: ClassVar[frozenset[str]] = frozenset({"last_lines"})

    container_id: str = ""
    status: str = ""
    config: ContainerConfig = ContainerConfig()
    process_state: ProcessState = ProcessState()
    last_lines: list[str] = msgspec.field(default_factory=list)

    def without_metrics(self) -> ContainerInstance:
        """The same without its sample: metrics are not state, a change of them is no change."""
        state = msgspec.structs.replace(self.process_state, container_metrics=Metrics())
        return msgspec.structs.replace(self, process_state=state)


class Amount(GoStruct, frozen=True, kw_only=True):
    """How much of something a host has and has promised: memory in MB, storage in bytes."""

    total: int = 0
    reserved: int = 0


class Cores(GoStruct, frozen=True, kw_only=True):
    """How many cores a host has and has promised."""

    total: float = 0.0
    reserved: float = 0.0


class HostResources(GoStruct, frozen=True, kw_only=True):
    """What a host has; `volumes` are the host paths it offers.

    Ours, and left out when empty: `drivers`, by which it can run tasks, and `limits`, what of a task it
    enforces: "mem", "cpu", "pids" as in a job's limits, and "tree" where no process of a task outlives it.
    """

    omit_empty: ClassVar[frozenset[str]] = frozenset({"drivers", "limits"})

    mem: Amount = Amount()
    cpus: Cores = Cores()
    storage: Amount = Amount()
    volumes: list[str] | None = None
    drivers: list[str] | None = None
    limits: list[str] | None = None


def totals(resources: HostResources) -> tuple[object, ...]:
    """The part of a host's resources that placements depend on; what is reserved there is not."""
    lists = (resources.volumes, resources.drivers, resources.limits)
    return resources.mem.total, resources.cpus.total, *(tuple(each or ()) for each in lists)


class StateEvent(GoStruct, frozen=True, kw_only=True):
    """One event of an agent's stream: all containers in the first, the changed ones in later ones."""

    resources: HostResources = HostResources()
    containers: dict[str, ContainerInstance] = msgspec.field(default_factory=dict)


STATE_EVENT_DECODER = msgspec.json.Decoder(StateEvent, dec_hook=decode_hook)
INSTANCE_DECODER = msgspec.json.Decoder(ContainerInstance, dec_hook=decode_hook)
RESOURCES_DECODER = msgspec.json.Decoder(HostResources, dec_hook=decode_hook)
