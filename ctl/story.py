"""What changed, in one line for people: `web-3f2a91c-0 starting → running on n7`."""

from __future__ import annotations

from ctl.shapes import Agent, Job, Task
from ctl.tables import agent_note, job_note
from ctl.text import counts_text, task_note, waiting_text
from ctl.world import Change


def story(change: Change) -> str:
    """One change of the world; empty when nothing of it would interest people."""
    before, after = change.before, change.after
    if after is None:
        return f"{change.name} is gone"
    if isinstance(after, Task):
        was = _task(before) if isinstance(before, Task) else ""
        return _moved(change.name, was, _task(after))
    if isinstance(after, Job):
        was = _job(before) if isinstance(before, Job) else ""
        return _moved(change.name, was, _job(after))
    was = _agent(before) if isinstance(before, Agent) else ""
    return _moved(change.name, was, _agent(after))


def _moved(name: str, was: str, now: str) -> str:
    if was == now:
        return ""  # a number that nobody follows line by line, like used memory
    return f"{name} {was} → {now}" if was else f"{name} {now}"


def _task(task: Task) -> str:
    where = f" on {task.agent}" if task.agent else ""
    note = task_note(task)
    return f"{task.status}{where}" + (f" ({note})" if note else "")


def _job(job: Job) -> str:
    versions = " and ".join(version.hash for version in job.versions)
    reasons = [waiting_text(version.waiting) for version in job.versions if version.waiting is not None]
    notes = [note] if (note := job_note(job)) else []
    return f"{versions}: {'; '.join([counts_text(job.counts), *reasons, *notes])}"


def _agent(agent: Agent) -> str:
    note = agent_note(agent)
    return agent.link + (f" ({note})" if note else "")
