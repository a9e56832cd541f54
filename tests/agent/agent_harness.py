"""A real `harpoon-agent` for tests: started on a free port, watched, and never left behind."""

from __future__ import annotations

import errno
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from agent.cgroup import group_name
from agent.hierarchies import of_this_host
from scheduling.sse import EventParser

REPOSITORY = Path(__file__).parents[2]
PATIENCE_SECONDS = 15.0
_T = TypeVar("_T")


def wait_until(condition: Callable[[], _T], what: str = "", seconds: float = PATIENCE_SECONDS) -> _T:
    """The first true value of `condition`; fails with `what` when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        time.sleep(0.01)
    return value


def config(*command: str, **changes: Any) -> dict[str, Any]:
    """A ContainerConfig that is right, running `command`, with some fields changed."""
    right: dict[str, Any] = {
        "product": "search",
        "environment": "test",
        "job": "web",
        "health_checks": None,
        "artifact_url": "",
        "ports": None,
        "env": None,
        "command": {"working_dir": "/", "exec": list(command) or ["sleep", "1000"]},
        "resources": {"mem": 1, "cpu": 0.001, "fd": 0},
        "storage": {"tmp": None, "volumes": None},
        "grace": {"startup": "1s", "shutdown": "5s"},
        "restart": "no",
    }
    return {**right, **changes}


def shell(script: str, **changes: Any) -> dict[str, Any]:
    """A config that runs a shell script."""
    return config("sh", "-c", script, **changes)


class Reply:
    """A reply in full: status, headers and the bytes of the body."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.content_type = response.getheader("content-type", "")
        self.body = response.read()

    def json(self) -> Any:
        return json.loads(self.body)


class Watch:
    """An event stream read in a thread: `raw` is all bytes so far, `events` the decoded data."""

    def __init__(self, port: int, path: str) -> None:
        self.raw = b""
        self.events: list[Any] = []
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        self._connection.request("GET", path, headers={"Accept": "text/event-stream"})
        self._socket = self._connection.sock
        self.response = self._connection.getresponse()
        self.ended = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        parser = EventParser()
        try:
            while chunk := self.response.read1(65536):
                self.raw += chunk
                self.events += [json.loads(event.data) for event in parser.feed(chunk)]
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            pass  # closed from either side
        self.ended.set()

    def statuses(self, container_id: str) -> list[str]:
        """The statuses told of a container, in order, without repetitions."""
        told: list[str] = []
        for event in list(self.events):
            instance = event["containers"].get(container_id)
            if instance and [instance["status"]] != told[-1:]:
                told.append(instance["status"])
        return told

    def close(self) -> None:
        with suppress(OSError):
            # Wakes the reading thread, which a mere close would wait for.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._connection.close()


