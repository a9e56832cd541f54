"""Spread, distinct hosts and constraints in placement: even over the values, nothing where it may not be."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rules_made import PROPERTY, job_config, version_of

from scheduling.placement import eligible, explain, least_used, random_fit
from scheduling.room import Need, Room, need_of_job
from scheduling.spread import fill, spread_over

COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 9), min_size=1)


def room(name: str, mem: int = 1000, **attributes: str) -> Room:
    return Room(agent=name, mem_total=mem, cpu_total=100.0, attributes=attributes)


def need(**more: Any) -> Need:
    return need_of_job(version_of(job_config(mem=10, cpu=0.1, **more)))


@PROPERTY
@given(COUNTS, st.integers(0, 40))
def test_each_task_goes_where_the_fewest_are(counts: dict[str, int], tasks: int) -> None:
    given_ = fill(dict(counts), tasks)
    one_by_one = dict(counts)
    for _ in range(tasks):
        fewest = min(one_by_one, key=lambda value: (one_by_one[value], value))
        one_by_one[fewest] += 1
    assert sum(given_.values()) == tasks
    assert sorted(one_by_one.values()) == sorted(counts[value] + given_.get(value, 0) for value in counts)


def test_tasks_are_spread_over_zones_however_many_agents_each_has() -> None:
    rooms = [room(f"a{number}", zone="a") for number in range(5)] + [room("b", zone="b"), room("c", zone="c")]
    for algorithm in (least_used, random_fit):
        chosen = spread_over("zone", algorithm)(need(), 9, rooms, Random(1))
        assert Counter(each.attributes["zone"] for each in chosen) == {"a": 3, "b": 3, "c": 3}


def test_those_that_are_there_count() -> None:
    rooms = [room("a", zone="a"), room("b", zone="b")]
    wanted = need()
    for _ in range(3):
        rooms[0].take(wanted)
    chosen = spread_over("zone", least_used)(wanted, 3, rooms, Random(1))
    assert [each.agent for each in chosen] == ["b"] * 3


def test_where_a_zone_is_full_the_others_take_the_rest() -> None:
    rooms = [room("a", mem=20, zone="a"), room("b", zone="b"), room("nowhere")]
    chosen = spread_over("zone", least_used)(need(), 12, rooms, Random(1))
    assert Counter(each.agent for each in chosen) == {"a": 2, "b": 5, "nowhere": 5}
    assert spread_over("zone", least_used)(need(), 500, [room("a", mem=20)], Random(1)) != []


def test_distinct_hosts_have_one_task_each() -> None:
    rooms = [room("a"), room("b")]
    wanted = need(distinct_hosts=True)
    for algorithm in (least_used, random_fit, spread_over("zone", least_used)):
        fresh = [room("a"), room("b")]
        chosen = algorithm(wanted, 5, fresh, Random(1))
        assert sorted(each.agent for each in chosen) == ["a", "b"]
    for each in rooms:
        each.take(wanted)
    why = explain("web", 1, wanted, rooms)
    assert "has a task of this job already" in why.reason


def test_constraints_are_looked_at_once_and_told() -> None:
    rooms = [room("a", zone="a"), room("b", zone="b")]
    wanted = need(constraints=["zone = b"])
    left, kept = eligible(wanted, rooms)
    assert ([each.agent for each in kept], left.constraints) == (["b"], ())
    why = explain("web", 1, need(constraints=["zone = c"]), rooms)
    assert why.reason == (
        "no agent fits; nearest: a: zone is a; it must be c; of 2 agents: 2 do not match zone = c"
    )
    assert [refusal.agent for refusal in why.refusals] == ["a", "b"]


def test_what_lacks_memory_is_nearer_than_what_is_of_the_wrong_kind() -> None:
    rooms = [room("wrong", zone="a"), room("small", mem=5, zone="b")]
    why = explain("web", 1, need(constraints=["zone = b"]), rooms)
    assert [refusal.agent for refusal in why.refusals] == ["small", "wrong"]
