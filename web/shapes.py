"""The v1 shapes: what jobs, tasks and agents look like. /openapi.json is made of them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from scheduling.container import ExitStatus, HostResources

TaskStatus = Literal[
    "waiting",
    "absent",
    "creating",
    "created",
    "starting",
    "running",
    "stopping",
    "ended",
    "deleting",
    "unclear",
]


class Counts(msgspec.Struct, kw_only=True):
    """How many tasks are how. `stale` ones are also counted under their last known status."""

    wanted: int = 0
    running: int = 0
    pending: int = 0
    waiting: int = 0
    ended: int = 0
    stopping: int = 0
    stale: int = 0


class RefusalView(msgspec.Struct, frozen=True, kw_only=True):
    """Why one agent was not chosen."""

    agent: str
    reason: str


class WaitingView(msgspec.Struct, frozen=True, kw_only=True):
    """Why tasks have no place; `refusals` show the nearest misses, `agents` is how many were asked."""

    tasks: int
    reason: str
    agents: int
    refusals: list[RefusalView]


class VersionView(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a job: `hash` names its config, `prefix` begins its task ids."""

    hash: str
    prefix: str
    version: int
    config: msgspec.Raw
    counts: Counts
    waiting: WaitingView | None


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """A job with its versions, oldest first; `version` is what If-Match compares."""

    product: str
    environment: str
    job: str
    key: str
    version: int
    versions: list[VersionView]
    counts: Counts


class CopyView(msgspec.Struct, frozen=True, kw_only=True):
    """Another copy of a task, on its way out or not known to the registry."""

    agent: str
    intent: Literal["run", "stop", ""]
    status: TaskStatus


class TaskView(msgspec.Struct, frozen=True, kw_only=True):
    """One task. `stale`: its agent is not connected, so this is the last that is known."""

    id: str
    job: str
    hash: str
    status: TaskStatus
    intent: Literal["run", "stop", ""]
    agent: str | None
    endpoint: str | None
    ports: dict[str, int]
    exit: ExitStatus | None
    error: str
    restarts: int
    stale: bool
    foreign: bool
    other_copies: list[CopyView]


class AgentView(msgspec.Struct, frozen=True, kw_only=True):
    """One agent. `since`: when its link last changed, in seconds since 1970; so is `lost_since`."""

    name: str
    endpoint: str
    link: Literal["connecting", "connected", "stale"]
    answered: bool
    since: float
    error: str
    labels: dict[str, str]
    drained: bool
    lost_since: float | None
    leaving: bool
    resources: HostResources | None
    tasks: int
    foreign: int


class ChangeReply(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a change; `version` is the registry's at which it holds."""

    result: Literal["created", "changed", "unchanged"]
    message: str
    hash: str
    version: int


class RestoreReply(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a snapshot; `version` is the registry's at which it holds."""

    result: Literal["changed", "unchanged"]
    message: str
    version: int


class ErrorView(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong in a body."""

    field: str
    value: Any
    expected: str


class ProblemView(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457; `errors` only when a body is wrong."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ErrorView] = []
