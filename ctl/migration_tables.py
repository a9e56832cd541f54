"""What people see of migrations, histories and plans, for 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from config.bounds import CTL_LONGEST_SHOWN, MOST_PLACES_SHOWN
from ctl.migration_shapes import FieldChange, Migration, Past, Plan, PlannedTask
from ctl.tables import cell, table
from ctl.text import counted, pretty_json, waiting_lines, when
from ctl.waiting_shapes import Waiting
from scheduling.job import task_index, task_prefix

_STYLES = {"done": "green", "failed": "red", "reverting": "red", "reverted": "red"}


def migrations_table(migrations: Sequence[Migration]) -> RenderableType:
    """One line each, the newest first."""
    if not migrations:
        return Text("no migrations")
    return table(
        ["MIGRATION", "JOB", "STATE", "STRATEGY", "NEW", "OLD", "NOTE"],
        [
            [
                one.id,
                one.job,
                cell(one.condition, _STYLES.get(one.state, "yellow")),
                one.strategy,
                f"{one.new.running}/{one.new.scale}",
                f"{one.old.running}/{one.old.scale}",
                one.message,
            ]
            for one in migrations
        ],
        right=("NEW", "OLD"),
    )


def migration_page(one: Migration) -> RenderableType:
    """One migration: where it stands, its versions, its limits."""
    rows: list[list[object]] = [
        ["state", cell(one.condition, _STYLES.get(one.state, "yellow"))],
        ["", one.message],
        ["from", f"{one.old.hash}, {one.old.running} of {one.old.scale} running"],
        ["to", f"{one.new.hash}, {one.new.running} of {one.new.scale} running"],
        ["how", f"{one.strategy}, {limits_text(one.floor, one.ceiling, one.max_parallel)}"],
        ["", f"a task counts once it has run for {one.min_healthy_seconds:g} s"],
        ["begun", when(one.begun_at)],
    ]
    if one.deadline_at is not None:
        rows.append(["fails", f"{when(one.deadline_at)}, unless it goes forward before"])
    grid = table(["", ""], rows)
    grid.show_header = False
    return Group(cell(f"{one.id} of {one.job}", "bold"), grid)


def limits_text(floor: int, ceiling: int, max_parallel: int) -> str:
    """What a migration keeps to."""
    return f"at least {floor} running all the time, at most {ceiling}, {max_parallel} changed at once"


def history_table(versions: Sequence[Past]) -> RenderableType:
    """The versions of a job, one line each."""
    return table(
        ["VERSION", "HASH", "SCALE", "SINCE", "NOTE"],
        [
            [past.number, past.hash, past.config.get("scale", ""), when(past.at), _note(past)]
            for past in versions
        ],
        right=("VERSION", "SCALE"),
    )


def _note(past: Past) -> Text:
    if past.current:
        return cell("current", "green")
    return cell(f"given up: {past.reverted}", "red") if past.reverted else cell("")


def plan_page(plan: Plan) -> RenderableType:
    """What would happen: fields, then tasks by agent, then what would find no place."""
    parts: list[RenderableType] = [cell(plan.message, "bold")]
    if plan.limits is not None:
        numbers = plan.limits
        parts.append(cell(f"  {limits_text(numbers.floor, numbers.ceiling, numbers.max_parallel)}"))
    for each in plan.fields:
        parts.append(cell(f"  {each.field}: {_field(each)}"))
    for action, style in (("start", "green"), ("stop", "red"), ("leave", "")):
        parts += [cell(line, style) for line in _places(action, plan.tasks)]
    for waiting in plan.waiting:
        parts += [cell(line, "yellow") for line in _unplaced(waiting, plan.tasks)]
    for left_out in plan.left_out:
        parts += [cell(line) for line in waiting_lines(left_out)]
    if not plan.complete:
        stuck = "it would not come to its end before there is room"
        ahead = "this looks only so far ahead; what comes after it is not told"
        parts.append(cell(stuck if plan.waiting else ahead, "yellow"))
    return Group(*parts)


def _field(each: FieldChange) -> str:
    """`"a" → "b"`; what is new as a whole is cut, since whoever plans it has it before them."""
    before, after = (pretty_json(value, indent=None) for value in (each.before, each.after))
    if each.before is None and len(after) > CTL_LONGEST_SHOWN:
        after = after[:CTL_LONGEST_SHOWN] + "…"
    return f"{before} → {after}"


def _places(action: str, tasks: Iterable[PlannedTask]) -> Iterator[str]:
    """The tasks of one kind by agent: `start on n1: hello-0a1b2c3 0–2, 5`; long lists are cut."""
    by_agent: dict[str, list[str]] = {}
    for each in tasks:
        if each.action == action:
            by_agent.setdefault(each.agent or "", []).append(each.task)
    for name in list(by_agent)[:MOST_PLACES_SHOWN]:
        yield f"  {action} on {name}: {ranges(by_agent[name])}"
    left = list(by_agent)[MOST_PLACES_SHOWN:]
    if left:
        more = counted(sum(len(by_agent[name]) for name in left), "task")
        yield f"  {action} on {len(left)} agents more: {more} (-o json names all)"


def _unplaced(waiting: Waiting, tasks: Iterable[PlannedTask]) -> Iterator[str]:
    names = [each.task for each in tasks if each.action == "wait"]
    named = f" ({ranges(names)})" if names else ""
    yield from waiting_lines(waiting, f"without a place: {counted(waiting.tasks, 'task')}{named}: ")


def ranges(tasks: Iterable[str]) -> str:
    """Tasks by version and index, neighbours joined: `hello-0a1b2c3 0–2, 5`."""
    by_prefix: dict[str, list[int]] = {}
    for task in tasks:
        by_prefix.setdefault(task_prefix(task), []).append(task_index(task))
    return "; ".join(f"{prefix} {', '.join(_joined(indices))}" for prefix, indices in by_prefix.items())


def _joined(indices: Iterable[int]) -> Iterator[str]:
    runs: list[list[int]] = []
    for index in sorted(indices):
        if runs and runs[-1][1] + 1 == index:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    for first, last in runs:
        yield str(first) if first == last else f"{first}–{last}"
