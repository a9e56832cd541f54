"""What may change the desired state, and how: the registry's rule.

Each mutation is judged against the desired state and gives an answer and the changes that make it so.
A refused one changes nothing. Who may send which is the table in docs/architecture.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from config.bounds import MOST_NAMED
from scheduling.answer import ANY, Answer, Result
from scheduling.dependencies import cycle
from scheduling.desired import AGENT, HISTORY, JOB, PLACEMENT, Agent, Copy, Desired, Placement
from scheduling.draining import (
    AddAgent,
    DrainAgent,
    RemoveAgent,
    UndrainAgent,
    add_agent,
    drain_agent,
    remove_agent,
    stays_put,
    undrain_agent,
)
from scheduling.everywhere import WritePlaces, write_places
from scheduling.history import History, Past
from scheduling.job import encode_hook
from scheduling.jobs import (
    DeleteJob,
    HaltJob,
    ScheduleJob,
    UnscheduleJob,
    delete,
    halt,
    known_history,
    schedule,
    unschedule,
)
from scheduling.leap import next_version, raised
from scheduling.migrating import (
    PutJob,
    RestartJob,
    RevertJob,
    SteerMigration,
    StepMigration,
    put,
    restart,
    revert,
    settled,
    steer,
    step,
)
from scheduling.presence import (
    DeclareLost,
    EndRelease,
    MarkLost,
    ReleaseBrake,
    declare_lost,
    end_release,
    mark_lost,
    release_brake,
)
from scheduling.rebalancing import (
    BeginRebalance,
    CancelRebalance,
    EndRebalance,
    begin_rebalance,
    cancel_rebalance,
    end_rebalance,
)
from scheduling.registration import DeregisterAgent, RegisterAgent, deregister_agent, register_agent
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
from scheduling.unheard import unheard

FINGERPRINT_DIGITS = 16


class AgentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """An agent as a discovery source names it. `moves`: it is the same one, whatever its address is now."""

    name: str
    endpoint: str
    labels: dict[str, str] = {}
    moves: bool = False


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


class RestoreSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Make the jobs exactly those of a snapshot, and the agents again that nothing else brings back.

    Jobs that are there with the same config stay as they are; the others come back to be adopted, with
    their old prefix, so nothing that runs is started twice. Jobs that are not in it are removed, as by
    unscheduling them. For agents see `snapshot.compare`. `expected`: the version of the whole registry.
    `taken_at`: the version that the snapshot was taken at, see `scheduling.leap`.
    """

    jobs: tuple[SavedJob, ...]
    agents: tuple[SavedAgent, ...]
    expected: int | None = None
    taken_at: int = 0


Mutation = (
    ScheduleJob
    | UnscheduleJob
    | PutJob
    | DeleteJob
    | HaltJob
    | RevertJob
    | RestartJob
    | SteerMigration
    | StepMigration
    | SyncAgents
    | AddAgent
    | RemoveAgent
    | DrainAgent
    | UndrainAgent
    | RegisterAgent
    | DeregisterAgent
    | WritePlacement
    | WritePlaces
    | MarkLost
    | DeclareLost
    | ReleaseBrake
    | EndRelease
    | BeginRebalance
    | CancelRebalance
    | EndRebalance
    | RestoreSnapshot
)


def version_after(at: int, mutations: Iterable[Mutation]) -> int:
    """The version that a commit of these brings to a registry at version `at`, if it changes anything."""
    return next_version(at, (each.taken_at for each in mutations if isinstance(each, RestoreSnapshot)))


def fingerprint(mutation: Mutation) -> str:
    """What a mutation asks for, in short: a request id stands for one, and may not be used for another.

    Of an approved plan the token is what was asked for: what follows from it is another, once it was done.
    So are the moves of a rebalance.
    """
    if isinstance(mutation, PutJob) and mutation.approved:
        mutation = msgspec.structs.replace(mutation, expected=None, planned={})
    elif isinstance(mutation, BeginRebalance):
        mutation = msgspec.structs.replace(mutation, moves=())
    content = msgspec.json.encode(mutation, enc_hook=encode_hook, order="sorted")
    return hashlib.sha256(type(mutation).__name__.encode() + content).hexdigest()[:FINGERPRINT_DIGITS]


def reused(request_id: str) -> Answer:
    """The answer to a request whose id was used for another one."""
    text = f'the request id "{request_id}" was used for another request; use a new one for each'
    return Answer(result="conflict", message=text)


