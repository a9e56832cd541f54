"""Which ports the containers of this host hold: the chosen ones and those asked for by number."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping

FIRST_PORT = 30000
LAST_PORT = 32767


class PortTakenError(Exception):
    """A port asked for by number belongs to another container, or none is left to choose."""


def bindable(port: int) -> bool:
    """Whether nobody on this host listens on a TCP port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def listened_on(port: int) -> bool:
    """Whether a program of this host listens on a TCP port now; what a connection left behind is nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


class Ports:
    """The claims on a host's ports; a claim lasts until `release`, whether the task runs or not.

    `is_free` judges a port to choose, `is_used` one that is asked for by number.
    """

    def __init__(
        self,
        is_free: Callable[[int], bool] = bindable,
        is_used: Callable[[int], bool] = lambda _port: False,
    ) -> None:
        self._is_free = is_free
        self._is_used = is_used
        self._owners: dict[int, str] = {}
        self._next = FIRST_PORT

    def claim(self, container_id: str, ports: Mapping[str, int]) -> dict[str, int]:
        """Take a container's ports; 0 becomes a free one. Takes all, or none and raises PortTakenError."""
        chosen: dict[str, int] = {}
        taken = {}
        for name, port in ports.items():
            if port == 0:
                continue
            owner = container_id if port in taken else self._owners.get(port)
            if owner is not None:
                raise PortTakenError(f"port {port} ({name}) is taken by {owner}")
            if self._is_used(port):
                raise PortTakenError(f"port {port} ({name}) is taken by a program that is none of our tasks")
            taken[port] = chosen[name] = port
        for name, port in ports.items():
            if port == 0:
                free = self._choose(taken)
                taken[free] = chosen[name] = free
        self._owners.update(dict.fromkeys(taken, container_id))
        return {name: chosen[name] for name in ports}

    def adopt(self, container_id: str, ports: Mapping[str, int]) -> None:
        """Take the ports of a container found again, as they are."""
        self._owners.update(dict.fromkeys(ports.values(), container_id))

    def release(self, container_id: str) -> None:
        """Give back all that a container holds."""
        self._owners = {port: owner for port, owner in self._owners.items() if owner != container_id}

    def _choose(self, taken: Mapping[int, int]) -> int:
        # Going round instead of taking the lowest keeps a port that was just given back unused for long:
        # clients of the task that had it should meet nobody rather than a stranger.
        for _ in range(LAST_PORT - FIRST_PORT + 1):
            port = self._next
            self._next = FIRST_PORT if port == LAST_PORT else port + 1
            if port not in self._owners and port not in taken and self._is_free(port):
                return port
        raise PortTakenError(f"no port from {FIRST_PORT} to {LAST_PORT} is free")
