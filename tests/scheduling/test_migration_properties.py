"""What holds for every migration: in any world, under faults, whatever its operator does and when.

Safety is checked by the world at each step, see `migration_world`. Here: it comes to an end, and to which.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from migration_world import World

from scheduling import migration as way
from scheduling.desired import MIGRATION, Desired
from scheduling.migrating import Action, SteerMigration, steer
from scheduling.migration import NEXT, Input, Migration, State
from scheduling.update import STRATEGIES, UnworkableError, Update

# The seed is drawn too, so an example is replayed as it was. Many of them: each is quick.
MANY = settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.filter_too_much])
CALM_AT, ROUNDS = 80, 1500
POLICIES = st.builds(
    Update,
    strategy=st.sampled_from(STRATEGIES),
    max_parallel=st.integers(1, 4),
    floor=st.none() | st.integers(0, 3),
    surge=st.none() | st.integers(0, 2),
    canary=st.integers(1, 3),
    auto_promote=st.booleans(),
    auto_revert=st.booleans(),
)
ACTIONS: tuple[Action, ...] = ("pause", "resume", "abort", "promote")
# What its operator does, and in which round.
ORDERS = st.lists(st.tuples(st.integers(0, CALM_AT + 40), st.sampled_from(ACTIONS)), max_size=6)
# How many tasks find room beyond the larger scale; None: as many as are asked for.
SPARE = st.none() | st.integers(0, 2)


def operate(world: World, action: Action) -> None:
    """What the registry makes of an operator's word; who has nothing to say is refused, nothing changes."""
    desired, before = Desired(), world.migration
    desired.apply({(MIGRATION, before.id): before})
    answer, changes = steer(desired, SteerMigration(id=before.id, action=action), 1, world.now)
    assert answer.accepted or not changes
    world.migration = changes.get((MIGRATION, before.id), before)
    assert (world.migration.old_wanted, world.migration.new_wanted) == (before.old_wanted, before.new_wanted)


def made(policy: Update, scales: tuple[int, int], seed: int, spare: int | None, *, broken: bool) -> World:
    try:
        world = World(policy, *scales, Random(seed), broken=broken)
    except UnworkableError:
        assume(False)
        raise
    if spare is not None:
        world.room = max(scales) + spare
    return world


def lived(world: World, orders: list[tuple[int, Action]]) -> None:
    """Faults and orders until it is calm; from then on nobody holds it up any more, until it ends."""
    for number in range(ROUNDS):
        for at, action in orders:
            if at == number:
                operate(world, action)
        if number == CALM_AT:
            world.calm()
        if number > CALM_AT + 40 and world.migration.paused:
            operate(world, "resume")
        if number > CALM_AT + 40 and world.migration.awaits_promotion:
            operate(world, "promote")
        world.turn()
        if world.ended and number > CALM_AT + 40:
            return


SCALES = st.tuples(st.integers(1, 6), st.integers(1, 6))


@MANY
@given(POLICIES, SCALES, st.integers(0, 2**32), SPARE, st.booleans(), ORDERS)
def test_it_ends_in_exactly_the_new_or_exactly_the_old_version(
    policy: Update,
    scales: tuple[int, int],
    seed: int,
    spare: int | None,
    broken: bool,
    orders: list[tuple[int, Action]],
) -> None:
    world = made(policy, scales, seed, spare, broken=broken)
    lived(world, orders)
    row = world.migration
    if not world.ended:
        stuck_for_want_of_room(world)
    elif row.state is State.DONE:
        assert set(world.state) == {("new", index) for index in range(scales[1])}
        assert not broken, "a version that can't start is never what remains"
    elif row.state is State.REVERTED:
        assert not any(version == "new" for version, _ in world.state)
        assert row.old_wanted == tuple(range(scales[0]))
        settle(world)
        assert set(world.state) == {("old", index) for index in range(min(scales[0], world.room))}
    else:
        assert not policy.auto_revert, "only then it waits for its operator"
        assert row.reason


