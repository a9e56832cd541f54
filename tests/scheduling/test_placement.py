"""The algorithms: they never overcommit, they place what fits, and every refusal is explained."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from random import Random
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rules_made import PROPERTY

from config.bounds import MOST_REFUSALS_SHOWN
from scheduling.constraints import parse
from scheduling.placement import (
    ALGORITHMS,
    Algorithm,
    algorithm,
    explain,
    fits,
    least_used,
    random_fit,
    refusal,
)
from scheduling.room import CPU_TOLERANCE, Need, Room

PORTS, PATHS = st.sampled_from([80, 443, 8080]), st.sampled_from(["/a", "/b"])
NEEDS = st.builds(
    Need,
    mem=st.integers(0, 100),
    cpu=st.sampled_from([0.1, 0.3, 0.5, 1.0, 2.5]),
    ports=st.frozensets(PORTS, max_size=2),
    volumes=st.frozensets(PATHS, max_size=1),
    driver=st.sampled_from(["process", "process", "bubblewrap"]),
    limits=st.frozensets(st.sampled_from(["mem", "pids"]), max_size=1),
)


def room(name: str = "a", mem: int = 100, cpu: float = 4.0, closed: str = "", **more: object) -> Room:
    made = Room(agent=name, closed=closed, mem_total=mem, cpu_total=cpu)
    for field, value in more.items():
        setattr(made, field, value)
    return made


@st.composite
def rooms(draw: st.DrawFn, largest: int = 5) -> list[Room]:
    found = []
    for number in range(draw(st.integers(0, largest))):
        found.append(
            Room(
                agent=f"n{number}",
                closed=draw(st.sampled_from(["", "", "", "it is drained"])),
                mem_total=draw(st.integers(0, 300)),
                cpu_total=draw(st.sampled_from([0.0, 0.3, 1.0, 4.0])),
                volumes=draw(st.frozensets(PATHS)),
                mem_used=draw(st.integers(0, 300)),
                cpu_used=draw(st.sampled_from([0.0, 0.1, 0.2, 1.0, 5.0])),
                ports=draw(st.dictionaries(PORTS, st.sampled_from(["", "x-0"]), max_size=2)),
                drivers=frozenset({"process"}) | draw(st.frozensets(st.just("bubblewrap"))),
                limits=draw(st.sampled_from([frozenset[str](), frozenset({"mem", "pids", "tree"})])),
            )
        )
    return found


def opened(found: list[Room]) -> list[Room]:
    return [one for one in found if not one.closed]


BOTH = pytest.mark.parametrize("choose", ALGORITHMS.values(), ids=ALGORITHMS.keys())


@PROPERTY
@given(NEEDS, rooms(largest=1))
def test_fits_says_the_same_as_refusal(need: Need, found: list[Room]) -> None:
    for one in found:
        assert fits(need, one) == (refusal(need, one) is None)


def test_fits_and_refusal_agree_to_the_last_bit_of_a_core() -> None:
    drifted = room(cpu=1.0, cpu_used=0.1 + 0.2 + 0.3)  # a little more than 0.6
    need = Need(mem=0, cpu=0.4)
    assert need.cpu > drifted.cpu_total - drifted.cpu_used
    assert fits(need, drifted)
    assert refusal(need, drifted) is None
    for short in (0.5, 0.99, 1.01, 2.0):
        nearly = room(cpu=1.0, cpu_used=short * CPU_TOLERANCE)
        one = Need(mem=0, cpu=1.0)
        assert fits(one, nearly) == (refusal(one, nearly) is None) == (short < 1)


@BOTH
@PROPERTY
@given(need=NEEDS, tasks=st.integers(0, 30), found=rooms(), seed=st.integers(0, 3))
def test_no_agent_is_given_more_than_it_has(
    choose: Algorithm, need: Need, tasks: int, found: list[Room], seed: int
) -> None:
    before = {one.agent: copy.deepcopy(one) for one in found}
    chosen = choose(need, tasks, opened(found), Random(seed))
    assert len(chosen) <= tasks
    for one in found:
        was, given_to = before[one.agent], sum(pick.agent == one.agent for pick in chosen)
        assert one.tasks == was.tasks + given_to
        assert one.mem_used == was.mem_used + given_to * need.mem
        if given_to:
            assert one.mem_used <= one.mem_total
            assert one.cpu_used <= one.cpu_total + 1e-6
            assert need.volumes <= one.volumes
            assert need.driver in one.drivers
            assert need.limits <= one.limits
            assert not need.ports & set(was.ports)
            assert given_to == 1 or not need.ports


@BOTH
@PROPERTY
@given(need=NEEDS, tasks=st.integers(0, 30), found=rooms(), seed=st.integers(0, 3))
def test_a_place_is_found_if_there_is_one(
    choose: Algorithm, need: Need, tasks: int, found: list[Room], seed: int
) -> None:
    chosen = choose(need, tasks, opened(found), Random(seed))
    if len(chosen) < tasks:
        assert not any(fits(need, one) for one in found), "who waits fits nowhere"


@BOTH
@PROPERTY
@given(need=NEEDS, tasks=st.integers(0, 30), found=rooms(), seed=st.integers(0, 9))
def test_equal_seeds_choose_equally(
    choose: Algorithm, need: Need, tasks: int, found: list[Room], seed: int
) -> None:
    other = copy.deepcopy(found)
    one = [pick.agent for pick in choose(need, tasks, opened(found), Random(seed))]
    assert one == [pick.agent for pick in choose(need, tasks, opened(other), Random(seed))]


@BOTH
def test_other_seeds_choose_otherwise(choose: Algorithm) -> None:
    need = Need(mem=1, cpu=0.1)
    firsts = {
        choose(need, 1, [room(f"n{number}") for number in range(10)], Random(seed))[0].agent
        for seed in range(50)
    }
    assert len(firsts) > 3, "equals are not all decided alike"


@PROPERTY
@given(count=st.integers(1, 8), tasks=st.integers(0, 40), seed=st.integers(0, 3))
def test_least_used_balances_equal_agents(count: int, tasks: int, seed: int) -> None:
    found = [room(f"n{number}", mem=10_000, cpu=100.0) for number in range(count)]
    assert len(least_used(Need(mem=10, cpu=0.1), tasks, found, Random(seed))) == tasks
    counts = [one.tasks for one in found]
    assert max(counts) - min(counts) <= 1


@PROPERTY
@given(need=NEEDS, found=rooms(), seed=st.integers(0, 3))
def test_least_used_takes_the_least_used_that_fits(need: Need, found: list[Room], seed: int) -> None:
    before = {one.agent: one.use for one in opened(found) if fits(need, one)}
    for chosen in least_used(need, 1, opened(found), Random(seed)):
        assert before[chosen.agent] == min(before.values())


def test_random_fit_spreads_over_all_that_fit() -> None:
    found = [room(f"n{number}", mem=1000, cpu=100.0) for number in range(5)]
    random_fit(Need(mem=1, cpu=0.1), 100, found, Random(0))
    assert all(one.tasks > 5 for one in found)


# --- words ------------------------------------------------------------------------------------------

NEED = Need(mem=256, cpu=1.0, ports=frozenset({80, 443}), volumes=frozenset({"/data", "/logs"}))
ALL = frozenset({"/data", "/logs"})


@pytest.mark.parametrize(
    ("where", "why"),
    [
        (room(mem=128, volumes=ALL), "short 128 MB"),
        (room(mem=300, mem_used=100, volumes=ALL), "short 56 MB"),
        (room(mem=256, cpu=0.5, volumes=ALL), "short 0.5 cores"),
        (room(mem=256, cpu=2.0, cpu_used=1.25, volumes=ALL), "short 0.25 cores"),
        (room(mem=256, volumes=frozenset({"/data"})), "has no volume /logs"),
        (room(mem=256), "has no volume /data, /logs"),
        (room(mem=256, volumes=ALL, ports={80: "x-0"}), "port 80 is taken by x-0"),
        (
            room(mem=256, volumes=ALL, ports={80: "", 443: "x-0", 1: "y"}),
            "port 80 is taken; port 443 is taken by x-0",
        ),
        (room(mem=200, cpu=0.9, volumes=ALL), "short 56 MB; short 0.1 cores"),
        (room(mem=0, closed="it is drained"), "it is drained"),
        (room(mem=256, volumes=ALL, drivers=frozenset({"oci"})), "can't run process tasks, only oci"),
    ],
)
def test_a_refusal_says_in_words_what_is_missing(where: Room, why: str) -> None:
    refused = refusal(NEED, where)
    assert refused is not None
    assert (refused.agent, refused.reason) == ("a", why)
    assert refused.distance > 0


@pytest.mark.parametrize(
    ("need", "why"),
    [
        (Need(mem=1, cpu=0.1, driver="bubblewrap"), "can't run bubblewrap tasks, only oci, process"),
        (Need(mem=1, cpu=0.1, limits=frozenset({"pids", "mem"})), "does not enforce a limit of mem"),
    ],
)
def test_a_refusal_says_which_driver_or_limit_is_missing(need: Need, why: str) -> None:
    where = room(drivers=frozenset({"process", "oci"}), limits=frozenset({"pids", "cpu"}))
    assert (refused := refusal(need, where)) is not None
    assert refused.reason == why


def test_what_fits_is_not_refused() -> None:
    assert refusal(NEED, room(mem=256, cpu=1.0, volumes=ALL)) is None


def test_the_nearest_miss_comes_first() -> None:
    found = [
        room("closed", closed="it is drained"),
        room("far", mem=10, volumes=ALL),
        room("n7", mem=128, volumes=ALL),
        room("no-volume", mem=256),
        room("near", mem=250, volumes=ALL),
        room("also-near", mem=250, volumes=ALL),
    ]
    waiting = explain("web-1234567", 3, NEED, found)
    assert [refused.agent for refused in waiting.refusals] == [
        "also-near",
        "near",
        "n7",
        "far",
        "no-volume",
        "closed",
    ]
    volumes = ", ".join(sorted(NEED.volumes))
    assert waiting.reason == (
        "no agent fits; nearest: also-near: short 6 MB; of 6 agents: 4 lack memory, "
        f"1 lacks the volume {volumes}, 1 is drained"
    )
    assert [(group.agents, group.what, group.nearest) for group in waiting.groups] == [
        (4, "lack memory", "also-near"),
        (1, f"lacks the volume {volumes}", "no-volume"),
        (1, "is drained", "closed"),
    ]
    assert (waiting.prefix, waiting.tasks, waiting.agents) == ("web-1234567", 3, 6)
    assert waiting.refusals[2].reason == "short 128 MB"


@PROPERTY
@given(NEEDS, rooms())
def test_explain_names_every_agent_that_refuses_and_no_other(need: Need, found: list[Room]) -> None:
    waiting = explain("p", 1, need, found)
    assert {refused.agent for refused in waiting.refusals} == {
        one.agent for one in found if not fits(need, one)
    }
    distances = [refused.distance for refused in waiting.refusals]
    assert distances == sorted(distances)


def test_only_the_nearest_are_shown_and_all_are_counted() -> None:
    waiting = explain("p", 1, NEED, [room(f"n{number:03}", mem=number) for number in range(100)])
    assert len(waiting.refusals) == MOST_REFUSALS_SHOWN
    assert waiting.refusals[0].agent == "n099"
    assert waiting.agents == 100
    assert waiting.reason.endswith("of 100 agents: 100 lack the volume /data, /logs")


def test_each_agent_is_counted_once_by_what_is_most_in_the_way() -> None:
    need = Need(
        mem=100, cpu=1.0, constraints=(parse("zone = a"), parse("kernel >= 6.1")), ports=frozenset({80})
    )
    found = [
        room("small", mem=40, cpu=0.5, attributes={"zone": "a", "kernel": "6.5"}),
        room("taken", ports={80: "web-0"}, mem=200, attributes={"zone": "a", "kernel": "6.5"}),
        room("b1", mem=50, attributes={"zone": "b", "kernel": "6.5"}),
        room("b2", mem=500, attributes={"zone": "b", "kernel": "6.5"}),
        room("old", mem=500, attributes={"zone": "a", "kernel": "5.1"}),
        room("away", closed="it is not connected: Connection refused"),
        room("new", closed="it has not answered yet"),
        room("newer", closed="it has not answered yet"),
    ]
    reason = explain("p", 2, need, found).reason
    assert reason == (
        "no agent fits; nearest: taken: port 80 is taken by web-0; of 8 agents: 1 has a port taken, "
        "1 lacks memory, 2 do not match zone = a, 1 does not match kernel >= 6.1, 3 more"
    )
    groups = explain("p", 2, need, found).groups
    assert sum(group.agents for group in groups) == 8
    assert [group.what for group in groups][-2:] == ["is not connected", "have not answered yet"]


def test_without_agents_that_is_the_reason() -> None:
    assert explain("p", 1, NEED, []).reason == "there is no agent"


# --- one's own algorithm ----------------------------------------------------------------------------


def test_an_algorithm_is_named_or_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert algorithm("random_fit") is random_fit
    assert algorithm("least_used") is least_used
    mine = ModuleType("my_placement")
    mine.first_fit = random_fit  # type: ignore[attr-defined]
    mine.number = 5  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_placement", mine)
    assert algorithm("my_placement:first_fit") is random_fit
    with pytest.raises(ValueError, match='the placement algorithm "my_placement:number" is no function'):
        algorithm("my_placement:number")


def test_a_module_that_breaks_when_it_is_loaded_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_placement.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"can't be loaded \(division by zero\)"):
        algorithm("broken_placement:choose")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("best_fit", 'there is no placement algorithm "best_fit"'),
        ("", 'there is no placement algorithm ""'),
        ("no_such_module:f", "can't be loaded (No module named 'no_such_module')"),
        ("json:no_such_function", "can't be loaded (module 'json' has no attribute 'no_such_function')"),
    ],
)
def test_a_wrong_name_is_refused_with_what_would_be_right(name: str, why: str) -> None:
    with pytest.raises(
        ValueError, match="it must be one of random_fit, least_used or module:function"
    ) as caught:
        algorithm(name)
    assert why in str(caught.value)


@pytest.mark.parametrize("name", [":f", "json:", "a..b:f", ".x:f", "json:a b"])
def test_a_malformed_name_is_refused_too(name: str) -> None:
    with pytest.raises(ValueError, match="placement algorithm"):
        algorithm(name)
