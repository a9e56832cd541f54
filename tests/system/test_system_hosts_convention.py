"""A leader and a member with sixty agents: cut off, partitioned, killed; and no task is started twice.

The agents are simulated (docs/fleet.md); the hosts and the network between them are real. It is broken for
longer than all leases and timeouts of the convention; `make soak` has it so for a minute.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from netns_convention import (
    AGENTS,
    FOLLOWED_BY_MEMBER,
    MADE_GOOD_SECONDS,
    Convention,
    Watch,
    convention,
    links,
    machines,
    run_tasks,
    wait_connected,
    wait_followed,
)
from netns_harness import BRIDGES
from system_harness import Program, Scheduler, job, wait_until

# A flock that hears nothing of its shepherd ends after 15 s, which is the longest of them.
CUT_SECONDS = float(os.environ.get("NETWORK_CUT_SECONDS", "18"))
ANSWER_SECONDS = 1.0


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Convention]:
    """The hosts, with their agents."""
    with convention(tmp_path) as made:
        yield made


def begin(scheduler: Scheduler, member: Program) -> None:
    """Each follows its zone, and a task runs on each agent."""
    wait_followed(member)
    wait_connected(scheduler)
    run_tasks(scheduler, "web")


def wait_for_cut(began: float) -> None:
    """Wait until the network has been broken for long enough."""
    wait_until(lambda: time.monotonic() > began + CUT_SECONDS, "the cut", CUT_SECONDS + 5)


def check_once(it: Convention, scheduler: Scheduler, *names: str) -> None:
    """All tasks of these jobs run, there is one container for each, and each was started once."""
    for name in names:
        scheduler.wait_running(name, AGENTS, 30)
    wait_until(lambda: it.containers() == AGENTS * len(names), "nothing runs twice")
    starts = it.starts()
    assert len(starts) == AGENTS * len(names)
    assert set(starts.values()) == {1}, "none was restarted"


def check_answered(watch: Watch) -> None:
    """The leader has answered all along, and fast."""
    sys.stderr.write(f"answers: {watch.answers}, the longest after {watch.longest_seconds:.3f} s\n")
    assert watch.answers.keys() == {"200"}
    assert watch.longest_seconds < ANSWER_SECONDS


def test_a_member_is_cut_off_and_healed(it: Convention) -> None:
    with it.leader() as scheduler, it.member() as member:
        begin(scheduler, member)
        with Watch(scheduler, "web") as watch:
            it.member_host.cut()
            began = time.monotonic()
            wait_until(lambda: machines(member) == 0, "its state machines have ended by themselves", 30)
            wait_connected(scheduler)
            run_tasks(scheduler, "more")
            wait_for_cut(began)
            it.member_host.heal()
            wait_followed(member)
            wait_connected(scheduler)
        check_once(it, scheduler, "web", "more")
        check_answered(watch)


def test_leader_and_member_do_not_see_each_other_and_both_see_all_agents(it: Convention) -> None:
    """Two state machines for one agent, as far as both hosts can tell: only one of them has a lease."""
    with it.leader() as scheduler, it.member() as member:
        begin(scheduler, member)
        with Watch(scheduler, "web") as watch:
            # Its commands are on their way, or at the member's state machines, which go on for a while.
            assert scheduler.schedule(job("more", AGENTS)).status_code == 202
            it.leader_host.lose(it.member_host)
            began = time.monotonic()
            scheduler.wait_running("more", AGENTS, MADE_GOOD_SECONDS)
            wait_for_cut(began)
            it.leader_host.find(it.member_host)
            wait_followed(member)
            wait_connected(scheduler)
        check_once(it, scheduler, "web", "more")
        check_answered(watch)


def test_a_partition_with_the_member_and_most_agents_in_the_other_half(it: Convention) -> None:
    """Most agents are away: the brake holds. Their tasks run on in the half where nobody may command them."""
    with it.leader() as scheduler, it.member() as member:
        begin(scheduler, member)
        other_half = [it.member_host, *it.agent_hosts[1:]]
        with Watch(scheduler, "web") as watch:
            for host in other_half:
                host.move(BRIDGES[1])
            began = time.monotonic()
            wait_until(lambda: machines(member) == 0, "the member's state machines have ended", 30)
            away = AGENTS - links(scheduler)["connected"]
            assert away == FOLLOWED_BY_MEMBER
            wait_for_cut(began)
            for host in other_half:
                host.move(BRIDGES[0])
            wait_followed(member)
            wait_connected(scheduler)
        check_once(it, scheduler, "web")
        check_answered(watch)
        run_tasks(scheduler, "more")
        check_once(it, scheduler, "web", "more")


def test_a_member_is_killed_and_comes_back(it: Convention) -> None:
    with it.leader() as scheduler:
        with it.member() as member:
            begin(scheduler, member)
            member.process.kill()
            wait_until(lambda: links(scheduler)["connected"] < AGENTS, "its agents are stale")
            wait_connected(scheduler)
            run_tasks(scheduler, "more")
        with it.member() as again:
            wait_followed(again)
            wait_connected(scheduler)
            check_once(it, scheduler, "web", "more")


def test_the_leaders_actors_are_killed(it: Convention) -> None:
    with it.leader() as scheduler, it.member() as member:
        begin(scheduler, member)
        scheduler.child("Supervisor").kill()
        wait_until(lambda: links(scheduler)["connected"] < AGENTS, "they are gone")
        wait_followed(member)
        wait_connected(scheduler)
        run_tasks(scheduler, "more")
        check_once(it, scheduler, "web", "more")
