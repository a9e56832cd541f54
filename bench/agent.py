"""One real agent with many real tasks: how fast they start and end, what it takes, how soon it tells."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import statistics
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import psutil

from bench.client import Client
from bench.programs import BenchError, Program, descendants, wait_for
from bench.usage import cpu_seconds
from scheduling.sse import EventParser

_CLIENTS = 4
_ALL_SECONDS = 300.0
_SEEN_SECONDS = 10.0
_AWAY = re.compile(rb"/containers/([^/\0]+)\0")


class AgentResult(msgspec.Struct, frozen=True, kw_only=True):
    """Rates in tasks a second, from the first request to the last event; memory without tasks and shims."""

    tasks: int
    create_a_second: float
    start_a_second: float
    stop_a_second: float
    agent_ms_a_start: float
    agent_mb: float
    idle_cores: float
    samples: int
    median_seconds: float
    p95_seconds: float
    slowest_seconds: float
    limits: list[str]

    def lines(self) -> list[str]:
        """As sentences."""
        return [
            f"An agent with {self.tasks:,} tasks (enforced: {', '.join(self.limits) or 'nothing'}): created "
            f"{self.create_a_second:,.0f}/s, started {self.start_a_second:,.0f}/s with "
            f"{self.agent_ms_a_start:.1f} ms of its CPU each, stopped {self.stop_a_second:,.0f}/s; "
            f"{self.agent_mb:.0f} MB (PSS), {self.idle_cores:.1%} of a core while they only run. From the "
            f"death of a task to its event ({self.samples}): median {self.median_seconds * 1e3:.1f} ms, 95% "
            f"within {self.p95_seconds * 1e3:.1f} ms, slowest {self.slowest_seconds * 1e3:.1f} ms."
        ]


def measure_agent(tasks: int, samples: int, idle_seconds: float, directory: Path) -> AgentResult:
    """Create, start, watch and stop so many tasks that do nothing."""
    program = Program("the agent", [*_COMMAND, "--data", str(directory / "data")], directory)
    watch: _Watch | None = None
    try:
        url = wait_for(lambda: program.said("listening on http://"), "the agent listens", 60.0)
        watch = _Watch(url)
        names = [f"bench-{number}" for number in range(tasks)]
        created = _all(url, names, "PUT", "", _CONFIG, watch, "created")
        pids = [program.pid, *(process.pid for process in descendants(program.pid))]
        before = sum(map(cpu_seconds, pids))
        started = _all(url, names, "POST", "/start", None, watch, "running")
        starting = sum(map(cpu_seconds, pids)) - before
        memory_mb = sum(_pss_mb(pid) for pid in pids)
        before = sum(map(cpu_seconds, pids))
        time.sleep(idle_seconds)
        idle = sum(map(cpu_seconds, pids)) - before
        latencies = sorted(_deaths(watch, names[:samples]))
        stopped = _all(url, names[samples:], "POST", "/stop", None, watch, "finished")
        _all(url, names, "DELETE", "", None, watch, "deleted")
        client = Client(url)
        limits = client.get_json("/api/v0/resources").get("limits", [])
        client.close()
        return AgentResult(
            tasks=tasks,
            create_a_second=tasks / created,
            start_a_second=tasks / started,
            stop_a_second=max(tasks - samples, 1) / stopped,
            agent_ms_a_start=starting / tasks * 1e3,
            agent_mb=memory_mb,
            idle_cores=idle / idle_seconds,
            samples=len(latencies),
            median_seconds=statistics.median(latencies),
            p95_seconds=latencies[int(len(latencies) * 0.95)],
            slowest_seconds=latencies[-1],
            limits=limits,
        )
    finally:
        if watch is not None:
            watch.close()
        program.end()


# Ephemeral, so that tasks end with it on every way out.
_COMMAND = ["agent.main", "--ephemeral", "--listen", "127.0.0.1:0", "--cpu", "1000", "--mem", "100000"]
_CONFIG: dict[str, Any] = {
    "product": "bench",
    "environment": "bench",
    "job": "bench",
    "command": {"working_dir": "/", "exec": ["sleep", "100000"]},
    "resources": {"mem": 16, "cpu": 0.01, "fd": 0},
    "ports": {"HTTP": 0},
    "grace": {"startup": "1s", "shutdown": "5s"},
    "restart": "no",
}


class _Watch:
    """The event stream, read in a thread: when each (container, status) was told first."""

    def __init__(self, address: str) -> None:
        self.told: dict[tuple[str, str], float] = {}
        host, _, port = address.rpartition(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=_ALL_SECONDS)
        self._connection.request("GET", "/api/v0/containers", headers={"Accept": "text/event-stream"})
        self._socket = self._connection.sock
        self._stream = self._connection.getresponse()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        parser = EventParser()
        try:
            while chunk := self._stream.read1(65536):
                now = time.monotonic()
                for event in parser.feed(chunk):
                    for name, instance in msgspec.json.decode(event.data)["containers"].items():
                        self.told.setdefault((name, instance["status"]), now)
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            pass  # closed

    def close(self) -> None:
        with contextlib.suppress(OSError):
            # Wakes the reading thread, which a mere close would wait for.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._connection.close()


def _all(
    address: str,
    names: Sequence[str],
    method: str,
    path: str,
    body: Any,
    watch: _Watch,
    status: str,
) -> float:
    """Send a request for each, over several connections, and wait for all events; returns the seconds."""
    encoded = None if body is None else msgspec.json.encode(body)

    def send(part: Sequence[str]) -> None:
        client = Client(address)
        try:
            for name in part:
                reply = client.request(method, f"/api/v0/containers/{name}{path}", encoded)
                if reply.status >= 300:
                    raise BenchError(f"{method} {name}{path}: {reply.status} {reply.body[:200]!r}")
        finally:
            client.close()

    began = time.monotonic()
    with ThreadPoolExecutor(_CLIENTS) as pool:
        list(pool.map(send, [names[start::_CLIENTS] for start in range(_CLIENTS)]))
    left = set(names)

    def seen() -> bool:
        left.difference_update([name for name in left if (name, status) in watch.told])
        return not left

    wait_for(seen, f"all are {status}", _ALL_SECONDS)
    return max((watch.told[name, status] for name in names), default=began) - began


def _deaths(watch: _Watch, names: Sequence[str]) -> list[float]:
    """Kill one after the other; the seconds until each event."""
    pids = _pids()
    found = []
    for name in names:
        began = time.monotonic()
        os.kill(pids[name], signal.SIGKILL)
        ended = (name, "finished")
        wait_for(lambda ended=ended: ended in watch.told, f"{name} has ended", _SEEN_SECONDS)  # type: ignore[misc]
        found.append(watch.told[name, "finished"] - began)
    return found


def _pids() -> dict[str, int]:
    """Container id → the process of its task, which is the child of its shim."""
    found = {}
    for process in psutil.process_iter(["pid", "ppid", "name"]):
        if process.info["name"] != "sleep":
            continue
        try:
            line = Path(f"/proc/{process.info['ppid']}/cmdline").read_bytes()
        except OSError:
            continue
        if b"shim.sh" in line and (match := _AWAY.search(line)):
            found[match[1].decode()] = process.info["pid"]
    return found


def _pss_mb(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return int(text.partition("\nPss:")[2].split()[0]) / 1024
