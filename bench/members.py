"""A leader and members on one machine: until all agents are connected, and until a job's tasks run.

Each host has a loopback address of its own, and an actor system of its own. Each is for a zone, the leader
too, and each agent is of one of these zones, so that every host follows as many. The leader hears of the
agents once all members have joined.
"""

from __future__ import annotations

import contextlib
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from actors.secret import load_secret, make_secret
from actors.system import hold_port, port_of
from bench.cycles import Phase, Ways, settle
from bench.messages import Sent
from bench.programs import START_SECONDS, Fleet, Program, Scheduler, fleet, serving, wait_for
from bench.usage import TreeUsage, busy_seconds, cpu_seconds
from config.bounds import MOST_FLOCKS

MEMBERS, AGENTS, TASKS = 3, 2000, 1000
LEADER = "leader"
LONGEST_SECONDS = 300.0
_SETTLE_SECONDS = 60.0


class HostResult(msgspec.Struct, frozen=True, kw_only=True):
    """One host. Of CPU and messages three values: until all agents were connected (seconds, since it was
    started), schedule and unschedule (µs a task). Messages are those that its actors have sent, those of idle
    actors while it is counted among them. Memory: with all agents connected, before the job.
    """

    name: str
    flocks: int
    agents: int
    processes: int
    pss_mb: float
    connect_cpu_seconds: float
    schedule_us: float
    unschedule_us: float
    connect_messages: int
    schedule_messages: int
    unschedule_messages: int

    def row(self) -> str:
        """Its line of the table."""
        return (
            f"| {self.name} | {self.flocks} | {self.agents:,} | {self.processes:,} | {self.pss_mb:,.0f} MB "
            f"| {self.connect_cpu_seconds:.1f} s | {self.schedule_us:,.0f} µs | {self.unschedule_us:,.0f} µs "
            f"| {self.connect_messages:,} | {self.schedule_messages:,} | {self.unschedule_messages:,} |"
        )


