"""One simulated agent: the v0 agent API without tasks. Requests in, replies and events out; no sockets."""

from __future__ import annotations

import re

from simulation.fleet_batch import BATCH_PATH, carry_out, stream_head
from simulation.fleet_container import STOPPED, Container, template_of
from simulation.fleet_life import Life, Stream
from simulation.fleet_wire import JSON, Request, reply

_ID = re.compile(rb"[A-Za-z0-9_.-]{1,200}")

_CREATED = reply(201, b"created OK")
_START = reply(202, b"start accepted")
_STOP = reply(202, b"stop accepted")
_DESTROY = reply(200, b"destroy OK")
_EXISTS = reply(409, b"already exists\n")
_RUNNING = reply(409, b"already running\n")
_STOPPED = reply(409, b"already stopped\n")
_NOT_FOUND = reply(404, b"not found\n")
_STILL_RUNNING = reply(500, b"can't destroy container in status running\n")
_NOT_ALLOWED = reply(405, b"method not allowed\n")
_REFUSED = reply(500, b"simulated failure\n")


class FleetAgent(Life):
    """Answers requests; what follows from them is in `Life`."""

    def handle(self, request: Request, stream: Stream) -> bytes | None:
        """The reply; None: hang up. One for an event stream makes `stream` one."""
        world = self._world
        world.requests += 1
        failures = world.failures
        if world.happens(failures.hang_up):
            return None
        if world.happens(failures.refuse):
            world.refusals += 1
            return _REFUSED
        target = request.target.partition(b"?")[0]
        if self.batch_items and target == BATCH_PATH:
            if request.method != b"POST":
                return _NOT_ALLOWED
            return carry_out(request.body, self.batch_items, lambda item: self._answer(item, stream))
        return self._answer(request, stream)

    def _answer(self, request: Request, stream: Stream) -> bytes:
        path = request.target.partition(b"?")[0].split(b"/")
        if path[:3] != [b"", b"api", b"v0"] or not 4 <= len(path) <= 6:
            return _NOT_FOUND
        if path[3] == b"containers":
            if len(path) == 4 or path[4:] == [b""]:
                return self._all(request, stream)
            if len(path) == 5:
                return self._one(request, path[4])
            return self._command(request.method, path[4], path[5])
        if path[3:] == [b"resources"]:
            return reply(200, self.resources() + b"\n", JSON) if request.method == b"GET" else _NOT_ALLOWED
        return _NOT_FOUND

    def _all(self, request: Request, stream: Stream) -> bytes:
        if request.method != b"GET":
            return _NOT_ALLOWED
        world = self._world
        members = b",".join([container.member(world.now) for container in self.containers.values()])
        if not request.events:
            return reply(200, b"{%b}\n" % members, JSON)
        self.flush()  # what is in the first event must not follow it again
        self.streams.append(stream)
        world.events += 1
        return stream_head(self.batch_items) + self._event(members)

    def _one(self, request: Request, name: bytes) -> bytes:
        container = self.containers.get(name)
        if request.method == b"PUT":
            return _EXISTS if container is not None else self._register(name, request.body)
        if container is None:
            return _NOT_FOUND
        if request.method == b"DELETE":
            if container.status == b"running":
                return _STILL_RUNNING
            container.turn += 1
            self._world.after(self._world.delays.delete.draw(self._world.rng), self._gone, container)
            return _DESTROY
        if request.method == b"GET":
            member = container.member(self._world.now)
            return reply(200, member[len(name) + 3 :] + b"\n", JSON)
        return _NOT_ALLOWED

    def _command(self, method: bytes, name: bytes, verb: bytes) -> bytes:
        container = self.containers.get(name)
        if container is None or verb not in (b"start", b"stop", b"log"):
            return _NOT_FOUND
        if verb == b"log":
            return reply(200, b"[]\n", JSON)
        if method != b"POST":
            return _NOT_ALLOWED
        return self._start(container) if verb == b"start" else self._stop(container)

    def _register(self, name: bytes, body: bytes) -> bytes:
        if not _ID.fullmatch(name):
            return reply(400, b"container id must be 1 to 200 letters, digits, '_', '.' or '-'\n")
        template = template_of(body)
        if isinstance(template, str):
            return reply(400, template.encode("utf-8", "replace") + b"\n")
        config, ports = template.config, tuple(template.fixed_ports)
        if template.wants_ports:
            self._ports |= template.fixed_ports  # not to be chosen for another of its ports
            chosen = {key: port or self._free_port() for key, port in (template.decoded.ports or {}).items()}
            config, ports = template.with_ports(chosen), tuple(chosen.values())
        world = self._world
        container = self.containers[name] = Container(name, template, config, ports)
        self._reserve(template, 1)
        self._ports.update(ports)
        world.registered += 1
        world.after(world.delays.create.draw(world.rng), self._unpacked, container, container.turn)
        return _CREATED

    def _start(self, container: Container) -> bytes:
        if container.status == b"running" or container.wanted_up:
            return _RUNNING
        container.wanted_up = True
        container.turn += 1
        if container.created:
            self._begin(container)
        return _START

    def _stop(self, container: Container) -> bytes:
        if container.status != b"running":
            return _STOPPED
        if not container.stopping:
            container.stopping = True
            container.turn += 1
            world = self._world
            world.after(world.delays.stop.draw(world.rng), self._ended, container, container.turn, STOPPED)
        return _STOP
