"""A leader and a member: state machines are made on the member, and elsewhere when it is gone."""

from __future__ import annotations

import contextlib
import signal
import sys
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
