"""A leader that others can join, and its members, as real programs on loopback addresses of their own."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
from system_harness import (
    Agent,
    Program,
    Scheduler,
    agent,
    command_line,
    leftovers,
    run_to_end,
    running,
    wait_until,
)

from actors.system import hold_port, port_of

LEADER, MEMBER = "127.0.0.2", "127.0.0.3"


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


@contextlib.contextmanager
def leading(directory: Path) -> Iterator[Convention]:
    """A leader that others can join, and its agent, which runs three tasks that count their starts."""
    secret = run_to_end(["actors.main", "secret", str(directory / "secret")], directory)
    assert secret.returncode == 0, secret.stderr
    (directory / "agents").write_text("")
    held = hold_port(LEADER)
    port = port_of(held)
    flags = ["serve", "--data", "data", "--agents-file", "../agents", "--secret-file", "../secret"]
    address = ["--actor-address", LEADER, "--actor-port", str(port)]
    with (
        held,
        agent(directory / "agent") as host,
        running([*flags, *address], directory / "leader") as scheduler,
    ):
        (directory / "agents").write_text(f"n1 {host.address} zone=east\n")
        it = Convention(directory, scheduler, host, port)
        wait_until(lambda: it.links() == ["connected"], "the agent is connected", 40)
        yield it
