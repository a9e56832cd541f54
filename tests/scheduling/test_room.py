"""What an agent has left: each container counted once, whoever knows of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from rules_made import agent, instance, job_config, needing, placement, report, resources, status, version_of

from scheduling.actual import AGENT as ACTUAL_AGENT
from scheduling.actual import CONTAINER, Actual, AgentStatus, ContainerReport
from scheduling.desired import JOB, PLACEMENT, Agent, Desired, Job
from scheduling.job import JobConfig, Limits
from scheduling.lifecycle import Phase
from scheduling.room import Need, Room, measure, need_of

WEB = version_of(job_config(scale=3, mem=64, cpu=0.5, ports={"A": 80, "B": 0}))
TASK = f"{WEB.prefix}-0"
FOREIGN = "cache-1234567-0"


def desired_of(*tasks: str, intent: str = "run", jobs: tuple[Job, ...] = (WEB,)) -> Desired:
    desired = Desired()
    desired.apply({(JOB, job.prefix): job for job in jobs})
    desired.apply({(PLACEMENT, task): placement(task, ("a", intent)) for task in tasks})
    return desired


def actual_of(*reports: ContainerReport, link: AgentStatus | None = None) -> Actual:
    actual = Actual()
    actual.apply({(ACTUAL_AGENT, "a"): link or status("a", has=resources(256, 4.0, ("/data",)))})
    actual.apply({(CONTAINER, one.agent, one.task): one for one in reports})
    return actual


def of(task: str, config: JobConfig = WEB.config, phase: Phase = Phase.RUNNING) -> ContainerReport:
    return report("a", task, phase, instance=instance(task, config=config.container()))


def used(room: Room) -> tuple[int, float, int]:
    return room.mem_used, room.cpu_used, room.tasks


def test_an_empty_agent_has_all_it_reports_whatever_it_says_is_reserved() -> None:
    room = measure(agent(), desired_of(), actual_of())
    assert (room.mem_total, room.cpu_total, room.volumes) == (256, 4.0, frozenset({"/data"}))
    assert used(room) == (0, 0.0, 0)
    assert (room.closed, room.ports) == ("", {})


@pytest.mark.parametrize(
    ("placed", "reported"),
    [((TASK,), ()), ((), (of(TASK),)), ((TASK,), (of(TASK),)), ((TASK,), (report("a", TASK, Phase.ABSENT),))],
    ids=["placed, on its way", "reported only", "placed and reported", "placed, reported absent"],
)
def test_a_container_is_counted_once(placed: tuple[str, ...], reported: tuple[ContainerReport, ...]) -> None:
    room = measure(agent(), desired_of(*placed), actual_of(*reported))
    assert used(room) == (64, 0.5, 1)
    assert room.ports == {80: TASK}


def test_a_container_being_created_is_counted_before_it_has_an_instance() -> None:
    creating = report("a", TASK, Phase.CREATING, instance=None)
    assert used(measure(agent(), desired_of(TASK), actual_of(creating))) == (64, 0.5, 1)


def test_a_copy_to_be_stopped_takes_room_until_it_is_gone() -> None:
    assert used(measure(agent(), desired_of(TASK, intent="stop"), actual_of(of(TASK)))) == (64, 0.5, 1)
    assert used(measure(agent(), desired_of(TASK, intent="stop"), actual_of())) == (64, 0.5, 1)


def test_foreign_containers_take_room() -> None:
    cache = job_config("cache", mem=100, cpu=1.0, ports={"X": 6379})
    room = measure(agent(), desired_of(TASK), actual_of(of(FOREIGN, cache, Phase.ENDED), of(TASK)))
    assert used(room) == (164, 1.5, 2)
    assert room.ports == {80: TASK, 6379: FOREIGN}


def test_the_ports_an_agent_chose_are_taken() -> None:
    chosen = needing(WEB.config, ports={"A": 80, "B": 30001})
    assert set(measure(agent(), desired_of(TASK), actual_of(of(TASK, chosen))).ports) == {80, 30001}


def test_a_port_that_the_agent_chooses_is_not_needed_and_volumes_are_host_paths() -> None:
    config = needing(WEB.config, volumes={"/in/task": "/on/host"})
    assert need_of(config) == Need(mem=64, cpu=0.5, ports=frozenset({80}), volumes=frozenset({"/on/host"}))


def test_what_an_agent_runs_and_enforces_is_what_it_reports() -> None:
    has = msgspec.structs.replace(resources(), drivers=["process", "oci"], limits=["mem", "tree"])
    room = measure(agent(), desired_of(), actual_of(link=status(has=has)))
    assert room.drivers == {"process", "oci"}
    assert room.limits == {"mem", "tree"}
    old = measure(agent(), desired_of(), actual_of(link=status(has=resources())))
    assert old.drivers == {"process"}, "one of 2014 says nothing of it"
    assert not old.limits


def test_a_driver_and_the_limits_that_a_job_asks_for_are_needed() -> None:
    config = needing(WEB.config, driver="bubblewrap", limits=Limits(mem=100, pids=5))
    assert need_of(config).driver == "bubblewrap"
    assert need_of(config).limits == {"mem", "pids"}


@pytest.mark.parametrize(
    ("of_registry", "of_shepherd", "why"),
    [
        ({"drained": True}, {}, "it is drained"),
        ({"lost_since": 1.0}, {}, "it is lost"),
        ({"sources": ()}, {}, "it is being removed"),
        ({}, {"link": "stale", "error": "no route to host"}, "it is not connected: no route to host"),
        ({}, {"link": "connected", "answered": False, "has": resources()}, "it is not connected"),
        ({}, {"link": "connecting", "answered": False}, "it has not answered yet"),
    ],
)
def test_nothing_is_placed_on_an_agent_that_is_closed(
    of_registry: dict[str, Any], of_shepherd: dict[str, Any], why: str
) -> None:
    room = measure(agent(**of_registry), desired_of(), actual_of(link=status("a", **of_shepherd)))
    assert room.closed == why


def test_an_agent_nobody_has_heard_of_is_closed() -> None:
    assert measure(Agent(name="x", endpoint="http://x:1"), Desired(), Actual()).closed


def test_use_is_the_fuller_of_memory_and_cores() -> None:
    assert Room(agent="a", mem_total=100, mem_used=25, cpu_total=4.0, cpu_used=2.0).use == 0.5
    assert Room(agent="a", mem_total=100, mem_used=75, cpu_total=4.0, cpu_used=2.0).use == 0.75
    assert Room(agent="a").use == 1.0, "what has nothing is full"


@pytest.mark.parametrize(
    ("reported", "closed"),
    [
        ((), True),
        ((report("a", TASK, Phase.CREATING, instance=None),), True),
        ((of(TASK),), False),
        ((report("a", TASK, Phase.ABSENT, goal="stop", generation=1),), False),
        ((report("a", TASK, Phase.ABSENT, goal="stop", generation=0),), True),
    ],
    ids=["not heard of", "being created", "there", "absent", "absent before it was placed there"],
)
def test_a_copy_of_unknown_size_closes_the_agent(reported: tuple[ContainerReport, ...], closed: bool) -> None:
    """Its job is gone, and with it what the copy needs, unless the agent shows it."""
    room = measure(agent(), desired_of(TASK, intent="stop", jobs=()), actual_of(*reported))
    assert room.closed == ("it is stopping a task of unknown size" if closed else "")