class MembersResult(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `join_seconds`: until all members had joined; `others` as in the table of sizes, for each of
    the three times; `most_starts` is how often the task was started that was started most often."""

    members: int
    agents: int
    tasks: int
    join_seconds: float
    connect_seconds: float
    schedule_seconds: float
    unschedule_seconds: float
    others: tuple[float, float, float]
    most_starts: int
    fleet_pss_mb: float
    hosts: list[HostResult]

    def lines(self) -> list[str]:
        """As a sentence and a table."""
        connect, schedule, unschedule = self.others
        return [
            f"{self.agents:,} agents over a leader and {self.members} members, which had joined in "
            f"{self.join_seconds:.1f} s: all connected in {self.connect_seconds:.1f} s, {self.tasks:,} tasks "
            f"run in {self.schedule_seconds:.1f} s and are gone in {self.unschedule_seconds:.1f} s; others' "
            f"cores meanwhile {connect:.1f}, {schedule:.1f} and {unschedule:.1f}.",
            "",
            "| host | flocks | agents | processes | PSS | CPU: connect | schedule | unschedule "
            "| messages sent: connect | schedule | unschedule |",
            "|" + " --- |" * 11,
            *(host.row() for host in self.hosts),
        ]


def measure_members(members: int, agents: int, tasks: int, directory: Path) -> MembersResult:
    """Run it once. Raises BenchError."""
    with fleet(agents, directory / "fleet") as simulated, contextlib.ExitStack() as running:
        convention = _Convention(members, directory, running)
        connect = convention.connect(simulated, agents)
        usage, pids = TreeUsage(convention.pids), convention.pids
        connect_cpu, memory = usage.cpu_by_kind(), usage.memory_by_kind()
        sent = convention.sent.by_host()
        ways = Ways(convention.leader, simulated, usage, tasks, "members", LONGEST_SECONDS)
        phases: list[Phase] = []
        messages: list[dict[str, int]] = []
        for way in (ways.schedule, ways.unschedule):
            settle(pids, _SETTLE_SECONDS)
            before = convention.sent.by_host()
            phases.append(way())
            after = convention.sent.by_host()
            messages.append({name: after[name] - before[name] for name in after})
            _note(f"{way.__name__}: {phases[-1].seconds:.1f} s")
        there, back = phases
        shown = convention.shown()
        return MembersResult(
            members=members,
            agents=agents,
            tasks=tasks,
            join_seconds=convention.join_seconds,
            connect_seconds=connect.seconds,
            schedule_seconds=there.seconds,
            unschedule_seconds=back.seconds,
            others=(connect.others, there.others_cpu / there.seconds, back.others_cpu / back.seconds),
            most_starts=int(simulated.stats()["most_starts_of_a_task"]),
            fleet_pss_mb=TreeUsage(simulated.program.pid).memory().pss_mb,
            hosts=[
                HostResult(
                    name=name,
                    flocks=shown[name]["flocks"],
                    agents=shown[name]["agents"],
                    processes=memory[name][0],
                    pss_mb=memory[name][1],
                    connect_cpu_seconds=connect_cpu[name],
                    schedule_us=there.scheduler_cpu_by_kind[name] / tasks * 1e6,
                    unschedule_us=back.scheduler_cpu_by_kind[name] / tasks * 1e6,
                    connect_messages=sent[name],
                    schedule_messages=messages[0][name],
                    unschedule_messages=messages[1][name],
                )
                for name in pids
            ],
        )


class _Connected(NamedTuple):
    """How long it took, and how many cores everything else used meanwhile."""

    seconds: float
    others: float


class _Convention:
    """A leader that knows no agents yet, and members that have joined it; all end with the stack."""

    def __init__(self, members: int, directory: Path, running: contextlib.ExitStack) -> None:
        self._agents_file = directory / "agents.txt"
        self._agents_file.write_text("")
        self._secret_file = directory / "secret"
        make_secret(self._secret_file)
        self._port = port_of(running.enter_context(hold_port(_address(0))))
        own = ["--actor-port", str(self._port), *self._options(0)]
        self.leader: Scheduler = running.enter_context(
            serving(self._agents_file, 0, directory / LEADER, *own)
        )
        self._addresses = {LEADER: _address(0)}
        self.pids = {LEADER: self.leader.program.pid}
        started = time.perf_counter()
        joining = [self._join(number, directory, running) for number in range(1, members + 1)]
        for member in joining:
            wait_for(partial(member.said, "joined "), f"{member.name} has joined", START_SECONDS)
        self.join_seconds = time.perf_counter() - started
        hosts = {name: (self._addresses[name], pid) for name, pid in self.pids.items()}
        self.sent = Sent(hosts, load_secret(self._secret_file))

    def connect(self, simulated: Fleet, agents: int) -> _Connected:
        """Tell the leader of the agents, and wait until all are connected."""
        own_before, busy_before = self._own_cpu(simulated), busy_seconds()
        started = time.perf_counter()
        beside = self._agents_file.with_suffix(".new")
        beside.write_text(_with_zones(simulated.agents_file.read_text(), len(self.pids)))
        beside.replace(self._agents_file)
        self.leader.wait_connected(agents)
        seconds = time.perf_counter() - started
        others = busy_seconds() - busy_before - (self._own_cpu(simulated) - own_before)
        _note(f"connected: {seconds:.1f} s")
        settle(self.pids, _SETTLE_SECONDS)
        return _Connected(seconds, max(others, 0.0) / seconds)

    def shown(self) -> dict[str, Any]:
        """What the leader says of each host, by name."""
        return {each["name"]: each for each in self.leader.client.get_json("/api/v1/members")["members"]}

    def _join(self, number: int, directory: Path, running: contextlib.ExitStack) -> Program:
        name = _name(number)
        leader = ["--leader", f"{_address(0)}:{self._port}", "--data", "data"]
        program = Program(name, ["actors.main", "join", *leader, *self._options(number)], directory / name)
        running.callback(program.end)
        self.pids[name], self._addresses[name] = program.pid, _address(number)
        return program

    def _options(self, number: int) -> list[str]:
        """What leader and members are told alike."""
        zone = ["--name", _name(number), "--zone", _name(number), "--flocks", str(MOST_FLOCKS)]
        return ["--secret-file", str(self._secret_file), "--actor-address", _address(number), *zone]

    def _own_cpu(self, simulated: Fleet) -> float:
        ours = sum(TreeUsage(self.pids).cpu_by_kind().values())
        return ours + cpu_seconds(simulated.program.pid) + time.process_time()


def _with_zones(agents: str, hosts: int) -> str:
    """The agents file with a zone for each agent, the hosts' in turn."""
    lines = agents.splitlines()
    return "".join(f"{line} zone={_name(place % hosts)}\n" for place, line in enumerate(lines))


def _name(number: int) -> str:
    """What a host and its zone are called; the leader is number 0."""
    return f"member-{number}" if number else LEADER


def _address(number: int) -> str:
    """The loopback address of a host."""
    return f"127.0.0.{number + 2}"


def _note(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)
