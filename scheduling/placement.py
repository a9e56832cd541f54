"""Where tasks go: filters that explain every refusal, and the algorithms that choose among what is left.

An algorithm is a function `(need, tasks, rooms, rng) -> list of rooms`: for as many of `tasks`
identical tasks as fit, the room of each, taken from with `room.take(need)`. One's own is named in the
settings as `module:function`.
"""

from __future__ import annotations

import heapq
import importlib
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Protocol

import msgspec

from config.bounds import MOST_GROUPS_NAMED, MOST_REFUSALS_SHOWN
from scheduling.room import CPU_TOLERANCE, Need, Room
from scheduling.waiting import Group, Refusal, Waiting


class Algorithm(Protocol):
    """Chooses rooms for up to `tasks` tasks of one need, out of rooms that are open."""

    def __call__(self, need: Need, tasks: int, rooms: Sequence[Room], rng: Random) -> list[Room]:
        """The rooms of the tasks that fit, in order; shorter than `tasks` where room runs out."""
        ...


# A miss is how short a room is, in words, how far that is from fitting, and what one says of many such rooms:
# a verb and more.
Miss = tuple[str, float, str]
Filter = Callable[[Need, Room], Miss | None]


def enough_memory(need: Need, room: Room) -> Miss | None:
    """Refuses a room with less free memory than needed."""
    short = need.mem - (room.mem_total - room.mem_used)
    return (f"short {short} MB", short / max(need.mem, 1), "lacks memory") if short > 0 else None


def enough_cpu(need: Need, room: Room) -> Miss | None:
    """Refuses a room with fewer free cores than needed."""
    short = need.cpu - (room.cpu_total - room.cpu_used)
    return (f"short {short:.3g} cores", short / need.cpu, "lacks cores") if short > CPU_TOLERANCE else None


def has_volumes(need: Need, room: Room) -> Miss | None:
    """Refuses a room without one of the needed host paths."""
    missing = sorted(need.volumes - room.volumes)
    names = ", ".join(missing)
    return (f"has no volume {names}", 10.0 * len(missing), f"lacks the volume {names}") if missing else None


def ports_free(need: Need, room: Room) -> Miss | None:
    """Refuses a room where a needed fixed port is taken."""
    taken = sorted(port for port in need.ports if port in room.ports)
    words = [f"port {port} is taken{f' by {room.ports[port]}' if room.ports[port] else ''}" for port in taken]
    return ("; ".join(words), 1.0 * len(taken), "has a port taken") if taken else None


def meets_constraints(need: Need, room: Room) -> Miss | None:
    """Refuses a room whose labels and attributes are not as the job demands."""
    misses = {each: miss for each in need.constraints if (miss := each.miss(room.attributes))}
    if not misses:
        return None
    return "; ".join(misses.values()), 20.0 * len(misses), f"does not match {next(iter(misses))}"


def has_no_other(need: Need, room: Room) -> Miss | None:
    """Refuses a room with another task of the version, where they must be on distinct hosts."""
    there = need.alone and room.prefixes.get(need.prefix, 0)
    if not there:
        return None
    return "has a task of this job already, and distinct_hosts is set", 5.0, "has a task of it already"


def has_driver(need: Need, room: Room) -> Miss | None:
    """Refuses a room whose agent can't run tasks in the needed way."""
    if need.driver in room.drivers:
        return None
    kind = f"can't run {need.driver} tasks"
    return f"{kind}, only {', '.join(sorted(room.drivers))}", 100.0, kind


def holds_limits(need: Need, room: Room) -> Miss | None:
    """Refuses a room whose agent does not enforce a limit that is asked for."""
    missing = sorted(need.limits - room.limits)
    kind = f"does not enforce a limit of {', '.join(missing)}"
    return (kind, 100.0, kind) if missing else None


FILTERS: tuple[Filter, ...] = (
    enough_memory,
    enough_cpu,
    ports_free,
    has_volumes,
    has_no_other,
    meets_constraints,
    has_driver,
    holds_limits,
)
_PLURALS = {"lacks": "lack", "has": "have", "is": "are", "does": "do"}
# A closed room is farther from fitting than any that is merely too small.
_CLOSED_DISTANCE = 1000.0


def fits(need: Need, room: Room) -> bool:
    """Whether every filter lets the task in. The same rules as `refusal`, without the words."""
    return (
        not room.closed
        and need.mem <= room.mem_total - room.mem_used
        and need.cpu <= room.cpu_total - room.cpu_used + CPU_TOLERANCE
        and (not need.ports or need.ports.isdisjoint(room.ports))
        and need.volumes <= room.volumes
        and not (need.alone and room.prefixes.get(need.prefix))
        and not any(each.miss(room.attributes) for each in need.constraints)
        and need.driver in room.drivers
        and need.limits <= room.limits
    )


def suits(need: Need, room: Room) -> bool:
    """Whether the task would fit if nothing else were there, and the room were open."""
    return (
        need.mem <= room.mem_total
        and need.cpu <= room.cpu_total + CPU_TOLERANCE
        and need.volumes <= room.volumes
        and not any(each.miss(room.attributes) for each in need.constraints)
        and need.driver in room.drivers
        and need.limits <= room.limits
    )


