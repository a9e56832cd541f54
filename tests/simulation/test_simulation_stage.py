"""The simulated stage keeps what Thespian promises: messages from one actor to another come in order."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

from simulation.clock import Clock
from simulation.stage import Address, Backstage, Stage
from simulation.trace import Trace


class Listener:
    """An actor that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[int] = []

    def receiveMessage(self, message: Any, _sender: Any) -> None:  # noqa: N802 - Thespian's name
        """Keep it."""
        self.heard.append(message.number)


def test_messages_keep_their_order_however_often_their_receiver_hangs() -> None:
    clock = Clock()
    stage = Stage(clock, Random(1), Trace())
    actor: Backstage = stage.create(Listener, None)
    for number in range(20):
        stage.send(Address(0), actor.address, SimpleNamespace(number=number))
        clock.step(clock.now + 0.5)
        if number in (3, 9):
            # The second time before the first is over: what was held is held for longer.
            actor.held_until = clock.now + 30.0
        if number == 15:
            actor.hangs_over = ("SimpleNamespace", 5.0)
    while clock.step(clock.now + 100.0):
        pass
    assert actor.performer.heard == list(range(20))


def test_a_dead_actor_hears_nothing_of_what_was_held() -> None:
    clock = Clock()
    stage = Stage(clock, Random(1), Trace())
    actor = stage.create(Listener, None)
    actor.held_until = clock.now + 30.0
    stage.send(Address(0), actor.address, SimpleNamespace(number=1))
    clock.step(clock.now + 10.0)
    stage.kill(actor, "killed")
    happened = [clock.step(clock.now + 100.0) for _ in range(10)]
    assert actor.performer.heard == []
    assert sum(happened) <= 1, "nothing comes for it again and again"
