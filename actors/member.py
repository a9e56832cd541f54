"""A member: a host that lends its actor system to a leader, which makes flocks there.

It has no web, no supervisor and no registry, and nothing on disk that matters. Thespian says to the leader
each 2 s that the host is there, and a flock that hears nothing of its shepherd ends by itself; what is here
starts the actor system, says how it stands with the leader, and ends it all.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
import time

import msgspec
import psutil

from actors import processes
from actors.hosts import capabilities, own_offer
from actors.launching import LaunchError, Restarts, Signals, hold_actor_port
from actors.leader_line import LeaderLine, RefusedError, UnreachableError
from actors.lifeline import become_launcher
from actors.log import make_logger
from actors.system import port_of, start_system
from config.bounds import LONGEST_JOIN_PAUSE_SECONDS
from config.settings import Settings, split_listen
from config.trusted_hosts import is_loopback

ASK_SECONDS = 1.0


class MemberLauncher:
    """Runs a member until it is told to end. `settings.leader` says whom to join."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._log = make_logger("member", settings.log_level.upper())
        self._signals = Signals()
        self._restarts = Restarts()
        self._admin_pid = 0
        self._admin_fd = -1
        # Our port, for as long as we run: it stays ours while the actors are made anew.
        self._held: socket.socket | None = None
        # Whether we are one of its members now, and whether we ever were.
        self._taken = False
        self._joined = False
        self._said = ""

    def bind(self) -> None:
        """Find the leader's address, the one to join it from, and our port. Raises LaunchError."""
        host, port = split_listen(self.settings.leader)
        try:
            leader = socket.gethostbyname(host)
        except OSError as error:
            raise LaunchError(f"leader = {self.settings.leader!r}: {host}: {error.strerror}") from None
        address = self.settings.actor_address
        if is_loopback(address) and not is_loopback(leader):
            address = _address_towards(leader)
        if address == leader:
            raise LaunchError(
                f"the leader's actors have the address {address} themselves; on the same machine join with "
                "another --actor-address, like 127.0.0.2"
            )
        self.settings = msgspec.structs.replace(
            self.settings, leader=f"{leader}:{port}", actor_address=address
        )
        self._held = hold_actor_port(self.settings)
        self.settings = msgspec.structs.replace(self.settings, actor_port=port_of(self._held))

    def run(self, secret: bytes) -> int:
        """Join, say so, watch, end; returns the exit code. Raises LaunchError when the leader refuses us."""
        become_launcher()
        self._signals.catch()
        address = (self.settings.actor_address, self.settings.actor_port)
        line = LeaderLine(split_listen(self.settings.leader), address, secret)
        try:
            self._join(line)
            self._watch(line)
        finally:
            self._kill_actors()
            if self._taken:
                line.leave()
            if self._held is not None:
                self._held.close()
        return 0

    def _join(self, line: LeaderLine) -> None:
        """Wait until there is a leader that we fit to; only then there are actors here."""
        pause_seconds = 0.2
        while not self._signals.ending:
            try:
                self._is_taken(line)
            except RefusedError as error:
                raise LaunchError(str(error)) from None
            except UnreachableError as error:
                self._say(f"can't reach the leader at {error}; trying again")
                self._wait(pause_seconds)
                pause_seconds = min(pause_seconds * 2, LONGEST_JOIN_PAUSE_SECONDS)
            else:
                self._start_actors()
                return

    def _is_taken(self, line: LeaderLine) -> bool:
        """Whether the leader has taken us in. Raises UnreachableError, or RefusedError if it never will."""
        answer, own = line.ask(), own_offer(self.settings)[1]
        if answer.offer.version != own.version:
            raise RefusedError(
                f"the leader runs harpoon {answer.offer.version}, and this host {own.version}; "
                "install the same version"
            )
        return answer.taken

    def _start_actors(self) -> None:
        import actors.flock  # noqa: F401, PLC0415 - its pages are shared by all flocks; after `secure`

        port = self.settings.actor_port
        try:
            start_system(port, capabilities(self.settings), self.settings.leader)
        except Exception as error:  # Thespian raises many kinds here
            raise LaunchError(f"the actor system can't be started on port {port}: {error}") from error
        self._admin_pid = _admin_here()
        self._admin_fd = os.pidfd_open(self._admin_pid)

    def _watch(self, line: LeaderLine) -> None:
        """Say how it stands with the leader, and start the actors anew when they end."""
        while not self._signals.ending:
            try:
                taken, why = self._is_taken(line), "it has not taken us in yet"
            except (UnreachableError, RefusedError) as error:
                taken, why = False, str(error)
            if taken and not self._taken:
                self._say_joined()
            elif self._taken and not taken:
                self._say(f"the leader is gone: {why}; trying again")
            self._taken = taken
            if self._wait(ASK_SECONDS):
                self._revive()
            processes.reap_orphans(set())

    def _revive(self) -> None:
        pause_seconds = self._restarts.pause_before("the actor system")
        self._log.warning("the actor system ended; starting it anew")
        self._kill_actors()
        time.sleep(pause_seconds)
        self._start_actors()

    def _wait(self, seconds: float) -> bool:
        """Wait for so long, or until a signal comes; returns whether the actor system has ended."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._signals, selectors.EVENT_READ, "signal")
            if self._admin_fd >= 0:
                selector.register(self._admin_fd, selectors.EVENT_READ, "actors")
            happened = {key.data for key, _ in selector.select(seconds)}
        if "signal" in happened:
            self._signals.drain()
        return "actors" in happened

    def _kill_actors(self) -> None:
        """Kill the admin, and with it all actors; wait until none is left, since they have the port."""
        if self._admin_fd >= 0:
            processes.kill_tree(self._admin_pid)
            os.close(self._admin_fd)
            self._admin_fd = -1
        processes.sweep()

    def _say_joined(self) -> None:
        """The first time a line that programs may wait for, whatever the log level; later one of the log."""
        name, first = own_offer(self.settings)[1].name, not self._joined
        text = f"joined {self.settings.leader} as {name} from {self.settings.actor_address}"
        self._joined, self._said = True, ""
        if first:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()
        else:
            self._log.warning("%s again", text)

    def _say(self, text: str) -> None:
        """What is wrong with the leader; the same is not said again."""
        if text != self._said:
            self._said = text
            self._log.warning(text)


def _admin_here() -> int:
    """The pid of the admin that was just started: our only child, adopted after its double fork."""
    alive = [each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE]
    if len(alive) != 1:
        raise LaunchError(f"the actor system did not come up: {len(alive)} processes instead of one")
    return alive[0].pid


def _address_towards(leader: str) -> str:
    """The address of this host that packets to the leader leave from; nothing is sent. Raises LaunchError."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((leader, 9))
            return str(probe.getsockname()[0])
    except OSError as error:
        raise LaunchError(
            f"there is no way from here to the leader {leader}: {error.strerror}; choose an --actor-address"
        ) from None
