"""harpoonctl snapshot: what is saved, what is shown before restoring, when it asks, and when it refuses."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ctl_fake_scheduler import DEADLINE_SECONDS, FakeScheduler, Reply, command, environment, ok, problem

from ctl.snapshots import told
from scheduling.job import JobConfig, OnLost
from scheduling.snapshot import SavedAgent, SavedJob, Snapshot, compare

PATH = "/api/v1/snapshot"
RESTORED = {"result": "changed", "message": "the jobs are those of the snapshot", "version": 43}


def config(job: str, scale: int = 1, **more: Any) -> JobConfig:
    return JobConfig(product="a", environment="b", job=job, scale=scale, **more)


def saved_job(name: str, **more: Any) -> SavedJob:
    hash_ = f"{name}-1234567"
    return SavedJob(prefix=hash_, hash=hash_, version=3, config=config(name, **more))


def snapshot(*jobs: SavedJob, version: int = 42, agents: tuple[SavedAgent, ...] = ()) -> dict[str, Any]:
    made = Snapshot(format=1, version=version, saved_at="2026-01-02T03:04:05Z", jobs=jobs, agents=agents)
    plain: dict[str, Any] = json.loads(msgspec.json.encode(made, enc_hook=str))
    return plain


WEB, DB, OLD = saved_job("web", scale=2), saved_job("db"), saved_job("old")
NOW, SAVED = snapshot(WEB, OLD), snapshot(WEB, DB, version=7)


@pytest.fixture
def scheduler() -> Iterator[FakeScheduler]:
    with FakeScheduler() as server:
        server.on("GET", PATH, ok(NOW))
        server.on("PUT", PATH, ok(RESTORED))
        yield server


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "saved.json"
    path.write_text(json.dumps(SAVED))
    return str(path)


def at_a_terminal(
    scheduler: FakeScheduler, *arguments: str, answer: str = ""
) -> subprocess.CompletedProcess[str]:
    """harpoonctl with a terminal for its stdin, on which somebody has typed."""
    ours, its = os.openpty()
    try:
        os.write(ours, answer.encode())
        return subprocess.run(
            command(scheduler.endpoint, *arguments),
            stdin=its,
            capture_output=True,
            env=environment(),
            check=False,
            text=True,
            timeout=DEADLINE_SECONDS,
        )
    finally:
        os.close(ours)
        os.close(its)


# --- save ---------------------------------------------------------------------------------------------


def test_a_backup_is_written_as_it_came_for_nobody_else_to_read(
    scheduler: FakeScheduler, tmp_path: Path
) -> None:
    path = tmp_path / "backup.json"
    done = scheduler.run("snapshot", "save", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"saved 2 jobs and 0 agents at version 42 to {path}\n"
    assert path.read_bytes() == scheduler.take_again("GET", PATH).body
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["backup.json"], "nothing half written is left"


def test_without_a_name_it_is_called_by_its_version(
    scheduler: FakeScheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert scheduler.run("snapshot", "save").returncode == 0
    done = scheduler.run("snapshot", "save")
    assert (done.returncode, done.stdout) == (1, "")
    name = "harpoon-snapshot-42.json"
    assert done.stderr == (
        f"harpoonctl: {name} is there already; choose another name, or overwrite it with --force\n"
    )
    assert [each.name for each in tmp_path.iterdir()] == [name]
    done = scheduler.run("-o", "json", "snapshot", "save", "--force")
    assert json.loads(done.stdout) == {"file": name, "version": 42, "jobs": 2, "agents": 0}


def test_what_is_there_is_only_overwritten_when_told_to(scheduler: FakeScheduler, file: str) -> None:
    before = Path(file).read_bytes()
    done = scheduler.run("snapshot", "save", file)
    assert (done.returncode, Path(file).read_bytes()) == (1, before)
    assert scheduler.requests == [], "it is told before anything is asked"
    assert scheduler.run("snapshot", "save", file, "--force").returncode == 0
    assert json.loads(Path(file).read_bytes()) == NOW
    assert stat.S_IMODE(Path(file).stat().st_mode) == 0o600


def test_a_backup_goes_to_stdout_too(scheduler: FakeScheduler) -> None:
    done = scheduler.run("snapshot", "save", "-")
    assert (done.returncode, json.loads(done.stdout)) == (0, NOW)


@pytest.mark.parametrize(
    ("name", "said"), [("missing/x.json", "No such file or directory"), (".", "is there already")]
)
def test_where_nothing_can_be_written_it_says_so(
    scheduler: FakeScheduler, tmp_path: Path, name: str, said: str
) -> None:
    done = scheduler.run("snapshot", "save", str(tmp_path / name), *(["--force"] if name == "." else []))
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_is_no_snapshot_is_not_saved(scheduler: FakeScheduler, tmp_path: Path) -> None:
    scheduler.on("GET", PATH, ok({"jobs": []}), Reply(body=b"<html>"))
    for _ in range(2):
        done = scheduler.run("snapshot", "save", str(tmp_path / "x.json"))
        assert done.returncode == 3
        assert "is no snapshot of a scheduler" in done.stderr
    assert list(tmp_path.iterdir()) == []


# --- restore ------------------------------------------------------------------------------------------


def test_what_would_change_is_shown_and_restored_when_told_not_to_ask(
    scheduler: FakeScheduler, file: str
) -> None:
    done = scheduler.run("snapshot", "restore", file, "--yes")
    assert (done.returncode, done.stdout) == (0, f"{RESTORED['message']}\n"), done.stderr
    assert done.stderr.splitlines() == [
        f"{file}: 2 jobs and 0 agents, saved 2026-01-02T03:04:05Z",
        "add     a/b/db (db-1234567), 1 task",
        "remove  a/b/old (old-1234567), 1 task, its tasks are stopped",
        "1 job as before",
    ]
    [request] = scheduler.asked("PUT", PATH)
    assert request.body == Path(file).read_bytes()
    assert request.headers["idempotency-key"]
    assert "if-match" not in request.headers


def test_without_anybody_to_ask_it_only_shows(scheduler: FakeScheduler, file: str) -> None:
    done = scheduler.run("snapshot", "restore", file, stdin=b"y\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert "remove  a/b/old" in done.stderr
    assert done.stderr.endswith("nobody can be asked here; --yes restores without asking\n")
    assert scheduler.asked("PUT", PATH) == []


@pytest.mark.parametrize(("answer", "exit_code"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("\x04", 130)])
def test_on_a_terminal_it_asks(scheduler: FakeScheduler, file: str, answer: str, exit_code: int) -> None:
    done = at_a_terminal(scheduler, "snapshot", "restore", file, answer=answer)
    assert done.returncode == exit_code, done.stderr
    assert "Restore it? [y/N]" in done.stderr
    asked = scheduler.asked("PUT", PATH)
    assert len(asked) == (exit_code == 0)
    if asked:
        assert asked[0].headers["if-match"] == '"42"', "what was shown, and nothing else"


def test_what_changes_while_it_asks_is_not_overwritten(scheduler: FakeScheduler, file: str) -> None:
    scheduler.on("GET", PATH, ok(NOW), ok(snapshot(WEB, OLD, saved_job("new"), version=43)))
    done = at_a_terminal(scheduler, "snapshot", "restore", file, answer="y\n")
    assert done.returncode == 1
    assert "jobs were changed meanwhile, so nothing was restored; look again" in done.stderr
    assert scheduler.asked("PUT", PATH) == []


def test_placements_that_change_while_it_asks_do_not_matter(scheduler: FakeScheduler, file: str) -> None:
    later = snapshot(WEB, OLD, version=44)
    scheduler.on("GET", PATH, ok(NOW), ok(NOW), ok(later))
    scheduler.on("PUT", PATH, problem(412, "the registry is at version 44, not 42"), ok(RESTORED))
    done = at_a_terminal(scheduler, "snapshot", "restore", file, answer="y\n")
    assert done.returncode == 0, done.stderr
    assert [each.headers["if-match"] for each in scheduler.asked("PUT", PATH)] == ['"42"', '"44"']


def test_a_registry_that_never_stands_still_is_given_up(scheduler: FakeScheduler, file: str) -> None:
    scheduler.on("PUT", PATH, problem(412, "the registry is at version 44, not 42"))
    done = at_a_terminal(scheduler, "snapshot", "restore", file, answer="y\n")
    assert done.returncode == 1
    assert "--yes restores whatever changes" in done.stderr
    assert len(scheduler.asked("PUT", PATH)) == 5


def test_nothing_to_change_needs_no_answer(scheduler: FakeScheduler, tmp_path: Path) -> None:
    (tmp_path / "same.json").write_text(json.dumps(NOW))
    done = scheduler.run("-o", "json", "snapshot", "restore", str(tmp_path / "same.json"))
    assert (done.returncode, json.loads(done.stdout)) == (0, RESTORED)


def test_a_backup_comes_from_stdin_too_if_nothing_is_asked(scheduler: FakeScheduler) -> None:
    raw = json.dumps(SAVED).encode()
    assert scheduler.run("snapshot", "restore", "-", stdin=raw).returncode == 1
    assert scheduler.run("snapshot", "restore", "-", "--yes", stdin=raw).returncode == 0
    assert [each.body for each in scheduler.asked("PUT", PATH)] == [raw]


def test_every_wrong_field_has_a_line(scheduler: FakeScheduler, file: str) -> None:
    wrong: list[dict[str, object]] = [
        {"field": "jobs[0].config.scale", "value": 0, "expected": "it must be from 1 to 1000"}
    ]
    scheduler.on("PUT", PATH, problem(400, "wrong", wrong))
    done = scheduler.run("snapshot", "restore", file, "--yes")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"harpoonctl: {file}: jobs[0].config.scale is 0; it must be from 1 to 1000"
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "is no snapshot of a scheduler"),
        (b"\xff", "is no snapshot of a scheduler"),
        (b"[" * 100_000, "is no snapshot of a scheduler"),
        (json.dumps({**SAVED, "jobs": 3}).encode(), "is no snapshot of a scheduler: Expected `array`"),
        (json.dumps({**SAVED, "format": 2}).encode(), "is no snapshot of format 1"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_no_backup_is_refused_before_anything_is_asked(
    scheduler: FakeScheduler, tmp_path: Path, body: bytes | None, said: str
) -> None:
    path = tmp_path / "x.json"
    if body is not None:
        path.write_bytes(body)
    done = scheduler.run("snapshot", "restore", str(path), "--yes")
    assert (done.returncode, done.stdout, scheduler.requests) == (1, "", [])
    assert done.stderr.startswith(f"harpoonctl: {path}")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_names_in_a_backup_are_not_obeyed(scheduler: FakeScheduler, tmp_path: Path) -> None:
    (tmp_path / "evil.json").write_text(json.dumps(snapshot(saved_job("\x1b]0;owned\x07"))))
    done = scheduler.run("snapshot", "restore", str(tmp_path / "evil.json"), "--yes")
    assert "\\x1b]0;owned\\x07" in done.stderr
    assert "\x1b" not in done.stderr


# --- what is shown ------------------------------------------------------------------------------------


def contents(*jobs: SavedJob, agents: tuple[SavedAgent, ...] = ()) -> Snapshot:
    return Snapshot(format=1, version=1, saved_at="", jobs=jobs, agents=agents)


def test_changes_and_agents_are_told_in_a_line_each() -> None:
    policy = msgspec.structs.replace(DB, config=config("db", on_lost=OnLost()))
    own = SavedAgent(name="n1", endpoint="http://n1:1", sources=("api",))
    found = SavedAgent(name="n2", endpoint="http://n2:1", sources=("static",))
    now = contents(saved_job("web", scale=5), DB)
    assert list(told(compare(now, contents(WEB, policy, agents=(own, found))))) == [
        "change  a/b/web (web-1234567), 2 tasks: it has 5 tasks now",
        "change  a/b/db (db-1234567), 1 task: its policy",
        "add     the agent n1 (http://n1:1)",
        "unknown the agent n2 (http://n2:1): what runs there would be started again elsewhere; "
        "make it known first",
        "0 jobs as before",
    ]


def test_of_very_many_only_some_are_told() -> None:
    many = [saved_job(f"j{number}") for number in range(60)]
    lines = list(told(compare(contents(), contents(*many))))
    assert len(lines) == 52
    assert lines[50] == "add     10 more"
