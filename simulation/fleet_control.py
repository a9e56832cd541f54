"""The fleet's own port: what it counts, and what can be changed while it runs."""

from __future__ import annotations

import time
from urllib.parse import parse_qs, unquote

import msgspec

from scheduling.canonical import go_text
from simulation.fleet_agent import FleetAgent
from simulation.fleet_life import Stream
from simulation.fleet_wire import JSON, Request, reply
from simulation.fleet_world import World

_NOT_FOUND = reply(
    404, b"there are GET /stats, GET /starts, POST /die/TASK, POST /die?tasks=N, POST /metrics?seconds=S\n"
)
LONGEST_METRICS_SECONDS = 3600.0


class Metrics:
    """Has every agent send the metrics of its running containers, each agent at its own time."""

    def __init__(self, world: World, agents: list[FleetAgent], slots: int) -> None:
        self._world, self._agents, self._slots = world, agents, slots
        self._turn = 0
        self.seconds = 0.0

    def every(self, seconds: float) -> None:
        """How often from now on; 0 for never."""
        self.seconds = seconds
        self._turn += 1
        if seconds > 0.0:
            for agent in self._agents:
                first = self._world.rng.uniform(0.0, seconds / self._slots) + 1e-6
                self._world.after(first, self._say, agent, 0, self._turn)

    def _say(self, agent: FleetAgent, slot: int, turn: int) -> None:
        if turn != self._turn:
            return
        agent.say_metrics(slot, self._slots)
        following = (slot + 1) % self._slots
        self._world.after(self.seconds / self._slots, self._say, agent, following, turn)


class Control:
    """Answers on the control port."""

    def __init__(self, world: World, agents: list[FleetAgent], metrics: Metrics) -> None:
        self.streams: list[Stream] = []
        self._world, self._agents, self._metrics = world, agents, metrics

    def handle(self, request: Request, _stream: Stream) -> bytes | None:
        """The reply."""
        path, _, query_text = request.target.decode("ascii", "replace").partition("?")
        query = {name: values[-1] for name, values in parse_qs(query_text).items()}
        words = [unquote(word) for word in path.split("/")[1:]]
        try:
            match request.method, words:
                case b"GET", ["stats"]:
                    return reply(200, msgspec.json.encode(self._world.stats()) + b"\n", JSON)
                case b"GET", ["starts"]:
                    return reply(200, self._starts(), JSON)
                case b"POST", ["die", task]:
                    return self._die(task.encode())
                case b"POST", ["die"]:
                    return self._some_die(int(query.get("tasks", "1")))
                case b"POST", ["metrics"]:
                    return self._sample(float(query.get("seconds", "")))
        except ValueError as error:
            return reply(400, f"{error}\n".encode())
        return _NOT_FOUND

    def _starts(self) -> bytes:
        pairs = (go_text(name.decode()) + f":{count}" for name, count in self._world.starts.items())
        return ("{" + ",".join(pairs) + "}\n").encode()

    def _die(self, task: bytes) -> bytes:
        for agent in self._agents:
            container = agent.containers.get(task)
            if container is not None and container.up:
                at = time.monotonic()
                agent.die(container)
                return reply(200, b'{"monotonic_seconds":%.6f}\n' % at, JSON)
        return reply(404, b"no such task runs\n")

    def _some_die(self, tasks: int) -> bytes:
        """Random tasks of random agents; fewer than asked for where few run."""
        done = 0
        for _ in range(4 * min(tasks, self._world.running)):
            if done == tasks:
                break
            agent = self._world.rng.choice(self._agents)
            up = [container for container in agent.containers.values() if container.up]
            if up:
                agent.die(self._world.rng.choice(up))
                done += 1
        return reply(200, b'{"died":%d}\n' % done, JSON)

    def _sample(self, seconds: float) -> bytes:
        if not 0.0 <= seconds <= LONGEST_METRICS_SECONDS:
            raise ValueError(f"seconds={seconds:g} must be from 0 to {LONGEST_METRICS_SECONDS:g}")
        self._metrics.every(seconds)
        return reply(200, b"{}\n", JSON)
