"""How the programs of 2014 read what an agent sends: Go's encoding/json into their structs.

Fields that they do not know are ignored, one of a wrong type makes the whole message unreadable, and names
are compared without regard to case. The shapes and their order are those of the captured messages.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

Uint = Annotated[int, msgspec.Meta(ge=0)]
STATUSES = ("created", "running", "failed", "finished", "deleted")


class ExitStatus(msgspec.Struct):
    exited: bool = False
    exit_status: int = 0
    signaled: bool = False
    signal: int = 0
    oomed: bool = False


class Metrics(msgspec.Struct):
    cpu_time: Uint
    memory_usage: Uint
    memory_limit: Uint


class ProcessState(msgspec.Struct):
    up: bool
    restarting: bool
    container_exit_status: ExitStatus
    restarts: int
    ooms: int
    container_metrics: Metrics
    err: str = ""


class HealthCheck(msgspec.Struct):
    protocol: str
    port: str
    initial_delay: str
    timeout: str
    interval: str
    http_path: str = ""
    http_acceptable_responses: list[int] | None = None


class Command(msgspec.Struct):
    working_dir: str
    exec: list[str]


class Wanted(msgspec.Struct):
    mem: Uint
    cpu: float
    fd: Uint


class Storage(msgspec.Struct):
    tmp: dict[str, int] | None
    volumes: dict[str, str] | None


class Grace(msgspec.Struct):
    startup: str
    shutdown: str


class ContainerConfig(msgspec.Struct):
    product: str
    environment: str
    job: str
    health_checks: list[HealthCheck] | None
    artifact_url: str
    ports: dict[str, Annotated[int, msgspec.Meta(ge=0, le=65535)]] | None
    env: dict[str, str] | None
    command: Command
    resources: Wanted
    storage: Storage
    grace: Grace
    restart: str


class ContainerInstance(msgspec.Struct):
    container_id: str
    status: str
    config: ContainerConfig
    process_state: ProcessState


class Amount(msgspec.Struct):
    total: Uint
    reserved: Uint


class Cores(msgspec.Struct):
    total: float
    reserved: float


class HostResources(msgspec.Struct):
    mem: Amount
    cpus: Cores
    storage: Amount
    volumes: list[str] | None


class StateEvent(msgspec.Struct):
    resources: HostResources
    containers: dict[str, ContainerInstance]


def read_event(content: bytes) -> StateEvent:
    """An event as they read it. Raises where they could not, or would take one of our fields for theirs."""
    event = msgspec.json.decode(content, type=StateEvent)
    assert {instance.status for instance in event.containers.values()} <= set(STATUSES)
    raw = msgspec.json.decode(content)
    _check(HostResources, raw["resources"])
    for instance in raw["containers"].values():
        _check(ContainerInstance, instance)
        _check(ContainerConfig, instance["config"])
        for check in instance["config"]["health_checks"] or ():
            _check(HealthCheck, check)
        _check(ProcessState, instance["process_state"])
    return event


def additions(content: bytes) -> set[str]:
    """The fields of an event that they do not know, with where they are."""
    raw = msgspec.json.decode(content)
    found = _more("resources", HostResources, raw["resources"])
    for instance in raw["containers"].values():
        found |= _more("container", ContainerInstance, instance)
        found |= _more("config", ContainerConfig, instance["config"])
        found |= _more("state", ProcessState, instance["process_state"])
        for check in instance["config"]["health_checks"] or ():
            found |= _more("check", HealthCheck, check)
    return found


def _more(place: str, shape: type[msgspec.Struct], fields: dict[str, Any]) -> set[str]:
    return {f"{place}.{name}" for name in set(fields) - set(shape.__struct_fields__)}


def _check(shape: type[msgspec.Struct], fields: dict[str, Any]) -> None:
    """What is ours comes after what is theirs, and is not called alike."""
    theirs = [name for name in fields if name in shape.__struct_fields__]
    ours = [name for name in fields if name not in shape.__struct_fields__]
    assert list(fields) == theirs + ours
    assert not {name.lower() for name in ours} & {name.lower() for name in shape.__struct_fields__}
