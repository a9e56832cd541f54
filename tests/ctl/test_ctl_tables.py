"""Tables on a terminal of 80 columns, and the live view of a wait."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import subprocess
import threading
from datetime import datetime
from typing import Any

import msgspec
import pytest
from ctl_fake_scheduler import DEADLINE_SECONDS, FakeScheduler, command, environment, event, ok, stream
from ctl_shapes_made import CONFIG, HASH, KEY, WAITING, agent, job, snapshot, task
from rich.console import RenderableType

from ctl.console import QuietConsole
from ctl.goals import Line
from ctl.shapes import Agent, Job, Task
from ctl.story import story
from ctl.tables import agents_table, job_page, jobs_table, progress_table, registry_table, tasks_table
from ctl.text import task_note
from ctl.waiting_shapes import Waiting
from ctl.world import Change

LONG = "recommendation-engine-1111111"
HOST = "worker-17.eu-west.example.com"


def made(shape: type[Any], *things: dict[str, Any]) -> list[Any]:
    return [msgspec.convert(thing, shape) for thing in things]


JOBS = made(Job, job(waiting=WAITING), job(LONG, key="production/europe-west/recommendation-engine"))
OTHERS = {
    "reason": "2 of 2 agents do not fit",
    "agents": 2,
    "refusals": [{"agent": "n9", "reason": "short 64 MB"}],
}
EVERYWHERE = msgspec.convert(job(), Job)
EVERYWHERE.versions[0] = msgspec.structs.replace(
    EVERYWHERE.versions[0], left_out=msgspec.convert(OTHERS, Waiting)
)
TASKS = made(
    Task,
    task(0),
    task(1, "waiting"),
    task(0, "ended", name=LONG, exit={"exited": True, "exit_status": 3}, restarts=4),
    task(3, agent=HOST, endpoint=f"http://{HOST}:3333", ports={"HTTP": 30000, "ADMIN": 30001}, stale=True),
)
AGENTS = made(
    Agent, agent(), agent(HOST, link="stale", error="connection refused", drained=True, resources=None)
)


def drawn(what: RenderableType) -> str:
    stream = io.StringIO()
    QuietConsole(file=stream, width=80, markup=False, highlight=False).print(what)
    return stream.getvalue()


def test_a_crash_loop_shows_how_often_why_and_when_it_goes_on() -> None:
    at = datetime(2026, 11, 23, 11, 12, 13).timestamp()
    exited = {"exited": True, "exit_status": 3}
    [shown] = made(Task, task(0, exit=exited, restarts=4, next_start_at=at))
    assert task_note(shown) == "last time: exit status 3, restarted 4×, is started again at 11:12:13"


@pytest.mark.parametrize(
    ("what", "has"),
    [
        (jobs_table(JOBS), ["1 of 2 running, 1 waiting"]),
        (tasks_table(TASKS[:3], JOBS[0].versions), ["waiting", f"{HASH}-0", "HTTP=10.0.0.0:30000", "128 MB"]),
        (tasks_table(TASKS, JOBS[0].versions), ["running", "waiting", "128 MB"]),
        (agents_table(AGENTS), ["96/2048", "connected", "cordoned"]),
        (job_page(msgspec.structs.replace(JOBS[0], tasks=TASKS)), ["n7: short 128 MB", "and 5 agents more"]),
        (job_page(EVERYWHERE), ["2 of 2 agents do not fit", "n9: short 64 MB", "and 1 agent more"]),
        (registry_table({HASH: CONFIG, LONG: 3}), [HASH, KEY]),
        (
            progress_table([Line(f"{HASH}-{n}", "running", settled=n != 7) for n in range(9)], 4),
            ["and 6 more"],
        ),
    ],
)
def test_a_table_fits_80_columns_and_keeps_words_whole(what: RenderableType, has: list[str]) -> None:
    text = drawn(what)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    for word in has:
        assert word in text


def test_health_is_a_column_only_if_there_is_any() -> None:
    ill = made(Task, task(2, health={"state": "unhealthy", "last": "TCP check of port 30002: refused"}))
    assert "HEALTH" not in drawn(tasks_table(TASKS))
    text = drawn(tasks_table([*TASKS[:2], *ill]))
    assert "HEALTH" in text
    assert "unhealthy" in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "refused" in text.replace("\n", "")


def test_what_is_not_there_yet_comes_first() -> None:
    lines = [Line(f"t-{n}", "running", settled=n != 7) for n in range(9)]
    assert drawn(progress_table(lines, 4)).splitlines()[1].startswith("t-7")


def test_nothing_is_said_in_words() -> None:
    assert [drawn(table([])) for table in (jobs_table, tasks_table, agents_table)] == [
        "no jobs\n",
        "no tasks\n",
        "no agents\n",
    ]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (None, TASKS[0], "x running on n0"),
        (TASKS[0], None, "x is gone"),
        (TASKS[1], TASKS[0], "x waiting → running on n0"),
        (None, JOBS[0], f"x {HASH}: 1 of 2 running, 1 waiting; no agent has room (n7: "),
        (AGENTS[0], AGENTS[1], "x connected → stale (cordoned, connection refused)"),
        (AGENTS[0], msgspec.structs.replace(AGENTS[0], tasks=9), ""),
    ],
)
def test_a_change_is_told_in_a_line(before: Any, after: Any, said: str) -> None:
    told = story(Change("task", "x", before, after))
    assert told.startswith(said)
    assert bool(told) == bool(said)


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_a_wait_is_drawn_live_and_coloured_on_a_terminal_only(no_color: str, coloured: bool) -> None:
    gate = threading.Event()
    with FakeScheduler() as scheduler:
        scheduler.on("GET", "/api/v1/jobs", ok({"jobs": [job()]}))
        scheduler.on("DELETE", f"/api/v1/jobs/{KEY}", ok({"message": "done"}, 202))
        start = event("snapshot", snapshot(job(), task(0, "stopping", agent="[red]\x1b]0;x")))
        gone = event("task", {"id": f"{HASH}-0", "gone": True}) + event("job", {"key": KEY, "gone": True})
        scheduler.on("GET", "/api/v1/events", stream(start, gate, gone, threading.Event()))
        master, slave = pty.openpty()
        process = subprocess.Popen(
            command(scheduler.endpoint, "unschedule", "hello", "--wait"),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment({"NO_COLOR": no_color, "TERM": "xterm-256color", "COLUMNS": "80"}),
        )
        os.close(slave)
        try:
            text = _read_until(master, "stopping")
            gate.set()
            text += _read_until(master, "is left")
            assert process.wait(DEADLINE_SECONDS) == 0
        finally:
            process.kill()
            process.wait()
            os.close(master)
    assert "[red]\\x1b]0;x" in text
    assert "\x1b]0;" not in text
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]m", text)) is coloured


def _read_until(terminal: int, word: str) -> str:
    text = b""
    while word.encode() not in text:
        assert select.select([terminal], [], [], DEADLINE_SECONDS)[0], f"no {word!r} in {text!r}"
        text += os.read(terminal, 4096)
    return text.decode()
