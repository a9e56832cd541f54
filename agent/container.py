"""One container in the agent's memory: its config, its record on disk, its process, how it looks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from agent.driver import Process
from agent.lifecycle import WIRE_STATUS, State
from agent.store import Record
from scheduling.canonical import go_json, go_text
from scheduling.container import ContainerInstance, Metrics, ProcessState, TaskHealth
from scheduling.job import ContainerConfig

_BYTES_PER_MB = 1024 * 1024


class Container:
    """What the agent knows of a container; the runtime is the only one that changes it."""

    def __init__(self, container_id: str, directory: Path, config: ContainerConfig, record: Record) -> None:
        self.id = container_id
        self.directory = directory
        self.config = config
        self.record = record
        self.metrics = Metrics()
        # The end of its log when it failed, or was unhealthy, last; not kept over a restart of the agent.
        self.last_lines: list[str] = []
        # What its checks found, while it runs; and why it is being ended, when that is for its health.
        self.health: TaskHealth | None = None
        self.unwell = ""
        self.process: Process | None = None
        # Whatever is due later: the KILL after a TERM, or the next start after a crash.
        self.timer: asyncio.TimerHandle | None = None
        self.cancelled = threading.Event()
        # The ends of what runs beside its process.
        self.beside: set[Callable[[], None]] = set()
        # Requests about one container are dealt with one after the other.
        self.lock = asyncio.Lock()
        # Most of a container's JSON never changes: encoded once, it is copied from then on.
        self._head = b'{"container_id":' + go_text(container_id).encode() + b',"status":'
        self._config = b',"config":' + go_json(config) + b',"process_state":'

    @property
    def state(self) -> State:
        """Where it is in its life."""
        return self.record.state

    def cancel_timer(self) -> None:
        """Let nothing be due any more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def end_beside(self) -> None:
        """End what runs beside its process."""
        for end in self.beside:
            end()

    def process_state(self) -> ProcessState:
        """Its process as the wire format shows it."""
        up = self.state in (State.RUNNING, State.STOPPING)
        limit = self.config.resources.mem * _BYTES_PER_MB
        return ProcessState(
            up=up,
            restarting=self.state is State.RESTARTING,
            err=self.record.err,
            container_exit_status=self.record.exit,
            restarts=self.record.restarts,
            ooms=self.record.ooms,
            next_start_at=self.record.next_start_at if self.state is State.RESTARTING else 0.0,
            container_metrics=replace(self.metrics, memory_limit=limit) if up else Metrics(),
        )

    def instance(self) -> ContainerInstance:
        """The container as the wire format shows it."""
        return ContainerInstance(
            container_id=self.id,
            status=WIRE_STATUS[self.state],
            config=self.config,
            process_state=self.process_state(),
            last_lines=self.last_lines,
            health=self.health,
        )

    def encode(self) -> bytes:
        """The same as `go_json(self.instance())`, without encoding the config again."""
        status = go_text(WIRE_STATUS[self.state]).encode()
        last = b',"last_lines":' + go_json(self.last_lines) if self.last_lines else b""
        health = b',"health":' + go_json(self.health) if self.health else b""
        return self._head + status + self._config + go_json(self.process_state()) + last + health + b"}"
