"""The pure side of waiting: what each kind of news does to a goal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ctl_shapes_made import HASH, KEY, WAITING, job, snapshot, task

from ctl.errors import NotInTimeError, UnreachableError
from ctl.feed import News, Trouble
from ctl.goals import AllGone, AllRunning, Progress
from ctl.text import waiting_text
from ctl.wait import Tracker, wait_for
from ctl.waiting_shapes import Refusal, Waiting
from scheduling.durations import Duration
from scheduling.sse import Event

RUNNING = AllRunning(KEY, HASH)
GONE = AllGone(KEY, (HASH,))


def news(kind: str, data: Any) -> Event:
    return Event("", kind, json.dumps(data).encode())


def after(goal: AllRunning | AllGone, *heard: News) -> Progress:
    tracker = Tracker(goal)
    for one in heard:
        tracker.take(one)
    return tracker.progress()


def exited(status: int) -> dict[str, Any]:
    return {"exited": True, "exit_status": status}


def test_nothing_heard_proves_nothing() -> None:
    assert not after(RUNNING).reached
    assert not after(GONE).reached
    assert not after(GONE, Trouble("no answer")).reached


def test_running_is_reached_when_the_last_task_runs() -> None:
    start = news("snapshot", snapshot(job(), task(0), task(1, "creating")))
    assert not after(RUNNING, start).reached
    assert after(RUNNING, start).summary == "1 of 2 running, 1 creating"
    assert after(RUNNING, start, news("task", task(1))).reached


@pytest.mark.parametrize(
    "last",
    [
        task(1, health={"state": "starting"}),
        task(1, health={"state": "unhealthy"}),
        task(1, stale=True),
        task(1, intent="stop"),
        task(1, "starting"),
        task(1, foreign=True),
        task(5),
        task(1, name="hello-fffffff"),
        {"id": f"{HASH}-1", "gone": True},
    ],
)
def test_running_needs_each_task_proven(last: dict[str, Any]) -> None:
    start = news("snapshot", snapshot(job(), task(0), task(1, "creating")))
    progress = after(RUNNING, start, news("task", last))
    assert not progress.reached
    assert not progress.impossible


def test_a_version_that_is_not_there_yet_is_waited_for() -> None:
    old = news("snapshot", snapshot(job("hello-fffffff"), task(0), task(1)))
    assert not after(RUNNING, old).reached
    assert not after(RUNNING, old).impossible
    assert after(RUNNING, old, news("job", job())).reached


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key": KEY, "gone": True}, "was unscheduled meanwhile"),
        (job("hello-fffffff"), "was replaced by hello-fffffff meanwhile"),
    ],
)
def test_a_version_that_vanishes_is_not_waited_for(change: dict[str, Any], said: str) -> None:
    progress = after(RUNNING, news("snapshot", snapshot(job())), news("job", change))
    assert said in progress.impossible[0]


def test_a_waiting_task_tells_the_nearest_misses() -> None:
    progress = after(RUNNING, news("snapshot", snapshot(job(waiting=WAITING), task(0), task(1, "waiting"))))
    why = "no agent has room (n7: short 128 MB; n3: short 0.2 cores; n4: short 512 MB; 6 more)"
    assert progress.summary == f"1 of 2 running, 1 waiting: {why}"
    assert progress.lines[1].note == "no agent has room (n7: short 128 MB; 8 more)"


def test_a_miss_that_the_reason_names_is_not_repeated() -> None:
    reason = "no agent fits; nearest: n7: short 128 MB"
    waiting = Waiting(
        reason=reason, agents=2, refusals=[Refusal("n7", "short 128 MB"), Refusal("n3", "full")]
    )
    assert waiting_text(waiting) == f"{reason} (n3: full)"
    only = Waiting(reason=reason, agents=1, refusals=[Refusal("n7", "short 128 MB")])
    assert waiting_text(only) == reason


@pytest.mark.parametrize(
    ("policy", "exit_status", "reached", "impossible"),
    [
        ("no", 0, True, False),
        ("no", 3, False, True),
        ("on-failure", 0, True, False),
        ("on-failure", 3, False, False),
        ("always", 0, False, False),
    ],
)
def test_an_end_is_judged_by_the_restart_policy(
    policy: str, exit_status: int, reached: bool, impossible: bool
) -> None:
    ended = task(1, "ended", exit=exited(exit_status))
    progress = after(RUNNING, news("snapshot", snapshot(job(restart=policy), task(0), ended)))
    assert progress.reached is reached
    assert bool(progress.impossible) is impossible
    if impossible:
        assert "hello-0a1b2c3-1 ended: exit status 3" in progress.impossible[0]


def test_a_task_that_could_not_be_started_may_still_run_elsewhere() -> None:
    failed = task(1, "ended", error="python3 was not found in /bin")
    progress = after(RUNNING, news("snapshot", snapshot(job(restart="no"), task(0), failed)))
    assert not progress.impossible
    assert progress.lines[1].note == "python3 was not found in /bin"


def test_gone_is_reached_when_the_last_task_is_gone() -> None:
    start = news(
        "snapshot", snapshot(job(), task(0, "stopping", intent="stop"), task(0, name="other-1234567"))
    )
    unscheduled = news("job", {"key": KEY, "gone": True})
    assert not after(GONE, start).reached
    assert not after(GONE, start, unscheduled).reached
    last = [news("task", {"id": f"{name}-0", "gone": True}) for name in (HASH, "other-1234567")]
    assert after(GONE, start, unscheduled, *last).reached


def test_a_task_of_a_forgotten_job_is_known_by_its_id() -> None:
    orphan = task(0, "unclear", job="", intent="stop")
    assert not after(GONE, news("snapshot", snapshot(orphan))).reached
    assert after(GONE, news("snapshot", snapshot(task(0, "running", job="", foreign=True)))).reached


def test_one_version_can_go_while_the_other_stays() -> None:
    goal = AllGone(KEY, (HASH,), one_version=True)
    assert after(
        goal, news("snapshot", snapshot(job("hello-fffffff"), task(0, name="hello-fffffff")))
    ).reached
    assert not after(goal, news("snapshot", snapshot(job("hello-fffffff"), task(0)))).reached


def test_a_new_snapshot_replaces_what_was_known() -> None:
    start = news("snapshot", snapshot(job(), task(0), task(1)))
    assert not after(RUNNING, start, news("snapshot", snapshot(job(), task(0)))).reached


def test_kinds_of_a_newer_scheduler_change_nothing() -> None:
    start = news("snapshot", snapshot(job(), task(0), task(1)))
    assert after(RUNNING, start, news("migration", {"id": 1})).reached


class Script:
    """News in turn; then none."""

    def __init__(self, *news: News) -> None:
        self._news = list(news)

    def take(self, timeout_seconds: float) -> list[News]:
        return [self._news.pop(0)] if self._news else []


class Silent:
    """A display that only counts."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, str]] = []

    def show(self, progress: Progress, trouble: str) -> None:
        self.shown.append((progress.summary, trouble))


