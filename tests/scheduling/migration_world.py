"""A world that a migration is tried in: tasks that start, run, die, go silent, and obey its row."""

from __future__ import annotations

from random import Random

from scheduling.job import JobKey
from scheduling.migration import Migration, Standing, State, advance
from scheduling.update import Update, limits

ROUND_SECONDS = 1.0
HEALTHY_ROUNDS = 3


class World:
    """Two versions; each task is absent, starting, running (for so many rounds), crashed or stopping."""

    def __init__(
        self, update: Update, old_scale: int, new_scale: int, rng: Random, *, broken: bool = False
    ) -> None:
        self.rng = rng
        self.broken = broken
        self.now = 0.0
        self.faults = True
        self.room = old_scale + new_scale
        self.scales = {"old": old_scale, "new": new_scale}
        self.state: dict[tuple[str, int], str] = {("old", index): "running" for index in range(old_scale)}
        self.ran: dict[tuple[str, int], int] = dict.fromkeys(self.state, 99)
        self.silent: set[tuple[str, int]] = set()
        self.crashes: dict[tuple[str, int], int] = {}
        self.steps = 0
        self.migration = Migration(
            id="m-1",
            key=JobKey("p", "e", "j"),
            old="old",
            new="new",
            old_hash="old",
            new_hash="new",
            old_scale=old_scale,
            new_scale=new_scale,
            limits=limits(update, old_scale, new_scale),
            old_wanted=tuple(range(old_scale)),
        )

    def standing(self, version: str) -> Standing:
        tasks = {index: self.state[name, index] for name, index in self.state if name == version}
        known = {index for index in tasks if (version, index) not in self.silent}
        # One that is being stopped does not count, though it is wanted again.
        running = {index for index in known if tasks[index] == "running"}
        wanted = set(self.migration.wanted(version))
        return Standing(
            there=frozenset(tasks),
            running=frozenset(running & wanted),
            down=frozenset((known - running) | (wanted - set(tasks))),
            healthy=frozenset(
                index for index in running & wanted if self.ran.get((version, index), 0) >= HEALTHY_ROUNDS
            ),
            failed={
                index: f"{version}-{index} failed"
                for name, index in self.crashes
                if name == version == "new" and self.crashes[name, index] >= 3
            },
        )

    def turn(self) -> None:
        """One round: the rule, then the world."""
        self.now += ROUND_SECONDS
        old, new = self.standing("old"), self.standing("new")
        stepped = advance(self.migration, old, new, self.now, self.migration.progress_at)
        if stepped is not None:
            self.check(stepped, old, new)
            self.migration = stepped
            self.steps += 1
        for key in list(self.state):
            if self.rng.random() < 0.7:
                self.go_on(key)
        self.place()
        if self.faults:
            self.strike()

    def check(self, after: Migration, old: Standing, new: Standing) -> None:
        """Floor and ceiling, judged from what was known, and from what was true."""
        before = self.migration
        bounds = before.limits
        stopped = {("old", i) for i in set(before.old_wanted) - set(after.old_wanted)} | {
            ("new", i) for i in set(before.new_wanted) - set(after.new_wanted)
        }
        started = {("old", i) for i in set(after.old_wanted) - set(before.old_wanted)} | {
            ("new", i) for i in set(after.new_wanted) - set(before.new_wanted)
        }
        up = {
            key
            for key, state in self.state.items()
            if state == "running" and key[1] in after.wanted(key[0]) and key not in self.silent
        }
        if any(key not in self.silent and self.state.get(key) == "running" for key in stopped):
            assert len(up) >= bounds.floor, f"{len(up)} run, below the floor {bounds.floor}"
        if started:
            wanted = {("old", i) for i in after.old_wanted} | {("new", i) for i in after.new_wanted}
            assert len(set(self.state) | wanted) <= bounds.ceiling, "above the ceiling"

    def go_on(self, key: tuple[str, int]) -> None:
        wanted = key[1] in self.migration.wanted(key[0])
        state = self.state[key]
        if not wanted:
            if state == "stopping":
                del self.state[key]
                self.ran.pop(key, None)
                self.silent.discard(key)
            else:
                self.state[key] = "stopping"
        elif state == "starting":
            if self.broken and key[0] == "new":
                self.state[key] = "crashed"
                self.crashes[key] = self.crashes.get(key, 0) + 1
            else:
                self.state[key], self.ran[key] = "running", 0
        elif state == "running":
            self.ran[key] += 1
        else:
            self.state[key] = "starting"  # it crashed, or was being stopped and is wanted again

    def place(self) -> None:
        for version in ("old", "new"):
            for index in self.migration.wanted(version):
                if (version, index) not in self.state and len(self.state) < self.room:
                    self.state[version, index] = "starting"

    def strike(self) -> None:
        for key, state in self.state.items():
            if state == "running" and self.rng.random() < 0.03:
                self.state[key] = "crashed"
            if self.rng.random() < 0.05:
                self.silent ^= {key}

    def calm(self) -> None:
        self.faults = False
        self.silent.clear()

    @property
    def ended(self) -> bool:
        return self.migration.state in (State.DONE, State.REVERTED, State.FAILED)
