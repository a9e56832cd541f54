"""Which agents are in one flock: those of one zone, and no more than fit; nobody is moved without need."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from config.bounds import MOST_ZONES
from scheduling.flocks import Flocks


def test_agents_of_one_zone_are_together_until_a_flock_is_full() -> None:
    flocks = Flocks()
    told = [flocks.put(f"n{number}", "http://x", "east", 2) for number in range(3)]
    assert told == ["flock-1", "flock-1", "flock-2"]
    assert flocks.put("m", "http://x", "west", 2) == "flock-3"
    assert flocks.put("k", "http://x", "", 2) == "flock-4"
    assert flocks.zones == {"flock-1": "east", "flock-2": "east", "flock-3": "west", "flock-4": ""}


def test_a_flock_is_told_of_a_new_address_and_of_nothing_that_it_knows() -> None:
    flocks = Flocks()
    flocks.put("n", "http://x", "", 2)
    assert flocks.put("n", "http://x", "", 2) is None
    assert flocks.put("n", "http://y", "", 2) == "flock-1"
    assert flocks.agents == {"flock-1": {"n": "http://y"}}


def test_room_that_has_become_free_is_used_first() -> None:
    flocks = Flocks()
    for number in range(3):
        flocks.put(f"n{number}", "http://x", "", 2)
    assert flocks.take_out("n0") == "flock-1"
    assert flocks.put("m", "http://x", "", 2) == "flock-1"


def test_an_agent_whose_zone_changes_is_elsewhere() -> None:
    flocks = Flocks()
    flocks.put("n", "http://x", "east", 2)
    assert flocks.is_elsewhere("n", "west")
    assert not flocks.is_elsewhere("n", "east")
    assert not flocks.is_elsewhere("nobody", "west")


def test_so_many_zones_count_and_the_rest_are_none() -> None:
    flocks = Flocks()
    for number in range(MOST_ZONES):
        flocks.put(f"n{number}", "http://x", f"zone-{number}" if number else "", 50)
    assert flocks.put("late", "http://x", "one more", 50) == "flock-1", "with those of no zone"
    assert not flocks.is_elsewhere("late", "one more"), "it is not moved for ever"


def test_an_empty_flock_is_forgotten() -> None:
    flocks = Flocks()
    flocks.put("n", "http://x", "east", 2)
    flocks.take_out("n")
    flocks.forget("flock-1")
    assert (flocks.agents, flocks.zones, flocks.of_agent) == ({}, {}, {})
    assert flocks.put("n", "http://x", "east", 2) == "flock-2", "a name is not used again"


@given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from(["", "a", "b"])), max_size=60))
def test_each_agent_is_in_one_flock_of_its_zone(steps: list[tuple[int, str]]) -> None:
    flocks = Flocks()
    wanted = {}
    for number, zone in steps:
        name = f"n{number}"
        if flocks.is_elsewhere(name, zone):
            flocks.take_out(name)
        flocks.put(name, "http://x", zone, 3)
        wanted[name] = zone
    assert {name: flocks.zones[flock] for name, flock in flocks.of_agent.items()} == wanted
    assert sorted(name for agents in flocks.agents.values() for name in agents) == sorted(wanted)
    assert all(len(agents) <= 3 for agents in flocks.agents.values())
