"""What an agent is told at its start."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`cpu_cores` and `memory_mb` are what the host offers; `volumes` the host paths tasks may ask for.

    `announce`: say on stderr where it listens; not inside a program that says so itself.
    """

    host: str
    port: int
    data: Path
    name: str
    cpu_cores: float
    memory_mb: int
    volumes: tuple[str, ...] = ()
    # Whether to enforce what tasks are limited to, and in which cgroup, below the top; "": the agent's own.
    limits: bool = True
    cgroup: str = ""
    # Who tasks run as; "": who the agent runs as.
    task_user: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    ephemeral: bool = False
    die_with_parent: bool = False
    announce: bool = True
    metrics_seconds: float = 3.0
    keep_alive_seconds: float = 10.0
