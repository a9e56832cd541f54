"""Spread: the tasks of a version evenly over the values of a label, like zones; within each as usual.

Evenly means that the next task goes where the fewest are, as long as something fits there. Agents without
the label are one more value.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from scheduling.placement import Algorithm
from scheduling.room import Need, Room


def spread_over(label: str, algorithm: Algorithm) -> Algorithm:
    """An algorithm that spreads over this label, and chooses by the given one within each value."""

    def choose(need: Need, tasks: int, rooms: Sequence[Room], rng: Random) -> list[Room]:
        groups: dict[str, list[Room]] = {}
        for room in rooms:
            groups.setdefault(room.attributes.get(label, ""), []).append(room)
        counts = {
            value: sum(room.prefixes.get(need.prefix, 0) for room in group) for value, group in groups.items()
        }
        chosen: list[Room] = []
        while groups and len(chosen) < tasks:
            quotas = fill({value: counts[value] for value in groups}, tasks - len(chosen))
            for value, quota in quotas.items():
                found = algorithm(need, quota, groups[value], rng)
                chosen += found
                counts[value] += len(found)
                if len(found) < quota:
                    del groups[value]  # nothing more fits there
        return chosen

    return choose


def fill(counts: dict[str, int], tasks: int) -> dict[str, int]:
    """How many tasks each value gets so that they end up as even as may be; equals in order of value."""
    order = sorted(counts, key=lambda value: (counts[value], value))
    given = dict.fromkeys(order, 0)
    level, reached = 0, 0
    left = tasks
    # Raise the lowest ones to the next level together, as water would.
    while left > 0:
        level = counts[order[reached]]
        while reached < len(order) and counts[order[reached]] <= level:
            reached += 1
        lowest = order[:reached]
        above = counts[order[reached]] - level if reached < len(order) else left
        rise = min(above, left // len(lowest))
        for value in lowest:
            given[value] += rise
            counts[value] += rise
        left -= rise * len(lowest)
        if rise < above:
            for value in lowest[:left]:
                given[value] += 1
            break
        reached = 0
        order.sort(key=lambda value: (counts[value], value))
    return {value: count for value, count in given.items() if count}
