"""harpoonctl as a program: exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ctl_fake_scheduler import (
    DEADLINE_SECONDS,
    FakeScheduler,
    Reply,
    command,
    environment,
    event,
    ok,
    problem,
)
from ctl_shapes_made import CONFIG, HASH, KEY, WAITING, agent, job, task

JOBS, JOB = "/api/v1/jobs", f"/api/v1/jobs/{KEY}"
EVENTS, TASKS = "/api/v1/events", "/api/v1/tasks"
CREATED = {"result": "created", "message": f"created {KEY} ({HASH})", "hash": HASH, "version": 7}
GONE = event("job", {"key": KEY, "gone": True}, "9")


@pytest.fixture
def scheduler() -> Iterator[FakeScheduler]:
    with FakeScheduler() as server:
        server.on(
            "GET",
            JOBS,
            ok({"jobs": [job(), job("web-1111111", key="a/b/web"), job("web-2222222", key="a/c/web")]}),
        )
        server.on("GET", JOB, ok({**job(waiting=WAITING), "tasks": [task(0), task(1, "waiting")]}))
        server.on("PUT", JOB, ok(CREATED, 201))
        server.on("DELETE", JOB, ok({**CREATED, "result": "changed", "message": "unscheduled"}, 202))
        server.on("GET", TASKS, ok({"tasks": [task(0), task(1, "waiting")]}))
        server.on(
            "GET", "/api/v1/agents", ok({"agents": [agent(), agent("n1", link="stale", error="refused")]})
        )
        server.on("GET", "/api/v0/registry", ok({HASH: CONFIG}))
        server.on("GET", "/api/v1/version", ok({"version": "9.9"}))
        yield server


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "hello.json"
    path.write_text(json.dumps(CONFIG))
    return str(path)


def test_a_job_is_sent_as_it_is_written(scheduler: FakeScheduler, file: str) -> None:
    done = scheduler.run("schedule", file)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"created {KEY} ({HASH})\n", "")
    [request] = scheduler.asked("PUT", JOB)
    assert json.loads(request.body) == CONFIG
    assert request.headers["idempotency-key"]


@pytest.mark.parametrize("text", [json.dumps(CONFIG), json.dumps(CONFIG, indent=1).replace('"', "'")])
def test_a_job_comes_from_stdin_too(scheduler: FakeScheduler, text: str) -> None:
    raw = text if text.startswith('{"') else "# YAML\n" + text
    assert (
        scheduler.run("-o", "json", "schedule", "-", stdin=raw.encode()).stdout
        == json.dumps(CREATED, indent=2) + "\n"
    )
    assert json.loads(scheduler.asked("PUT", JOB)[0].body) == CONFIG


def test_every_wrong_field_has_a_line(scheduler: FakeScheduler, file: str) -> None:
    wrong: list[dict[str, object]] = [
        {"field": "scale", "value": 0, "expected": "it must be from 1 to 1000"},
        {"field": "restart", "value": "x\x1b[31m", "expected": "it must be one of no, on-failure, always"},
    ]
    scheduler.on("PUT", JOB, problem(400, "wrong", wrong))
    done = scheduler.run("schedule", file)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"harpoonctl: {file}: scale is 0; it must be from 1 to 1000",
        f'harpoonctl: {file}: restart is "x\\u001b[31m"; it must be one of no, on-failure, always',
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["schedule", "no.json"], "no.json: No such file"),
        (["schedule", "job.txt"], "the ending must be one of"),
        (["unschedule", "no.json"], "no.json: no such file"),
        (["job", "web"], '"web" is ambiguous; it could be a/b/web and a/c/web'),
        (["ps", "web"], "is ambiguous"),
        (["job", "nosuch"], 'no job is called "nosuch"'),
        (["--endpoint", "ftp://x", "jobs"], "is no endpoint"),
        (["-o", "xml", "jobs"], "xml"),
        (["nosuch"], "No such command"),
        (["schedule"], "Missing argument"),
        (["schedule", "a.json", "--timeout", "5 minutes"], "is not a duration"),
        (["schedule", "a.json", "--timeout", "-5s"], "is negative"),
        (["--request-timeout", "0s", "jobs"], "more than 0"),
        (["logs", "nosuch-1234567-0"], "is not here"),
    ],
)
def test_mistakes_exit_with_1(scheduler: FakeScheduler, arguments: list[str], said: str) -> None:
    done = scheduler.run(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("harpoonctl: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["jobs"], ["events"], ["unschedule", "hello"], ["logs", "-f", "x"], ["registry"]]
)
def test_no_scheduler_exits_with_3(arguments: list[str]) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{held.getsockname()[1]}"
        done = subprocess.run(
            command(endpoint, *arguments), capture_output=True, env=environment(), check=False, text=True
        )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"harpoonctl: can't reach the scheduler at {endpoint}: connection refused\n"


def test_a_scheduler_that_can_not_do_its_work_exits_with_3(scheduler: FakeScheduler) -> None:
    scheduler.on("GET", JOBS, problem(503, "the registry is away"))
    done = scheduler.run("jobs")
    assert (done.returncode, done.stderr) == (3, "harpoonctl: the registry is away\n")


def test_the_endpoint_may_come_from_the_environment(scheduler: FakeScheduler) -> None:
    arguments = [*command("x")[:3], "version"]
    env = environment({"HARPOON_ENDPOINT": scheduler.endpoint, "HARPOON_OUTPUT": "json"})
    done = subprocess.run(arguments, capture_output=True, env=env, check=False, text=True)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"version": "9.9"})


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (["jobs"], JOBS),
        (["job", "hello"], JOB),
        (["job", HASH], JOB),
        (["job", KEY], JOB),
        (["ps"], TASKS),
        (["agents"], "/api/v1/agents"),
        (["registry"], "/api/v0/registry"),
    ],
)
def test_json_is_what_the_api_answers(scheduler: FakeScheduler, arguments: list[str], path: str) -> None:
    for placed in ([*arguments, "-o", "json"], ["-o", "json", *arguments]):
        done = scheduler.run(*placed)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout) == json.loads(scheduler.take_again("GET", path).body)


def test_tables_fit_80_columns(scheduler: FakeScheduler) -> None:
    for arguments in (["jobs"], ["job", "hello"], ["ps"], ["agents"], ["registry"]):
        done = scheduler.run(*arguments)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout
    assert "HTTP=10.0.0.0:30000" in scheduler.run("ps").stdout
    assert "n7: short 128 MB" in scheduler.run("job", "hello").stdout
    assert "refused" in scheduler.run("agents").stdout


def test_ps_asks_for_one_job_and_agent(scheduler: FakeScheduler) -> None:
    scheduler.run("ps", "hello", "--agent", "n0")
    scheduler.run("ps", HASH)
    assert [request.query for request in scheduler.asked("GET", TASKS)] == [
        {"job": KEY, "agent": "n0"},
        {"job": HASH},
    ]


def test_nothing_from_the_scheduler_is_taken_for_markup_or_obeyed(scheduler: FakeScheduler) -> None:
    evil = job("[red]x-1", key="a/b/[bold]\x1b]0;owned\x07\u202e:smile:")
    scheduler.on("GET", JOBS, ok({"jobs": [evil]}))
    shown = scheduler.run("jobs").stdout
    assert "[red]x-1" in shown
    assert "[bold]\\x1b]0;owned\\x07\\u202e:smile:" in shown
    shown = scheduler.run("jobs", "-o", "json").stdout
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert json.loads(shown) == {"jobs": [evil]}


def test_a_name_goes_by_file_job_or_hash(scheduler: FakeScheduler, file: str) -> None:
    scheduler.on("PUT", f"/api/v0/unschedule/{HASH}", ok({"status_code": 202, "msg": "accepted"}, 202))
    for name in (file, "hello", KEY):
        assert scheduler.run("unschedule", name).stdout == "unscheduled\n"
    assert len(scheduler.asked("DELETE", JOB)) == 3
    assert scheduler.run("unschedule", HASH).stdout == "accepted\n"
    assert len(scheduler.asked("DELETE", JOB)) == 3


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [(["jobs"], 141), (["jobs", "-o", "json"], 141), (["agents"], 141), (["version"], 141), (["--help"], 1)],
)
def test_a_closed_pipe_is_silent(scheduler: FakeScheduler, arguments: list[str], exit_code: int) -> None:
    many = [job(f"hello-{number:07x}", key=f"a/b/j{number}") for number in range(5000)]
    scheduler.on("GET", JOBS, ok({"jobs": many}))
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command(scheduler.endpoint, *arguments),
        stdout=writer,
        stderr=subprocess.PIPE,
        env=environment(),
        check=False,
        timeout=DEADLINE_SECONDS,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (exit_code, b"")


def test_a_full_disk_is_told(scheduler: FakeScheduler) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command(scheduler.endpoint, "jobs"),
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"harpoonctl: can't write: No space left on device\n")


def test_an_answer_of_another_kind_has_no_traceback(scheduler: FakeScheduler) -> None:
    scheduler.on("GET", JOBS, Reply(body=b"<html>hello"), ok({"jobs": [{"key": 3}]}))
    for _ in range(2):
        done = scheduler.run("jobs")
        assert done.returncode == 3
        assert "does not answer like a Harpoon scheduler" in done.stderr
        assert "Traceback" not in done.stderr
