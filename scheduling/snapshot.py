"""A backup of the desired state: what it holds, what is wrong with one, and what restoring it would change.

Placements are no part of it. Where tasks run is what the agents say: the jobs come back as to be adopted,
and the scheduler writes down anew where each of their tasks runs already.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import msgspec

from config.bounds import LONGEST_AGENT_NAME, MOST_AGENTS, MOST_NAMED
from scheduling.canonical import HASH_DIGITS
from scheduling.desired import Agent, Desired, Job, parse_endpoint
from scheduling.job import JobConfig
from scheduling.leap import LARGEST_VERSION
from scheduling.validation import Problem, problems

FORMAT = 1
# Sources that Discovery tells the registry of, again after each start.
DISCOVERED = frozenset({"static", "file"})
_HEX = frozenset("0123456789abcdef")


class SavedJob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One version of a job, as `desired.Job` has it; `version` only tells what was changed before what.

    With `places` the tasks of a job with scale `all` are found again where they run.
    """

    prefix: str
    hash: str
    version: int
    config: JobConfig
    stopped: bool = False
    places: dict[str, str] | None = None


class SavedAgent(msgspec.Struct, frozen=True, kw_only=True):
    """An agent, as `desired.Agent` has it."""

    name: str
    endpoint: str
    labels: dict[str, str] = {}
    sources: tuple[str, ...] = ()
    drained: bool = False


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A backup: the desired state at a version of the registry. `saved_at` is RFC 3339."""

    format: int
    version: int
    saved_at: str
    jobs: tuple[SavedJob, ...]
    agents: tuple[SavedAgent, ...]


class Contents(Protocol):
    """The jobs and agents of a snapshot, or of a request to restore one."""

    @property
    def jobs(self) -> tuple[SavedJob, ...]:
        """Every version of every job."""
        ...

    @property
    def agents(self) -> tuple[SavedAgent, ...]:
        """Every agent that was known."""
        ...


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What restoring would do. `changed`: each job as it is and as it was saved; `same` are left alone.

    `unknown_agents` were known when it was saved, are not now, and are not added either, see `compare`.
    """

    added: tuple[SavedJob, ...]
    removed: tuple[SavedJob, ...]
    changed: tuple[tuple[SavedJob, SavedJob], ...]
    same: int
    new_agents: tuple[SavedAgent, ...]
    unknown_agents: tuple[SavedAgent, ...]

    @property
    def is_empty(self) -> bool:
        """Whether restoring would change nothing."""
        return not (self.added or self.removed or self.changed or self.new_agents)


def take(desired: Desired, version: int, saved_at: str) -> Snapshot:
    """The snapshot of a desired state, in an order that does not depend on its history."""
    jobs = sorted(desired.jobs.values(), key=lambda job: (job.config.key, job.version, job.prefix))
    agents = sorted(desired.agents.values(), key=lambda agent: agent.name)
    return Snapshot(
        format=FORMAT,
        version=version,
        saved_at=saved_at,
        jobs=tuple(map(_saved_job, jobs)),
        agents=tuple(map(_saved_agent, agents)),
    )


def compare(now: Contents, saved: Contents) -> Difference:
    """What has to change for the jobs to be exactly those that were saved.

    Of the agents only those are added that nothing else brings back: whose sources are not all
    Discovery's. What the flags and the agents file say today counts more than what they said then, so an
    agent that only they wanted is left to them, and the others come back without these sources. An agent
    that is known by its name or its endpoint stays as it is.
    """
    there = {job.prefix: job for job in now.jobs}
    wanted = {job.prefix: job for job in saved.jobs}
    both = [(job, wanted[prefix]) for prefix, job in there.items() if prefix in wanted]
    changed = tuple((old, new) for old, new in both if (old.config, old.stopped) != (new.config, new.stopped))
    known = {agent.name for agent in now.agents} | {agent.endpoint for agent in now.agents}
    missing = [agent for agent in saved.agents if known.isdisjoint((agent.name, agent.endpoint))]
    own = [
        msgspec.structs.replace(agent, sources=tuple(s for s in agent.sources if s not in DISCOVERED))
        for agent in missing
    ]
    return Difference(
        added=tuple(job for prefix, job in wanted.items() if prefix not in there),
        removed=tuple(job for prefix, job in there.items() if prefix not in wanted),
        changed=changed,
        same=len(both) - len(changed),
        new_agents=tuple(agent for agent in own if agent.sources),
        unknown_agents=tuple(old for old, new in zip(missing, own, strict=True) if not new.sources),
    )


def summary(difference: Difference) -> str:
    """What restoring has done, in one line."""
    text = (
        f"the jobs are those of the snapshot: {len(difference.added)} added, "
        f"{len(difference.changed)} changed, {len(difference.removed)} removed, {difference.same} as before"
    )
    if difference.new_agents:
        text += f"; agents added: {_names(difference.new_agents)}"
    if difference.unknown_agents:
        text += f"; agents of it that are not known here: {_names(difference.unknown_agents)}"
    return text


