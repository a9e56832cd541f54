"""A leader, a member and sixty simulated agents, each on a host of its own, and who watches over them."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import requests
from netns_fleet import PATIENT, Fleet, fleets_on, scheduler_on
from netns_harness import Host, network
from system_harness import Program, Scheduler, command_line, job, leftovers, run_to_end, wait_until

from actors.system import hold_port, port_of

AGENTS_A_HOST = 20
AGENTS = 3 * AGENTS_A_HOST
# The leader follows the agents of the first host with agents, the member those of the others.
ZONES = ("west", "east", "east")
FOLLOWED_BY_MEMBER = 2 * AGENTS_A_HOST
# What a member's loss may take to be made good (15 s), and the lease after it, on a busy machine.
MADE_GOOD_SECONDS = 60.0


class Convention:
    """The hosts, the leader's scheduler, and the agents: `fleets`, one for each of the last three hosts."""

    def __init__(self, directory: Path, hosts: list[Host], fleets: list[Fleet], port: int) -> None:
        self.directory = directory
        self.leader_host, self.member_host, *self.agent_hosts = hosts
        self.fleets = fleets
        self.port = port

    @contextlib.contextmanager
    def leader(self) -> Iterator[Scheduler]:
        """The leader; it follows all agents, each with the zone of its host."""
        flags = ["--agents-file", "../agents", "--secret-file", "../secret", "--zone", ZONES[0]]
        address = ["--actor-address", self.leader_host.ip, "--actor-port", str(self.port)]
        # Several flocks for each zone, as larger fleets have.
        settings = {**PATIENT, "flock_size": 10}
        with scheduler_on(
            self.leader_host, self.directory / "leader", [*flags, *address], settings
        ) as scheduler:
            yield scheduler

    @contextlib.contextmanager
    def member(self) -> Iterator[Program]:
        """A member that follows the agents of its zone; afterwards nothing of it is left."""
        directory = self.directory / "member"
        directory.mkdir(exist_ok=True)
        flags = ["--leader", f"{self.leader_host.ip}:{self.port}", "--secret-file", "../secret"]
        own = ["--zone", ZONES[1], "--name", "member", "--data", "data"]
        program = Program(["actors.main", "join", *flags, *own], directory, self.member_host)
        try:
            yield program
        finally:
            sys.stderr.write(f"the member said:\n{program.said}\n")
            if program.process.poll() is None:
                program.end()
            wait_until(lambda: not leftovers(directory), f"no process left, not {leftovers(directory)}", 15)

    def starts(self) -> Counter[str]:
        """How often each task was started, as the agents say."""
        return sum((fleet.starts() for fleet in self.fleets), Counter[str]())

    def containers(self) -> int:
        """How many containers there are on all agents."""
        return sum(fleet.stats()["containers"] for fleet in self.fleets)


@contextlib.contextmanager
def convention(directory: Path) -> Iterator[Convention]:
    """The hosts and their agents; leader and member are the test's to start."""
    with network(5) as hosts, fleets_on(hosts[2:], directory, AGENTS_A_HOST) as fleets:
        lines = (directory / "agents").read_text().splitlines()
        zones = [zone for zone in ZONES for _ in range(AGENTS_A_HOST)]
        (directory / "agents").write_text(
            "".join(f"{line} zone={zone}\n" for line, zone in zip(lines, zones, strict=True))
        )
        made = run_to_end(["actors.main", "secret", str(directory / "secret")], directory)
        assert made.returncode == 0, made.stderr
        with hosts[0].reach():
            held = hold_port(hosts[0].ip)
        with held:
            yield Convention(directory, hosts, fleets, port_of(held))


def links(scheduler: Scheduler) -> Counter[str]:
    """How many agents are connected, stale, …"""
    return Counter(each["link"] for each in scheduler.get("/api/v1/agents").json()["agents"])


def wait_connected(scheduler: Scheduler) -> None:
    """Wait until every agent is connected, whoever follows it."""
    wait_until(lambda: links(scheduler) == {"connected": AGENTS}, "all connected", MADE_GOOD_SECONDS)


def machines(program: Program) -> int:
    """How many state machines there are below a program."""
    return sum("StateMachine" in command_line(process) for process in program.tree())


def wait_followed(member: Program) -> None:
    """Wait until the member follows all agents of its zone."""
    wait_until(lambda: machines(member) == FOLLOWED_BY_MEMBER, "its zone followed", MADE_GOOD_SECONDS)


def run_tasks(scheduler: Scheduler, name: str) -> None:
    """Have one more task running on each agent."""
    assert scheduler.schedule(job(name, AGENTS)).status_code == 202
    scheduler.wait_running(name, AGENTS, MADE_GOOD_SECONDS)


class Watch:
    """Asks a scheduler again and again, from its own host, how a job is; what it answered, and how late."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self._scheduler = scheduler
        self._name = name
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self.longest_seconds = 0.0
        self.answers: Counter[str] = Counter()

    def _ask(self) -> None:
        while not self._done.wait(0.05):
            for path in (f"/api/v1/jobs/test/system/{self._name}", "/api/v1/agents", "/health/ready"):
                started = time.monotonic()
                try:
                    answer = str(self._scheduler.get(path).status_code)
                except requests.RequestException as error:
                    answer = repr(error)
                self.longest_seconds = max(self.longest_seconds, time.monotonic() - started)
                self.answers[answer] += 1

    def __enter__(self) -> Watch:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._done.set()
        self._thread.join()
