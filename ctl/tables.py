"""What people see: tables for 80 columns, built of `Text`, so that no name is taken for markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ctl.goals import Line
from ctl.shapes import Agent, Amount, Job, Member, Task, Version
from ctl.text import addresses, clean, counted, counts_text, task_note, waiting_lines, when

_STYLES = {
    "running": "green",
    "healthy": "green",
    "unhealthy": "red",
    "connected": "green",
    "waiting": "yellow",
    "stopping": "yellow",
    "deleting": "yellow",
    "connecting": "yellow",
    "ended": "red",
    "unclear": "red",
    "stale": "red",
    "lost": "red",
    "refused": "red",
}

_WIDEST_ADDRESS = 24


def cell(text: object, style: str = "") -> Text:
    """A value from the scheduler, harmless, broken anywhere if it must be."""
    return Text(clean(str(text)), style=style, overflow="fold")


def status_cell(status: str) -> Text:
    """A status in its colour; what is on its way is cyan."""
    return cell(status, _STYLES.get(status, "cyan"))


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()) -> Table:
    """A table with one line a row, where the width allows; columns in `right` are numbers."""
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in headers:
        # A status is never broken: it is what the eye looks for.
        shown.add_column(
            header,
            justify="right" if header in right else "left",
            no_wrap=header in ("STATUS", "HEALTH"),
            overflow="fold",
        )
    for row in rows:
        shown.add_row(*(value if isinstance(value, Text) else cell(value) for value in row))
    return shown


def jobs_table(jobs: Sequence[Job]) -> RenderableType:
    """All jobs, one line each; two versions mean that one replaces the other. Notes only if there are any."""
    if not jobs:
        return Text("no jobs")
    notes = [job_note(job) for job in jobs]
    rows = [
        [
            job.key,
            ", ".join(version.hash for version in job.versions),
            cell(
                counts_text(job.counts),
                "green" if job.counts.running - job.counts.stale >= job.counts.wanted else "yellow",
            ),
            cell(note, "yellow"),
        ]
        for job, note in zip(jobs, notes, strict=True)
    ]
    headers = ["JOB", "VERSION", "TASKS", "NOTE"]
    shown = len(headers) if any(notes) else len(headers) - 1
    return table(headers[:shown], [row[:shown] for row in rows])


def job_note(job: Job) -> str:
    """What is unusual about a job: it is stopped, being migrated, or was brought back."""
    notes = ["stopped"] if job.stopped else []
    told = job.migration
    if told is not None and not told.over:
        notes.append(f"{told.id} {told.condition}: {told.message}")
    elif told is not None and told.state == "reverted":
        notes.append(f"{told.id} {told.message}")
    return ", ".join(notes)


def tasks_table(tasks: Sequence[Task], versions: Sequence[Version] = ()) -> RenderableType:
    """Tasks, one line each, with where they answer and what they wait for. HEALTH only if there is any."""
    if not tasks:
        return Text("no tasks")
    waiting = {version.task_prefix: version.waiting for version in versions}
    checked = any(task.health for task in tasks)
    shown = table(
        ["TASK", "STATUS", *(["HEALTH"] if checked else []), "AGENT", "PORTS", "NOTE"],
        [
            [
                task.id,
                status_cell(task.status),
                *([status_cell(task.health.state if task.health else "")] if checked else []),
                task.agent or "",
                " ".join(addresses(task)),
                task_note(task, waiting.get(task.id.rpartition("-")[0])),
            ]
            for task in tasks
        ],
    )
    # An address is there to be copied: whole, unless it would take the table.
    shown.columns[-2].no_wrap = all(len(" ".join(addresses(task))) <= _WIDEST_ADDRESS for task in tasks)
    return shown


def job_page(job: Job) -> RenderableType:
    """One job: each version with what it needs and why tasks wait, then its tasks."""
    parts: list[RenderableType] = [cell(job.key, "bold")]
    if note := job_note(job):
        parts.append(cell(note, "yellow"))
    for version in job.versions:
        parts.append(cell(f"{version.hash}: {counts_text(version.counts)}"))
        parts.append(cell("  " + _needs(version.config)))
        if version.waiting is not None:
            head = f"{counted(version.waiting.tasks, 'task')} waiting: "
            parts += [cell(line, "yellow") for line in waiting_lines(version.waiting, head)]
        if version.left_out is not None:
            parts += [cell(line) for line in waiting_lines(version.left_out)]
    parts += [Text(""), tasks_table(job.tasks, [_without_reason(version) for version in job.versions])]
    return Group(*parts)


def _needs(config: dict[str, Any]) -> str:
    """What each task runs and needs, in one line; a field of another form is left out."""
    command, resources = config.get("command"), config.get("resources")
    words = command.get("exec") if isinstance(command, dict) else None
    parts = []
    if isinstance(words, list):
        shown = " ".join(str(word) for word in words)
        parts.append(f"runs {shown if len(shown) <= 60 else shown[:60] + '…'}")
    if isinstance(resources, dict):
        parts.append(f"{resources.get('mem', 0)} MB, {resources.get('cpu', 0)} cores each")
    return "; ".join(parts)


def _without_reason(version: Version) -> Version:
    # The page has it once already; the lines of its tasks need not repeat it.
    return Version(version.hash, version.prefix)


def agents_table(agents: Sequence[Agent]) -> RenderableType:
    """Agents, one line each, with what is taken of what they have."""
    if not agents:
        return Text("no agents")
    return table(
        ["AGENT", "ADDRESS", "STATUS", "TASKS", "CPU", "MEM MB", "NOTE"],
        [
            [
                agent.name,
                urlsplit(agent.endpoint).netloc or agent.endpoint,
                status_cell(agent.link),
                agent.tasks,
                _amount(agent.resources.cpus) if agent.resources else "",
                _amount(agent.resources.mem) if agent.resources else "",
                agent_note(agent),
            ]
            for agent in agents
        ],
        right=("TASKS", "CPU", "MEM MB"),
    )


def members_table(members: Sequence[Member]) -> RenderableType:
    """The hosts of the convention, one line each."""
    if not members:
        return Text("no members")
    return table(
        ["MEMBER", "ADDRESS", "ROLE", "ZONE", "STATUS", "SINCE", "FLOCKS", "AGENTS", "NOTE"],
        [
            [
                member.name,
                member.address,
                member.role,
                member.zone,
                status_cell(member.link),
                when(member.since),
                f"{member.flocks}/{member.most_flocks}",
                member.agents,
                member.note,
            ]
            for member in members
        ],
        right=("FLOCKS", "AGENTS"),
    )


def agent_note(agent: Agent) -> str:
    """What is unusual about an agent."""
    notes = [
        name
        for name, so in (
            ("cordoned", agent.drained and agent.drain is None),
            ("drained", agent.drain is not None and not agent.drain.left),
            ("being drained", agent.drain is not None and bool(agent.drain.left)),
            ("declared lost", agent.declared_lost),
            ("lost", agent.lost_since is not None and not agent.declared_lost),
            ("the brake holds", agent.braked_until is not None),
            ("leaving", agent.leaving),
        )
        if so
    ]
    if agent.drain is not None and agent.drain.why:
        task, why = next(iter(agent.drain.why.items()))
        notes.append(f"{agent.drain.staying} stay ({task}: {why})")
    if agent.foreign:
        notes.append(f"{agent.foreign} not ours")
    if agent.error and agent.link != "connected":
        notes.append(agent.error)
    return ", ".join(notes)


def _amount(amount: Amount) -> str:
    return f"{amount.reserved:.6g}/{amount.total:.6g}"


def registry_table(registry: dict[str, Any]) -> RenderableType:
    """What /api/v0 knows: every version by its hash."""
    if not registry:
        return Text("no jobs")
    rows = []
    for name, config in registry.items():
        fields = config if isinstance(config, dict) else {}
        key = "/".join(str(fields.get(field, "")) for field in ("product", "environment", "job"))
        rows.append([name, key, fields.get("scale", "")])
    return table(["HASH", "JOB", "SCALE"], rows, right=("SCALE",))


def progress_table(lines: Sequence[Line], most: int) -> RenderableType:
    """The tasks of a wait, those that are not there yet first, at most `most` lines."""
    ordered = sorted(lines, key=lambda line: line.settled)
    shown = ordered if len(ordered) <= most else ordered[: max(most - 1, 0)]
    rows = table(
        ["TASK", "STATUS", "AGENT", "NOTE"],
        [[line.task, status_cell(line.status), line.agent, line.note] for line in shown],
    )
    more = len(ordered) - len(shown)
    return Group(rows, cell(f"… and {more} more")) if more else rows
