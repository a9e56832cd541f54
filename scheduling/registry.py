"""What may change the desired state, and how: the registry's rule.

Each mutation is judged against the desired state and gives an answer and the changes that make it so.
A refused one changes nothing. Who may send which is the table in docs/architecture.md.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec

from scheduling.desired import AGENT, JOB, PLACEMENT, Agent, Copy, Desired, Job, Placement
from scheduling.job import JobConfig, JobKey, encode_hook, task_index, task_prefix
from scheduling.replica import Changes
from scheduling.snapshot import (
    SavedAgent,
    SavedJob,
    compare,
    restored_agent,
    restored_job,
    snapshot_problems,
    summary,
    take,
)

Result = Literal["created", "changed", "unchanged", "invalid", "conflict", "not found", "precondition failed"]
FINGERPRINT_DIGITS = 16
MOST_NAMED = 10
ACCEPTED: frozenset[Result] = frozenset({"created", "changed", "unchanged"})


class ScheduleJob(msgspec.Struct, frozen=True, kw_only=True):
    """Run this config as a version of its job; refused if that version is there already (v0).

    `adopt`: its tasks may run already, see `Job`.
    """

    config: JobConfig
    adopt: bool = False


class UnscheduleJob(msgspec.Struct, frozen=True, kw_only=True):
    """Stop the job version that this hash or task prefix names (v0)."""

    hash: str


class PutJob(msgspec.Struct, frozen=True, kw_only=True):
    """Make this config the job's only version; idempotent. `expected`: the job's version, 0 for none."""

    config: JobConfig
    expected: int | None = None


class DeleteJob(msgspec.Struct, frozen=True, kw_only=True):
    """Stop all versions of a job. `expected`: the job's version, as in PutJob."""

    key: JobKey
    expected: int | None = None


class AgentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """An agent as a discovery source names it."""

    name: str
    endpoint: str
    labels: dict[str, str] = {}


class SyncAgents(msgspec.Struct, frozen=True, kw_only=True):
    """These, and no others, are the agents that `source` knows of."""

    source: str
    agents: tuple[AgentSpec, ...]


class WritePlacement(msgspec.Struct, frozen=True, kw_only=True):
    """Replace a task's copies, if its generation is still `expected` (0: it has none).

    `seen`: the registry's version that the room for a new copy was found at. If anything was placed on
    that agent since, by a scheduler that died meanwhile, the room may be gone, and the write is refused.
    """

    task: str
    expected: int
    copies: tuple[Copy, ...]
    seen: int | None = None


class MarkLost(msgspec.Struct, frozen=True, kw_only=True):
    """Write down that an agent is lost, away since this time; None: that it is back."""

    agent: str
    since: float | None


class RestoreSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Make the jobs exactly those of a snapshot, and the agents again that nothing else brings back.

    Jobs that are there with the same config stay as they are; the others come back to be adopted, with
    their old prefix, so nothing that runs is started twice. Jobs that are not in it are removed, as by
    unscheduling them. For agents see `snapshot.compare`. `expected`: the version of the whole registry.
    """

    jobs: tuple[SavedJob, ...]
    agents: tuple[SavedAgent, ...]
    expected: int | None = None


Mutation = (
    ScheduleJob
    | UnscheduleJob
    | PutJob
    | DeleteJob
    | SyncAgents
    | WritePlacement
    | MarkLost
    | RestoreSnapshot
)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a mutation; `version` is the registry's at which it holds, `hash` the job's."""

    result: Result
    message: str
    version: int = 0
    hash: str = ""

    @property
    def accepted(self) -> bool:
        """Whether what was asked for is so now."""
        return self.result in ACCEPTED


def fingerprint(mutation: Mutation) -> str:
    """What a mutation asks for, in short: a request id stands for one, and may not be used for another."""
    content = msgspec.json.encode(mutation, enc_hook=encode_hook, order="sorted")
    return hashlib.sha256(type(mutation).__name__.encode() + content).hexdigest()[:FINGERPRINT_DIGITS]


def reused(request_id: str) -> Answer:
    """The answer to a request whose id was used for another one."""
    text = f'the request id "{request_id}" was used for another request; use a new one for each'
    return Answer(result="conflict", message=text)


def judge(
    desired: Desired, mutation: Mutation, version: int, at: int | None = None
) -> tuple[Answer, Changes]:
    """The answer to one mutation, and the changes that `version`, the next one, brings if it is accepted.

    `at`: the version that `desired` is at, if that is not the one before: others of the same commit have
    changed it already.
    """
    at = version - 1 if at is None else at
    if isinstance(mutation, RestoreSnapshot) and mutation.expected not in (None, at):
        text = f"the registry is at version {at}, not {mutation.expected}"
        return Answer(result="precondition failed", message=text, version=at), {}
    rule: Any = _RULES[type(mutation)]
    answer, changes = rule(desired, mutation, version)
    return msgspec.structs.replace(answer, version=version if changes else at), changes


