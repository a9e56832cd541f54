"""What is shown of jobs, tasks and agents: pure joins of the desired and the actual state."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from scheduling.actual import ContainerReport
from scheduling.container import RUNNING, ExitStatus
from scheduling.desired import Copy, Job
from scheduling.job import JobKey, task_id, task_index, task_prefix
from scheduling.lifecycle import Phase
from scheduling.lost import is_connected
from scheduling.waiting import Waiting
from web.away import why
from web.cluster import ClusterState
from web.migrations import migration_view
from web.shapes import (
    AgentView,
    CopyView,
    Counts,
    DrainView,
    GroupView,
    JobView,
    MigrationView,
    RefusalView,
    TaskStatus,
    TaskView,
    VersionView,
    WaitingView,
)

TaskLookup = Callable[[str], TaskView | None]


def natural(task: str) -> tuple[str, int, str]:
    """Sorts tasks by version and then by number."""
    return task_prefix(task), task_index(task), task


def task_ids(state: ClusterState) -> set[str]:
    """Every task there is: wanted, placed or reported."""
    wanted = {
        task_id(prefix, index)
        for prefix, job in state.desired.jobs.items()
        for index in state.desired.indices(job)
    }
    return wanted | set(state.desired.placements) | set(state.actual.by_task)


def version_tasks(state: ClusterState, job: Job) -> list[str]:
    """The tasks of a job version in order: those wanted, and those still to be stopped."""
    wanted = {task_id(job.prefix, index) for index in state.desired.indices(job)}
    return sorted(wanted | state.tasks_of[job.prefix], key=natural)


def task_view(state: ClusterState, task: str) -> TaskView | None:
    """One task; None if it is neither wanted nor placed nor reported."""
    job = state.desired.jobs.get(task_prefix(task))
    wanted = state.desired.wanted(task)
    placement = state.desired.placements.get(task)
    # The copy that is meant to run comes first, then those to be stopped, then those without a row.
    copies = sorted(placement.copies, key=lambda copy: copy.intent != "run") if placement else []
    rows = {copy.agent for copy in copies}
    strangers = sorted(agent for agent in state.actual.by_task.get(task, ()) if agent not in rows)
    strangers = [agent for agent in strangers if _exists(state.actual.report(agent, task))]
    shown: Copy | None = copies[0] if copies and (copies[0].intent == "run" or not wanted) else None
    if not wanted and shown is None and not strangers:
        return None
    foreign = not wanted and shown is None
    agent = shown.agent if shown else strangers[0] if foreign else None
    report = state.actual.report(agent, task) if agent is not None else None
    others = [
        CopyView(agent=copy.agent, intent=copy.intent, status=_status(state, copy.agent, task))
        for copy in copies
        if copy is not shown
    ] + [
        CopyView(agent=name, intent="", status=_status(state, name, task))
        for name in strangers
        if name != agent
    ]
    instance = report.instance if report else None
    process = instance.process_state if instance else None
    return TaskView(
        id=task,
        job=_job_of(job, report),
        hash=job.hash if job else task_prefix(task),
        status=_status(state, agent, task) if agent is not None else "waiting",
        intent=shown.intent if shown else "" if foreign else "run",
        agent=agent,
        endpoint=_endpoint(state, agent),
        ports=(instance.config.ports or {}) if instance else {},
        exit=process.container_exit_status if process and _ended(process.container_exit_status) else None,
        error=(report.error or (process.err if process else "")) if report else "",
        restarts=process.restarts if process else 0,
        next_start_at=(process.next_start_at or None) if process else None,
        stale=agent is not None and not _connected(state, agent),
        foreign=foreign,
        other_copies=others,
        health=instance.health if instance and instance.status == RUNNING else None,
    )


def _exists(report: ContainerReport | None) -> bool:
    return report is not None and report.phase != Phase.ABSENT


def _ended(status: ExitStatus) -> bool:
    return status != ExitStatus()


def _job_of(job: Job | None, report: ContainerReport | None) -> str:
    """The job's key; of a task whose job is gone as its container tells, "" when nothing does."""
    if job is not None:
        return str(job.config.key)
    if report is None or report.instance is None:
        return ""
    config = report.instance.config
    return str(JobKey(config.product, config.environment, config.job)) if config.job else ""


def _status(state: ClusterState, agent: str, task: str) -> TaskStatus:
    """How a copy is. Unknown is not absent: that needs an agent that has answered."""
    report = state.actual.report(agent, task)
    if report is not None:
        return report.phase.value
    return "absent" if state.actual.answered(agent) else "unclear"


def _connected(state: ClusterState, agent: str) -> bool:
    status = state.actual.agents.get(agent)
    return status is not None and status.link == "connected"


def _endpoint(state: ClusterState, agent: str | None) -> str | None:
    if agent is None:
        return None
    known = state.desired.agents.get(agent) or state.actual.agents.get(agent)
    return known.endpoint if known else None


