"""harpoonctl as a program that stays: waiting, events, logs."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ctl_fake_scheduler import DEADLINE_SECONDS, FakeScheduler, event, ok, problem, started, stream
from ctl_shapes_made import CONFIG, HASH, KEY, WAITING, agent, job, snapshot, task

JOBS, JOB = "/api/v1/jobs", f"/api/v1/jobs/{KEY}"
EVENTS, TASKS = "/api/v1/events", "/api/v1/tasks"
CREATED = {"result": "created", "message": f"created {KEY} ({HASH})", "hash": HASH, "version": 7}
GONE = event("job", {"key": KEY, "gone": True}, "9")


@pytest.fixture
def scheduler() -> Iterator[FakeScheduler]:
    with FakeScheduler() as server:
        server.on("GET", JOBS, ok({"jobs": [job()]}))
        server.on("PUT", JOB, ok(CREATED, 201))
        server.on("DELETE", JOB, ok({**CREATED, "result": "changed", "message": "unscheduled"}, 202))
        server.on("GET", TASKS, ok({"tasks": [task(0), task(1, "waiting")]}))
        yield server


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "hello.json"
    path.write_text(json.dumps(CONFIG))
    return str(path)


def test_waiting_ends_when_all_run(scheduler: FakeScheduler, file: str) -> None:
    gate = threading.Event()
    scheduler.on(
        "GET",
        EVENTS,
        stream(
            event("snapshot", snapshot(), "1"),
            event("job", job(waiting=WAITING), "2"),
            event("task", task(0, "creating"), "3"),
            event("task", task(0), "4"),
            event("task", task(1), "5"),
            gate,
        ),
    )
    done = scheduler.run("schedule", file, "--wait")
    assert done.returncode == 0, done.stderr
    assert "hello-0a1b2c3-1 running on n1" in done.stderr
    assert done.stdout.startswith(f"created {KEY}")
    assert "HTTP=10.0.0.0:30000" in done.stdout


def test_a_stream_that_breaks_is_resumed_and_replaced_by_asking(scheduler: FakeScheduler, file: str) -> None:
    scheduler.on(
        "GET",
        EVENTS,
        stream(event("snapshot", snapshot(job(), task(0, "starting")), "7"), cut=True),
        problem(503, "too many watchers", retry_after="5"),
    )
    before = problem(503, "asked before the events")
    scheduler.on("GET", JOB, before, problem(503, "away"), ok({**job(), "tasks": []}))
    scheduler.on("GET", TASKS, ok({"tasks": [task(0), task(1)]}))
    done = scheduler.run("schedule", file, "--wait", "--timeout", "20s")
    assert done.returncode == 0, done.stderr
    assert "away; trying again" in done.stderr
    assert [request.headers.get("last-event-id") for request in scheduler.asked("GET", EVENTS)][:2] == [
        None,
        "7",
    ]


def test_what_does_not_come_true_in_time_exits_with_2(scheduler: FakeScheduler, file: str) -> None:
    waiting = snapshot(job(waiting=WAITING), task(0), task(1, "waiting"))
    scheduler.on("GET", EVENTS, stream(event("snapshot", waiting), threading.Event()))
    done = scheduler.run("schedule", file, "--wait", "--timeout", "400ms")
    assert done.returncode == 2
    why = "no agent has room (n7: short 128 MB; n3: short 0.2 cores; n4: short 512 MB; 6 more)"
    assert done.stderr.splitlines()[-2:] == [
        f"harpoonctl: not so after 400ms: 1 of 2 running, 1 waiting: {why}",
        "harpoonctl: hello-0a1b2c3-1: waiting (no agent has room (n7: short 128 MB; 8 more))",
    ]


def test_what_can_not_come_true_exits_with_2_at_once(scheduler: FakeScheduler, file: str) -> None:
    ended = task(0, "ended", exit={"exited": True, "exit_status": 3})
    scheduler.on(
        "GET", EVENTS, stream(event("snapshot", snapshot(job(restart="no"), ended)), threading.Event())
    )
    done = scheduler.run("schedule", file, "--wait", "--timeout", "1h")
    assert done.returncode == 2
    assert "harpoonctl: hello-0a1b2c3-0 ended: exit status 3" in done.stderr


def test_unscheduling_waits_for_the_last_task(scheduler: FakeScheduler) -> None:
    last = event("task", {"id": f"{HASH}-0", "gone": True}, "10")
    start = event("snapshot", snapshot(job(), task(0, "stopping", intent="stop")), "8")
    scheduler.on("GET", EVENTS, stream(start, GONE, last, threading.Event()))
    done = scheduler.run("unschedule", "hello", "--wait")
    assert (done.returncode, done.stdout) == (0, f"unscheduled\nnothing of {KEY} is left\n")
    scheduler.on("GET", EVENTS, stream(start, GONE, threading.Event()))
    assert scheduler.run("unschedule", "hello", "--wait", "--timeout", "300ms").returncode == 2


def test_ctrl_c_tells_that_the_job_goes_on(scheduler: FakeScheduler, file: str) -> None:
    start = event("snapshot", snapshot(job(), task(0), task(1, "creating")))
    scheduler.on("GET", EVENTS, stream(start, threading.Event()))
    with started(scheduler, "schedule", file, "--wait") as process:
        assert process.stderr is not None
        while "1 of 2 running" not in (line := process.stderr.readline()):
            assert line, "it ended before it showed any progress"
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 130
    assert f"the request stands, and `harpoonctl job {KEY}` shows how far it is" in rest
    assert "Traceback" not in rest


def test_events_are_told_one_a_line(scheduler: FakeScheduler) -> None:
    start = event("snapshot", snapshot(job(), task(0, "starting"), agent()), "1")
    used = event("agent", agent(tasks=4), "3")
    second = stream(
        event("agent", agent(link="stale"), "4"),
        event("task", {"id": f"{HASH}-0", "gone": True}),
        threading.Event(),
    )
    scheduler.on("GET", EVENTS, stream(start, event("task", task(0), "2"), used, cut=True), second)
    with started(scheduler, "events") as process:
        assert process.stdout is not None
        told = [process.stdout.readline().partition(" ")[2] for _ in range(4)]
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=DEADLINE_SECONDS)
    assert told == [
        "start 1 job, 1 task, 1 agent\n",
        "task  hello-0a1b2c3-0 starting on n0 → running on n0\n",
        "agent n0 connected → stale\n",
        "task  hello-0a1b2c3-0 is gone\n",
    ]
    assert "trying again" in complaints
    assert process.returncode == 130
    assert scheduler.asked("GET", EVENTS)[1].headers["last-event-id"] == "3"


def test_events_as_json(scheduler: FakeScheduler) -> None:
    scheduler.on("GET", EVENTS, stream(event("task", task(0), "2"), threading.Event()))
    with started(scheduler, "events", "-o", "json") as process:
        assert process.stdout is not None
        line = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
    assert line == {"event": "task", "id": "2", "data": task(0)}


def test_logs_are_told_harmlessly(scheduler: FakeScheduler) -> None:
    path = f"/api/v1/tasks/{HASH}-0/log"
    lines = ["a\tb\x1b[31m red\x1b[0m", "[bold] \x1b]0;x\x07"]
    scheduler.on("GET", path, ok(lines))
    assert scheduler.run("logs", f"{HASH}-0", "-n", "7").stdout == "a\tb red\n[bold] \\x1b]0;x\\x07\n"
    assert scheduler.requests[0].query == {"history": "7"}
    assert json.loads(scheduler.run("logs", f"{HASH}-0", "-o", "json").stdout) == lines


def test_the_log_of_where_it_was_can_be_asked_for(scheduler: FakeScheduler) -> None:
    scheduler.on("GET", f"/api/v1/tasks/{HASH}-0/log", ok(["a"]))
    assert scheduler.run("logs", f"{HASH}-0", "--agent", "n1").stdout == "a\n"
    assert scheduler.requests[0].query == {"history": "100", "agent": "n1"}


def test_a_signal_is_sent_once_whatever_becomes_of_it(scheduler: FakeScheduler) -> None:
    path = f"/api/v1/tasks/{HASH}-0/signal"
    scheduler.on("POST", path, ok({"message": "sent HUP to it"}), problem(504, "the agent did not answer"))
    done = scheduler.run("signal", f"{HASH}-0", "sighup")
    assert (done.returncode, done.stdout) == (0, "sent HUP to it\n")
    assert json.loads(scheduler.requests[0].body) == {"signal": "HUP"}
    assert scheduler.run("signal", f"{HASH}-0", "HUP").returncode == 3
    assert len(scheduler.asked("POST", path)) == 2


def test_logs_follow_until_the_end(scheduler: FakeScheduler) -> None:
    path = f"/api/v1/tasks/{HASH}-0/log"
    pieces = [b'data: ["one","two"]\n\n', b'data: ["thr', b'ee"]\n\n']
    scheduler.on("GET", path, stream(*pieces), stream(*pieces, cut=True))
    done = scheduler.run("logs", "-f", f"{HASH}-0")
    assert (done.returncode, done.stdout) == (0, "one\ntwo\nthree\n")
    assert scheduler.requests[0].query == {"history": "100", "follow": "true"}
    done = scheduler.run("logs", "-f", f"{HASH}-0")
    assert (done.returncode, done.stdout) == (3, "one\ntwo\nthree\n")