def test_time_that_is_over_tells_what_is_missing() -> None:
    start = news("snapshot", snapshot(job(), task(0), task(1, "creating")))
    with pytest.raises(NotInTimeError) as caught:
        wait_for(RUNNING, Script(start), Silent(), Duration.parse("1ns"))
    assert caught.value.exit_code == 2
    assert caught.value.lines == (
        "not so after 1ns: 1 of 2 running, 1 creating",
        "hello-0a1b2c3-1: creating on n1 (fetching its artifact)",
    )


def test_time_that_is_over_without_a_scheduler_proves_nothing() -> None:
    start = news("snapshot", snapshot(job(), task(0)))
    with pytest.raises(UnreachableError) as caught:
        wait_for(RUNNING, Script(start, Trouble("no answer")), Silent(), Duration.parse("50ms"))
    assert caught.value.exit_code == 3


def test_trouble_ends_with_the_next_news() -> None:
    display = Silent()
    start = news("snapshot", snapshot(job(), task(0), task(1, "starting")))
    wait_for(RUNNING, Script(start, Trouble("broken"), news("task", task(1))), display, Duration.parse("9s"))
    assert [trouble for _, trouble in display.shown] == ["", "broken", ""]


def test_with_scale_all_every_place_is_waited_for() -> None:
    everywhere = job(scale="all")
    unknown = news("snapshot", snapshot(everywhere))
    assert not after(RUNNING, unknown).reached, "nobody has said yet which agents fit"
    everywhere["versions"][0]["places"] = {"0": "n0", "2": "n2"}
    start = news("snapshot", snapshot(everywhere, task(0)))
    assert after(RUNNING, start).summary == "1 of 2 running, 1 waiting"
    assert after(RUNNING, start, news("task", task(2))).reached