def _schedule(desired: Desired, mutation: ScheduleJob, version: int) -> tuple[Answer, Changes]:
    config = mutation.config
    name = config.hash()
    there = desired.resolve(name)
    if there is not None:
        same = there.config.canonical() == config.canonical() or there.hash != name
        text = (
            f"{name} already scheduled"
            if same
            else f"the hash {name} belongs to another config; change any field"
        )
        return Answer(result="conflict", message=text, hash=name), {}
    return Answer(
        result="created", message=f"request to schedule '{config.job}' ({name}) has been accepted", hash=name
    ), {(JOB, name): Job(prefix=name, hash=name, config=config, version=version, adopt=mutation.adopt)}


def _unschedule(desired: Desired, mutation: UnscheduleJob, _version: int) -> tuple[Answer, Changes]:
    job = desired.resolve(mutation.hash)
    if job is None:
        return Answer(result="not found", message=f"{mutation.hash} not scheduled", hash=mutation.hash), {}
    text = f"request to unschedule {job.config.job} ({job.hash}) has been accepted"
    return Answer(result="changed", message=text, hash=job.hash), {(JOB, job.prefix): None}


def _put(desired: Desired, mutation: PutJob, version: int) -> tuple[Answer, Changes]:
    config = mutation.config
    versions = desired.versions(config.key)
    refused = _precondition(versions, mutation.expected, config.key)
    if refused is not None:
        return refused, {}
    if not versions:
        return _schedule(desired, ScheduleJob(config=config), version)
    if len(versions) > 1:
        text = f"{config.key} has {len(versions)} versions, {_hashes(versions)}; unschedule all but one first"
        return Answer(result="conflict", message=text), {}
    job = versions[0]
    name = config.hash()
    if config == job.config and name == job.hash:
        return Answer(result="unchanged", message=f"{config.key} is {name} already", hash=name), {}
    if config.container() != job.config.container():
        text = f"{config.key} runs {job.hash}; only its scale and policy can be changed. Unschedule it first"
        return Answer(result="conflict", message=text, hash=job.hash), {}
    owner = desired.resolve(name)
    if owner is not None and owner.prefix != job.prefix:
        return Answer(
            result="conflict", message=f"the hash {name} belongs to {owner.config.key}", hash=name
        ), {}
    text = f"{config.key} has been rescaled from {job.config.scale} to {config.scale}"
    if config.scale == job.config.scale:
        text = f"the policy of {config.key} has been changed"
    changed = msgspec.structs.replace(job, hash=name, config=config, version=version)
    return Answer(result="changed", message=text, hash=name), {(JOB, job.prefix): changed}


def _delete(desired: Desired, mutation: DeleteJob, _version: int) -> tuple[Answer, Changes]:
    versions = desired.versions(mutation.key)
    refused = _precondition(versions, mutation.expected, mutation.key)
    if refused is not None:
        return refused, {}
    if not versions:
        return Answer(result="not found", message=f"{mutation.key} is not scheduled"), {}
    text = f"{mutation.key} ({_hashes(versions)}) is being stopped"
    return Answer(result="changed", message=text, hash=versions[-1].hash), {
        (JOB, job.prefix): None for job in versions
    }


def _precondition(versions: list[Job], expected: int | None, key: JobKey) -> Answer | None:
    at = max((job.version for job in versions), default=0)
    if expected is None or expected == at:
        return None
    text = (
        f"{key} is at version {at}, not {expected}"
        if at
        else f"{key} is not scheduled, not at version {expected}"
    )
    if expected == 0:
        text = f"{key} is scheduled already, as {_hashes(versions)} at version {at}"
    return Answer(result="precondition failed", message=text)


def _hashes(versions: list[Job]) -> str:
    return ", ".join(job.hash for job in versions)


def _by_name(desired: Desired, specs: tuple[AgentSpec, ...]) -> dict[str, AgentSpec]:
    """The agents by the names they have or get: one that is known by its endpoint keeps its name, since
    under two names its containers would look like two copies of each task, and one would be stopped."""
    names = {agent.endpoint: name for name, agent in desired.agents.items()}
    wanted: dict[str, AgentSpec] = {}
    for spec in specs:
        name = names.setdefault(spec.endpoint, spec.name)
        if name == spec.name or name not in wanted:
            wanted[name] = spec
    return wanted


def _sync_agents(desired: Desired, mutation: SyncAgents, version: int) -> tuple[Answer, Changes]:
    changes: Changes = {}
    wanted = _by_name(desired, mutation.agents)
    for name, spec in wanted.items():
        old = desired.agents.get(name, Agent(name=name, endpoint=spec.endpoint))
        new = msgspec.structs.replace(
            old,
            endpoint=spec.endpoint,
            labels=spec.labels,
            sources=tuple(sorted({*old.sources, mutation.source})),
        )
        if new != old or name not in desired.agents:
            changes[AGENT, name] = msgspec.structs.replace(new, version=version)
    for name, old in desired.agents.items():
        if mutation.source in old.sources and name not in wanted:
            left = tuple(source for source in old.sources if source != mutation.source)
            empty = not left and name not in desired.by_agent
            changes[AGENT, name] = (
                None if empty else msgspec.structs.replace(old, sources=left, version=version)
            )
    result: Result = "changed" if changes else "unchanged"
    return Answer(result=result, message=f"{mutation.source} knows {len(wanted)} agents"), changes


