"""`kill -9` of any one process of the scheduler: the rest goes on, and nothing is started twice."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from pathlib import Path

import requests
from system_harness import Scheduler, job, leftovers, running, wait_until

# As the process list shows them; the admin and its logger are Thespian's, the web master gunicorn's.
TITLES = (
    "Registry",
    "Scheduler",
    "Transformer",
    "Shepherd",
    "Flock",
    "StateMachine",
    "Discovery",
    "Supervisor",
    "MultiProcAdmin",
    "logger",
    "gunicorn: master",
    "gunicorn: worker",
)
CONVERGE_SECONDS = 15.0


def test_each_process_in_turn(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    with running(["dev"], tmp_path) as scheduler:
        assert scheduler.schedule(job("base", 3, starts=starts)).status_code == 202
        scheduler.wait_running("base", 3)
        expected = {"base": 3}
        for number, title in enumerate(TITLES):
            scheduler.child(title).kill()
            killed_at = time.monotonic()

            _schedule_again_and_again(scheduler, number, starts)
            scheduler.wait_running(f"job{number}", 1, CONVERGE_SECONDS)

            assert time.monotonic() - killed_at < CONVERGE_SECONDS, title
            expected[f"job{number}"] = 1
            # A task that runs has not always written its line yet; a second line would stay for ever.
            wait_until(partial(_has_started, starts, expected), f"{expected}, each once, after {title}")
        wait_until(lambda: scheduler.get("/health/ready").status_code == 200, "ready again")
        assert _has_started(starts, expected)


def _has_started(starts: Path, expected: dict[str, int]) -> bool:
    counted = Counter(starts.read_text().split())
    assert all(counted[name] <= expected.get(name, 0) for name in counted), f"started twice: {counted}"
    return counted == expected


def _schedule_again_and_again(scheduler: Scheduler, number: int, starts: Path) -> None:
    """As a user would: repeat with the same key until there is an answer; it must not be done twice."""

    def accepted() -> bool:
        try:
            answer = requests.put(
                f"{scheduler.url}/api/v1/jobs/test/system/job{number}",
                json=job(f"job{number}", 1, starts=starts),
                headers={"Idempotency-Key": f"key-{number}"},
                timeout=15,
            )
        except requests.ConnectionError:
            return False
        assert answer.status_code in (201, 503), answer.text
        return answer.status_code == 201

    wait_until(accepted, "the job being accepted", CONVERGE_SECONDS)


def test_the_actors_are_not_left_when_the_launcher_is_killed_in_the_middle_of_starting(
    tmp_path: Path,
) -> None:
    scheduler = Scheduler(["actors.main", "serve", "--listen", "127.0.0.1:0"], tmp_path)
    scheduler.child("MultiProcAdmin")
    scheduler.process.kill()
    scheduler.process.wait()
    wait_until(lambda: not leftovers(tmp_path), "no process left", 15)
