"""Scheduler: runs the placement algorithm and writes placements into the registry; says why tasks wait."""

from __future__ import annotations

import time
from random import Random
from typing import Any, ClassVar
from uuid import uuid4

import msgspec

from actors.base import HarpoonActor
from actors.messages import Mutate, Mutated, Topic
from scheduling import placement
from scheduling.registry import MarkLost, WritePlacement
from scheduling.replica import Changes
from scheduling.scheduler import Scheduler as Rule
from scheduling.scheduler import Write
from scheduling.waiting import BRAKE_KEY, WAITING

# A batch not answered in this time is given up; its tasks are looked at again.
ANSWER_SECONDS = 10.0
# A cap on one message and one commit; the rest follows in the next round.
WRITES_A_BATCH = 5000


class Scheduler(HarpoonActor):
    """One batch of writes is under way at a time, and seen back in the replica before the next decision."""

    topic: ClassVar[Topic] = "waiting"
    follows: ClassVar[dict[Topic, frozenset[str] | None]] = {"desired": None, "actual": None}

    def begin(self) -> None:
        """Load the placement algorithm that the settings name."""
        if self.settings is None:
            raise AssertionError("wired without settings")
        self.rule = Rule(
            placement.algorithm(self.settings.placement),
            Random(self.random.random()),  # noqa: S311 - placement, not secrets
            self.settings.lost_after_seconds,
        )
        self._queued: list[Write] = []
        self._sent: tuple[Write, ...] = ()
        self._woken = False
        self._batch = ""
        self._sent_at = 0.0
        self._awaited_version = 0

    def changed(self, topic: Topic, changes: Changes) -> None:
        """Let the rule see what changed."""
        if topic == "desired":
            self.rule.desired_changed(changes)
        else:
            self.rule.actual_changed(changes)

    def settle(self) -> None:
        """Decide, once the last writes are answered and visible."""
        if self.settings is None or not all(followed.known for followed in self.followed.values()):
            return
        if self._batch or self.followed["desired"].replica.version < self._awaited_version:
            return
        if not self._queued and (self.rule.has_work or self._woken):
            self._woken = False
            decisions = self.rule.decide(time.time())
            changes: Changes = {(WAITING, prefix): why for prefix, why in decisions.waiting.items()}
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
