"""The fleet's sockets: one epoll loop for all agents' ports and connections."""

from __future__ import annotations

import contextlib
import select
import socket
from typing import Protocol

from simulation.fleet_behaviour import Range
from simulation.fleet_life import Stream
from simulation.fleet_wire import Request, RequestParser, WireError
from simulation.fleet_world import World

_READ_BYTES = 256 * 1024
# A reader this far behind is cut off, as one that hangs.
LARGEST_BACKLOG_BYTES = 32 * 1024 * 1024
_MOST_EVENTS = 1024
_ACCEPTED_AT_ONCE = 64


class Site(Protocol):
    """What answers the requests of one port."""

    streams: list[Stream]

    def handle(self, request: Request, stream: Stream) -> bytes | None:
        """The reply; None: hang up."""
        ...


class Ready(Protocol):
    """What owns a descriptor."""

    def ready(self, mask: int) -> None:
        """The descriptor can be read or written."""
        ...


class Loop:
    """Turns until told to end."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ending = False
        self._epoll = select.epoll()
        self._owners: dict[int, Ready] = {}

    def run(self) -> None:
        """Serve."""
        world, owners, poll = self.world, self._owners, self._epoll.poll
        while not self.ending:
            next_within = world.run_timers()
            self._flush()
            for descriptor, mask in poll(next_within, _MOST_EVENTS):
                owner = owners.get(descriptor)
                if owner is not None:
                    owner.ready(mask)
            self._flush()

    def own(self, descriptor: int, owner: Ready, mask: int = select.EPOLLIN) -> None:
        """Tell this owner when its descriptor is ready."""
        self._owners[descriptor] = owner
        self._epoll.register(descriptor, mask)

    def change(self, descriptor: int, mask: int) -> None:
        """Wait for something else."""
        self._epoll.modify(descriptor, mask)

    def disown(self, descriptor: int) -> None:
        """Tell nobody any more."""
        if self._owners.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Close every socket."""
        for owner in list(self._owners.values()):
            if isinstance(owner, Port | Connection):
                owner.close()
        self._epoll.close()

    def _flush(self) -> None:
        agents = self.world.with_news
        if agents:
            self.world.with_news = []
            for agent in agents:
                agent.flush()


class Port:
    """A listening socket."""

    def __init__(self, loop: Loop, site: Site, host: str, port: int, reply_delay: Range | None) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((host, port))
            self._socket.listen(128)
        except OSError:
            self._socket.close()
            raise
        self._loop, self._site = loop, site
        self._reply_delay = reply_delay
        name, number = self._socket.getsockname()[:2]
        self.address = f"[{name}]:{number}" if ":" in name else f"{name}:{number}"
        loop.own(self._socket.fileno(), self)

    def ready(self, _mask: int) -> None:
        """Take in who connects."""
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                accepted, _ = self._socket.accept()
            except OSError:  # nobody more, gone again, or no descriptor free: the next turn tries again
                return
            Connection(self._loop, self._site, accepted, self._reply_delay)

    def close(self) -> None:
        """Listen no longer."""
        self._loop.disown(self._socket.fileno())
        self._socket.close()


class Connection:
    """One client: requests one after the other, pipelined or not, or an event stream."""

    __slots__ = ("_backlog", "_busy", "_closing", "_loop", "_parser", "_reply_delay", "_site", "_socket")

    def __init__(self, loop: Loop, site: Site, accepted: socket.socket, reply_delay: Range | None) -> None:
        self._loop, self._site, self._socket = loop, site, accepted
        self._reply_delay = reply_delay
        self._parser = RequestParser()
        self._backlog = bytearray()
        self._busy = False
        self._closing = False
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop.own(accepted.fileno(), self)

    def ready(self, mask: int) -> None:
        """Read requests, or go on sending."""
        if mask & select.EPOLLOUT:
            self._send_backlog()
        if not mask & ~select.EPOLLOUT or self._socket.fileno() < 0:
            return
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._parser.feed(data)
        if not self._busy:
            self._answer()

    def send(self, data: bytes) -> None:
        """Send this, now or when there is room; a reader that is too far behind is cut off."""
        if self._socket.fileno() < 0:
            return
        if not self._backlog:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.close()
                return
            if sent == len(data):
                return
            data = data[sent:]
            self._loop.change(self._socket.fileno(), select.EPOLLIN | select.EPOLLOUT)
        self._backlog += data
        if len(self._backlog) > LARGEST_BACKLOG_BYTES:
            self.close()

    def close(self) -> None:
        """End the connection."""
        if self._socket.fileno() < 0:
            return
        self._loop.disown(self._socket.fileno())
        self._socket.close()
        with contextlib.suppress(ValueError):
            self._site.streams.remove(self)

    def _answer(self) -> None:
        """Answer every whole request; with a delay for replies, one after the other."""
        self._busy = False
        try:
            while not self._closing and (request := self._parser.next()) is not None:
                answer = self._site.handle(request, self)
                if answer is None:
                    self.close()
                    return
                if self._reply_delay is not None:
                    self._busy = True
                    world = self._loop.world
                    world.after(self._reply_delay.draw(world.rng) or 1e-6, self._late, answer, request.close)
                    return
                self.send(answer)
                if request.close:
                    self._end()
        except WireError as error:
            self.send(error.reply)
            self._end()

    def _late(self, answer: bytes, close: bool) -> None:
        self.send(answer)
        if close:
            self._end()
        elif self._socket.fileno() >= 0:
            self._answer()

    def _end(self) -> None:
        """Close when everything is sent."""
        self._closing = True
        if not self._backlog:
            self.close()

    def _send_backlog(self) -> None:
        try:
            sent = self._socket.send(self._backlog)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        del self._backlog[:sent]
        if self._backlog:
            return
        if self._closing:
            self.close()
        else:
            self._loop.change(self._socket.fileno(), select.EPOLLIN)
