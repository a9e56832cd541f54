"""A fleet agent without sockets, its time in the test's hands, and what it says decoded."""

from __future__ import annotations

from random import Random
from typing import Any

from bench import jobs
from scheduling.batch_wire import PATH
from scheduling.container import STATE_EVENT_DECODER, StateEvent
from scheduling.sse import EventParser
from simulation.fleet_agent import FleetAgent
from simulation.fleet_behaviour import parse_delays, parse_failures
from simulation.fleet_life import Host
from simulation.fleet_wire import Request
from simulation.fleet_world import World

BODY = jobs.container_body(jobs.config("web", 1))


class Listener:
    """A stream that keeps what it was sent."""

    def __init__(self) -> None:
        self.data = b""
        self.closed = False

    def send(self, data: bytes) -> None:
        self.data += data

    def close(self) -> None:
        self.closed = True


class Bench:
    """One agent and one listener."""

    def __init__(self, delay: str = "", failures: str = "", **host: Any) -> None:
        self.world = World(parse_delays(delay), parse_failures(failures), seed=1)
        self.agent = FleetAgent("a", Host(**host), self.world)
        self.listener = Listener()
        self.rng = Random(1)

    def ask(self, method: str, path: str, body: bytes = b"", events: bool = False) -> tuple[int, bytes]:
        """Status and body; (0, b"") for a connection that was closed."""
        return self._ask(Request(method.encode(), f"/api/v0/{path}".encode(), body, events, False))

    def batch(self, body: bytes) -> tuple[int, bytes]:
        """Send a batch."""
        return self._ask(Request(b"POST", PATH.encode(), body, False, False))

    def _ask(self, request: Request) -> tuple[int, bytes]:
        answer = self.agent.handle(request, self.listener)
        self.agent.flush()
        if answer is None:
            return 0, b""
        head, _, rest = answer.partition(b"\r\n\r\n")
        if request.events:
            self.listener.data = rest + self.listener.data
        return int(head.split(b" ")[1]), rest

    def follow(self) -> None:
        """Open the event stream."""
        assert self.ask("GET", "containers", events=True)[0] == 200

    def after(self, seconds: float) -> None:
        """Let time pass: timers that are due within it fire."""
        world = self.world
        world._timers = [(at - seconds, *rest) for at, *rest in world._timers]  # type: ignore[misc]
        world.run_timers()
        self.agent.flush()

    def events(self) -> list[StateEvent]:
        """Everything the stream has said, the first event included."""
        return [STATE_EVENT_DECODER.decode(event.data) for event in EventParser().feed(self.listener.data)]

    def statuses(self) -> list[str]:
        """The statuses in the events, after the first."""
        return [instance.status for event in self.events()[1:] for instance in event.containers.values()]
