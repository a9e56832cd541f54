"""The main job on real processes: schedule, reach, unschedule, end, with nothing left behind."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

import pytest
import requests
from system_harness import REPOSITORY, leftovers, read_example, run_to_end, running, wait_until


def test_a_job_becomes_processes_that_answer_and_is_gone_after_unscheduling(tmp_path: Path) -> None:
    with running(["dev"], tmp_path) as scheduler:
        hello = read_example("hello.json")
        assert scheduler.schedule(hello).status_code == 202
        scheduler.wait_running("hello", 3)

        tasks = scheduler.get("/api/v1/tasks?job=hello").json()["tasks"]
        for task in tasks:
            port = task["ports"]["HTTP"]
            answer = wait_until(partial(_body, port), f"an answer on port {port}")
            assert task["id"] in answer

        done = run_to_end(
            ["ctl.main", "--endpoint", scheduler.url, "unschedule", "hello", "--wait", "--timeout", "20s"],
            tmp_path,
        )
        assert done.returncode == 0, done.stderr
        assert scheduler.get("/api/v1/tasks").json() == {"tasks": []}
        assert all(_body(task["ports"]["HTTP"]) is None for task in tasks)


def _body(port: int) -> str | None:
    try:
        return requests.get(f"http://127.0.0.1:{port}/", timeout=5).text
    except requests.ConnectionError:
        return None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_within_five_seconds_with_exit_code_0(tmp_path: Path, number: int) -> None:
    with running(["dev"], tmp_path) as scheduler:
        scheduler.schedule(read_example("hello.json"))
        scheduler.wait_running("hello", 3)

        code, seconds = scheduler.end(number)

        assert code == 0
        assert seconds < 5
        wait_until(lambda: not leftovers(tmp_path), "no process left", 1)


def test_kill_9_of_dev_leaves_nothing_within_fifteen_seconds(tmp_path: Path) -> None:
    with running(["dev"], tmp_path) as scheduler:
        scheduler.schedule(read_example("hello.json"))
        scheduler.wait_running("hello", 3)
        assert len(leftovers(tmp_path)) > 10

        scheduler.end(signal.SIGKILL)

        wait_until(lambda: not leftovers(tmp_path), "no process left", 15)


def test_a_second_run_on_the_same_data_brings_the_tasks_back(tmp_path: Path) -> None:
    with running(["dev"], tmp_path) as scheduler:
        scheduler.schedule(read_example("hello.json"))
        first = scheduler.wait_running("hello", 3)
    with running(["dev"], tmp_path) as scheduler:
        assert scheduler.wait_running("hello", 3) == first


def test_dev_with_a_file_shows_progress_and_urls(tmp_path: Path) -> None:
    example = str(REPOSITORY / "examples" / "hello.json")
    with running(["dev", "--schedule", example], tmp_path) as scheduler:
        wait_until(lambda: "Ctrl-C ends it all" in scheduler.printed, "the closing words", 40)
        lines = [line.split() for line in scheduler.printed.splitlines()]
        urls = [words[1] for words in lines if len(words) == 2 and words[1].startswith("http://")]
        assert [requests.get(url, timeout=5).status_code for url in urls] == [200, 200, 200]
