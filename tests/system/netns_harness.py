"""Hosts of their own on one machine: network namespaces on a bridge, each with an address, to be cut off.

A `Network` is a switch and some hosts, all in namespaces, so nothing of it is in the machine's own network:
no route leads there, and no interface's name can be taken. It is named after the process that made it; a run
that was killed can't tidy up, and what it left is cleared by the next one. Whoever may not make namespaces
can't run these tests: they are skipped, and say why.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from system_harness import Place, wait_until

from agent.procfs import read_stat

NAMESPACES = Path("/run/netns")
PREFIX = "harpoon-test"
SUBNET = "10.77.0"
# The hosts are on the first; a host on the other is in the other half of a partition.
BRIDGES = ("bridge1", "bridge2")
# An address of no network card: what is sent there is lost.
NOBODY = "02:00:00:00:00:01"
CLONE_NEWNET = 0x40000000
COMMAND_SECONDS = 20.0
_LIBC = ctypes.CDLL(None, use_errno=True)
_SERIAL = itertools.count(1)
_RUN = re.compile(rf"{PREFIX}-(?P<life>(?P<pid>\d+)-\d+)-\d+")


class NetworkError(Exception):
    """Namespaces can't be made here; the text is what `ip` said."""


@dataclass(frozen=True)
class Host(Place):
    """One host: `within` makes a command run on it, `reach` this thread's new connections begin there."""

    name: str = ""
    switch: str = ""
    port: str = ""

    def cut(self) -> None:
        """Pull its cable: nothing comes through any more, and nothing is reset."""
        _ip("-n", self.switch, "link", "set", self.port, "down")

    def heal(self) -> None:
        """Plug it in again."""
        _ip("-n", self.switch, "link", "set", self.port, "up")

    def lose(self, other: Host) -> None:
        """These two do not reach each other any more, though all others reach both; nothing is reset."""
        for one, two in ((self, other), (other, self)):
            _ip(
                "-n",
                one.name,
                "neigh",
                "replace",
                two.ip,
                "lladdr",
                NOBODY,
                "dev",
                "eth0",
                "nud",
                "permanent",
            )

    def find(self, other: Host) -> None:
        """They reach each other again."""
        for one, two in ((self, other), (other, self)):
            _ip("-n", one.name, "neigh", "del", two.ip, "dev", "eth0")

    def move(self, bridge: str) -> None:
        """Plug it into one of the switch's two bridges: only hosts on the same one reach each other."""
        _ip("-n", self.switch, "link", "set", self.port, "master", bridge)

    @contextlib.contextmanager
    def reach(self) -> Iterator[None]:
        """What this thread connects to meanwhile, it connects to from this host, also while it is cut off."""
        with Path("/proc/thread-self/ns/net").open() as here, (NAMESPACES / self.name).open() as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(here.fileno())


class Network:
    """A switch and `count` hosts, each with an address of its own."""

    def __init__(self, count: int) -> None:
        self._run = f"{PREFIX}-{_life(os.getpid())}-{next(_SERIAL)}"
        self._switch = f"{self._run}-switch"
        self.hosts = [self._host(number) for number in range(1, count + 1)]

    def _host(self, number: int) -> Host:
        name = f"{self._run}-host{number}"
        return Host(
            within=("ip", "netns", "exec", name),
            ip=f"{SUBNET}.{number}",
            name=name,
            switch=self._switch,
            port=f"port{number}",
        )

    def build(self) -> None:
        """Make it. Raises NetworkError."""
        _ip("netns", "add", self._switch)
        for bridge in BRIDGES:
            _ip("-n", self._switch, "link", "add", bridge, "type", "bridge")
            _ip("-n", self._switch, "link", "set", bridge, "up")
        for host in self.hosts:
            _ip("netns", "add", host.name)
            cable = ["link", "add", host.port, "type", "veth", "peer", "name", "eth0", "netns", host.name]
            _ip("-n", self._switch, *cable)
            _ip("-n", self._switch, "link", "set", host.port, "master", BRIDGES[0], "up")
            _ip("-n", host.name, "addr", "add", f"{host.ip}/24", "dev", "eth0")
            _ip("-n", host.name, "link", "set", "eth0", "up")
            _ip("-n", host.name, "link", "set", "lo", "up")

    def clear(self) -> None:
        """Take it away, with all that runs in it."""
        _clear(self._run)


@contextlib.contextmanager
def network(count: int) -> Iterator[list[Host]]:
    """This many hosts on one switch; the test is skipped where they can't be made."""
    if shutil.which("ip") is None:
        pytest.skip("no hosts of their own here: there is no `ip` (Debian's iproute2)")
    clear_leftovers()
    made = Network(count)
    try:
        try:
            made.build()
        except NetworkError as error:
            pytest.skip(f"no hosts of their own here: {error}")
        yield made.hosts
    finally:
        made.clear()


def clear_leftovers() -> None:
    """Take away what runs left that were killed before they could do so."""
    for name in _namespaces(f"{PREFIX}-"):
        found = _RUN.match(name)
        if found and _life(int(found["pid"])) != found["life"]:
            _clear(found[0])


def _clear(run: str) -> None:
    """End what runs in the namespaces of this run, and remove them."""
    for name in _namespaces(f"{run}-"):
        wait_until(lambda name=name: not _killed(name), f"nothing runs in {name}")  # type: ignore[misc]
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _killed(name: str) -> list[str]:
    """What ran in a namespace and was killed now."""
    found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
    for pid in found.stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    return found.stdout.split()


def _namespaces(prefix: str) -> list[str]:
    return sorted(path.name for path in NAMESPACES.glob(f"{prefix}*"))


def _life(pid: int) -> str:
    """A name for this life of a process: its number may be another one's later; empty once it has ended."""
    stat = read_stat(pid)
    return f"{pid}-{stat.start_ticks}" if stat is not None and stat.state != "Z" else ""


def _ip(*arguments: str) -> None:
    """Run `ip`. Raises NetworkError."""
    command = ["ip", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    if done.returncode:
        raise NetworkError(f"{' '.join(command)}: {done.stderr.strip()}")


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"can't enter a network namespace: {os.strerror(number)}")
