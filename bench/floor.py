"""The floor: the same requests and events without a scheduler, as cheaply as plain HTTP clients do it.

Two processes share the agents. Each has the event streams of its agents open and four senders, each
with one kept-alive connection to each of its agents and one request in flight. What an event proves
(created, finished) is what sends the next request, as in a scheduler; nothing is stored or decided.
"""

from __future__ import annotations

import http.client
import json
import os
import queue
import resource
import select
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from scheduling.sse import EventParser

PROCESSES = 2
IN_FLIGHT = 4
_TIMEOUT_SECONDS = 120.0


class _Instance(msgspec.Struct):
    status: str


class _Event(msgspec.Struct):
    containers: dict[str, _Instance]


_EVENT = msgspec.json.Decoder(_Event)


class _Step(NamedTuple):
    agent: int
    method: str
    path: str
    body: bytes | None


class Share:
    """One process' share of the agents, each with the names of its tasks."""

    def __init__(self, agents: list[tuple[str, list[str]]], body: bytes) -> None:
        self._agents = agents
        self._body = body
        self._left = 0
        self._done = threading.Event()
        self._queues: list[queue.SimpleQueue[_Step | None]] = [queue.SimpleQueue() for _ in range(IN_FLIGHT)]
        self._streams: dict[int, tuple[socket.socket, EventParser, int]] = {}
        self._poll = select.epoll()
        for number, (address, _) in enumerate(agents):
            self._follow(number, address)
        for each in self._queues:
            threading.Thread(target=_or_die, args=(self._send, each), daemon=True).start()
        threading.Thread(target=_or_die, args=(self._read,), daemon=True).start()

    def run(self, method: str, suffix: str) -> None:
        """Begin with this request for every task, and go on until the events say that all are there."""
        self._left = sum(len(tasks) for _, tasks in self._agents)
        self._done.clear()
        body = self._body if method == "PUT" else None
        # One task of each agent after the other, as a scheduler spreads them.
        rounds = max((len(tasks) for _, tasks in self._agents), default=0)
        for position in range(rounds):
            for number, (_, tasks) in enumerate(self._agents):
                if position < len(tasks):
                    self._put(_Step(number, method, f"/api/v0/containers/{tasks[position]}{suffix}", body))
        if self._left and not self._done.wait(_TIMEOUT_SECONDS):
            raise TimeoutError("the floor was not reached in time")

    def _put(self, step: _Step) -> None:
        self._queues[step.agent % IN_FLIGHT].put(step)

    def _send(self, steps: queue.SimpleQueue[_Step | None]) -> None:
        connections: dict[int, http.client.HTTPConnection] = {}
        while (step := steps.get()) is not None:
            connection = connections.get(step.agent)
            if connection is None:
                host, _, port = self._agents[step.agent][0].rpartition(":")
                connection = connections[step.agent] = http.client.HTTPConnection(host, int(port))
            connection.request(step.method, step.path, step.body)
            response = connection.getresponse()
            response.read()
            if response.status >= 300:
                raise RuntimeError(f"{step.method} {step.path}: {response.status}")

    def _follow(self, number: int, address: str) -> None:
        host, _, port = address.rpartition(":")
        sock = socket.create_connection((host, int(port)))
        sock.sendall(
            b"GET /api/v0/containers HTTP/1.1\r\nHost: %b\r\nAccept: text/event-stream\r\n\r\n"
            % address.encode()
        )
        self._streams[sock.fileno()] = (sock, EventParser(), number)
        self._poll.register(sock.fileno(), select.EPOLLIN)

    def _read(self) -> None:
        while True:
            for descriptor, _ in self._poll.poll():
                sock, parser, number = self._streams[descriptor]
                # Heads and chunk sizes are lines that begin no event field; the parser ignores them.
                for event in parser.feed(sock.recv(256 * 1024)):
                    for task, instance in _EVENT.decode(event.data).containers.items():
                        self._saw(number, task, instance.status)

    def _saw(self, number: int, task: str, status: str) -> None:
        if status == "created":
            self._put(_Step(number, "POST", f"/api/v0/containers/{task}/start", None))
        elif status == "finished":
            self._put(_Step(number, "DELETE", f"/api/v0/containers/{task}", None))
        elif status in ("running", "deleted"):
            self._left -= 1
            if self._left == 0:
                self._done.set()


def _or_die(work: Callable[..., None], *arguments: object) -> None:
    """A thread that fails ends the process: the others would wait for ever."""
    try:
        work(*arguments)
    except Exception:  # noqa: BLE001 - whatever it is, it is said, and ends the process
        traceback.print_exc()
        os._exit(1)


def main() -> None:
    """A process of the floor: reads its share on one line, then runs each way when told to."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    plan = json.loads(sys.stdin.readline())
    share = Share([(address, tasks) for address, tasks in plan["agents"]], plan["body"].encode())
    print("ready", flush=True)
    for line in sys.stdin:
        share.run(*({"schedule": ("PUT", ""), "unschedule": ("POST", "/stop")}[line.strip()]))
        print("done", flush=True)


class Floor:
    """The processes of the floor, ready to run."""

    def __init__(self, addresses: list[str], tasks: int, body: bytes) -> None:
        names = [
            [f"floor-{task}" for task in range(each, tasks, len(addresses))] for each in range(len(addresses))
        ]
        agents = list(zip(addresses, names, strict=True))
        self._processes: list[subprocess.Popen[str]] = []
        try:
            for number in range(min(PROCESSES, len(addresses))):
                process = subprocess.Popen(
                    [sys.executable, "-m", "bench.floor"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                self._processes.append(process)
                self._tell(process, json.dumps({"agents": agents[number::PROCESSES], "body": body.decode()}))
            self._await("ready")
        except BaseException:
            self.end()
            raise

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [process.pid for process in self._processes]

    def run(self, way: str) -> float:
        """`schedule` or `unschedule` all tasks; returns the seconds it took."""
        started = time.perf_counter()
        for process in self._processes:
            self._tell(process, way)
        self._await("done")
        return time.perf_counter() - started

    def end(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def _tell(self, process: subprocess.Popen[str], line: str) -> None:
        if process.stdin is not None:
            process.stdin.write(line + "\n")
            process.stdin.flush()

    def _await(self, word: str) -> None:
        for process in self._processes:
            said = process.stdout.readline().strip() if process.stdout is not None else ""
            if said != word:
                raise RuntimeError(f"a process of the floor said {said!r} instead of {word!r}")


if __name__ == "__main__":
    main()
