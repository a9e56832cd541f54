"""Agents on hosts of their own, real and simulated, a job that counts its starts there, and a scheduler."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import requests
from netns_harness import Host
from system_harness import HTTP_SECONDS, Agent, Program, Scheduler, agent, job, running, wait_until

# A task works in data/containers/ID/root of its agent: so each start is a line in a file of that agent.
_COUNT_START = "pwd >> ../../../../starts; exec sleep 1000"
PATIENT = {"lost_after_seconds": 60.0, "silence_seconds": 0.5}
HASTY = {"lost_after_seconds": 2.0, "silence_seconds": 0.5}
# Where many are cut off at once, on a busy machine the last may be noticed long after the first.
BRAKED = {"lost_after_seconds": 5.0, "silence_seconds": 0.5}
# Until a host that was cut off is lost to a hasty scheduler. One that has just begun has seen all its agents
# come, one after the other, as after an outage: then it waits for 20 s before it gives one up.
LOST_SECONDS = 60.0


def counted(name: str, scale: int, **changes: Any) -> dict[str, Any]:
    """A job whose starts are counted, by task, on the agents that start it."""
    return job(name, scale, command={"working_dir": "/", "exec": ["/bin/sh", "-c", _COUNT_START]}, **changes)


def starts(host: Agent) -> Counter[str]:
    """How often an agent has started each task."""
    file = host.directory / "starts"
    lines = file.read_text().split() if file.exists() else []
    return Counter(Path(line).parent.name for line in lines)


def all_starts(hosts: Sequence[Agent]) -> Counter[str]:
    """How often each task was started anywhere."""
    return sum((starts(host) for host in hosts), Counter())


def tasks_of(host: Agent) -> set[str]:
    """What runs on an agent, as it says itself; also while it is cut off."""
    return {task for task, found in host.containers().items() if found["status"] == "running"}


@contextlib.contextmanager
def agents_on(hosts: Sequence[Host], directory: Path, each: int = 1) -> Iterator[list[Agent]]:
    """`each` agents on each host, in the order of the hosts; afterwards nothing of them is left."""
    with contextlib.ExitStack() as stack:
        places = [place for place in hosts for _ in range(each)]
        yield [
            stack.enter_context(
                agent(directory / f"agent-{number}", "--cpu", "4", "--mem", "4000", place=place)
            )
            for number, place in enumerate(places)
        ]


def follow(agents: Sequence[Agent]) -> list[str]:
    """The flags of a scheduler that follows these, each by the name of its directory."""
    return [flag for each in agents for flag in ("--agent", f"{each.directory.name}={each.address}")]


@contextlib.contextmanager
def scheduler_on(
    host: Host, directory: Path, flags: Sequence[str], settings: dict[str, float]
) -> Iterator[Scheduler]:
    """A scheduler with these flags and settings."""
    directory.mkdir(exist_ok=True)
    file = directory / "settings.toml"
    file.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
    with running(["serve", "--config", str(file), *flags], directory, host) as scheduler:
        yield scheduler


def shown(scheduler: Scheduler, host: Agent) -> dict[str, Any]:
    """An agent as the scheduler shows it."""
    found: dict[str, Any] = scheduler.get(f"/api/v1/agents/{host.directory.name}").json()
    return found


def wait_link(scheduler: Scheduler, hosts: Sequence[Agent], link: str, timeout_seconds: float = 30.0) -> None:
    """Wait until the link to all of these is like this."""
    wait_until(
        lambda: {shown(scheduler, host)["link"] for host in hosts} == {link},
        f"{link}: {[host.directory.name for host in hosts]}",
        timeout_seconds,
    )


def wait_started(hosts: Sequence[Agent], count: int) -> None:
    """Wait until there were so many starts: a task runs a moment before it has written its line."""
    wait_until(lambda: all_starts(hosts).total() >= count, f"{count} starts")


class Fleet(Program):
    """Simulated agents on one host (docs/fleet.md): many, and light, where what they run does not matter."""

    def __init__(self, host: Host, directory: Path, count: int) -> None:
        directory.mkdir(exist_ok=True)
        flags = ["--agents", str(count), "--listen", host.ip, "--agents-file", "agents"]
        super().__init__(["simulation.fleet", *flags, "--parent", str(os.getpid())], directory, host)
        self._control = wait_until(self._listens, "the fleet listening", 40.0)

    def _listens(self) -> str | None:
        assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.said}"
        return self.printed.strip().rpartition(" ")[2] if self.printed.endswith("\n") else None

    def agents_file(self) -> str:
        """Its agents, by names that tell its host."""
        lines = (self.directory / "agents").read_text().splitlines(keepends=True)
        return "".join(f"{self.directory.name}-{line}" for line in lines)

    def starts(self) -> Counter[str]:
        """How often each task was started on it."""
        return Counter(self._ask("/starts"))

    def stats(self) -> dict[str, int]:
        """Its counts: containers, running, …"""
        return self._ask("/stats")

    def _ask(self, path: str) -> dict[str, int]:
        with self.place.reach():
            found: dict[str, int] = requests.get(self._control + path, timeout=HTTP_SECONDS).json()
        return found


@contextlib.contextmanager
def fleets_on(hosts: Sequence[Host], directory: Path, count: int) -> Iterator[list[Fleet]]:
    """`count` simulated agents on each host, and `directory / "agents"` with all of them."""
    fleets: list[Fleet] = []
    try:
        for number, host in enumerate(hosts, 1):
            fleets.append(Fleet(host, directory / f"host{number}", count))
        (directory / "agents").write_text("".join(fleet.agents_file() for fleet in fleets))
        yield fleets
    finally:
        for fleet in fleets:
            fleet.process.kill()
            fleet.process.wait()
