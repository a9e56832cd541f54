"""harpoonctl and migrations, against the scheduler's own web and rules: begun, followed, steered, undone."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ctl_fake_scheduler import DEADLINE_SECONDS, ROOT, command, environment
from ctl_web_process import run, web_process

HELLO: dict[str, Any] = json.loads((ROOT / "examples" / "hello.json").read_text())
Files = Callable[..., str]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A web process of its own for this module."""
    with web_process() as url:
        yield url


@pytest.fixture
def file(tmp_path: Path, request: pytest.FixtureRequest) -> Files:
    """Makes a file of this test's own job, in the version that a greeting names."""
    name = request.node.name.removeprefix("test_")[:40].replace("_", "-").rstrip("-")

    def make(greeting: str = "hello", env: dict[str, str] | None = None, **changes: Any) -> str:
        path = tmp_path / f"{name}-{greeting}.json"
        config = {**HELLO, "job": name, "env": {**HELLO["env"], "GREETING": greeting, **(env or {})}}
        path.write_text(json.dumps({**config, **changes}))
        return str(path)

    return make


def name_of(path: str) -> str:
    """The job in a file."""
    return str(json.loads(Path(path).read_text())["job"])


def scheduled(endpoint: str, path: str) -> str:
    """The job of a file, running; returns its hash."""
    done = run(endpoint, "schedule", path, "--wait", "-o", "json")
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["hash"])