def count(tasks: Iterable[TaskView], wanted: int) -> Counts:
    """How many of a version's tasks are how."""
    counts = Counts(wanted=wanted)
    for task in tasks:
        if task.stale:
            counts.stale += 1
        if task.status == "waiting":
            counts.waiting += 1
        elif task.intent != "run" or task.status in ("stopping", "deleting"):
            counts.stopping += 1
        elif task.status == "running":
            counts.running += 1
        elif task.status == "ended":
            counts.ended += 1
        else:
            counts.pending += 1
    return counts


def job_view(state: ClusterState, key: JobKey, task: TaskLookup) -> JobView | None:
    """One job with its versions; `task` looks a task's view up, so that those that are known are used."""
    versions = state.desired.versions(key)
    if not versions:
        return None
    shown = [_version_view(state, job, task) for job in versions]
    total = Counts()
    for version in shown:
        for name in Counts.__struct_fields__:
            setattr(total, name, getattr(total, name) + getattr(version.counts, name))
    return JobView(
        product=key.product,
        environment=key.environment,
        job=key.job,
        key=str(key),
        version=max(job.version for job in versions),
        stopped=all(job.stopped for job in versions),
        versions=shown,
        counts=total,
        migration=_latest_migration(state, key, task),
    )


def _latest_migration(state: ClusterState, key: JobKey, task: TaskLookup) -> MigrationView | None:
    rows = [row for row in state.desired.migrations.values() if row.key == key]
    latest = max(rows, key=lambda row: (not row.over, row.generation), default=None)
    return migration_view(state, latest, task) if latest is not None else None


def _version_view(state: ClusterState, job: Job, task: TaskLookup) -> VersionView:
    views = [view for name in version_tasks(state, job) if (view := task(name)) is not None]
    return VersionView(
        hash=job.hash,
        prefix=job.prefix,
        number=job.number,
        version=job.version,
        config=msgspec.Raw(job.config.described()),
        counts=count(views, len(state.desired.indices(job))),
        waiting=waiting_view(state.waiting.get(job.prefix)),
        places=job.places,
        left_out=waiting_view(state.left_out.get(job.prefix)),
    )


def waiting_view(waiting: Waiting | None) -> WaitingView | None:
    """Why tasks wait, or agents have none, as it is shown."""
    if waiting is None:
        return None
    return WaitingView(
        tasks=waiting.tasks,
        reason=waiting.reason,
        agents=waiting.agents,
        refusals=[RefusalView(agent=each.agent, reason=each.reason) for each in waiting.refusals],
        groups=[
            GroupView(agents=each.agents, what=each.what, nearest=each.nearest) for each in waiting.groups
        ],
    )


def _left(state: ClusterState, name: str, rows: set[str]) -> int:
    """How many tasks a drain still has to move: what has ended for good stays where it is."""
    reports = (state.actual.report(name, task) for task in rows)
    return sum(report is None or report.phase is not Phase.ENDED for report in reports)


def agent_names(state: ClusterState) -> set[str]:
    """Every agent there is: wanted, or still reporting."""
    return set(state.desired.agents) | set(state.actual.agents)


def agent_view(state: ClusterState, name: str) -> AgentView | None:
    """One agent; None if nobody knows it. `leaving`: no source names it any more."""
    agent = state.desired.agents.get(name)
    status = state.actual.agents.get(name)
    known = agent or status
    if known is None:
        return None
    rows = state.desired.by_agent.get(name, set())
    reported = state.actual.containers.get(name, {})
    connected = is_connected(state.actual, name)
    staying = state.staying.get(name)
    held = agent is not None and not connected and agent.lost_since is None and not agent.declared_lost
    return AgentView(
        name=name,
        endpoint=known.endpoint,
        link=status.link if status else "connecting",
        answered=status.answered if status else False,
        since=status.since if status else 0.0,
        error=status.error if status else "",
        labels=agent.labels if agent else {},
        drained=agent.drained if agent else False,
        drain=DrainView(
            since=agent.drain.since,
            deadline_at=agent.drain.deadline_at,
            left=_left(state, name, rows),
            staying=staying.tasks if staying else 0,
            why=staying.why if staying else {},
        )
        if agent and agent.drain
        else None,
        connected=connected,
        stale_since=None if connected or status is None else status.since,
        lost_since=agent.lost_since if agent else None,
        declared_lost=agent.declared_lost if agent else False,
        braked_until=state.brake.until if held and state.brake else None,
        why=why(agent, status, state.brake),
        sources=list(agent.sources) if agent else [],
        version=agent.version if agent else 0,
        leaving=agent is None or not agent.sources,
        resources=status.resources if status else None,
        tasks=len(rows),
        foreign=sum(1 for task, report in reported.items() if task not in rows and _exists(report)),
    )
