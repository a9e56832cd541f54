"""The launcher: the process a user starts. It starts web and the actors, watches them, and ends them.

Ending is the same as crashing: whatever was accepted is on disk, so the actors are simply killed, and a
crash of any part takes the same road as a stop. Only HTTP requests under way are let finish.
"""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from http.client import HTTPConnection, HTTPException

import msgspec
import psutil

from actors import processes
from actors.hosts import capabilities
from actors.launching import LaunchError, Restarts, Signals, hold_actor_port
from actors.lifeline import become_launcher
from actors.log import make_logger
from actors.messages import Begin, Begun
from actors.processes import Helper
from actors.system import port_of, start_system
from config.settings import Settings

START_SECONDS = 30.0
READY_SECONDS = 30.0
END_SECONDS = 4.0


class Launcher:
    """Runs a scheduler until it is told to end.

    `agent_command` makes the command of dev's own agent; `guest_command`, given the URL, that of a
    program to run once beside it when it is ready.
    """

    def __init__(
        self,
        settings: Settings,
        agent_command: Callable[[], list[str]] | None = None,
        guest_command: Callable[[str], list[str]] | None = None,
    ) -> None:
        self.settings = settings
        self._agent_command = agent_command
        self._guest_command = guest_command
        self._log = make_logger("launcher", settings.log_level.upper())
        self._listener: socket.socket | None = None
        # The actors' port, for as long as we run: it stays ours while the actors are made anew.
        self._held: socket.socket | None = None
        self._helpers: dict[str, Helper] = {}
        self._supervisor_fd = -1
        self._admin_pid = 0
        self._restarts = Restarts()
        self._signals = Signals()
        self._guest: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Start, say so, watch, end; returns the exit code. Raises LaunchError when it can't be started."""
        become_launcher()
        self._signals.catch()
        try:
            self._start_all()
            self._watch()
        finally:
            self._end_all()
        return 0

    # --- starting ---

    def _start_all(self) -> None:
        self._start_web()
        if self._agent_command is not None:
            self._start_agent()
        self._start_actors()
        self._wait_ready()
        if not self._signals.ending:
            self._log.info(
                "data in %s, placement %s", self.settings.data_path.resolve(), self.settings.placement
            )
            sys.stderr.write(f"listening on {self.url}\n")
            sys.stderr.flush()
            command = self._guest_command(self.url) if self._guest_command is not None else []
            if command:
                self._guest = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    @property
    def url(self) -> str:
        """Where users reach it."""
        host, port = self.settings.listen_address
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def bind(self) -> None:
        """Bind the HTTP socket, and hold the actors' port. Raises LaunchError."""
        self._held = hold_actor_port(self.settings)
        self.settings = msgspec.structs.replace(self.settings, actor_port=port_of(self._held))
        self._bind_http()

    def _bind_http(self) -> None:
        host, port = self.settings.listen_address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit these: a client whose host is gone is noticed within a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        try:
            listener.bind((host, port))
            listener.listen(2048)
        except OSError as error:
            listener.close()
            reason = error.strerror or error
            raise LaunchError(f"can't listen on {host}:{port}: {reason}; choose another --listen") from None
        self._listener = listener
        if port == 0:
            self.settings = msgspec.structs.replace(
                self.settings, listen=f"{host}:{listener.getsockname()[1]}"
            )

    def _start_web(self) -> None:
        if self._listener is None:
            self._bind_http()
        listener = self._listener
        if listener is None:
            raise AssertionError("bind() binds")
        command = [sys.executable, "-m", "web.server"]
        command += ["--fd", str(listener.fileno()), "--admin-port", str(self.settings.actor_port)]
        command += ["--data", str(self.settings.data_path.resolve())]
        command += ["--secret", str(self.settings.secret_path.resolve())]
        command += ["--address", self.settings.actor_address]
        command += ["--workers", str(self.settings.web_workers)]
        command += ["--placement", self.settings.placement]
        command += ["--exec" if self.settings.exec else "--no-exec"]
        for name in (self.settings.listen_address[0], *self.settings.host_names):
            command += ["--name", name.lower()]
        os.set_inheritable(listener.fileno(), True)
        self._helpers["web"] = Helper("web", command, pass_fds=(listener.fileno(),))
        # Only web holds the socket: the actors, forked from here, must not keep the port.
        listener.close()
        self._listener = None

    def _start_agent(self) -> None:
        if self._agent_command is None:
            return
        self._helpers["agent"] = Helper("agent", self._agent_command())

    def _start_actors(self) -> None:
        from actors.supervisor import GLOBAL_NAME, Supervisor  # noqa: PLC0415 - Thespian, only after `secure`

        try:
            system = start_system(self.settings.actor_port, capabilities(self.settings))
            supervisor = system.createActor(Supervisor, globalName=GLOBAL_NAME)
            begun = system.ask(supervisor, Begin(settings=self.settings), timedelta(seconds=START_SECONDS))
        except Exception as error:  # Thespian raises many kinds here
            raise LaunchError(
                f"the actor system can't be started on port {self.settings.actor_port}: {error}"
            ) from error
        if not isinstance(begun, Begun):
            raise LaunchError(f"the actors did not start within {START_SECONDS:.0f} s")
        if begun.error:
            raise LaunchError(begun.error)
        self._admin_pid = psutil.Process(begun.pid).ppid()
        self._supervisor_fd = os.pidfd_open(begun.pid)

    def _wait_ready(self) -> None:
        host, port = self.settings.listen_address
        give_up_at = time.monotonic() + READY_SECONDS
        while not self._signals.ending:
            if self._helpers["web"].ended() is not None:
                raise LaunchError("the web process ended while starting; see above")
            if _is_ready("127.0.0.1" if host == "0.0.0.0" else host, port):  # noqa: S104 - compared, not bound
                return
            if time.monotonic() > give_up_at:
                raise LaunchError(f"{self.url} was not ready within {READY_SECONDS:.0f} s")
            time.sleep(0.05)

    # --- watching ---

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._signals, selectors.EVENT_READ, "signal")
            selector.register(self._supervisor_fd, selectors.EVENT_READ, "actors")
            for name, helper in self._helpers.items():
                selector.register(helper.pidfd, selectors.EVENT_READ, name)
            while not self._signals.ending:
                for key, _ in selector.select(timeout=1.0):
                    if key.data == "signal":
                        self._signals.drain()
                    elif not self._signals.ending:
                        selector.unregister(key.fd)
                        self._revive(str(key.data), selector)
                processes.reap_orphans(self._own_pids())

    def _revive(self, name: str, selector: selectors.BaseSelector) -> None:
        """Start anew what has died."""
        pause_seconds = self._restarts.pause_before(name)
        self._log.warning("%s ended; starting it anew", name)
        time.sleep(pause_seconds)
        if name == "actors":
            self._kill_actors()
            self._start_actors()
            selector.register(self._supervisor_fd, selectors.EVENT_READ, name)
            return
        self._helpers.pop(name).close()
        if name == "web":
            self._start_web()
        else:
            self._start_agent()
        selector.register(self._helpers[name].pidfd, selectors.EVENT_READ, name)

    def _own_pids(self) -> set[int]:
        guest = {self._guest.pid} if self._guest is not None and self._guest.poll() is None else set()
        return guest | {helper.pid for helper in self._helpers.values()}

    # --- ending ---

    def _kill_actors(self) -> None:
        """Kill the admin, and with it all actors; wait until the port is theirs no more."""
        if self._admin_pid:
            processes.kill_tree(self._admin_pid)
            self._admin_pid = 0
        if self._supervisor_fd >= 0:
            os.close(self._supervisor_fd)
            self._supervisor_fd = -1

    def _end_all(self) -> None:
        self._kill_actors()
        for helper in self._helpers.values():
            helper.terminate()
        give_up_at = time.monotonic() + END_SECONDS
        while time.monotonic() < give_up_at and any(
            helper.ended() is None for helper in self._helpers.values()
        ):
            time.sleep(0.02)
        processes.sweep()
        for helper in self._helpers.values():
            helper.close()
        for held in (self._listener, self._held):
            if held is not None:
                held.close()


def _is_ready(host: str, port: int) -> bool:
    connection = HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