def judge(
    desired: Desired, mutation: Mutation, version: int, at: int | None = None, now: float = 0.0
) -> tuple[Answer, Changes]:
    """The answer to one mutation, and the changes that `version`, the next one, brings if it is accepted.

    `at`: the version that `desired` is at, if that is not the one before: others of the same commit have
    changed it already. `now`: seconds since 1970, for what is dated.
    """
    at = version - 1 if at is None else at
    if isinstance(mutation, RestoreSnapshot) and mutation.expected not in (None, ANY, at):
        text = f"the registry is at version {at}, not {mutation.expected}"
        return Answer(result="precondition failed", message=text, version=at), {}
    if type(mutation) in _DATED_RULES:
        answer, changes = _DATED_RULES[type(mutation)](desired, mutation, version, now)
    else:
        answer, changes = _RULES[type(mutation)](desired, mutation, version)
    if changes:
        changes = {**settled(desired, changes, version), **changes}
        changes = {**unheard(desired, changes, version), **changes}
    return msgspec.structs.replace(answer, version=version if changes else at), changes


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
    kept: list[str] = []
    wanted = _by_name(desired, mutation.agents)
    for name, spec in wanted.items():
        old = desired.agents.get(name, Agent(name=name, endpoint=spec.endpoint))
        if not spec.moves and stays_put(desired, old, spec.endpoint):
            kept.append(name)
        new = msgspec.structs.replace(
            old,
            endpoint=old.endpoint if name in kept else spec.endpoint,
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
    text = f"{mutation.source} knows {len(wanted)} agents"
    if kept:
        text += f"; until they are empty, or lost, these keep their addresses: {', '.join(kept)}"
    return Answer(result=result, message=text, kept=tuple(kept)), changes


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
    was = old.running if old else None
    if running and running[0] != was and not desired.wanted(mutation.task):
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


def _restore(desired: Desired, mutation: RestoreSnapshot, version: int, now: float) -> tuple[Answer, Changes]:
    wrong = snapshot_problems(mutation)
    if wrong:
        more = f"; and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
        return Answer(result="invalid", message="; ".join(map(str, wrong[:MOST_NAMED])) + more), {}
    waiting = _circle(mutation)
    if waiting:
        return Answer(result="invalid", message=waiting), {}
    difference = compare(take(desired, version - 1, ""), mutation)
    for old, new in difference.changed:
        if not old.config.runs_as(new.config):
            text = f"the tasks of {old.prefix} run another config than in the snapshot; unschedule it first"
            return Answer(result="conflict", message=text, hash=old.hash), {}
    changes: Changes = raised(desired, version)
    changes |= {(JOB, job.prefix): None for job in difference.removed}
    for job in (*difference.added, *(new for _, new in difference.changed)):
        name = HISTORY, str(job.config.key)
        known: History = changes.get(name) or known_history(desired, job.config.key)
        past = Past(number=known.next_number, hash=job.hash, config=job.config, at=now)
        changes[name] = known.again(past)
        there = desired.jobs.get(job.prefix)
        restored = restored_job(job, version, changes[name].current)
        # Where its tasks are now counts more than where they were when it was saved.
        changes[JOB, job.prefix] = (
            msgspec.structs.replace(restored, places=there.places) if there is not None else restored
        )
    for agent in difference.new_agents:
        changes[AGENT, agent.name] = restored_agent(agent, version)
    result: Result = "changed" if changes else "unchanged"
    return Answer(result=result, message=summary(difference)), changes


def _circle(mutation: RestoreSnapshot) -> str:
    """Why the jobs of a snapshot would wait for each other for ever; empty if they would not."""
    saved = Desired()
    saved.apply({(JOB, job.prefix): restored_job(job, 0, 1) for job in mutation.jobs})
    for job in mutation.jobs:
        path = cycle(saved, job.config) if job.config.depends_on else []
        if path:
            return f"jobs: depends_on makes a circle, each would wait: {' → '.join(map(str, path))}"
    return ""


_DATED_RULES: dict[type, Any] = {
    ScheduleJob: schedule,
    PutJob: put,
    RevertJob: revert,
    RestartJob: restart,
    SteerMigration: steer,
    DrainAgent: drain_agent,
    BeginRebalance: begin_rebalance,
    CancelRebalance: cancel_rebalance,
    EndRebalance: end_rebalance,
    RestoreSnapshot: _restore,
}
_RULES: dict[type, Any] = {
    UnscheduleJob: unschedule,
    DeleteJob: delete,
    HaltJob: halt,
    StepMigration: step,
    SyncAgents: _sync_agents,
    WritePlacement: _place,
    WritePlaces: write_places,
    AddAgent: add_agent,
    RemoveAgent: remove_agent,
    UndrainAgent: undrain_agent,
    RegisterAgent: register_agent,
    DeregisterAgent: deregister_agent,
    MarkLost: mark_lost,
    DeclareLost: declare_lost,
    ReleaseBrake: release_brake,
    EndRelease: end_release,
}
