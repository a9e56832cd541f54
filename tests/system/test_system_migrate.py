"""Migrations of real tasks: nobody who asks goes without an answer, and no `kill -9` loses or doubles one."""

from __future__ import annotations

import contextlib
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from system_harness import (
    HTTP_SECONDS,
    Agent,
    Scheduler,
    agent,
    job,
    leftovers,
    read_example,
    run_to_end,
    running,
    wait_until,
)

JOB = "/api/v1/jobs/test/system/many"
TASK = re.compile(r"[a-z]+-[0-9a-f]{7}-[0-9]+")
STRATEGIES: dict[str, dict[str, Any]] = {
    "rolling": {},
    "blue_green": {},
    "canary": {"auto_promote": True},
    "in_place": {},
}
FLOORS = {"rolling": 2, "blue_green": 2, "canary": 2, "in_place": 1}
# Long enough to be seen between two steps, short enough for many of them.
HEALTHY = "300ms"


def migration(scheduler: Scheduler, path: str) -> dict[str, Any]:
    """The job's last migration; empty while HTTP does not answer."""
    with contextlib.suppress(requests.RequestException):
        told: dict[str, Any] = scheduler.get(path).json()
        return told.get("migration") or {}
    return {}


def ended(scheduler: Scheduler, path: str, timeout_seconds: float = 60.0) -> dict[str, Any]:
    """The migration once it is over."""
    return wait_until(
        lambda: told if (told := migration(scheduler, path)).get("state") in ("done", "reverted") else None,
        "the end of the migration",
        timeout_seconds,
    )


