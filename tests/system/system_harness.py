"""Real programs for the system tests: started, watched, and looked for afterwards.

Every program works in the directory of its test, so that whatever is left of it can be found: by its
working directory, or by that directory in its command line.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import requests

REPOSITORY = Path(__file__).resolve().parents[2]
# A first HTTP request on a busy machine; what a test waits for has deadlines of its own.
HTTP_SECONDS = 20.0


T = TypeVar("T")


def wait_until(condition: Callable[[], T | None], what: str, timeout_seconds: float = 20.0) -> T:
    """The first true value of `condition`; fails naming `what` when none comes in time."""
    give_up_at = time.monotonic() + timeout_seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < give_up_at, f"not within {timeout_seconds} s: {what}"
        time.sleep(0.02)


@dataclass(frozen=True)
class Place:
    """Where a program runs; here, on loopback. `within`: a command that becomes it; `ip`: its address."""

    within: Sequence[str] = ()
    ip: str = "127.0.0.1"

    def reach(self) -> AbstractContextManager[None]:
        """What is to be entered to connect to what listens there."""
        return contextlib.nullcontext()


HERE = Place()


class Program:
    """One running program, where it runs, and what it has said on stderr."""

    def __init__(self, arguments: list[str], directory: Path, place: Place = HERE) -> None:
        self.directory = directory
        self.place = place
        self.lines: list[str] = []
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        self.process = subprocess.Popen(
            [*place.within, sys.executable, "-m", *arguments],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=(directory / "stdout").open("w"),
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    @property
    def said(self) -> str:
        """Everything on stderr so far."""
        return "\n".join(self.lines)

    @property
    def printed(self) -> str:
        """Everything on stdout so far."""
        return (self.directory / "stdout").read_text()

    def wait_listening(self, timeout_seconds: float = 40.0) -> str:
        """The URL in its line `listening on …`."""
        return wait_until(self._listening, "listening", timeout_seconds)

    def _listening(self) -> str | None:
        assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.said}"
        found = [
            line.removeprefix("listening on ") for line in self.lines if line.startswith("listening on ")
        ]
        return found[0] if found else None

    def end(self, number: int = signal.SIGTERM, timeout_seconds: float = 15.0) -> tuple[int, float]:
        """Send a signal; returns the exit code and the seconds it took."""
        started = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(timeout_seconds)
        return code, time.monotonic() - started

    def tree(self) -> list[psutil.Process]:
        """All processes below it."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, title: str) -> psutil.Process:
        """The process below it whose title begins with this."""
        return wait_until(
            lambda: next(
                (process for process in self.tree() if command_line(process).startswith(title)), None
            ),
            f"a process called {title}",
        )


def command_line(process: psutil.Process) -> str:
    """Its command line; empty for one that is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def leftovers(directory: Path) -> list[str]:
    """Processes that belong to programs of this directory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            line = " ".join(process.cmdline())
            if Path(process.cwd()).is_relative_to(directory) or f"{directory}/" in line:
                found.append(f"{process.pid} {line}")
    return found


class Scheduler(Program):
    """A scheduler, with `dev` an agent too, and its HTTP."""

    url = ""

    def ready(self) -> Scheduler:
        """Wait until it really accepts requests."""
        self.url = self.wait_listening()
        return self

    def get(self, path: str, **options: Any) -> requests.Response:
        """A GET."""
        with self.place.reach():
            return requests.get(self.url + path, timeout=HTTP_SECONDS, **options)

    def schedule(self, job: dict[str, Any]) -> requests.Response:
        """PUT a job the old way."""
        with self.place.reach():
            return requests.put(self.url + "/api/v0/schedule", json=job, timeout=HTTP_SECONDS)

    def statuses(self, name: str) -> dict[str, str]:
        """The status of each task of a job, by its name; empty while HTTP does not answer."""
        with contextlib.suppress(requests.RequestException):
            tasks = self.get(f"/api/v1/tasks?job={name}").json().get("tasks", [])
            return {task["id"]: task["status"] for task in tasks}
        return {}

    def wait_running(self, name: str, count: int, timeout_seconds: float = 20.0) -> dict[str, str]:
        """Wait until exactly this many tasks of a job are there and run."""

        def all_running() -> dict[str, str] | None:
            found = self.statuses(name)
            return found if [*found.values()] == ["running"] * count else None

        return wait_until(all_running, f"{count} tasks of {name} running", timeout_seconds)


