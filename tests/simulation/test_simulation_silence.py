"""How long a hung agent is taken for one that has nothing to say."""

from __future__ import annotations

from simulation.scenario import job_config
from simulation.scripted import script
from simulation.world import World

ANSWER_SECONDS = 5.0
SILENCE_SECONDS = 10.0


def crowd_b(world: World) -> None:
    """One of two agents has a container; nobody's, but it shows that b is not idle."""
    world.put("b", "other-0", job_config("queue", 0, 1).container(), "running")


def test_an_agent_without_containers_is_asked_later_than_others_and_not_never() -> None:
    with script({"a": 400, "b": 400}, 1, before=crowd_b) as it:
        it.begin()
        it.pass_seconds(1.0)
        hung_at = it.elapsed()
        for agent in "ab":
            it.strike("agent hangs", agent, seconds=300.0)
        it.until(lambda: it.link("b") == "stale", "who has a container is stale soon")
        assert it.elapsed() - hung_at < 1.25 * SILENCE_SECONDS + ANSWER_SECONDS + 1.0
        assert it.link("a") == "connected", "who has none is given time"
        it.until(lambda: it.link("a") == "stale", "but not for ever")
        assert 4 * SILENCE_SECONDS < it.elapsed() - hung_at < 8 * SILENCE_SECONDS + ANSWER_SECONDS


def test_an_idle_agent_that_hangs_has_no_more_time_than_others_from_its_first_command_on() -> None:
    with script({"a": 400}, 1) as it:
        it.begin()
        it.pass_seconds(1.0)
        it.strike("agent hangs", "a", seconds=300.0)
        it.pass_seconds(SILENCE_SECONDS)
        assert it.link("a") == "connected"
        scheduled_at = it.elapsed()
        it.schedule("web")
        it.until(lambda: it.link("a") == "stale", "it is asked")
        assert it.elapsed() - scheduled_at < 1.25 * SILENCE_SECONDS + ANSWER_SECONDS + 1.0
