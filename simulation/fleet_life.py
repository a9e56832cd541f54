"""The containers of one simulated agent: what happens to them when, and the events that say so."""

from __future__ import annotations

from typing import Protocol

import msgspec

from scheduling.canonical import go_float, go_json
from simulation.fleet_container import DIED, NOT_STARTED, Container, Template
from simulation.fleet_wire import chunk
from simulation.fleet_world import World

PORTS = range(30000, 32768)


class Stream(Protocol):
    """A connection that has become an event stream."""

    def send(self, data: bytes) -> None:
        """Send this, now or when there is room."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What each simulated host has; `volumes` are host paths."""

    mem_mb: int = 262_144
    cpu_cores: float = 64.0
    storage_bytes: int = 322_122_547_200
    volumes: tuple[str, ...] = ()


class Life:
    """Containers, and whoever follows them."""

    def __init__(self, name: str, host: Host, world: World, batch_items: int = 0) -> None:
        self.name = name
        self.host = host
        # So many containers it takes in one request; 0: one at a time, as v0 does.
        self.batch_items = batch_items
        self.containers: dict[bytes, Container] = {}
        self.streams: list[Stream] = []
        self.events: list[bytes] = []
        self._world = world
        self._mem_mb = 0
        self._cpu_cores = 0.0
        self._tmp_bytes = 0
        self._ports: set[int] = set()
        self._next_port = 0
        self._resources = b""
        self._volumes = go_json(list(host.volumes) or None)

    # --- facts ---

    def _unpacked(self, container: Container, _turn: int) -> None:
        if self.containers.get(container.name) is not container:
            return
        if self._world.happens(self._world.failures.create):
            container.error = b'"err":"simulated failure of the artifact",'
            self._gone(container)
            return
        container.created = True
        self._say(container)
        if container.wanted_up:
            self._begin(container)

    def _begin(self, container: Container) -> None:
        world = self._world
        world.after(world.delays.start.draw(world.rng), self._up, container, container.turn)

    def _up(self, container: Container, turn: int) -> None:
        if turn != container.turn or self.containers.get(container.name) is not container:
            return
        world = self._world
        restarted = container.status == b"running"
        if world.happens(world.failures.start):
            container.wanted_up = False
            container.failed("simulated failure of the start")
            self._leave_running(container, b"failed")
            return
        if not restarted:
            world.running += 1
        container.status, container.up, container.started_at = b"running", True, world.now
        container.ended, container.error = NOT_STARTED, b""
        container.restarts += restarted
        world.count_start(container.name)
        self._say(container)
        if world.failures.die > 0.0:
            world.after(world.seconds_to(world.failures.die), self.die, container, turn)

    def die(self, container: Container, turn: int | None = None) -> None:
        """The task ends by itself; its policy says whether it is started again."""
        if not container.up or container.stopping or (turn is not None and turn != container.turn):
            return
        world = self._world
        world.deaths += 1
        if not container.template.restarts:
            container.turn += 1
            self._ended(container, container.turn, DIED)
            return
        container.turn += 1
        container.up, container.ended = False, DIED
        self._say(container)
        world.after(world.delays.restart.draw(world.rng), self._up, container, container.turn)

    def _ended(self, container: Container, turn: int, how: bytes) -> None:
        if turn != container.turn or container.status != b"running":
            return
        container.ended, container.stopping, container.wanted_up = how, False, False
        self._leave_running(container, b"finished")

    def _leave_running(self, container: Container, status: bytes) -> None:
        self._world.running -= container.status == b"running"
        container.status, container.up = status, False
        self._say(container)

    def _gone(self, container: Container) -> None:
        if self.containers.get(container.name) is not container:
            return
        del self.containers[container.name]
        self._world.registered -= 1
        self._reserve(container.template, -1)
        self._ports.difference_update(container.ports)
        self._say(container, b"deleted")

    # --- events ---

    def resources(self) -> bytes:
        """HostResources; reserved is what all registered containers ask for, running or not."""
        if not self._resources:
            host = self.host
            self._resources = (
                b'{"mem":{"total":%d,"reserved":%d},"cpus":{"total":%b,"reserved":%b},'
                b'"storage":{"total":%d,"reserved":%d},"volumes":%b}'
            ) % (
                host.mem_mb,
                self._mem_mb,
                go_float(host.cpu_cores).encode(),
                go_float(round(self._cpu_cores, 6)).encode(),
                host.storage_bytes,
                self._tmp_bytes,
                self._volumes,
            )
        return self._resources

    def say_metrics(self, slot: int, slots: int) -> None:
        """An event for each running container of this slot, as agents send with their samples."""
        if not self.streams:
            return
        for position, container in enumerate(self.containers.values()):
            if container.up and position % slots == slot:
                self._say(container)

    def flush(self) -> None:
        """Send the events that are there."""
        if self.events:
            data = b"".join(self.events)
            self.events = []
            for stream in list(self.streams):
                stream.send(data)

    def hang_up_streams(self) -> None:
        """Break all event streams."""
        self.events = []
        for stream in list(self.streams):
            stream.close()

    def _say(self, container: Container, status: bytes = b"") -> None:
        if not self.streams:
            return
        world = self._world
        if not self.events:
            world.with_news.append(self)
        world.events += 1
        self.events.append(self._event(container.member(world.now, status)))

    def _event(self, members: bytes) -> bytes:
        return chunk(b'data: {"resources":%b,"containers":{%b}}\n\n' % (self.resources(), members))

    def _reserve(self, template: Template, sign: int) -> None:
        self._mem_mb += sign * template.mem_mb
        self._cpu_cores += sign * template.cpu_cores
        self._tmp_bytes += sign * template.tmp_bytes
        self._resources = b""

    def _free_port(self) -> int:
        for _ in PORTS:
            port = PORTS[self._next_port % len(PORTS)]
            self._next_port += 1
            if port not in self._ports:
                self._ports.add(port)
                return port
        return 0
