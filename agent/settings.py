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
    # Whether commands may be run beside tasks.
    exec: bool = True
    # Who tasks run as; "": who the agent runs as.
    task_user: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    artifact_cache_bytes: int = 10 * 1024**3
    artifact_cache_seconds: float = 7 * 86_400.0
    log_rotate_seconds: float = 7 * 86_400.0
    log_keep_seconds: float = 86_400.0
    log_keep_bytes: int = 1024**3
    disk_reserve_bytes: int = 64 * 1024**2
    ephemeral: bool = False
    die_with_parent: bool = False
    # The scheduler to register at, as a URL ("": none), the file with the token for it, and the HOST:PORT
    # to say ("": where it listens).
    register: str = ""
    register_token_file: Path | None = None
    advertise: str = ""
    announce: bool = True
    metrics_seconds: float = 3.0
    keep_alive_seconds: float = 10.0