class Agent:
    """A started agent; `data` is its directory."""

    def __init__(self, data: Path, *flags: str, launcher: list[str] | None = None) -> None:
        self.data = data
        self.flags = flags
        self._launcher = launcher or []
        self._watches: list[Watch] = []
        self.start()

    def start(self) -> None:
        """Start it, or start it again on the same data."""
        self.process = subprocess.Popen(
            [*self._launcher, *command("--data", str(self.data), "--listen", "127.0.0.1:0"), *self.flags],
            cwd=REPOSITORY,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self.lines: list[str] = []
        for line in self.process.stderr:
            self.lines.append(line)
            if match := re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)\n", line):
                self.port = int(match[1])
                threading.Thread(target=self._drain, args=(self.process.stderr,), daemon=True).start()
                return
        raise AssertionError(f"the agent did not start: {''.join(self.lines)}")

    def _drain(self, stream: Any) -> None:
        for line in stream:
            self.lines.append(line)

    def call(self, method: str, path: str, body: Any = None, *, base: str = "/api/v0") -> Reply:
        """One request; a body that is not bytes is sent as JSON."""
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode() + b"\n"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, base + path, content)
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def create(self, container_id: str, wanted: dict[str, Any]) -> None:
        """PUT a container and wait until it is unpacked."""
        reply = self.call("PUT", f"/containers/{container_id}", wanted)
        assert (reply.status, reply.body) == (201, b"created OK")
        wait_until((self.data / "containers" / container_id / "root").exists, f"{container_id} is unpacked")

    def run(self, container_id: str, wanted: dict[str, Any]) -> None:
        """PUT and start a container."""
        self.create(container_id, wanted)
        assert self.call("POST", f"/containers/{container_id}/start").status == 202

    def stop(self, container_id: str) -> None:
        """Ask a container to stop."""
        assert self.call("POST", f"/containers/{container_id}/stop").status == 202

    def instance(self, container_id: str) -> Any:
        """A container as it is now; None if there is none."""
        reply = self.call("GET", f"/containers/{container_id}")
        return reply.json() if reply.status == 200 else None

    def wait_for(self, container_id: str, status: str) -> Any:
        """Wait for a status; returns the instance."""

        def reached() -> Any:
            instance = self.instance(container_id)
            return instance if instance and instance["status"] == status else None

        return wait_until(reached, f"{container_id} is {status}")

    def log(self, container_id: str, count: int = 1000) -> list[str]:
        """The texts in a container's log, without their stamps."""
        lines = self.call("GET", f"/containers/{container_id}/log?history={count}").json()
        return [line.partition("]:")[2] for line in lines]

    def wait_for_log(self, container_id: str, text: str) -> list[str]:
        """Wait until a line with `text` is in the log; returns all lines."""

        def logged() -> list[str]:
            lines = self.log(container_id)
            return lines if any(text in line for line in lines) else []

        return wait_until(logged, f"{text!r} in the log of {container_id}")

    def watch(self, path: str = "/containers") -> Watch:
        """Open an event stream; it has its first event when this returns."""
        watch = Watch(self.port, f"/api/v0{path}")
        self._watches.append(watch)
        wait_until(lambda: watch.events, "the first event")
        return watch

    def workers(self) -> list[int]:
        """The processes below the agent's first one that are part of the agent."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(child) for child in children]

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal; returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=PATIENCE_SECONDS)

    def close(self) -> None:
        """End everything, tasks too, and make sure that nothing is left."""
        for watch in self._watches:
            watch.close()
        # A gentle end takes longer; those tests that are about it do it before.
        self.end(signal.SIGKILL)
        wait_until(lambda: not _kill_all(leftovers(self.data)), "no process is left")
        for group in groups(self.data):
            # Whoever would have removed it was killed just now.
            wait_until(lambda group=group: _removed(group), f"{group} is empty")  # type: ignore[misc]
        said = "".join(self.lines)
        assert "Traceback" not in said, said


def command(*flags: str) -> list[str]:
    """The command line of an agent."""
    return [sys.executable, "-m", "agent.main", *flags]


@contextmanager
def running_agent(data: Path, *flags: str, launcher: list[str] | None = None) -> Iterator[Agent]:
    """A standing agent, ended with all its tasks afterwards."""
    agent = Agent(data, *flags, launcher=launcher)
    try:
        yield agent
    finally:
        agent.close()


def entered_by_all(factory: pytest.TempPathFactory) -> Path:
    """A new directory that other users may enter, as pytest's own are not; however deep they are nested."""
    folder = factory.mktemp("open")
    for each in (folder, *folder.parents):
        if each == Path(tempfile.gettempdir()):
            break
        each.chmod(0o755)
    return folder


def leftovers(data: Path) -> list[int]:
    """Living processes that belong to a data directory: agents, shims, and what writes to its files."""
    mark = str(data)
    return [
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _is_of(entry, mark)
    ]


def tasks(data: Path) -> list[int]:
    """Living processes that write to the output of a container: the tasks without their shims."""
    mark = str(data / "containers")
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and any(mark in _link(entry / "fd" / number) for number in "12"):
            command_line = _read(entry / "cmdline")
            if b"shim.sh" not in command_line:
                found.append(int(entry.name))
    return found


def groups(data: Path) -> list[Path]:
    """The cgroups of the tasks of a data directory, in all hierarchies, innermost first."""
    parents = [place / group_name(data) for each in of_this_host() for place in each.places]
    return [path for parent in parents for path in (*parent.glob("*/"), parent) if path.is_dir()]


def _kill_all(pids: list[int]) -> list[int]:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return pids


def _removed(group: Path) -> bool:
    with suppress(FileNotFoundError):
        try:
            _kill_all([int(pid) for pid in (group / "cgroup.procs").read_text().split()])
            group.rmdir()
        except OSError as error:
            if error.errno == errno.EBUSY:
                return False
            raise
    return True


def _is_of(entry: Path, mark: str) -> bool:
    if int(entry.name) == os.getpid() or b") Z " in _read(entry / "stat"):
        return False
    if mark.encode() in _read(entry / "cmdline"):
        return True
    return any(mark in _link(entry / name) for name in ("cwd", "fd/1", "fd/2"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""