class Visitor:
    """Asks any copy that the scheduler says is running, all the time; the list is fetched for each visit."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.greetings: Counter[str] = Counter()
        self.unanswered: list[str] = []
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._visit, daemon=True)

    def __enter__(self) -> Visitor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join(30)

    def _visit(self) -> None:
        lots = random.Random(7)
        while not self._left.is_set():
            tasks = requests.get(f"{self.url}/api/v1/tasks?job=hello&status=running", timeout=HTTP_SECONDS)
            ports = [task["ports"]["HTTP"] for task in tasks.json()["tasks"] if task["intent"] == "run"]
            lots.shuffle(ports)
            # A copy may be stopped, or not listen yet, just as it is asked: then the next one answers.
            greeting = next(filter(None, map(self._ask, ports)), None)
            if greeting is None:
                self.unanswered.append(f"none of {len(ports)} at {time.time()}")
            else:
                self.greetings[greeting] += 1

    def _ask(self, port: int) -> str:
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"http://127.0.0.1:{port}/", timeout=HTTP_SECONDS).text.split()[0]
        return ""


def test_a_rolling_migration_leaves_nobody_without_an_answer(tmp_path: Path) -> None:
    hello = read_example("hello.json")
    path = "/api/v1/jobs/examples/dev/hello"
    other = {**hello, "env": {**hello["env"], "GREETING": "salut"}, "update": {"min_healthy_time": "1500ms"}}
    with running(["dev"], tmp_path) as scheduler:
        assert scheduler.schedule(hello).status_code == 202
        scheduler.wait_running("hello", 3)
        port = scheduler.get("/api/v1/tasks?job=hello").json()["tasks"][0]["ports"]["HTTP"]
        wait_until(lambda: _answers(port), "the first copy answering")
        with Visitor(scheduler.url) as visitor:
            wait_until(lambda: visitor.greetings["hello"] > 5, "visitors being greeted")
            begun = requests.put(scheduler.url + path, json=other, timeout=HTTP_SECONDS)
            assert begun.status_code == 202, begun.text
            done = ended(scheduler, path)
            wait_until(lambda: visitor.greetings["salut"] > 5, "visitors being greeted anew")
        assert (done["state"], visitor.unanswered) == ("done", []), visitor.greetings
        assert set(visitor.greetings) == {"hello", "salut"}


def _answers(port: int) -> bool:
    with contextlib.suppress(requests.RequestException):
        return requests.get(f"http://127.0.0.1:{port}/", timeout=1).ok
    return False


def counted(name: str, starts: Path, greeting: str, script: str = "exec sleep 1000", **more: Any) -> Any:
    """A job of two tasks; each appends its directory, which names it, to a file at each start."""
    config = job(name, 2, env={"PATH": "/usr/bin:/bin", "GREETING": greeting}, restart="on-failure", **more)
    return {
        **config,
        "command": {"working_dir": "/", "exec": ["/bin/sh", "-c", f"pwd >> {starts}; {script}"]},
    }


def started(starts: Path) -> Counter[str]:
    """How often each task was started."""
    return Counter(found for line in starts.read_text().split() for found in TASK.findall(line)[:1])


def test_what_does_not_start_is_brought_back_and_harpoonctl_says_why(tmp_path: Path) -> None:
    starts, bad_starts = tmp_path / "starts", tmp_path / "bad-starts"
    file = tmp_path / "bad.json"
    script = "echo reading; echo no such table: people >&2; exit 3"
    file.write_text(json.dumps(counted("many", bad_starts, "bad", script)))
    with running(["dev"], tmp_path / "dev") as scheduler:
        assert scheduler.schedule(counted("many", starts, "good")).status_code == 202
        before = scheduler.wait_running("many", 2)
        arguments = ["ctl.main", "--endpoint", scheduler.url, "schedule", str(file), "--wait"]
        done = run_to_end(arguments, tmp_path, 60)
        assert done.returncode == 2, done.stderr
        last = done.stderr.splitlines()[-1]
        assert "was brought back to many-" in last
        assert "no such table: people" in last
        assert scheduler.wait_running("many", 2) == before
        assert started(starts) == dict.fromkeys(before, 1)
        history = scheduler.get(f"{JOB}/history").json()["versions"]
        assert [past["current"] for past in history] == [False, True]


def test_what_does_not_get_healthy_is_brought_back_and_its_check_says_why(tmp_path: Path) -> None:
    check = {
        "protocol": "TCP",
        "port": "PORT_HTTP",
        "initial_delay": "0s",
        "timeout": "1s",
        "interval": "100ms",
    }
    update = {"min_healthy_time": HEALTHY, "progress_deadline": "5s"}
    deaf = counted("many", tmp_path / "bad-starts", "deaf", "echo no such table: people; exec sleep 1000")
    with running(["dev"], tmp_path / "dev") as scheduler:
        assert scheduler.schedule(counted("many", tmp_path / "starts", "good")).status_code == 202
        before = scheduler.wait_running("many", 2)
        config = {**deaf, "ports": {"HTTP": 0}, "health_checks": [check], "update": update}
        begun = requests.put(scheduler.url + JOB, json=config, timeout=HTTP_SECONDS)
        assert begun.status_code == 202, begun.text
        told = ended(scheduler, JOB)
        assert told["state"] == "reverted"
        assert "is unhealthy on dev: TCP check of port" in told["reason"]
        assert told["reason"].endswith("its last lines: no such table: people")
        assert scheduler.wait_running("many", 2) == before


def test_a_client_of_2014_migrates(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    with running(["dev"], tmp_path / "dev") as scheduler:
        old = counted("many", starts, "old")
        assert scheduler.schedule(old).status_code == 202
        [name] = {task.rpartition("-")[0] for task in scheduler.wait_running("many", 2)}
        new = counted("many", starts, "new", update={"min_healthy_time": HEALTHY})
        asked = {"old": name, "new": new}
        reply = requests.post(scheduler.url + "/api/v0/migrate", json=asked, timeout=HTTP_SECONDS)
        assert (reply.status_code, reply.json()["status_code"]) == (202, 202), reply.text
        assert ended(scheduler, JOB)["state"] == "done"
        registry = scheduler.get("/api/v0/registry").json()
        assert [config["env"]["GREETING"] for config in registry.values()] == ["new"]
        assert name not in registry


def has_started(starts: Path, expected: Counter[str]) -> bool:
    """Whether just these were started; what was started once more than that never counts less again."""
    counts = started(starts)
    assert all(counts[task] <= expected[task] for task in counts), f"started too often: {counts}"
    return counts == expected


class Floor:
    """The least number of tasks that run at the agent, looked at all the time."""

    def __init__(self, host: Agent) -> None:
        self.least = 1000
        self._host = host
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Floor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(30)

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            states = [each["process_state"]["up"] for each in self._host.containers().values()]
            self.least = min(self.least, sum(states))


class Killed:
    """A scheduler on a standing agent that is killed after each step of a migration, and made anew."""

    def __init__(self, directory: Path, host: Agent) -> None:
        self.directory = directory
        self._arguments = ["serve", "--agent", host.address, "--data", "data", "--listen", "127.0.0.1:0"]
        self.scheduler = self._start()

    def _start(self) -> Scheduler:
        self.directory.mkdir(exist_ok=True)
        return Scheduler(["actors.main", *self._arguments], self.directory).ready()

    def kill_all(self) -> None:
        """The launcher, and with it everything below; a new one goes on with the same data."""
        self.scheduler.process.kill()
        self.scheduler.process.wait()
        wait_until(lambda: not leftovers(self.directory), "no process left", 15)
        self.scheduler = self._start()

    def kill_scheduler(self) -> None:
        """Just the actor that takes the steps."""
        self.scheduler.child("Scheduler").kill()

    def put(self, config: dict[str, Any]) -> str:
        """Begin a migration; its id."""
        reply = requests.put(self.scheduler.url + JOB, json=config, timeout=HTTP_SECONDS)
        assert reply.status_code == 202, reply.text
        return str(reply.json()["migration"])

    def next_step(self, name: str, after: int) -> dict[str, Any]:
        """The migration at a later version than this."""

        def stepped() -> dict[str, Any] | None:
            told = migration(self.scheduler, JOB)
            return told if told.get("id") == name and told["version"] > after else None

        return wait_until(stepped, f"a step of {name} after version {after}", 30)


@contextlib.contextmanager
def killable(directory: Path) -> Iterator[tuple[Killed, Agent]]:
    """A scheduler, and the agent that outlives it."""
    with agent(directory / "agent") as host:
        killed = Killed(directory / "scheduler", host)
        try:
            yield killed, host
        finally:
            if killed.scheduler.process.poll() is None:
                killed.scheduler.end()


@pytest.mark.timeout(240)  # some twenty restarts
@pytest.mark.parametrize("how", ["kill_all", "kill_scheduler"])
def test_kill_9_after_every_step_of_each_strategy(tmp_path: Path, how: str) -> None:
    starts = tmp_path / "starts"
    with killable(tmp_path) as (killed, host):
        assert killed.scheduler.schedule(counted("many", starts, "first")).status_code == 202
        expected = Counter(dict.fromkeys(killed.scheduler.wait_running("many", 2), 1))
        for strategy, policy in STRATEGIES.items():
            if how == "kill_scheduler":
                # All anew: what keeps dying is made anew with growing pauses, up to 10 s.
                killed.kill_all()
            update = {"strategy": strategy, "min_healthy_time": HEALTHY, **policy}
            with Floor(host) as floor:
                name = killed.put(counted("many", starts, strategy, update=update))
                kills, told = 0, killed.next_step(name, 0)
                while told["state"] == "running":
                    getattr(killed, how)()
                    kills += 1
                    told = killed.next_step(name, told["version"])
            assert told["state"] == "done", told
            # The first step may have been taken before anybody looked.
            assert kills >= 2, f"{strategy} has more steps than these"
            assert floor.least >= FLOORS[strategy], strategy
            expected |= Counter(dict.fromkeys(killed.scheduler.wait_running("many", 2), 1))
            wait_until(partial(has_started, starts, expected), f"{expected}, not {started(starts)}")
            wait_until(lambda: len(host.containers()) == 2, "the old tasks being gone")