def _place(desired: Desired, mutation: WritePlacement, version: int) -> tuple[Answer, Changes]:
    old = desired.placements.get(mutation.task)
    generation = old.generation if old else 0
    if generation != mutation.expected:
        text = f"{mutation.task} is at generation {generation}, not {mutation.expected}"
        return Answer(result="conflict", message=text), {}
    wrong = _wrong_copies(desired, mutation, old) or _outdated_room(desired, mutation, old, version)
    if wrong:
        return Answer(result="conflict", message=wrong), {}
    changes: Changes = {(PLACEMENT, mutation.task): None}
    if mutation.copies:
        changes[PLACEMENT, mutation.task] = Placement(
            task=mutation.task, generation=version, copies=mutation.copies
        )
    left = {copy.agent for copy in old.copies} - {copy.agent for copy in mutation.copies} if old else set()
    for name in left:
        agent = desired.agents.get(name)
        if agent is not None and not agent.sources and desired.by_agent.get(name) == {mutation.task}:
            changes[AGENT, name] = None
    return Answer(result="changed", message=f"{mutation.task} has {len(mutation.copies)} copies"), changes


def _wrong_copies(desired: Desired, mutation: WritePlacement, old: Placement | None) -> str:
    """Why these copies can't be: the invariants of a placement, asserted where it is written."""
    names = [copy.agent for copy in mutation.copies]
    running = [copy.agent for copy in mutation.copies if copy.intent == "run"]
    if len(set(names)) != len(names) or len(running) > 1:
        return f"{mutation.task} can run once, and have one copy an agent; not {mutation.copies}"
    unknown = [name for name in names if name not in desired.agents]
    if unknown:
        return f"{mutation.task} can't be on {', '.join(unknown)}: no such agent"
    job = desired.jobs.get(task_prefix(mutation.task))
    wanted = job is not None and 0 <= task_index(mutation.task) < job.config.scale
    was = old.running if old else None
    if running and running[0] != was and not wanted:
        return f"{mutation.task} is not wanted any more"
    return ""


def _outdated_room(desired: Desired, mutation: WritePlacement, old: Placement | None, version: int) -> str:
    """Why the room for a new copy may be gone; writes of the same message were decided together."""
    agent = next((copy.agent for copy in mutation.copies if copy.intent == "run"), None)
    was = old.running if old else None
    # Mostly nothing was written since, and then nobody needs to look.
    if mutation.seen is None or mutation.seen >= version - 1 or agent is None or agent == was:
        return ""
    generations = (desired.placements[task].generation for task in desired.by_agent.get(agent, ()))
    at = max((at for at in generations if at < version), default=0)
    return f"{agent} was given something at version {at}, after {mutation.seen}" if at > mutation.seen else ""


def _mark_lost(desired: Desired, mutation: MarkLost, version: int) -> tuple[Answer, Changes]:
    agent = desired.agents.get(mutation.agent)
    if agent is None:
        return Answer(result="not found", message=f"there is no agent {mutation.agent}"), {}
    if (agent.lost_since is None) == (mutation.since is None):
        return Answer(result="unchanged", message=f"{agent.name} is {_presence(agent)} already"), {}
    changed = msgspec.structs.replace(agent, lost_since=mutation.since, version=version)
    return Answer(result="changed", message=f"{agent.name} is {_presence(changed)}"), {
        (AGENT, agent.name): changed
    }


def _presence(agent: Agent) -> str:
    return "here" if agent.lost_since is None else "lost"


def _restore(desired: Desired, mutation: RestoreSnapshot, version: int) -> tuple[Answer, Changes]:
    wrong = snapshot_problems(mutation)
    if wrong:
        more = f"; and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
        return Answer(result="invalid", message="; ".join(map(str, wrong[:MOST_NAMED])) + more), {}
    difference = compare(take(desired, version - 1, ""), mutation)
    for old, new in difference.changed:
        if old.config.container() != new.config.container():
            text = f"the tasks of {old.prefix} run another config than in the snapshot; unschedule it first"
            return Answer(result="conflict", message=text, hash=old.hash), {}
    changes: Changes = {(JOB, job.prefix): None for job in difference.removed}
    for job in (*difference.added, *(new for _, new in difference.changed)):
        changes[JOB, job.prefix] = restored_job(job, version)
    for agent in difference.new_agents:
        changes[AGENT, agent.name] = restored_agent(agent, version)
    result: Result = "changed" if changes else "unchanged"
    return Answer(result=result, message=summary(difference)), changes


_RULES: dict[type, Any] = {
    ScheduleJob: _schedule,
    UnscheduleJob: _unschedule,
    PutJob: _put,
    DeleteJob: _delete,
    SyncAgents: _sync_agents,
    WritePlacement: _place,
    MarkLost: _mark_lost,
    RestoreSnapshot: _restore,
}
