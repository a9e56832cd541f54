"""The scheduler, or everything but the registry and the agents, dies at every step of every migration.

Whole clusters of rules, see `story_teller`. A death comes just before the registry has written a step, or
just after it: what else was decided is lost, and whoever follows knows only the registry's rows and what the
agents say. The bounds are checked against what the agents really run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

import pytest
from story_teller import Story

from scheduling.answer import Answer
from scheduling.desired import Desired
from scheduling.job import task_prefix
from scheduling.migrating import StepMigration
from scheduling.migration import State
from scheduling.registry import Mutation
from scheduling.update import STRATEGIES

AGENTS = ("a", "b", "c")
ROUNDS = 150
Moment = Literal["before", "after"]
Victim = Literal["scheduler", "everything"]


class KilledError(Exception):
    """The scheduler ends here, in the middle of whatever it was doing."""


class Cluster(Story):
    """A story that is killed at its `number`-th step, and knows what its agents really run."""

    def __init__(self, number: int = -1, moment: Moment = "before") -> None:
        super().__init__()
        self.number, self.moment = number, moment
        self.steps = 0
        self.there: dict[str, dict[str, str]] = {name: {} for name in AGENTS}
        self.stopped: set[str] = set()
        for name in AGENTS:
            self.agent(name, mem="1024")
            self.answers(name)
        self.settle()

    def ask(self, mutation: Mutation) -> Answer:
        if not isinstance(mutation, StepMigration):
            return super().ask(mutation)
        self.steps += 1
        dies = self.steps == self.number
        if dies and self.moment == "before":
            raise KilledError
        answer = super().ask(mutation)
        if dies:
            raise KilledError
        return answer

    def look(self, name: str, containers: tuple[str, ...], *, everything: bool) -> None:
        """Also remembers what is there now, and that nobody stops what is wanted."""
        super().look(name, containers, everything=everything)
        for text in containers:
            task, _, says = text.partition("=")
            self.there[name][task] = says
            if says == "finished":
                self.stopped.add(task)
                row = self.registry.placements[self.full(task)]
                assert row.running != name, f"{task} is meant to run"
            elif says == "deleted":
                del self.there[name][task]

    def tasks(self, says: str = "") -> list[str]:
        return sorted(
            task for tasks in self.there.values() for task, status in tasks.items() if says in ("", status)
        )

    def revive(self, victim: Victim) -> None:
        """What has died is made anew; of everything, the registry is read from its disk too."""
        self.scheduler_made_anew()
        if victim == "everything":
            self.registry = Desired()
            self.registry.apply(self.desired)
            for name in AGENTS:
                self.machine_made_anew(name)
            self.settle()
            for name in AGENTS:
                self.answers(name, *(f"{task}={says}" for task, says in self.there[name].items()))
        self.settle()

    def lives(self, act: Callable[[], None], victim: Victim) -> None:
        try:
            act()
            self.settle()
        except KilledError:
            self.revive(victim)
        self.check()
        for row in self.registry.migrations.values():
            if not row.over:
                assert len(self.tasks("running")) >= row.limits.floor, self.tasks("running")
                assert len(self.tasks()) <= row.limits.ceiling, self.tasks()


def migrated(cluster: Cluster, strategy: str, *, broken: bool, victim: Victim) -> State:
    """A job of three tasks is migrated, until it is over; how it ended."""
    fails = "web2" if broken else ""
    cluster.schedule("web", scale="3")
    cluster.settle()
    cluster.works("all")
    cluster.lives(lambda: cluster.migrate("web", "web2", strategy=strategy, auto="promote"), victim)
    for _ in range(ROUNDS):
        cluster.lives(lambda: cluster.works("all", fails), victim)
        cluster.lives(lambda: cluster.wait("1"), victim)
        if cluster.last_migration().over and not cluster.in_flight:
            return cluster.last_migration().state
    raise AssertionError(f"it is never over: {cluster.last_migration()}")


@functools.cache
def steps_of(strategy: str, broken: bool) -> int:
    """How many steps it takes when nobody dies."""
    cluster = Cluster()
    migrated(cluster, strategy, broken=broken, victim="scheduler")
    return cluster.steps


@pytest.mark.parametrize("victim", ["scheduler", "everything"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_good_version_replaces_the_old_one_whoever_dies_when(
    strategy: str, moment: Moment, victim: Victim
) -> None:
    for number in range(1, steps_of(strategy, broken=False) + 1):
        cluster = Cluster(number, moment)
        assert migrated(cluster, strategy, broken=False, victim=victim) is State.DONE, number
        assert cluster.tasks() == cluster.tasks("running") == ["web2-0", "web2-1", "web2-2"], number
        assert cluster.stopped == {"web-0", "web-1", "web-2"}, "nothing that is wanted was ever stopped"
        assert set(cluster.registry.jobs) == {cluster.prefixes["web2"]}
        assert {task_prefix(task) for task in cluster.registry.placements} == {cluster.prefixes["web2"]}
        assert cluster.steps >= number


@pytest.mark.parametrize("victim", ["scheduler", "everything"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_version_that_can_not_start_goes_and_the_old_one_is_whole_again(
    strategy: str, moment: Moment, victim: Victim
) -> None:
    for number in range(1, steps_of(strategy, broken=True) + 1):
        cluster = Cluster(number, moment)
        assert migrated(cluster, strategy, broken=True, victim=victim) is State.REVERTED, number
        cluster.works("all")
        assert cluster.tasks() == cluster.tasks("running") == ["web-0", "web-1", "web-2"], number
        healthy = {task for task in cluster.stopped if task.startswith("web-")}
        assert healthy == ({"web-0"} if strategy == "in_place" else set()), "a good one stays"
        assert set(cluster.registry.jobs) == {cluster.prefixes["web"]}


def test_there_are_steps_to_die_at() -> None:
    assert {strategy: steps_of(strategy, broken=False) for strategy in STRATEGIES} == {
        "rolling": 7,
        "blue_green": 3,
        "canary": 8,
        "in_place": 7,
    }
