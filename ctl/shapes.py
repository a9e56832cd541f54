"""What /api/v1 answers, as far as harpoonctl looks at it.

Unknown fields are ignored and missing ones have defaults, so that this program and a newer or older
scheduler understand each other. `-o json` prints the answer itself and never passes through here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from ctl.migration_shapes import Migration
from ctl.waiting_shapes import Waiting
from scheduling.job import ALL


class Counts(msgspec.Struct, frozen=True):
    """How many tasks of a version are in which condition."""

    wanted: int = 0
    running: int = 0
    pending: int = 0
    waiting: int = 0
    ended: int = 0
    stopping: int = 0
    stale: int = 0


class Version(msgspec.Struct, frozen=True):
    """One config of a job; its tasks are called `prefix-0`, `prefix-1`…

    `places`: with scale `all`, which agent has which of them, by index; None before that is known.
    `left_out`: why the other agents have none.
    """

    hash: str
    prefix: str = ""
    config: dict[str, Any] = {}
    counts: Counts = Counts()
    waiting: Waiting | None = None
    places: dict[int, str] | None = None
    left_out: Waiting | None = None

    @property
    def indices(self) -> Collection[int]:
        """The indices of all its tasks."""
        scale = self.config.get("scale")
        if scale == ALL:
            return (self.places or {}).keys()
        return range(scale if isinstance(scale, int) else self.counts.wanted)

    @property
    def task_prefix(self) -> str:
        """What its task ids begin with."""
        return self.prefix or self.hash


class ExitStatus(msgspec.Struct, frozen=True):
    """How a task ended the last time."""

    exited: bool = False
    exit_status: int = 0
    signaled: bool = False
    signal: int = 0
    oomed: bool = False


class OtherCopy(msgspec.Struct, frozen=True):
    """A second copy of a task, on its way out or found on a returned agent."""

    agent: str
    intent: str = ""
    status: str = ""


class Health(msgspec.Struct, frozen=True):
    """What the health checks of a task say."""

    state: str = ""
    failures: int = 0
    last: str = ""


class Task(msgspec.Struct, frozen=True):
    """One task, wherever it is."""

    id: str
    job: str = ""
    hash: str = ""
    status: str = ""
    intent: str = ""
    agent: str | None = None
    endpoint: str | None = None
    ports: dict[str, int] | None = None
    exit: ExitStatus | None = None
    error: str | None = None
    restarts: int = 0
    next_start_at: float | None = None
    stale: bool = False
    foreign: bool = False
    other_copies: list[OtherCopy] | None = None
    health: Health | None = None


class Job(msgspec.Struct, frozen=True):
    """One job with its versions; `tasks` only where a single job was asked for.

    `stopped`: it is kept, and not run. `migration`: the one under way, or the last one.
    """

    key: str
    job: str = ""
    versions: list[Version] = []
    counts: Counts = Counts()
    tasks: list[Task] = []
    stopped: bool = False
    migration: Migration | None = None


class Amount(msgspec.Struct, frozen=True):
    """A resource of a host and how much of it is taken."""

    total: float = 0
    reserved: float = 0


class HostResources(msgspec.Struct, frozen=True):
    """What a host has: `mem` in MB, `cpus` in cores."""

    mem: Amount = Amount()
    cpus: Amount = Amount()


class Drain(msgspec.Struct, frozen=True):
    """An agent is being emptied: how many tasks are left, how many of them stay for now, and why by task."""

    left: int = 0
    staying: int = 0
    why: dict[str, str] = {}


class Agent(msgspec.Struct, frozen=True):
    """One agent and the link to it."""

    name: str
    endpoint: str = ""
    link: str = ""
    error: str | None = None
    labels: dict[str, str] | None = None
    drained: bool = False
    drain: Drain | None = None
    lost_since: float | None = None
    declared_lost: bool = False
    braked_until: float | None = None
    leaving: bool = False
    resources: HostResources | None = None
    tasks: int = 0
    foreign: int = 0


class Jobs(msgspec.Struct, frozen=True):
    """GET /api/v1/jobs."""

    jobs: list[Job]


class Tasks(msgspec.Struct, frozen=True):
    """GET /api/v1/tasks."""

    tasks: list[Task]


class Agents(msgspec.Struct, frozen=True):
    """GET /api/v1/agents."""

    agents: list[Agent]


class Member(msgspec.Struct, frozen=True):
    """A host of the convention: `link` since `since`, seconds since 1970."""

    name: str
    address: str = ""
    role: str = ""
    zone: str = ""
    link: str = ""
    since: float = 0.0
    flocks: int = 0
    most_flocks: int = 0
    agents: int = 0
    note: str = ""


class Members(msgspec.Struct, frozen=True):
    """GET /api/v1/members."""

    members: list[Member]


class Brake(msgspec.Struct, frozen=True):
    """GET /api/v1/brake: whether too many agents are away for any to be declared lost, and who is away."""

    message: str
    holds: bool = False
    waiting: list[str] = []


class Changed(msgspec.Struct, frozen=True):
    """The answer to a change, which holds from `version` of the registry on.

    `migration`: the id of the one that it began, if it did.
    """

    result: str = ""
    message: str = ""
    hash: str = ""
    version: int = 0
    migration: str = ""


class RpcReply(msgspec.Struct, frozen=True):
    """The answer to a change through /api/v0."""

    msg: str = ""


class Snapshot(msgspec.Struct, frozen=True):
    """Everything, as an event stream begins."""

    jobs: list[Job] = []
    tasks: list[Task] = []
    agents: list[Agent] = []


class FieldError(msgspec.Struct, frozen=True):
    """One field that the scheduler did not accept."""

    field: str = ""
    expected: str = ""
    value: Any = msgspec.UNSET


class Problem(msgspec.Struct, frozen=True):
    """An error: RFC 9457 on /api/v1, `msg` on /api/v0."""

    title: str = ""
    detail: str = ""
    msg: str = ""
    errors: list[FieldError] = []