def job(name: str, scale: int = 1, **changes: Any) -> dict[str, Any]:
    """A job that appends a line to a file at each start, if `starts` names one, and then waits."""
    starts = changes.pop("starts", "/dev/null")
    script = f"echo {name} >> {starts}; exec sleep 1000"
    return {
        "scale": scale,
        "product": "test",
        "environment": "system",
        "job": name,
        "health_checks": None,
        "artifact_url": "",
        "ports": {},
        "env": {"PATH": "/usr/bin:/bin"},
        "command": {"working_dir": "/", "exec": ["/bin/sh", "-c", script]},
        "resources": {"mem": 1, "cpu": 0.01, "fd": 64},
        "storage": {"tmp": {}, "volumes": {}},
        "grace": {"startup": "3s", "shutdown": "500ms"},
        "restart": "no",
        **changes,
    }


@contextlib.contextmanager
def running(arguments: list[str], directory: Path, place: Place = HERE) -> Iterator[Scheduler]:
    """A scheduler that is ready; afterwards it is ended, and nothing of it may be left."""
    directory.mkdir(exist_ok=True)
    program = Scheduler(["actors.main", *arguments, "--listen", f"{place.ip}:0"], directory, place)
    try:
        yield program.ready()
    finally:
        sys.stderr.write(f"the scheduler said:\n{program.said}\n")  # shown by pytest when a test fails
        if program.process.poll() is None:
            program.end()
        wait_until(lambda: not leftovers(directory), f"no process left, not {leftovers(directory)}", 15)


def run_to_end(
    arguments: list[str], directory: Path, timeout_seconds: float = 40.0
) -> subprocess.CompletedProcess[str]:
    """Run a program that ends by itself."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )


def read_example(name: str) -> dict[str, Any]:
    """A job file of examples/."""
    config: dict[str, Any] = json.loads((REPOSITORY / "examples" / name).read_text())
    return config


class Agent(Program):
    """A standing agent: its tasks outlive it, so `clean` ends them."""

    url = ""

    def __init__(self, directory: Path, *flags: str, port: int = 0, place: Place = HERE) -> None:
        directory.mkdir(exist_ok=True)
        arguments = ["agent.main", "--listen", f"{place.ip}:{port}", "--data", "data", *flags]
        super().__init__(arguments, directory, place)
        self.url = self.wait_listening()

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return self.url.removeprefix("http://")

    def containers(self) -> dict[str, Any]:
        """What it runs."""
        with self.place.reach():
            answer = requests.get(f"{self.url}/api/v0/containers", timeout=HTTP_SECONDS)
        found: dict[str, Any] = answer.json()
        return found

    def clean(self) -> None:
        """End it and all its tasks, also if the test has left them stopped."""
        self.process.kill()
        self.process.wait()
        for process in psutil.process_iter():
            if f"{self.directory}/" in command_line(process) or _works_in(process, self.directory):
                with contextlib.suppress(psutil.Error):
                    process.kill()


def _works_in(process: psutil.Process, directory: Path) -> bool:
    try:
        return process.pid != os.getpid() and Path(process.cwd()).is_relative_to(directory)
    except psutil.Error:
        return False


@contextlib.contextmanager
def agent(directory: Path, *flags: str, port: int = 0, place: Place = HERE) -> Iterator[Agent]:
    """A standing agent that is ready; afterwards nothing of it is left."""
    program = Agent(directory, *flags, port=port, place=place)
    try:
        yield program
    finally:
        program.clean()
