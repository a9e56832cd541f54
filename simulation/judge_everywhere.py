"""Whether jobs with scale `all` have one task on each agent that fits, each where its place is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scheduling.desired import Agent, Job
from scheduling.everywhere import WritePlaces
from scheduling.job import task_id, task_index, task_prefix
from scheduling.registry import WritePlacement
from scheduling.room import need_of
from simulation.facts import Facts, Violation


def judge_place(rule: Any, write: WritePlacement) -> Iterator[Violation]:
    """ "A task belongs to one agent and never moves"."""
    job: Job | None = rule.desired.jobs.get(task_prefix(write.task))
    runs = next((copy.agent for copy in write.copies if copy.intent == "run"), None)
    if job is None or job.places is None or runs is None:
        return
    own = job.places.get(task_index(write.task))
    if own is not None and runs != own:
        text = f"{write.task} is to run on {runs}; its place is {own}"
        yield Violation("each in its place", text, (write.task, runs))


def judge_places(rule: Any, write: WritePlaces) -> Iterator[Violation]:
    """ "An agent that is away, lost, cordoned or being removed keeps what it has"."""
    job: Job | None = rule.desired.jobs.get(write.prefix)
    for index, name in (job.places or {}).items() if job is not None else ():
        agent, status = rule.desired.agents.get(name), rule.actual.agents.get(name)
        row = rule.desired.placements.get(task_id(write.prefix, index))
        if name in write.agents or agent is None or agent.drain is not None:
            continue
        heard = status is not None and status.link == "connected" and status.answered
        stays = not heard or agent.drained or not agent.sources or agent.lost_since is not None
        if stays and row is not None and row.running == name:
            text = f"{row.task} loses its place on {name}, which is not open or not heard"
            yield Violation("what is not seen changes nothing", text, (row.task, name))


def uncovered(facts: Facts) -> Iterator[tuple[str, tuple[str, ...]]]:
    """ "One task on each agent that fits": once all is calm, an open agent that is large enough has a place,
    none has two, and one that is drained and has nothing else has none."""
    for job in facts.desired.jobs.values():
        if not job.config.everywhere:
            continue
        named = list((job.places or {}).values())
        if len(set(named)) != len(named):
            yield f"{job.prefix} has two tasks on one agent: {named}", (job.prefix,)
        for agent in facts.desired.agents.values():
            if _should_have_it(facts, job, agent) and agent.name not in named:
                yield f"{job.prefix} has no place on {agent.name}", (job.prefix, agent.name)
            emptied = agent.drain is not None and not facts.has_others(agent.name)
            if emptied and agent.lost_since is None and agent.name in named:
                text = f"{job.prefix} keeps its place on {agent.name}, which is drained"
                yield text, (job.prefix, agent.name)


def place_of(facts: Facts, task: str) -> str | None:
    """The agent that a task of a job with scale `all` belongs to; None for tasks of other jobs."""
    job = facts.desired.jobs.get(task_prefix(task))
    return (job.places or {}).get(task_index(task)) if job is not None else None


def _should_have_it(facts: Facts, job: Job, agent: Agent) -> bool:
    host, need = facts.agents[agent.name], need_of(job.config)
    is_open = bool(agent.sources) and not agent.drained and agent.lost_since is None and not host.gone
    return is_open and need.mem <= host.mem and need.cpu <= host.cpu
