"""A leader and a member: state machines are made on the member, and elsewhere when it is gone."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from convention_harness import Convention, leading
from system_harness import command_line, job, wait_until

# What must be over after a member is gone, and what is allowed for on a busy machine besides.
MADE_ANEW_SECONDS, SLACK_SECONDS = 15.0, 15.0
HANGS_SECONDS = 20.0


@pytest.fixture
def convention(tmp_path: Path) -> Iterator[Convention]:
    """A leader and its agent, which counts the starts of tasks."""
    with leading(tmp_path) as it:
        yield it


def test_a_member_follows_the_agents_of_its_zone_and_another_host_does_when_it_is_killed(
    convention: Convention,
) -> None:
    """The job runs through the member's state machine; `kill -9` of the member restarts no task."""
    with convention.member() as member:
        convention.machine_on(member)
        wait_until(lambda: convention.links() == ["connected"], "connected from the member", 30)
        convention.scheduler.schedule(job("web", 3, starts=str(convention.directory / "starts")))
        convention.scheduler.wait_running("web", 3, 30)
        convention.machine_on(member)

        member.process.kill()
        # Not that its agent is stale: with one who follows it at once, nobody need ever see that.
        wait_until(lambda: convention.member_links() == ["lost"], "it is lost", MADE_ANEW_SECONDS)
        convention.machine_on(convention.scheduler)
        wait_until(lambda: convention.links() == ["connected"], "followed from elsewhere", MADE_ANEW_SECONDS)
        assert convention.scheduler.get("/health/ready").status_code == 200
        convention.scheduler.schedule(job("more", 2))
        convention.scheduler.wait_running("more", 2, MADE_ANEW_SECONDS + SLACK_SECONDS)
    assert convention.starts() == 3, "no task was started again"


def test_a_member_ends_in_time_and_joins_again(convention: Convention) -> None:
    with convention.member() as member:
        convention.machine_on(member)
        code, seconds = member.end(signal.SIGTERM)
        assert (code, seconds < 5.0) == (0, True), (code, seconds)
    wait_until(lambda: convention.links() == ["connected"], "followed from the leader", MADE_ANEW_SECONDS)
    with convention.member() as again:
        convention.machine_on(again)


def test_a_member_that_hangs_is_replaced_and_used_again_when_it_goes_on(convention: Convention) -> None:
    """SIGSTOP of all its processes for 20 s: for the leader it is gone, and then it is back."""
    with convention.member() as member:
        convention.machine_on(member)
        wait_until(lambda: convention.links() == ["connected"], "connected from the member", 30)
        convention.scheduler.schedule(job("web", 3, starts=str(convention.directory / "starts")))
        convention.scheduler.wait_running("web", 3, 30)
        processes = [psutil.Process(member.process.pid), *member.tree()]
        old = {each.pid for each in processes}

        for process in processes:
            process.suspend()
        began = time.monotonic()
        wait_until(lambda: convention.member_links() == ["lost"], "it is lost", MADE_ANEW_SECONDS)
        wait_until(lambda: convention.links() == ["connected"], "followed from elsewhere", MADE_ANEW_SECONDS)
        convention.scheduler.schedule(job("meanwhile", 1))
        convention.scheduler.wait_running("meanwhile", 1, MADE_ANEW_SECONDS + SLACK_SECONDS)
        wait_until(lambda: time.monotonic() - began >= HANGS_SECONDS, "so long it hangs", HANGS_SECONDS)
        for process in processes:
            process.resume()

        wait_until(lambda: convention.member_links() == ["connected"], "it is back", 30)
        wait_until(lambda: convention.machine_on(member).pid not in old, "used again", 30)
        wait_until(lambda: convention.links() == ["connected"], "connected from the member", 30)
        convention.scheduler.schedule(job("after", 1))
        convention.scheduler.wait_running("after", 1, 40)
        machines = [each for each in member.tree() if "StateMachine" in command_line(each)]
        assert len(machines) == 1, "what was there before has ended"
    assert convention.starts() == 3, "no task was started again"


def test_the_leader_s_actors_die_and_members_join_the_new_ones(convention: Convention) -> None:
    """Flocks on the member end by themselves, and new ones are made there."""
    with convention.member() as member:
        first = convention.machine_on(member)
        convention.scheduler.schedule(job("web", 3, starts=str(convention.directory / "starts")))
        convention.scheduler.wait_running("web", 3, 40)
        convention.scheduler.child("MultiProcAdmin").kill()
        wait_until(lambda: convention.machine_on(member).pid != first.pid, "another state machine", 40)
        wait_until(lambda: "WARNING member joined" in member.said, "and it says that it is back")
        wait_until(lambda: not first.is_running(), "the first has ended", 40)
        wait_until(lambda: convention.links() == ["connected"], "connected from the member", 40)
        convention.scheduler.schedule(job("after", 1))
        convention.scheduler.wait_running("after", 1, 40)
    assert convention.starts() == 3, "no task was started again"


def test_the_shepherd_dies_and_its_flocks_on_members_end(convention: Convention) -> None:
    with convention.member() as member:
        first = convention.machine_on(member)
        wait_until(lambda: convention.links() == ["connected"], "connected from the member", 30)
        convention.scheduler.child("Shepherd").kill()
        wait_until(lambda: not first.is_running(), "the first has ended", 40)
        wait_until(lambda: convention.links() == ["connected"], "connected from the member", 40)
        convention.machine_on(member)


def test_a_flock_on_a_member_dies_and_is_made_anew_there(convention: Convention) -> None:
    with convention.member() as member:
        first = convention.machine_on(member)
        wait_until(lambda: convention.links() == ["connected"], "connected from the member", 30)
        member.child("Flock").kill()
        wait_until(lambda: not first.is_running(), "its state machine has ended with it", 10)
        assert convention.machine_on(member).pid != first.pid
        wait_until(lambda: convention.links() == ["connected"], "connected from the member", 30)
        assert convention.member_links() == ["connected"]


def test_the_actors_of_a_member_die_and_are_started_anew(convention: Convention) -> None:
    with convention.member() as member:
        first = convention.machine_on(member)
        member.child("MultiProcAdmin").kill()
        wait_until(lambda: not first.is_running(), "its state machine has ended with it", 10)
        assert convention.machine_on(member).pid != first.pid
        wait_until(lambda: convention.links() == ["connected"], "connected from the member", 30)