def restored_job(job: SavedJob, version: int, number: int = 1) -> Job:
    """The job as the registry writes it again: its tasks may run already, so they are looked for first."""
    return Job(
        prefix=job.prefix,
        hash=job.hash,
        config=job.config,
        version=version,
        adopt=True,
        number=number,
        stopped=job.stopped,
        places={int(index): agent for index, agent in job.places.items()}
        if job.config.everywhere and job.places is not None
        else None,
    )


def restored_agent(agent: SavedAgent, version: int) -> Agent:
    """The agent as the registry writes it again; whether it is lost is found out anew."""
    return Agent(
        name=agent.name,
        endpoint=agent.endpoint,
        labels=agent.labels,
        sources=agent.sources,
        drained=agent.drained,
        version=version,
    )


def version_problems(snapshot: Snapshot) -> list[Problem]:
    """Whether it was taken at a version that a registry can have."""
    if 0 <= snapshot.version <= LARGEST_VERSION:
        return []
    return [Problem("version", snapshot.version, f"it must be from 0 to {LARGEST_VERSION}")]


def snapshot_problems(contents: Contents) -> list[Problem]:
    """Everything wrong with a snapshot; empty when it can be restored."""
    found: list[Problem] = []
    prefixes: dict[str, str] = {}
    owners: dict[str, tuple[str, SavedJob]] = {}
    for position, job in enumerate(contents.jobs):
        at = f"jobs[{position}]"
        found += _job_problems(at, job)
        twice = list(_taken(prefixes, at, prefix=job.prefix))
        found += twice or _taken_by_others(owners, at, job)
    names: dict[str, str] = {}
    for position, agent in enumerate(contents.agents):
        at = f"agents[{position}]"
        found += _agent_problems(at, agent)
        found += _taken(names, at, name=agent.name, endpoint=agent.endpoint)
    return found


def _names(agents: tuple[SavedAgent, ...]) -> str:
    more = f" and {len(agents) - MOST_NAMED} more" if len(agents) > MOST_NAMED else ""
    return ", ".join(agent.name for agent in agents[:MOST_NAMED]) + more


def _saved_job(job: Job) -> SavedJob:
    return SavedJob(
        prefix=job.prefix,
        hash=job.hash,
        version=job.version,
        config=job.config,
        stopped=job.stopped,
        places={str(index): agent for index, agent in job.places.items()} if job.places is not None else None,
    )


def _saved_agent(agent: Agent) -> SavedAgent:
    return SavedAgent(
        name=agent.name,
        endpoint=agent.endpoint,
        labels=agent.labels,
        sources=agent.sources,
        drained=agent.drained,
    )


def _job_problems(at: str, job: SavedJob) -> Iterator[Problem]:
    wrong = problems(job.config)
    yield from (msgspec.structs.replace(each, field=f"{at}.config.{each.field}") for each in wrong)
    if wrong:
        return
    name = job.config.hash()
    if job.hash != name:
        yield Problem(f"{at}.hash", job.hash, f"it must be {name}, the hash of its config")
    # The prefix is the hash of the same job at another scale; its tasks are called by it.
    begins, _, digits = job.prefix.rpartition("-")
    if begins != job.config.job or len(digits) != HASH_DIGITS or not _HEX.issuperset(digits):
        right = f"it must be the name of the job and {HASH_DIGITS} hex digits, like {name}"
        yield Problem(f"{at}.prefix", job.prefix, right)
    for index, agent in (job.places or {}).items():
        is_index = index.isascii() and index.isdigit() and len(index) < len(str(MOST_AGENTS))
        if not is_index or not agent:
            right = f"it must be an agent by an index from 0 to {MOST_AGENTS - 1}"
            yield Problem(f"{at}.places", f"{index}: {agent!r}", right)


def _agent_problems(at: str, agent: SavedAgent) -> Iterator[Problem]:
    name = agent.name
    if not 1 <= len(name) <= LONGEST_AGENT_NAME or "/" in name or not name.isprintable():
        right = f"it must be 1 to {LONGEST_AGENT_NAME} printable characters without '/'"
        yield Problem(f"{at}.name", name, right)
    try:
        right = parse_endpoint(agent.endpoint)
    except ValueError:
        right = "http://10.0.0.7:3333"
    if agent.endpoint != right:
        yield Problem(f"{at}.endpoint", agent.endpoint, f"it must be like {right}")


def _taken_by_others(owners: dict[str, tuple[str, SavedJob]], at: str, job: SavedJob) -> Iterator[Problem]:
    """Names that another config has. While a job is restarted two versions have one config, and one hash."""
    for field, name in (("prefix", job.prefix), ("hash", job.hash)):
        owner, other = owners.setdefault(name, (at, job))
        if other.config != job.config:
            yield Problem(f"{at}.{field}", name, f"{owner} has it already; it must mean only one of them")


def _taken(owners: dict[str, str], at: str, **names: str) -> Iterator[Problem]:
    """Names that something before this one in the list has: each of them may mean only one thing."""
    for field, name in names.items():
        owner = owners.setdefault(name, at)
        if owner != at:
            yield Problem(f"{at}.{field}", name, f"{owner} has it already; it must mean only one of them")
