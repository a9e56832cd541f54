"""What agents report: containers, their process state, and the resources of a host (wire format v0)."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

import msgspec

from config.bounds import CONFIGS_SEEN
from scheduling.canonical import GoStruct
from scheduling.job import CONTAINER_CONFIG_DECODER, ContainerConfig, decode_hook

CREATED, RUNNING, FINISHED, FAILED, DELETED = "created", "running", "finished", "failed", "deleted"
STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"


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


class TaskHealth(GoStruct, frozen=True, kw_only=True):
    """What the health checks of a running task have found, from our agents.

    `state` is starting, healthy or unhealthy, `since` then, in seconds since 1970; `failures` of a check in a
    row, counted until it is unhealthy, and what the `last` of them found.
    """

    omit_empty: ClassVar[frozenset[str]] = frozenset({"failures", "last"})

    state: str = STARTING
    since: float = 0.0
    failures: int = 0
    last: str = ""


class ContainerInstance(GoStruct, frozen=True, kw_only=True):
    """One container of an agent; `config.ports` hold the ports really used.

    `last_lines`: the end of its log, from our agents, once it has failed or was unhealthy. `health`: while a
    task runs that has health checks, from our agents.
    """

    omit_empty: ClassVar[frozenset[str]] = frozenset({"last_lines", "health"})

    container_id: str = ""
    status: str = ""
    config: ContainerConfig = ContainerConfig()
    process_state: ProcessState = ProcessState()
    last_lines: list[str] = msgspec.field(default_factory=list)
    health: TaskHealth | None = None

    @property
    def well(self) -> bool:
        """Whether its health checks say that it is of use; one without any is."""
        return self.health is None or self.health.state == HEALTHY

    def without_metrics(self) -> ContainerInstance:
        """The same without its sample: metrics are not state, a change of them is no change."""
        state = msgspec.structs.replace(self.process_state, container_metrics=Metrics())
        return msgspec.structs.replace(self, process_state=state)

    def same_but_metrics(self, other: ContainerInstance) -> bool:
        """Whether nothing but the sample is another one."""
        sample = other.process_state.container_metrics
        state = msgspec.structs.replace(self.process_state, container_metrics=sample)
        return msgspec.structs.replace(self, process_state=state) == other


class Amount(GoStruct, frozen=True, kw_only=True):
    """How much of something a host has and has promised: memory in MB, storage in bytes."""

    total: int = 0
    reserved: int = 0


class Cores(GoStruct, frozen=True, kw_only=True):
    """How many cores a host has and has promised."""

    total: float = 0.0
    reserved: float = 0.0


class Disk(GoStruct, frozen=True, kw_only=True):
    """A disk in bytes; `free` is what tasks may still write."""

    total: int = 0
    free: int = 0


class HostResources(GoStruct, frozen=True, kw_only=True):
    """What a host has; `volumes` are the host paths it offers, `attributes` what our agents tell of it.

    Ours, and left out when empty: `drivers`, by which it can run tasks; `limits`, what of a task it enforces,
    "mem", "cpu", "pids" as in a job's limits, and "tree" where no process of a task outlives it; `disks`,
    those of the data directory and of the volumes, by path, as they were lately.
    """

    omit_empty: ClassVar[frozenset[str]] = frozenset({"attributes", "drivers", "limits", "disks"})

    mem: Amount = Amount()
    cpus: Cores = Cores()
    storage: Amount = Amount()
    volumes: list[str] | None = None
    attributes: dict[str, str] | None = None
    drivers: list[str] | None = None
    limits: list[str] | None = None
    disks: dict[str, Disk] | None = None


def totals(resources: HostResources) -> tuple[object, ...]:
    """The part of a host's resources that placements depend on; what is reserved there is not."""
    attributes = tuple(sorted((resources.attributes or {}).items()))
    lists = (resources.volumes, resources.drivers, resources.limits)
    return resources.mem.total, resources.cpus.total, attributes, *(tuple(each or ()) for each in lists)


class StateEvent(GoStruct, frozen=True, kw_only=True):
    """One event of an agent's stream: all containers in the first, the changed ones in later ones."""

    resources: HostResources = HostResources()
    containers: dict[str, ContainerInstance] = msgspec.field(default_factory=dict)


class _SeenInstance(msgspec.Struct, frozen=True):
    """A `ContainerInstance`; its config is not read yet."""

    container_id: str = ""
    status: str = ""
    config: msgspec.Raw = msgspec.Raw(b"{}")
    process_state: ProcessState = ProcessState()
    last_lines: list[str] = msgspec.field(default_factory=list)
    health: TaskHealth | None = None


class _SeenEvent(msgspec.Struct, frozen=True):
    """A `StateEvent`."""

    resources: HostResources = HostResources()
    containers: dict[str, _SeenInstance] = msgspec.field(default_factory=dict)


assert _SeenInstance.__struct_fields__ == ContainerInstance.__struct_fields__, "every field is read"  # noqa: S101
_SEEN_EVENT_DECODER = msgspec.json.Decoder(_SeenEvent, dec_hook=decode_hook)


def read_event(data: bytes) -> StateEvent:
    """The event in these bytes. Each event of a container has its whole config, which is read once.

    Raises msgspec.MsgspecError or ValueError.
    """
    event = _SEEN_EVENT_DECODER.decode(data)
    return StateEvent(
        resources=event.resources,
        containers={
            task: ContainerInstance(
                container_id=seen.container_id,
                status=seen.status,
                config=_config(bytes(seen.config)),
                process_state=seen.process_state,
                last_lines=seen.last_lines,
                health=seen.health,
            )
            for task, seen in event.containers.items()
        },
    )


@lru_cache(CONFIGS_SEEN)
def _config(data: bytes) -> ContainerConfig:
    return CONTAINER_CONFIG_DECODER.decode(data)


STATE_EVENT_DECODER = msgspec.json.Decoder(StateEvent, dec_hook=decode_hook)
INSTANCE_DECODER = msgspec.json.Decoder(ContainerInstance, dec_hook=decode_hook)
RESOURCES_DECODER = msgspec.json.Decoder(HostResources, dec_hook=decode_hook)
