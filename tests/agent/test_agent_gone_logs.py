"""The log of a task outlives it for a while, bounded by age and by size; and logs are rotated by age."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from agent_harness import Agent, running_agent, shell, wait_until

from agent.gone_logs import GoneLogs
from agent.log import TaskLog
from agent.readers import stamped


def container(directory: Path, output: str) -> Path:
    directory.mkdir()
    (directory / "output").write_text(output)
    return directory


def texts(lines: list[str]) -> list[str]:
    return [line.partition("]:")[2] for line in lines]


def kept(logs: GoneLogs, name: str) -> list[str] | None:
    log = logs.find(name)
    return texts(log.history(10)) if log is not None else None


def test_it_is_kept_to_the_last_line_also_one_without_an_end(tmp_path: Path) -> None:
    logs = GoneLogs(tmp_path / "logs", 3600.0, 10**6)
    logs.bury("a-0", container(tmp_path / "a", "one\ntwo\nhalf"))
    logs.bury("silent-0", container(tmp_path / "b", ""))
    assert kept(logs, "a-0") == ["one", "two", "half"]
    assert kept(logs, "silent-0") is None
    assert kept(logs, "other-0") is None


def test_the_last_one_of_an_id_is_kept_with_what_was_rotated(tmp_path: Path) -> None:
    logs = GoneLogs(tmp_path / "logs", 3600.0, 10**6)
    logs.bury("a-0", container(tmp_path / "first", "first\n"))
    files = container(tmp_path / "second", "second\n")
    (files / "log.1").write_text(stamped("a-0", "before", datetime.now(UTC)) + "\n")
    logs.bury("a-0", files)
    assert kept(logs, "a-0") == ["before", "second"]


def test_they_are_bounded_by_age_and_by_size_the_oldest_first(tmp_path: Path) -> None:
    logs = GoneLogs(tmp_path / "logs", 3600.0, 10**6)
    for number, age in enumerate((4000.0, 300.0, 200.0, 100.0)):
        logs.bury(f"a-{number}", container(tmp_path / str(number), "x" * 1000 + "\n"))
        os.utime(tmp_path / f"logs/a-{number}", (time.time() - age,) * 2)
    logs.clean()
    assert [number for number in range(4) if logs.find(f"a-{number}")] == [1, 2, 3]
    GoneLogs(tmp_path / "logs", 3600.0, 2500).clean()
    assert [number for number in range(4) if logs.find(f"a-{number}")] == [2, 3]


def test_where_none_are_wanted_none_are_kept(tmp_path: Path) -> None:
    logs = GoneLogs(tmp_path / "logs", 0.0, 10**6)
    logs.bury("a-0", container(tmp_path / "a", "one\n"))
    assert kept(logs, "a-0") is None


def test_a_disk_that_does_not_take_it_is_told_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "logs").write_text("in the way")
    GoneLogs(tmp_path / "logs", 3600.0, 10**6).bury("a-0", container(tmp_path / "a", "one\n"))
    assert "the log of a-0, which is gone, is not kept" in caplog.text


def test_a_log_is_rotated_by_the_age_of_its_first_line(tmp_path: Path) -> None:
    old = stamped("a", "old", datetime.now(UTC) - timedelta(seconds=100))
    (tmp_path / "log").write_text(f"{old}\n")
    (tmp_path / "log.1").write_text("ancient\n")
    for rotate_seconds, older in ((200.0, ["ancient"]), (50.0, ["old"])):
        with (tmp_path / "output").open("a") as output:
            output.write(f"new {rotate_seconds}\n")
        TaskLog("a", tmp_path, rotate_seconds).follow()
        assert [line.rpartition("]:")[2] for line in (tmp_path / "log.1").read_text().splitlines()][
            :1
        ] == older
    assert texts(TaskLog("a", tmp_path).history(9)) == ["old", "new 200.0", "new 50.0"]


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with running_agent(tmp_path_factory.mktemp("agent") / "data") as agent:
        yield agent


def test_an_agent_serves_the_log_of_a_container_that_is_gone_at_once(agent: Agent) -> None:
    for number in range(5):
        agent.run("gone-0", shell(f"echo run {number}; printf last >&2"))
        agent.wait_for("gone-0", "finished")
        assert agent.call("DELETE", "/containers/gone-0").status == 200
        assert agent.log("gone-0") == [f"run {number}", "last"]
    assert agent.call("GET", "/containers/gone-0").status == 404
    watch = agent.watch("/containers/gone-0/log?history=1")
    assert watch.ended.wait(10), "nothing will be added"
    assert [texts(event) for event in watch.events] == [["last"]]


def test_one_that_is_there_again_has_its_own(agent: Agent) -> None:
    agent.run("again-0", shell("echo first"))
    agent.wait_for_log("again-0", "first")
    agent.wait_for("again-0", "finished")
    agent.call("DELETE", "/containers/again-0")
    agent.run("again-0", shell("echo second"))
    agent.wait_for_log("again-0", "second")
    assert agent.log("again-0") == ["second"]


def test_files_of_strangers_are_left_alone_and_keep_nobody_from_anything(agent: Agent) -> None:
    strays = [agent.data / name for name in ("logs/stray", "artifacts/folder/stray", "containers/stray")]
    for stray in strays:
        stray.parent.mkdir(parents=True, exist_ok=True)
        stray.touch()
    agent.run("beside-0", shell("echo kept"))
    agent.wait_for("beside-0", "finished")
    assert agent.call("DELETE", "/containers/beside-0").status == 200
    wait_until(lambda: not list((agent.data / "containers").glob(".*")), "no file is left")
    assert agent.log("beside-0") == ["kept"]
    agent.end()
    agent.start()
    assert all(stray.exists() for stray in strays)


@pytest.mark.parametrize("name", ["never-0", "..%2f..", ".", "x" * 300])
def test_what_was_never_there_has_none(agent: Agent, name: str) -> None:
    assert agent.call("GET", f"/containers/{name}/log").status == 404


def test_what_an_agent_that_was_killed_did_not_put_away_the_next_one_does(agent: Agent) -> None:
    agent.run("cut-0", shell("echo kept all the same"))
    agent.wait_for_log("cut-0", "kept")
    agent.wait_for("cut-0", "finished")
    agent.end()
    # As a kill leaves it between the removal and what follows.
    trash = agent.data / "containers/.gone-01234567-cut-0"
    (agent.data / "containers/cut-0").rename(trash)
    agent.start()
    wait_until(lambda: not trash.exists())
    assert agent.instance("cut-0") is None
    assert agent.log("cut-0") == ["kept all the same"]
