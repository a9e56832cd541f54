"""How a flock makes its state machines, seen from outside: how many at once, and for whom."""

from __future__ import annotations

from actors.messages import Follow
from config.bounds import MACHINES_STARTING
from simulation.scripted import script

MORE = [f"more{number}" for number in range(3 * MACHINES_STARTING)]


def test_an_agent_that_is_taken_back_before_its_turn_came_is_forgotten() -> None:
    """The flock has no state machine for it yet, and must not miss one."""
    with script({"a": 400}, 1) as it:
        it.begin()
        flock, shepherd = it.actor("Flock"), it.actor("Shepherd")
        own, settings = dict(flock.performer.endpoints), flock.performer.settings
        epoch = flock.performer.publisher.epoch
        many = own | dict.fromkeys(MORE, own["a"])
        follow = [Follow(agents=agents, settings=settings, epoch=epoch) for agents in (many, own)]
        it.world.stage.send(shepherd.address, flock.address, follow[0])
        it.until(lambda: len(flock.performer.endpoints) > 1, "it has heard of the others")
        assert len(it.world.stage.of_kind("StateMachine")) == 1 + MACHINES_STARTING
        it.world.stage.send(shepherd.address, flock.address, follow[1])
        it.until(lambda: len(it.world.stage.of_kind("StateMachine")) == 1, "only its own agent's is left")
        assert it.actor("Flock") is flock, "it has gone on"
        assert flock.performer.endpoints == own
        it.until(lambda: it.link("a") == "connected", "its own agent is followed as before")
