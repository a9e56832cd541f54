"""The v1 shapes: what jobs, tasks and agents look like. /openapi.json is made of them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from scheduling.container import ExitStatus, HostResources, TaskHealth

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


class GroupView(msgspec.Struct, frozen=True, kw_only=True):
    """So many agents have the same thing most in the way: `what`, like "lack memory"; and the nearest."""

    agents: int
    what: str
    nearest: str


class WaitingView(msgspec.Struct, frozen=True, kw_only=True):
    """Why tasks have no place; `refusals` show the nearest misses, `agents` is how many were asked.

    `groups` counts each of them once, by what is most in the way.
    """

    tasks: int
    reason: str
    agents: int
    refusals: list[RefusalView]
    groups: list[GroupView] = []


class SideView(msgspec.Struct, frozen=True, kw_only=True):
    """One version in a migration: how many of its tasks are wanted by now, and how many run."""

    hash: str
    prefix: str
    scale: int
    wanted: int
    running: int


class MigrationView(msgspec.Struct, frozen=True, kw_only=True):
    """A job on its way from one version to another. Times are seconds since 1970; `version` for If-Match.

    `floor` tasks run at least, `ceiling` at most. `deadline_at`: when it fails unless something goes
    forward; none while it is paused, over, or waits to be promoted. `message` says what it is doing.
    """

    id: str
    job: str
    state: Literal["running", "reverting", "failed", "done", "reverted", "ended"]
    paused: bool
    awaits_promotion: bool
    reason: str
    message: str
    strategy: str
    floor: int
    ceiling: int
    max_parallel: int
    min_healthy_seconds: float
    old: SideView
    new: SideView
    begun_at: float
    progress_at: float
    deadline_at: float | None
    version: int


class PastView(msgspec.Struct, frozen=True, kw_only=True):
    """One version that a job has had. `reverted`: why it was given up, "" if it was not."""

    number: int
    hash: str
    current: bool
    at: float
    reverted: str
    config: msgspec.Raw


class VersionView(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a job: `hash` names its config, `prefix` begins its task ids, `number` counts them.

    `places`: with scale `all`, which agent has which task, by index; null before that is known, and for
    other jobs. `left_out`: why the other agents have none; its `tasks` is 0, since none waits for them.
    """

    hash: str
    prefix: str
    number: int
    version: int
    config: msgspec.Raw
    counts: Counts
    waiting: WaitingView | None
    places: dict[int, str] | None = None
    left_out: WaitingView | None = None


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """A job with its versions, oldest first; `version` is what If-Match compares.

    `stopped`: it is kept, but not run. `migration`: the one under way, or the last one.
    """

    product: str
    environment: str
    job: str
    key: str
    version: int
    stopped: bool
    versions: list[VersionView]
    counts: Counts
    migration: MigrationView | None


class CopyView(msgspec.Struct, frozen=True, kw_only=True):
    """Another copy of a task, on its way out or not known to the registry."""

    agent: str
    intent: Literal["run", "stop", ""]
    status: TaskStatus


class TaskView(msgspec.Struct, frozen=True, kw_only=True):
    """One task. `stale`: its agent is not connected, so this is the last that is known.

    `restarts` by its agent since it was started there; `next_start_at`: it has ended and is started again
    then, in seconds since 1970; null while it runs. `exit` is how it ended the last time. `health`: what its
    health checks say while it runs; null for a task without any.
    """

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
    next_start_at: float | None
    stale: bool
    foreign: bool
    other_copies: list[CopyView]
    health: TaskHealth | None = None


class DrainView(msgspec.Struct, frozen=True, kw_only=True):
    """An agent is being emptied, since then and by then at the latest; `left` tasks are still there.

    `staying` of them do not move now; `why`, by task, for the first of them.
    """

    since: float
    deadline_at: float | None
    left: int
    staying: int = 0
    why: dict[str, str] = {}


class SignalReply(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent, to whom, and where."""

    message: str
    task: str
    agent: str
    signal: str


class AgentView(msgspec.Struct, frozen=True, kw_only=True):
    """One agent. All times are seconds since 1970; `since`: when its link last changed.

    `connected`: its stream stands and has brought its state; else it is away since `stale_since`.
    `lost_since`: it is lost, and away since then; `declared_lost`: by its operator. `braked_until`: the brake
    keeps it from being declared lost until then. `drained`: it gets no new tasks; `drain`: it is emptied.
    `why`: what becomes of its tasks while it is away. `sources`: who names it: static (flags), file, api, or
    registered (it does so itself). `version`: for If-Match.
    """

    name: str
    endpoint: str
    link: Literal["connecting", "connected", "stale"]
    answered: bool
    since: float
    error: str
    labels: dict[str, str]
    drained: bool
    drain: DrainView | None
    connected: bool
    stale_since: float | None
    lost_since: float | None
    declared_lost: bool
    braked_until: float | None
    why: str
    sources: list[str]
    version: int
    leaving: bool
    resources: HostResources | None
    tasks: int
    foreign: int


class BrakeView(msgspec.Struct, frozen=True, kw_only=True):
    """Whether too many agents are away for any to be declared lost. Times are seconds since 1970.

    `holds` since about `since`, `until` at the latest; `released`: by an operator, for this outage. `away` of
    `agents` are not connected; `waiting` names the first of them that are not lost.
    """

    holds: bool
    released: bool
    since: float | None
    until: float | None
    away: int
    agents: int
    waiting: list[str]
    message: str


class TaskPlanView(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one task; `agent`: where it is started, stopped or left."""

    task: str
    action: Literal["start", "stop", "leave", "wait"]
    agent: str | None


class FieldChangeView(msgspec.Struct, frozen=True, kw_only=True):
    """One field of the config that changes, dotted, with its values."""

    field: str
    before: Any
    after: Any


class LimitsView(msgspec.Struct, frozen=True, kw_only=True):
    """How a migration would go: at least `floor` tasks run, at most `ceiling`."""

    strategy: str
    max_parallel: int
    floor: int
    ceiling: int


class PlanView(msgspec.Struct, frozen=True, kw_only=True):
    """What a PUT would do. `token` approves exactly this; `complete`: it looks ahead to the very end.

    `left_out`: with scale `all`, why agents would have no task of it.
    """

    result: Literal["created", "changed", "unchanged"]
    message: str
    hash: str
    token: str
    version: int
    fields: list[FieldChangeView]
    limits: LimitsView | None
    tasks: list[TaskPlanView]
    waiting: list[WaitingView]
    left_out: list[WaitingView]
    complete: bool


class ChangeReply(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a change; `version` is the registry's at which it holds.

    `migration`: the id of the migration that it began, "" for none.
    """

    result: Literal["created", "changed", "unchanged"]
    message: str
    hash: str
    version: int
    migration: str = ""


class RegistrationReply(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a registration; it is to be renewed every `renew_seconds`."""

    result: Literal["created", "changed", "unchanged"]
    message: str
    version: int
    renew_seconds: float


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
