"""A leader and a member: state machines are made on the member, and elsewhere when it is gone."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from system_harness import (
    Agent,
    Program,
    Scheduler,
    agent,
    command_line,
    job,
    leftovers,
    run_to_end,
    running,
    wait_until,
)

from actors.system import free_port

LEADER, MEMBER = "127.0.0.2", "127.0.0.3"
# What must be over after a member is gone, and what is allowed for on a busy machine besides.
MADE_ANEW_SECONDS, SLACK_SECONDS = 15.0, 15.0
HANGS_SECONDS = 20.0


class Convention:
    """A leader with one agent of zone east; members join from addresses of their own."""

    def __init__(self, directory: Path, scheduler: Scheduler, host: Agent, port: int) -> None:
        self.directory = directory
        self.scheduler = scheduler
        self.host = host
        self.port = port

    @contextlib.contextmanager
    def member(self, *flags: str, zone: str = "east", address: str = MEMBER) -> Iterator[Program]:
        """A host that has joined; afterwards nothing of it is left."""
        directory = self.directory / f"member-{address}"
        directory.mkdir(exist_ok=True)
        joining = ["--leader", f"{LEADER}:{self.port}", "--secret-file", str(self.directory / "secret")]
        own = ["--actor-address", address, "--zone", zone, "--name", f"host-{address}", "--data", "data"]
        program = Program(["actors.main", "join", *joining, *own, *flags], directory)
        try:
            wait_until(lambda: "joined" in program.said or program.process.poll() is not None, "joined", 40)
            assert program.process.poll() is None, program.said
            yield program
        finally:
            sys.stderr.write(f"the member said:\n{program.said}\n")
            for process in stopped(program):
                process.send_signal(signal.SIGCONT)
            if program.process.poll() is None:
                program.end()
            wait_until(lambda: not leftovers(directory), f"no process left, not {leftovers(directory)}", 15)

    def machine_on(self, program: Program) -> psutil.Process:
        """The state machine that is on this member."""
        return wait_until(
            lambda: next((each for each in program.tree() if "StateMachine" in command_line(each)), None),
            "a state machine on the member",
            30,
        )

    def links(self) -> list[str]:
        """How the link to each agent is."""
        return [each["link"] for each in self.scheduler.get("/api/v1/agents").json()["agents"]]

    def member_links(self) -> list[str]:
        """How the link to each member is, of those that have not come anew at another port."""
        found = self.scheduler.get("/api/v1/members").json()["members"]
        return [each["link"] for each in found if each["role"] == "member"]

    def starts(self) -> int:
        """How often a task has been started, counted by the tasks."""
        path = self.directory / "starts"
        return len(path.read_text().splitlines()) if path.exists() else 0


def stopped(program: Program) -> list[psutil.Process]:
    """Its processes that are stopped."""
    found: list[psutil.Process] = []
    if program.process.poll() is not None:
        return found
    for process in [psutil.Process(program.process.pid), *program.tree()]:
        with contextlib.suppress(psutil.Error):
            if process.status() == psutil.STATUS_STOPPED:
                found.append(process)
    return found


@pytest.fixture
def convention(tmp_path: Path) -> Iterator[Convention]:
    """A leader that others can join, and its agent, which runs three tasks that count their starts."""
    secret = run_to_end(["actors.main", "secret", str(tmp_path / "secret")], tmp_path)
    assert secret.returncode == 0, secret.stderr
    (tmp_path / "agents").write_text("")
    port = free_port(LEADER)
    leading = ["serve", "--data", "data", "--agents-file", "../agents", "--secret-file", "../secret"]
    address = ["--actor-address", LEADER, "--actor-port", str(port)]
    with (
        agent(tmp_path / "agent") as host,
        running([*leading, *address], tmp_path / "leader") as scheduler,
    ):
        (tmp_path / "agents").write_text(f"n1 {host.address} zone=east\n")
        it = Convention(tmp_path, scheduler, host, port)
        wait_until(lambda: it.links() == ["connected"], "the agent is connected", 40)
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
        wait_until(lambda: convention.links() != ["connected"], "its agent is stale", MADE_ANEW_SECONDS)
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
