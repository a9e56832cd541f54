"""harpoonctl plan: what it shows, what it promises, and the exit codes that scripts rely on."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ctl_fake_scheduler import ROOT, FakeScheduler
from ctl_web_process import run, web_process

from config.bounds import MOST_PLACES_SHOWN
from ctl.console import QuietConsole
from ctl.migration_shapes import FieldChange, Plan, PlannedTask
from ctl.migration_tables import plan_page, ranges
from ctl.waiting_shapes import Refusal, Waiting

HELLO = ROOT / "examples" / "hello.json"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A web process with the example running."""
    with web_process() as url:
        assert run(url, "schedule", str(HELLO), "--wait").returncode == 0
        yield url


@pytest.fixture
def changed(tmp_path: Path) -> str:
    """The example, greeting otherwise."""
    return written(tmp_path, env={**json.loads(HELLO.read_text())["env"], "GREETING": "salut"}, scale=4)


def written(directory: Path, **changes: Any) -> str:
    path = directory / "changed.json"
    path.write_text(json.dumps({**json.loads(HELLO.read_text()), **changes}))
    return str(path)


def drawn(plan: Plan) -> list[str]:
    stream = io.StringIO()
    QuietConsole(file=stream, width=200, markup=False, highlight=False).print(plan_page(plan))
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_nothing_would_change(endpoint: str) -> None:
    done = run(endpoint, "plan", str(HELLO))
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing changes" in done.stdout
    assert "--approve" not in done.stdout


def test_what_would_change_and_where_and_nothing_does(endpoint: str, changed: str) -> None:
    before = run(endpoint, "jobs", "-o", "json").stdout
    done = run(endpoint, "plan", changed)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert '  env.GREETING: "hello" → "salut"' in lines
    assert "  scale: 3 → 4" in lines
    assert "  at least 3 running all the time, at most 5, 1 changed at once" in lines
    assert sum("  start on n" in line for line in lines) == 2
    assert sum("  stop on n" in line for line in lines) == 2
    assert lines[-1].startswith(f"do exactly this: harpoonctl schedule {changed} --approve ")
    assert run(endpoint, "jobs", "-o", "json").stdout == before
    body = json.loads(run(endpoint, "plan", changed, "-o", "json").stdout)
    assert lines[-1].endswith(body["token"])


def test_what_finds_no_place_tells_the_nearest_misses(endpoint: str, tmp_path: Path) -> None:
    done = run(endpoint, "plan", written(tmp_path, resources={"mem": 3000, "cpu": 0.1, "fd": 1}, scale=4))
    assert done.returncode == 2
    assert "without a place: " in done.stdout
    assert "    n1: short " in done.stdout


def test_just_what_was_approved_is_done_or_nothing(endpoint: str, changed: str, tmp_path: Path) -> None:
    token = json.loads(run(endpoint, "plan", changed, "-o", "json").stdout)["token"]
    assert run(endpoint, "schedule", written(tmp_path / "..", scale=2), "--wait").returncode == 0
    done = run(endpoint, "schedule", changed, "--approve", token)
    assert done.returncode == 1
    assert "was changed at version" in done.stderr
    planned = json.loads(run(endpoint, "plan", changed, "-o", "json").stdout)
    done = run(endpoint, "schedule", changed, "--approve", planned["token"], "--wait", "-o", "json")
    assert done.returncode == 0, done.stderr
    where = {
        task["id"]: task["agent"] for task in json.loads(run(endpoint, "ps", "-o", "json").stdout)["tasks"]
    }
    assert where == {
        each["task"]: each["agent"] for each in planned["tasks"] if each["action"] in ("start", "leave")
    }


@pytest.mark.parametrize("arguments", [["nothing.json"], [], ["--bogus"], [str(HELLO), "-o", "xml"]])
def test_every_mistake_has_one_exit_code(endpoint: str, arguments: list[str]) -> None:
    done = run(endpoint, "plan", *arguments)
    assert (done.returncode, done.stdout) == (255, "")
    assert done.stderr.startswith("harpoonctl: ")


def test_no_scheduler_is_a_mistake_too() -> None:
    with FakeScheduler() as gone:
        endpoint = gone.endpoint
    assert run(endpoint, "plan", str(HELLO)).returncode == 255


def test_a_refusal_names_the_file(endpoint: str, tmp_path: Path) -> None:
    done = run(endpoint, "plan", written(tmp_path, update={"foo": 1}))
    assert done.returncode == 255
    assert "changed.json: update.foo is 1; there is no such field" in done.stderr


def test_tasks_are_told_in_ranges() -> None:
    assert ranges([f"web-1234567-{index}" for index in (0, 1, 2, 5, 7, 8)]) == "web-1234567 0–2, 5, 7–8"
    assert ranges(["a-1234567-10", "b-1234567-0", "a-1234567-9"]) == "a-1234567 9–10; b-1234567 0"


def test_a_thousand_tasks_are_no_thousand_lines() -> None:
    tasks = [PlannedTask(f"web-1234567-{index}", "start", f"n{index % 200}") for index in range(1000)]
    lines = drawn(Plan("created", message="so", tasks=tasks))
    assert len(lines) == 1 + MOST_PLACES_SHOWN + 1
    assert lines[-1] == "  start on 160 agents more: 800 tasks (-o json names all)"


def test_names_and_values_are_harmless_and_what_is_new_is_cut() -> None:
    waiting = Waiting(1, "no agent fits", 3, [Refusal("n1\x1b[2J", "short 1 MB")])
    plan = Plan(
        "changed",
        message="so",
        fields=[FieldChange("env.A", "\x1b[31m", "b"), FieldChange("env.B", None, "x" * 500)],
        tasks=[PlannedTask("web-1234567-0", "wait")],
        waiting=[waiting],
        complete=False,
    )
    lines = drawn(plan)
    assert not any("\x1b" in line for line in lines)
    assert len(lines[2]) < 120
    assert "  without a place: 1 task (web-1234567 0): no agent fits" in lines
    assert lines[-2:] == ["    and 2 agents more", "it would not come to its end before there is room"]
