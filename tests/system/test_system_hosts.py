"""Hosts with agents are cut off and come back: what runs where, and how often each task was started."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from netns_fleet import (
    BRAKED,
    HASTY,
    LOST_SECONDS,
    PATIENT,
    agents_on,
    all_starts,
    counted,
    follow,
    scheduler_on,
    shown,
    starts,
    tasks_of,
    wait_link,
    wait_started,
)
from netns_harness import Host, network
from system_harness import Agent, Scheduler, wait_until

# So long after all is well again a scheduler that meant to do something would have done it.
SETTLED_SECONDS = 1.0


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    """The scheduler's host, and three for agents."""
    with network(4) as made:
        yield made


def check_untouched(scheduler: Scheduler, agents: Sequence[Agent], before: Sequence[set[str]]) -> None:
    """Nothing was moved and nothing restarted, also once there was time to do so."""
    over_at = time.monotonic() + SETTLED_SECONDS
    wait_until(lambda: time.monotonic() > over_at, "time to do harm")
    assert [tasks_of(host) for host in agents] == list(before), "nothing has moved"
    assert [starts(host) for host in agents] == [Counter(dict.fromkeys(tasks, 1)) for tasks in before]


def test_a_host_away_past_its_tolerance_is_replaced_and_its_copies_stop_when_it_is_back(
    tmp_path: Path, hosts: list[Host]
) -> None:
    with (
        agents_on(hosts[1:], tmp_path) as agents,
        scheduler_on(hosts[0], tmp_path / "scheduler", follow(agents), HASTY) as scheduler,
    ):
        scheduler.schedule(counted("web", 6))
        scheduler.wait_running("web", 6)
        wait_started(agents, 6)
        first, others = agents[0], agents[1:]
        hit = tasks_of(first)
        before = [tasks_of(host) for host in others]
        assert [len(hit), *map(len, before)] == [2, 2, 2]

        hosts[1].cut()
        wait_until(lambda: shown(scheduler, first)["lost_since"], "lost", LOST_SECONDS)
        wait_until(lambda: sum(len(tasks_of(host)) for host in others) == 6, "all six run on the others")
        scheduler.wait_running("web", 6)
        wait_started(agents, 8)
        assert tasks_of(first) == hit, "where nobody can reach them they run on"

        hosts[1].heal()
        wait_until(lambda: not first.containers(), "the copies that nobody wants any more are stopped")
        wait_until(lambda: shown(scheduler, first)["lost_since"] is None, "it is here again")
        scheduler.wait_running("web", 6)
        assert starts(first) == Counter(dict.fromkeys(hit, 1))
        assert all_starts(others) == Counter(dict.fromkeys(hit.union(*before), 1)), "each once elsewhere"
        assert all(kept <= tasks_of(host) for kept, host in zip(before, others, strict=True)), "left alone"


def test_a_host_away_for_less_than_its_tolerance_keeps_its_tasks(tmp_path: Path, hosts: list[Host]) -> None:
    with (
        agents_on(hosts[1:], tmp_path) as agents,
        scheduler_on(hosts[0], tmp_path / "scheduler", follow(agents), PATIENT) as scheduler,
    ):
        scheduler.schedule(counted("web", 6))
        scheduler.wait_running("web", 6)
        wait_started(agents, 6)
        before = [tasks_of(host) for host in agents]

        hosts[1].cut()
        wait_link(scheduler, agents[:1], "stale")
        hosts[1].heal()
        wait_link(scheduler, agents, "connected")

        scheduler.wait_running("web", 6)
        check_untouched(scheduler, agents, before)


def test_the_brake_holds_while_two_of_three_hosts_are_away(tmp_path: Path, hosts: list[Host]) -> None:
    """With two agents a host: it takes at least three agents, and more than half of them."""
    with (
        agents_on(hosts[1:], tmp_path, each=2) as agents,
        scheduler_on(hosts[0], tmp_path / "scheduler", follow(agents), BRAKED) as scheduler,
    ):
        scheduler.schedule(counted("web", 6))
        scheduler.wait_running("web", 6)
        wait_started(agents, 6)
        before = [tasks_of(host) for host in agents]
        away = agents[:4]

        for host in hosts[1:3]:
            host.cut()
        wait_link(scheduler, away, "stale")
        over_at = time.monotonic() + BRAKED["lost_after_seconds"] + SETTLED_SECONDS
        wait_until(lambda: time.monotonic() > over_at, "more than the tolerance")
        assert scheduler.get("/health/ready").json()["brake"]
        assert [shown(scheduler, host)["lost_since"] for host in away] == [None] * 4
        for host in hosts[1:3]:
            host.heal()
        wait_link(scheduler, agents, "connected")

        wait_until(lambda: scheduler.get("/health/ready").json()["brake"] is None, "the brake is off")
        scheduler.wait_running("web", 6)
        check_untouched(scheduler, agents, before)


def test_the_schedulers_host_is_cut_off_from_all_agents(tmp_path: Path, hosts: list[Host]) -> None:
    with (
        agents_on(hosts[1:], tmp_path) as agents,
        scheduler_on(hosts[0], tmp_path / "scheduler", follow(agents), BRAKED) as scheduler,
    ):
        scheduler.schedule(counted("web", 6))
        scheduler.wait_running("web", 6)
        wait_started(agents, 6)
        before = [tasks_of(host) for host in agents]

        hosts[0].cut()
        wait_link(scheduler, agents, "stale")
        assert scheduler.schedule(counted("later", 3)).status_code == 202, "it is accepted meanwhile"
        over_at = time.monotonic() + BRAKED["lost_after_seconds"] + SETTLED_SECONDS
        wait_until(lambda: time.monotonic() > over_at, "more than the tolerance")
        hosts[0].heal()

        scheduler.wait_running("web", 6, timeout_seconds=30)
        scheduler.wait_running("later", 3)
        wait_started(agents, 9)
        assert set(all_starts(agents).values()) == {1}, "each was started once"
        assert all(kept <= tasks_of(host) for kept, host in zip(before, agents, strict=True)), (
            "none has moved"
        )


def test_a_scheduler_is_killed_while_a_host_is_away(tmp_path: Path, hosts: list[Host]) -> None:
    """Its successor knows from the registry what runs there, though it has never heard of that host."""
    with agents_on(hosts[1:], tmp_path) as agents:
        with scheduler_on(hosts[0], tmp_path / "scheduler", follow(agents), PATIENT) as scheduler:
            scheduler.schedule(counted("web", 6))
            scheduler.wait_running("web", 6)
            wait_started(agents, 6)
            before = [tasks_of(host) for host in agents]
            hosts[1].cut()
            wait_link(scheduler, agents[:1], "stale")
            scheduler.end(signal.SIGKILL)
        with scheduler_on(hosts[0], tmp_path / "scheduler", follow(agents), PATIENT) as scheduler:
            wait_link(scheduler, agents[1:], "connected")
            assert shown(scheduler, agents[0])["link"] == "connecting"
            hosts[1].heal()
            wait_link(scheduler, agents, "connected")
            scheduler.wait_running("web", 6)
            check_untouched(scheduler, agents, before)
