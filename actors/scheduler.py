"""Scheduler: runs the placement algorithm and writes placements into the registry; says why tasks wait."""

from __future__ import annotations

import time
from random import Random
from typing import Any, ClassVar
from uuid import uuid4

import msgspec

from actors.base import HarpoonActor
from actors.messages import Mutate, Mutated, Topic
from config.bounds import WRITES_A_BATCH
from scheduling import placement
from scheduling.actual import STATE
from scheduling.desired import JOB
from scheduling.gathering import Gathering
from scheduling.migrating import StepMigration
from scheduling.migration import Migration
from scheduling.presence import EndRelease, MarkLost
from scheduling.registry import WritePlacement
from scheduling.replica import Changes
from scheduling.scheduler import Scheduler as Rule
from scheduling.scheduler import Write
from scheduling.waiting import BRAKE_KEY, LEFT_OUT, STAYING, WAITING

# A batch not answered in this time is given up; its tasks are looked at again.
ANSWER_SECONDS = 10.0


class Scheduler(HarpoonActor):
    """One batch of writes is under way at a time, and seen back in the replica before the next decision."""

    topic: ClassVar[Topic] = "waiting"
    follows: ClassVar[dict[Topic, frozenset[str] | None]] = {"desired": None, "actual": STATE}

    def begin(self) -> None:
        """Load the placement algorithm that the settings name."""
        if self.settings is None:
            raise AssertionError("wired without settings")
        self.rule = Rule(
            placement.algorithm(self.settings.placement),
            Random(self.random.random()),  # noqa: S311 - placement, not secrets
            self.settings.lost_after_seconds,
        )
        self._gathering = Gathering()
        self._queued: list[Write] = []
        self._sent: tuple[Write, ...] = ()
        self._woken = False
        self._batch = ""
        self._sent_at = 0.0
        self._awaited_version = 0
        self._awaited_epoch = ""

    def changed(self, topic: Topic, changes: Changes) -> None:
        """Let the rule see what changed."""
        if topic == "desired":
            self.rule.desired_changed(changes)
            if any(key[0] == JOB for key in changes):
                self._gathering.came(time.monotonic())
        else:
            self.rule.actual_changed(changes)

    def settle(self) -> None:
        """Decide, once the last writes are answered and visible."""
        if self.settings is None or not all(followed.known for followed in self.followed.values()):
            return
        desired = self.followed["desired"].replica
        if desired.epoch != self._awaited_epoch:
            # A new registry has all that the last one had answered; or it has lost its file, and counts anew.
            self._awaited_epoch, self._awaited_version = desired.epoch, 0
        if self._batch or desired.version < self._awaited_version:
            return
        left_seconds = self._gathering.left_seconds(self.rule.touched, time.monotonic())
        if not self._queued and left_seconds:
            self.wake_within(left_seconds)
            return
        if not self._queued and (self.rule.has_work or self._woken):
            self._woken = False
            self._gathering.over()
            decisions = self.rule.decide(time.time())
            changes: Changes = {(WAITING, prefix): why for prefix, why in decisions.waiting.items()}
            changes |= {(STAYING, agent): why for agent, why in decisions.staying.items()}
            changes |= {(LEFT_OUT, prefix): why for prefix, why in decisions.left_out.items()}
            changes[BRAKE_KEY] = decisions.brake
            self.publisher.publish(changes)
            self._queued = list(decisions.writes)
            self._tell_operator(decisions.writes)
        if self._queued:
            self._send_batch()

    def tick(self) -> None:
        """Look at what is due by time alone, and give up a batch that nobody answers."""
        self.rule.wake(time.time())
        self._woken = True
        if self._batch and time.monotonic() - self._sent_at > ANSWER_SECONDS:
            self.rule.refused((*self._sent, *self._queued))
            self._batch, self._sent, self._queued = "", (), []

    def receiveMsg_Mutated(self, message: Mutated, _sender: Any) -> None:
        """The registry has answered: what it refused is looked at again."""
        if message.batch != self._batch:
            return
        self._batch = ""
        if message.error:
            self._sent_at = time.monotonic()
            self._batch = "refused"  # looked at again when the tick gives it up
            return
        pairs = list(zip(self._sent, message.answers, strict=True))
        self.rule.refused(write for write, answer in pairs if not answer.accepted)
        self._awaited_version = max(answer.version for answer in message.answers)
        self._sent = ()

    def _tell_operator(self, writes: tuple[Write, ...]) -> None:
        for write in writes:
            if isinstance(write, MarkLost):
                what = "is back" if write.since is None else "is lost; its tasks are placed elsewhere"
                self.log.warning("the agent %s %s", write.agent, what)
            elif isinstance(write, StepMigration) and write.migration.reason:
                self._tell_of(write.migration)
            elif isinstance(write, EndRelease):
                self.log.warning("the outage that the brake was released for is over; it may hold again")

    def _tell_of(self, migration: Migration) -> None:
        before = self.rule.desired.migrations.get(migration.id)
        if before is not None and before.state is not migration.state:
            self.log.warning(
                "the migration %s of %s is %s: %s",
                migration.id,
                migration.key,
                migration.state,
                migration.reason,
            )

    def _send_batch(self) -> None:
        self._sent, self._queued = tuple(self._queued[:WRITES_A_BATCH]), self._queued[WRITES_A_BATCH:]
        self._batch = uuid4().hex
        self._sent_at = time.monotonic()
        seen = self.followed["desired"].replica.version
        mutations = tuple(
            ("", msgspec.structs.replace(write, seen=seen) if isinstance(write, WritePlacement) else write)
            for write in self._sent
        )
        self.send(self.peers["registry"], Mutate(batch=self._batch, mutations=mutations))