def stuck_for_want_of_room(world: World) -> None:
    """The one way not to end, and it is told of: going back takes room for one more than the floor."""
    row = world.migration
    assert row.state is State.REVERTING
    assert world.room <= row.limits.floor
    assert len(world.state) == world.room, "there is no room for what is wanted"


def settle(world: World) -> None:
    for _ in range(60):
        for key in list(world.state):
            world.go_on(key)
        world.place()


@MANY
@given(POLICIES, SCALES, st.integers(0, 2**32), st.booleans(), ORDERS)
def test_it_comes_to_rest(
    policy: Update, scales: tuple[int, int], seed: int, broken: bool, orders: list[tuple[int, Action]]
) -> None:
    """No step is repeated for ever: each one starts or stops something, and only an operator turns round."""
    world = made(policy, scales, seed, None, broken=broken)
    lived(world, orders)
    assert world.ended
    turns = 2 + sum(action in ("resume", "abort", "promote") for _, action in orders)
    assert world.steps <= turns * (sum(scales) + 4)
    before = world.steps
    for _ in range(20):
        world.turn()
    assert world.steps == before, "at its end there are no more steps"


@MANY
@given(POLICIES, SCALES, st.integers(0, 2**32), ORDERS)
def test_nothing_that_runs_well_is_stopped_but_by_a_step(
    policy: Update, scales: tuple[int, int], seed: int, orders: list[tuple[int, Action]]
) -> None:
    """Each task that is stopped had been taken out of what is wanted, by a step that had looked at it."""
    world = Watched(policy, *scales, Random(seed)) if _workable(policy, scales) else None
    assume(world is not None)
    assert world is not None
    lived(world, orders)
    assert set(world.unwanted_once) >= world.stopped


class Watched(World):
    """Notes which tasks were ever taken out of what is wanted, and which were stopped."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.unwanted_once: set[tuple[str, int]] = set()
        self.stopped: set[tuple[str, int]] = set()

    def check(self, after: Migration, old: Any, new: Any) -> None:
        super().check(after, old, new)
        for version in ("old", "new"):
            gone = set(self.migration.wanted(version)) - set(after.wanted(version))
            self.unwanted_once |= {(version, index) for index in gone}

    def go_on(self, key: tuple[str, int]) -> None:
        super().go_on(key)
        if self.state.get(key) == "stopping":
            assert key[1] not in self.migration.wanted(key[0]), "a wanted one is never stopped"
            self.stopped.add(key)


def _workable(policy: Update, scales: tuple[int, int]) -> bool:
    try:
        World(policy, *scales, Random(0))
    except UnworkableError:
        return False
    return True


def test_a_whole_world_is_replayed_by_its_seed() -> None:
    policy = Update(strategy="canary", auto_promote=True)
    worlds = [made(policy, (3, 4), 7, None, broken=False) for _ in range(2)]
    for world in worlds:
        lived(world, [])
    assert msgspec.structs.astuple(worlds[0].migration) == msgspec.structs.astuple(worlds[1].migration)
    assert worlds[0].state == worlds[1].state


def test_each_way_of_the_table_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the properties would say nothing about it. `end` is the registry's: see test_migrating.py."""
    honest = way.moved
    taken: Counter[tuple[State, Input]] = Counter()

    def counted(migration: Migration, said: Input, **changes: object) -> Migration:
        after = honest(migration, said, **changes)
        taken[migration.state, said] += 1
        return after

    monkeypatch.setattr(way, "moved", counted)
    for seed in range(200):
        rng = Random(seed)
        policy = Update(strategy=rng.choice(STRATEGIES), auto_revert=rng.random() < 0.5)
        world = made(policy, (3, 3), seed, None, broken=rng.random() < 0.3)
        lived(world, [(rng.randrange(CALM_AT), rng.choice(ACTIONS)) for _ in range(6)])
    possible = {key for key, to in NEXT.items() if to is not None and key[1] is not Input.END}
    assert set(taken) == possible
    assert min(taken.values()) >= 5, taken