def eligible(need: Need, rooms: Iterable[Room]) -> tuple[Need, list[Room]]:
    """The rooms that meet the constraints, and the need without them: looked at once, not for each task."""
    if not need.constraints:
        return need, list(rooms)
    kept = [room for room in rooms if not any(each.miss(room.attributes) for each in need.constraints)]
    return msgspec.structs.replace(need, constraints=()), kept


def refusal(need: Need, room: Room) -> Refusal | None:
    """Why this room does not take the task, all reasons together; None if it does."""
    if room.closed:
        kind = room.closed.partition(":")[0].removeprefix("it ")
        return Refusal(agent=room.agent, reason=room.closed, distance=_CLOSED_DISTANCE, kind=kind)
    misses = [miss for judge in FILTERS if (miss := judge(need, room)) is not None]
    if not misses:
        return None
    return Refusal(
        agent=room.agent,
        reason="; ".join(reason for reason, _, _ in misses),
        distance=sum(distance for _, distance, _ in misses),
        kind=max(misses, key=lambda miss: miss[1])[2],
    )


def grouped(refusals: Iterable[Refusal]) -> tuple[Group, ...]:
    """How many agents have what most in the way; in the order of the refusals, which is nearest first."""
    kinds: dict[str, list[str]] = {}
    for refused in refusals:
        kinds.setdefault(refused.kind, []).append(refused.agent)
    return tuple(
        Group(agents=len(agents), what=kind if len(agents) == 1 else _of_many(kind), nearest=agents[0])
        for kind, agents in kinds.items()
    )


def _of_many(kind: str) -> str:
    verb, _, rest = kind.partition(" ")
    return f"{_PLURALS.get(verb, verb)} {rest}"


def explain(
    prefix: str, tasks: int, need: Need, rooms: Iterable[Room], what: str = "no agent fits"
) -> Waiting:
    """Why `tasks` tasks of one version found no room, the nearest miss first; `what` begins the sentence."""
    refusals = sorted(
        (refused for room in rooms if (refused := refusal(need, room)) is not None),
        key=lambda refused: (refused.distance, refused.agent),
    )
    groups = grouped(refusals)
    reason = (
        f"{what}; nearest: {refusals[0].agent}: {refusals[0].reason}" if refusals else "there is no agent"
    )
    if len(refusals) > 1:
        counts = [f"{group.agents} {group.what}" for group in groups[:MOST_GROUPS_NAMED]]
        left = len(refusals) - sum(group.agents for group in groups[:MOST_GROUPS_NAMED])
        reason += f"; of {len(refusals)} agents: {', '.join(counts + [f'{left} more'] * bool(left))}"
    return Waiting(
        prefix=prefix,
        tasks=tasks,
        reason=reason,
        refusals=tuple(refusals[:MOST_REFUSALS_SHOWN]),
        groups=groups[:MOST_REFUSALS_SHOWN],
        agents=len(refusals),
    )


def random_fit(need: Need, tasks: int, rooms: Sequence[Room], rng: Random) -> list[Room]:
    """Each task on a random room that fits."""
    candidates = list(rooms)
    chosen: list[Room] = []
    while candidates and len(chosen) < tasks:
        position = rng.randrange(len(candidates))
        room = candidates[position]
        if fits(need, room):
            room.take(need)
            chosen.append(room)
        else:
            candidates[position] = candidates[-1]
            candidates.pop()
    return chosen


def least_used(need: Need, tasks: int, rooms: Sequence[Room], rng: Random) -> list[Room]:
    """Each task on the room with the smallest used share; equals by the number of tasks, then at random."""
    heap = [(room.use, room.tasks, rng.random(), position) for position, room in enumerate(rooms)]
    heapq.heapify(heap)
    chosen: list[Room] = []
    while heap and len(chosen) < tasks:
        _, _, lot, position = heap[0]
        room = rooms[position]
        if fits(need, room):
            room.take(need)
            chosen.append(room)
            heapq.heapreplace(heap, (room.use, room.tasks, lot, position))
        else:
            heapq.heappop(heap)
    return chosen


ALGORITHMS: dict[str, Algorithm] = {"random_fit": random_fit, "least_used": least_used}


def algorithm(name: str) -> Algorithm:
    """The algorithm of this name, or the function `module:function`. Raises ValueError that says why not."""
    if name in ALGORITHMS:
        return ALGORITHMS[name]
    module_name, colon, function_name = name.partition(":")
    choices = f"it must be one of {', '.join(ALGORITHMS)} or module:function"
    if not colon:
        raise ValueError(f'there is no placement algorithm "{name}"; {choices}')
    try:
        found = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:
        raise ValueError(f'the placement algorithm "{name}" can\'t be loaded ({error}); {choices}') from error
    if not callable(found):
        raise ValueError(f'the placement algorithm "{name}" is no function')  # noqa: TRY004 - a setting's value
    named: Algorithm = found
    return named
