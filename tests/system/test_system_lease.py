"""The command lease with real processes: a shepherd that is stopped for a while pauses commands, no more."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
from system_harness import HTTP_SECONDS, Scheduler, job, running, wait_until

from scheduling.lease import LEASE_SECONDS

# So long after it could have sent a request, a state machine without a lease is looked at.
QUIET_SECONDS = 2.0


class HandAgent:
    """An agent by hand: it takes down what it is asked, and says what the test lets it say."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.config: Any = None
        self._events: list[str] = []
        self._news = threading.Condition()
        self.ended = False

    def say(self, task: str, status: str) -> None:
        """An event: this container is in this status now."""
        instance = {"container_id": task, "status": status, "config": self.config}
        with self._news:
            self._events.append(json.dumps({"resources": RESOURCES, "containers": {task: instance}}))
            self._news.notify_all()

    def end(self) -> None:
        """Close all streams."""
        with self._news:
            self.ended = True
            self._news.notify_all()

    def events(self) -> Iterator[str]:
        """What a stream says, from the beginning on: for ever, as long as it is not ended."""
        yield json.dumps({"resources": RESOURCES, "containers": {}})
        said = 0
        while True:
            with self._news:
                self._news.wait_for(lambda said=said: self.ended or len(self._events) > said)  # type: ignore[misc]
                if self.ended:
                    return
                new, said = self._events[said:], len(self._events)
            yield from new


RESOURCES = {
    "mem": {"total": 1000, "reserved": 0},
    "cpus": {"total": 4.0, "reserved": 0.0},
    "storage": {"total": 1000, "reserved": 0},
    "volumes": [],
}


def handler(host: HandAgent) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Not to stderr."""

        def do_GET(self) -> None:
            if self.headers.get("Accept") != "text/event-stream":
                self._answer(200, json.dumps(RESOURCES))
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for event in host.events():
                self.wfile.write(f"data: {event}\n\n".encode())

        def do_PUT(self) -> None:
            host.config = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._asked("put", 201)

        def do_POST(self) -> None:
            self._asked(self.path.rpartition("/")[2], 202)

        def do_DELETE(self) -> None:
            self._asked("delete", 200)

        def _asked(self, what: str, status: int) -> None:
            host.asked.append(what)
            self._answer(status, "")

        def _answer(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

    return Handler


@contextmanager
def hand_agent(directory: Path) -> Iterator[tuple[HandAgent, Path]]:
    """An agent by hand, with the agents file that names it."""
    host = HandAgent()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(host))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    file = directory / "agents"
    file.write_text(f"hand 127.0.0.1:{server.server_address[1]}\n")
    try:
        yield host, file
    finally:
        host.end()
        server.shutdown()
        server.server_close()


def actors_of(scheduler: Scheduler) -> list[int]:
    return [scheduler.child(title).pid for title in ("Shepherd", "Flock", "StateMachine")]


def test_a_state_machine_without_a_lease_sends_nothing_and_goes_on_with_one(tmp_path: Path) -> None:
    with (
        hand_agent(tmp_path) as (host, file),
        running(["serve", "--agents-file", str(file)], tmp_path / "scheduler") as scheduler,
    ):
        answer = scheduler.schedule(job("one"))
        assert answer.status_code == 202, answer.text
        (task,) = wait_until(lambda: scheduler.statuses("one"), "the task being placed")
        for asked, then in (("put", "created"), ("start", "running")):
            wait_until(lambda asked=asked: host.asked[-1:] == [asked], asked)  # type: ignore[misc]
            host.say(task, then)
        scheduler.wait_running("one", 1)
        requests.delete(f"{scheduler.url}/api/v1/jobs/test/system/one", timeout=HTTP_SECONDS)
        wait_until(lambda: host.asked[-1:] == ["stop"], "stop")

        shepherd, before = scheduler.child("Shepherd"), actors_of(scheduler)
        shepherd.send_signal(signal.SIGSTOP)
        try:
            over_at = time.monotonic() + LEASE_SECONDS + 0.5
            wait_until(lambda: time.monotonic() >= over_at, "the last lease being over")
            host.say(task, "finished")
            quiet_until = time.monotonic() + QUIET_SECONDS
            wait_until(
                lambda: host.asked[-1] == "delete" or time.monotonic() >= quiet_until, "nothing being asked"
            )
            assert host.asked == ["put", "start", "stop"]
        finally:
            shepherd.send_signal(signal.SIGCONT)
        wait_until(lambda: host.asked[-1] == "delete", "commands going on")
        host.say(task, "deleted")
        assert actors_of(scheduler) == before, "nothing was made anew"
