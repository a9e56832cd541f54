"""Transformer: compares desired with actual, and sends task commands to the shepherd."""

from __future__ import annotations

import time
from typing import ClassVar

from actors.base import HarpoonActor
from actors.messages import Commands, Topic
from scheduling.actual import STATE
from scheduling.replica import Changes
from scheduling.transformer import Transformer as Rule


class Transformer(HarpoonActor):
    """A thin shell around `scheduling.transformer`."""

    follows: ClassVar[dict[Topic, frozenset[str] | None]] = {"desired": None, "actual": STATE}

    def begin(self) -> None:
        """Start without any knowledge; the snapshots bring it."""
        self.rule = Rule()

    def changed(self, topic: Topic, changes: Changes) -> None:
        """Let the rule see what changed."""
        if topic == "desired":
            self.rule.desired_changed(changes)
        else:
            self.rule.actual_changed(changes)

    def tick(self) -> None:
        """Look again at commands that were not echoed."""
        self.rule.resend(time.monotonic())

    def settle(self) -> None:
        """Command the differences, once both states are known."""
        if self.settings is None or not all(followed.known for followed in self.followed.values()):
            return
        if self.rule.has_work:
            batch = self.rule.decide(time.monotonic())
            if batch.commands:
                self.send(self.peers["shepherd"], Commands(batch=batch))
