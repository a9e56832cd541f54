"""The programs that a benchmark starts: fleets and schedulers. Each is ended on every way out."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil

from bench.client import Client

START_SECONDS = 120.0
CONNECT_SECONDS = 240.0
END_SECONDS = 15.0
_LINES_KEPT, _LINES_SHOWN = 200, 20
_REPOSITORY = Path(__file__).resolve().parent.parent

T = TypeVar("T")


class BenchError(Exception):
    """A measurement can't be made; the text says which, and what the programs said."""


class Program:
    """One running program, in a directory of its own, and what it says."""

    def __init__(self, name: str, arguments: list[str], directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.lines: deque[str] = deque(maxlen=_LINES_KEPT)
        directory.mkdir(parents=True, exist_ok=True)
        paths = [str(_REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
        command = [sys.executable, "-m", "bench.tied", str(os.getpid()), sys.executable, "-m", *arguments]
        self.process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def said(self, beginning: str) -> str | None:
        """The rest of the line that begins like this; raises BenchError when the program has ended."""
        for line in list(self.lines):
            if line.startswith(beginning):
                return line.removeprefix(beginning)
        if self.process.poll() is not None:
            self._reader.join(1.0)
            raise BenchError(f"{self.name} ended with {self.process.returncode}:\n" + "\n".join(self.lines))
        return None

    def end(self) -> None:
        """End it and all its processes."""
        tree = descendants(self.pid)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(END_SECONDS)
        for process in [*tree, psutil.Process(self.pid)] if self.process.poll() is None else tree:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.process.wait(END_SECONDS)
        self._reader.join(END_SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _read(self) -> None:
        if self.process.stdout is not None:
            for line in self.process.stdout:
                self.lines.append(line.rstrip("\n"))


def descendants(pid: int) -> list[psutil.Process]:
    """All processes below this one."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def wait_for(
    condition: Callable[[], T | None], what: str, timeout_seconds: float, pause_seconds: float = 0.02
) -> T:
    """The first true value of `condition`. Raises BenchError when none comes in time."""
    give_up_at = time.monotonic() + timeout_seconds
    while not (value := condition()):
        if time.monotonic() > give_up_at:
            raise BenchError(f"not within {timeout_seconds:.0f} s: {what}")
        time.sleep(pause_seconds)
    return value


class Fleet:
    """A running fleet of simulated agents."""

    def __init__(self, program: Program, agents_file: Path) -> None:
        self.program = program
        self.agents_file = agents_file
        control = wait_for(self._control, "the fleet listens", START_SECONDS)
        self.client = Client(control)

    def stats(self) -> dict[str, float]:
        """Its counts and its CPU."""
        found: dict[str, float] = self.client.get_json("/stats")
        return found

    def addresses(self) -> list[str]:
        """HOST:PORT of each agent."""
        return [line.split()[1] for line in self.agents_file.read_text().splitlines()]

    def _control(self) -> str | None:
        self.program.said("never said")  # raises when it has ended
        for line in list(self.program.lines):
            if "control http://" in line:
                return line.rpartition("control http://")[2]
        return None


class Scheduler:
    """A running scheduler."""

    def __init__(self, program: Program, agents: int) -> None:
        self.program = program
        started = time.perf_counter()
        url = wait_for(lambda: program.said("listening on http://"), "the scheduler listens", START_SECONDS)
        self.client = Client(url)
        self.wait_connected(agents)
        self.start_seconds = time.perf_counter() - started

    def wait_connected(self, agents: int) -> None:
        """Wait until so many agents are connected. Raises BenchError."""
        what = f"{agents} agents are connected"
        try:
            wait_for(lambda: self._connected() >= agents, what, CONNECT_SECONDS, 0.25)
        except BenchError as error:
            said = "\n".join(list(self.program.lines)[-_LINES_SHOWN:])
            raise BenchError(f"{error}; {self._connected()} are; the scheduler said last:\n{said}") from None

    def _connected(self) -> int:
        agents = self.client.get_json("/api/v1/agents")["agents"]
        return sum(agent["link"] == "connected" for agent in agents)


@contextlib.contextmanager
def fleet(agents: int, directory: Path, *options: str) -> Iterator[Fleet]:
    """A fleet for the time of a `with`."""
    agents_file = directory / "agents.txt"
    arguments = ["simulation.fleet", "--agents", str(agents), "--agents-file", str(agents_file), *options]
    program = Program("the fleet", arguments, directory)
    try:
        yield (running := Fleet(program, agents_file))
        running.client.close()
    finally:
        program.end()


@contextlib.contextmanager
def scheduler(of: Fleet, agents: int, directory: Path, *options: str) -> Iterator[Scheduler]:
    """A scheduler for the time of a `with`, all agents connected."""
    with serving(of.agents_file, agents, directory, *options) as running:
        yield running


@contextlib.contextmanager
def serving(agents_file: Path, agents: int, directory: Path, *options: str) -> Iterator[Scheduler]:
    """The same, with the agents of this file, of which so many are connected when it begins."""
    arguments = ["actors.main", "serve", "--listen", "127.0.0.1:0", "--data", str(directory / "data")]
    arguments += ["--agents-file", str(agents_file), *options]
    program = Program("the scheduler", arguments, directory)
    try:
        yield (running := Scheduler(program, agents))
        running.client.close()
    finally:
        program.end()