def told(endpoint: str, *arguments: str) -> Any:
    """What a command prints as JSON."""
    done = run(endpoint, *arguments, "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_migrated_and_waited_for(endpoint: str, file: Files) -> None:
    old, new = file("hello"), file("salut", scale=4)
    before = scheduled(endpoint, old)
    done = run(endpoint, "migrate", before, new, "--max-parallel", "2", "--wait")
    assert done.returncode == 0, done.stderr
    assert f"migrated from {before} to" in done.stdout
    said = done.stderr
    assert f"{before}-0 running on" in said
    assert "is stopped when enough new ones run" in said
    assert "later (waits for its turn, 2 at a time)" in said
    assert "counts once it has run for 5 s" in said
    assert said.rstrip().endswith("runs")
    [row] = [one for one in told(endpoint, "migrations")["migrations"] if name_of(new) in one["job"]]
    assert (row["state"], row["max_parallel"], row["new"]["running"]) == ("done", 2, 4)
    assert f"{row['id']} of examples/dev/{name_of(new)}" in run(endpoint, "migration", row["id"]).stdout
    assert told(endpoint, "migration", name_of(new))["id"] == row["id"]


def test_the_same_config_changes_nothing(endpoint: str, file: Files) -> None:
    path = file()
    scheduled(endpoint, path)
    done = run(endpoint, "migrate", path, path, "--wait")
    assert done.returncode == 0, done.stderr
    assert "nothing changes" in done.stdout
    assert run(endpoint, "migrate", "nobody", path).returncode == 1


def test_schedule_waits_for_the_migration_that_it_begins(endpoint: str, file: Files) -> None:
    scheduled(endpoint, file("hello"))
    done = run(endpoint, "schedule", file("salut"), "--wait")
    assert done.returncode == 0, done.stderr
    assert "3 of 3 new tasks run" in done.stderr
    assert done.stdout.count(" running ") == 3


def test_what_does_not_run_is_reverted_and_why_is_told(endpoint: str, file: Files) -> None:
    good, bad = file("hello"), file("bad", env={"FAIL": "1"})
    before = scheduled(endpoint, good)
    done = run(endpoint, "schedule", bad, "--wait")
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert f"was brought back to {before}" in last
    assert "it ended with status 3; its last lines: starting | no such table: people" in last
    name = name_of(good)
    assert "given up: " in run(endpoint, "history", name).stdout
    assert [one["current"] for one in told(endpoint, "history", name)["versions"]] == [False, True]
    assert "no such table" in run(endpoint, "jobs").stdout
    assert "no such table" in run(endpoint, "job", name).stdout


def test_one_that_may_not_revert_stays_and_says_what_to_do(endpoint: str, file: Files) -> None:
    good, bad = file("hello"), file("bad", env={"FAIL": "1"})
    scheduled(endpoint, good)
    done = run(endpoint, "migrate", name_of(good), bad, "--no-auto-revert", "--wait")
    assert done.returncode == 2
    assert "has failed: " in done.stderr
    assert "harpoonctl migration abort m-" in done.stderr
    done = run(endpoint, "migration", "abort", name_of(good), "--wait")
    assert done.returncode == 0, done.stderr
    assert told(endpoint, "migration", name_of(good))["state"] == "reverted"


def test_a_canary_waits_to_be_promoted(endpoint: str, file: Files) -> None:
    old, new = file("hello"), file("salut", update={"strategy": "canary"})
    scheduled(endpoint, old)
    done = run(endpoint, "schedule", new, "--wait", "--timeout", "2s")
    assert done.returncode == 2
    assert "promote or abort it (harpoonctl migration promote m-" in done.stderr
    assert "waits until the canaries are promoted" in done.stderr
    name = name_of(new)
    assert "awaits promotion" in run(endpoint, "migrations").stdout
    assert "awaits promotion" in run(endpoint, "jobs").stdout
    again = run(endpoint, "schedule", old)
    assert (again.returncode, "is being migrated (m-" in again.stderr) == (1, True)
    done = run(endpoint, "migration", "promote", name, "--wait")
    assert done.returncode == 0, done.stderr
    assert run(endpoint, "migration", "promote", name).returncode == 0, "it was promoted already"
    assert run(endpoint, "migration", "pause", name).returncode == 1


def test_paused_resumed_and_aborted(endpoint: str, file: Files) -> None:
    before = scheduled(endpoint, file("hello"))
    new, name = file("salut"), name_of(file())
    assert run(endpoint, "migrate", name, new, "--strategy", "canary").returncode == 0
    assert "is running, paused" in run(endpoint, "migration", "pause", name).stdout
    shown = run(endpoint, "migration", name).stdout
    assert "paused; resume or abort it" in shown
    assert run(endpoint, "migration", "resume", name).returncode == 0
    stale = run(endpoint, "migration", "abort", name, "--if-version", "1")
    assert (stale.returncode, "not 1" in stale.stderr) == (1, True)
    done = run(endpoint, "migration", "abort", name, "--wait")
    assert done.returncode == 0, done.stderr
    assert told(endpoint, "job", name)["versions"][0]["hash"] == before
    assert run(endpoint, "migration", "abort", "nobody").returncode == 1


def test_ctrl_c_leaves_the_migration_under_way(endpoint: str, file: Files) -> None:
    scheduled(endpoint, file("hello"))
    new, name = file("salut"), name_of(file())
    waiting = subprocess.Popen(
        command(endpoint, "migrate", name, new, "--strategy", "canary", "--wait"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    assert waiting.stderr is not None
    for line in waiting.stderr:
        if "promote or abort" in line:
            break
    waiting.send_signal(signal.SIGINT)
    _, said = waiting.communicate(timeout=DEADLINE_SECONDS)
    assert waiting.returncode == 130
    row = told(endpoint, "migration", name)
    assert row["state"] == "running"
    assert f"{row['id']} goes on" in said
    assert f"`harpoonctl migration abort {row['id']}` brings the old version back" in said


def test_two_operators_of_whom_one_wins(endpoint: str, file: Files) -> None:
    scheduled(endpoint, file("hello"))
    name = name_of(file())
    version = str(told(endpoint, "job", name)["version"])
    won = run(endpoint, "migrate", name, file("one"), "--if-version", version)
    lost = run(endpoint, "migrate", name, file("two"), "--if-version", version)
    assert (won.returncode, lost.returncode) == (0, 1)
    assert f"not {version}; it runs " in lost.stderr


def test_reverted_restarted_stopped_and_started(endpoint: str, file: Files) -> None:
    old, new = file("hello"), file("salut")
    first, second = scheduled(endpoint, old), scheduled(endpoint, new)
    name = name_of(old)
    assert first != second
    done = run(endpoint, "revert", name, "--wait")
    assert (done.returncode, f"{first}-" in done.stdout) == (0, True), done.stderr
    assert run(endpoint, "revert", name, "99").returncode == 1
    done = run(endpoint, "revert", name, "2", "--wait")
    assert done.returncode == 0, done.stderr
    done = run(endpoint, "restart", name, "--wait")
    assert (done.returncode, f"restarted ({second})" in done.stdout) == (0, True), done.stderr
    assert f"{second}-0 " not in done.stdout, "the tasks have new names"
    done = run(endpoint, "stop", name, "--wait")
    assert done.returncode == 0, done.stderr
    assert "stopped" in run(endpoint, "jobs").stdout
    assert run(endpoint, "ps", name).stdout == "no tasks\n"
    done = run(endpoint, "schedule", new, "--wait")
    assert (done.returncode, "harpoonctl start" in done.stderr) == (2, True)
    assert run(endpoint, "restart", name).returncode == 1
    done = run(endpoint, "start", name, "--wait")
    assert (done.returncode, "3 of 3 running" in done.stderr) == (0, True), done.stderr


def test_an_unworkable_policy_is_refused_with_what_would_be_right(endpoint: str, file: Files) -> None:
    scheduled(endpoint, file("hello"))
    done = run(endpoint, "migrate", name_of(file()), file("salut"), "--floor", "9")
    assert done.returncode == 1
    assert "update.floor is 9, but one of the versions has just 3 tasks" in done.stderr
    assert run(endpoint, "migrate", "x", file(), "--strategy", "slowly").returncode == 1
