"""Which tasks to move so that agents are more evenly full: found on request, and never by itself.

From the fullest agents to the emptiest, as long as each move makes the fuller one of its two agents clearly
less full. What a job demands holds as for placing; its spread gets no worse.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from config.bounds import MOST_MOVES, MOST_NAMED
from scheduling.actual import Actual
from scheduling.desired import Desired, Job
from scheduling.job import task_index, task_prefix
from scheduling.lifecycle import Phase
from scheduling.moves import Move
from scheduling.moving import moving_floor
from scheduling.placement import fits
from scheduling.room import Need, Room, measure, need_of_job

# By so much of its use, as a share, a move must bring the fuller of its two agents down.
LEAST_GAIN = 0.05


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How full an agent is: its tasks, and the larger of the used shares of memory and cores (0 to 1)."""

    agent: str
    tasks: int
    use: float


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """What would be moved, how full the open agents are before and after, and what is left out, and why."""

    moves: tuple[Move, ...]
    before: tuple[Load, ...]
    after: tuple[Load, ...]
    left_out: tuple[str, ...] = ()


class _Version(msgspec.Struct):
    """A version that may be moved: what its tasks need, and which label they are spread over."""

    need: Need
    spread: str


def balance(desired: Desired, actual: Actual) -> Balance:
    """The moves that make it more even; the same ones for the same states."""
    measured = (measure(agent, desired, actual) for agent in desired.agents.values())
    rooms = {room.agent: room for room in measured if not room.closed}
    versions, left_out = _versions(desired)
    tasks = {name: _movable(name, desired, actual, versions) for name in rooms}
    before = _loads(rooms)
    moves: list[Move] = []
    given_up: set[str] = set()
    mean = sum(room.use for room in rooms.values()) / len(rooms) if rooms else 0.0
    while len(moves) < MOST_MOVES:
        order = sorted(rooms.values(), key=lambda room: (room.use, room.agent))
        sources = [room for room in order if room.agent not in given_up and room.use > mean]
        if not sources:
            break
        source = sources[-1]
        found = _best(source, order, tasks[source.agent], versions)
        if found is None:
            given_up.add(source.agent)
            continue
        task, target = found
        need = versions[task_prefix(task)].need
        why = f"{source.agent} is {source.use:.0%} full, {target.agent} {target.use:.0%}"
        source.give_back(need)
        target.take(need)
        tasks[source.agent].remove(task)
        moves.append(Move(task=task, source=source.agent, target=target.agent, why=why))
    return Balance(moves=tuple(moves), before=before, after=_loads(rooms), left_out=tuple(left_out))


def _best(
    source: Room, order: list[Room], tasks: list[str], versions: dict[str, _Version]
) -> tuple[str, Room] | None:
    """The task of an agent whose move gains most, and where it goes: of each version the first."""
    best, found = LEAST_GAIN, None
    for task in {task_prefix(each): each for each in reversed(tasks)}.values():
        version = versions[task_prefix(task)]
        for target in order:
            if target.use + best >= source.use:
                break
            gain = source.use - max(_use_with(target, version.need, 1), _use_with(source, version.need, -1))
            if gain > best and fits(version.need, target) and _keeps_spread(version, source, target, order):
                best, found = gain, (task, target)
                break
    return found


def _use_with(room: Room, need: Need, tasks: int) -> float:
    """How full a room would be with so many more tasks."""
    changed = msgspec.structs.replace(
        room, mem_used=room.mem_used + tasks * need.mem, cpu_used=room.cpu_used + tasks * need.cpu
    )
    return changed.use


def _keeps_spread(version: _Version, source: Room, target: Room, rooms: list[Room]) -> bool:
    """Whether the values of the label are as even after the move as before."""
    label, prefix = version.spread, version.need.prefix
    here, there = source.attributes.get(label, ""), target.attributes.get(label, "")
    if not label or here == there:
        return True
    counts = {
        value: sum(room.prefixes.get(prefix, 0) for room in rooms if room.attributes.get(label, "") == value)
        for value in (here, there)
    }
    return counts[there] < counts[here]


def _versions(desired: Desired) -> tuple[dict[str, _Version], list[str]]:
    """The versions whose tasks may be moved, and the first of the others with the reason."""
    versions: dict[str, _Version] = {}
    left_out = []
    for prefix, job in sorted(desired.jobs.items()):
        why = _stays(job, desired)
        if not why:
            versions[prefix] = _Version(need_of_job(job), job.config.spread)
        elif desired.indices(job):
            left_out.append(f"{job.config.key} {why}")
    more = [f"and {len(left_out) - MOST_NAMED} more jobs"] if len(left_out) > MOST_NAMED else []
    return versions, left_out[:MOST_NAMED] + more


def _stays(job: Job, desired: Desired) -> str:
    """Why no task of a version is moved to even things out; empty if they may be."""
    wanted = len(desired.indices(job))
    if job.config.everywhere:
        return "has a task on each agent"
    if desired.migration_of(job.prefix) is not None:
        return "is being migrated"
    if job.config.storage.volumes:
        return "has volumes, which are on its hosts"
    if moving_floor(job) >= wanted:
        return f"keeps {moving_floor(job)} of its {wanted} tasks running (floor)"
    return ""


def _movable(agent: str, desired: Desired, actual: Actual, versions: dict[str, _Version]) -> list[str]:
    """The tasks on an agent that are wanted, run there and nowhere else, and may be moved."""

    def all_of() -> Iterator[str]:
        for task in desired.by_agent.get(agent, ()):
            row, report = desired.placements[task], actual.report(agent, task)
            runs = report is not None and report.phase is Phase.RUNNING and len(row.copies) == 1
            if task_prefix(task) in versions and row.running == agent and runs and desired.wanted(task):
                yield task

    return sorted(all_of(), key=lambda task: (task_prefix(task), task_index(task)))


def _loads(rooms: dict[str, Room]) -> tuple[Load, ...]:
    return tuple(
        Load(agent=room.agent, tasks=room.tasks, use=round(room.use, 4)) for _, room in sorted(rooms.items())
    )
