"""The commands for hosts that come and go: what they ask for, what they say, their exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from ctl_fake_scheduler import FakeScheduler, ok
from ctl_shapes_made import agent

N1 = "/api/v1/agents/n1"
CHANGED = {"result": "changed", "message": "so it is", "hash": "", "version": 7}


@pytest.fixture
def scheduler() -> Iterator[FakeScheduler]:
    with FakeScheduler() as server:
        for method, path in (
            ("PUT", N1),
            ("DELETE", N1),
            ("POST", N1 + "/drain"),
            ("DELETE", N1 + "/drain"),
            ("POST", N1 + "/cordon"),
            ("DELETE", N1 + "/cordon"),
        ):
            server.on(method, path, ok(CHANGED))
        yield server


def test_an_agent_is_added_with_its_labels(scheduler: FakeScheduler) -> None:
    done = scheduler.run("agent", "add", "n1", "10.0.0.7:3333", "--label", "zone=a", "--label", "x=")
    assert (done.returncode, done.stdout) == (0, "so it is\n")
    [request] = scheduler.asked("PUT", N1)
    assert json.loads(request.body) == {"endpoint": "10.0.0.7:3333", "labels": {"zone": "a", "x": ""}}


def test_a_label_without_a_value_is_a_mistake(scheduler: FakeScheduler) -> None:
    done = scheduler.run("agent", "add", "n1", "10.0.0.7:3333", "--label", "zone")
    assert (done.returncode, "'zone' is no KEY=VALUE" in done.stderr) == (1, True)
    assert not scheduler.asked("PUT", N1)


@pytest.mark.parametrize(
    ("word", "method", "path"),
    [
        ("remove", "DELETE", N1),
        ("undrain", "DELETE", N1 + "/drain"),
        ("cordon", "POST", N1 + "/cordon"),
        ("uncordon", "DELETE", N1 + "/cordon"),
    ],
)
def test_each_word_asks_for_one_thing(scheduler: FakeScheduler, word: str, method: str, path: str) -> None:
    done = scheduler.run("agent", word, "n1")
    assert (done.returncode, done.stdout) == (0, "so it is\n")
    assert len(scheduler.asked(method, path)) == 1


def test_draining_waits_until_the_agent_is_empty(scheduler: FakeScheduler) -> None:
    scheduler.on(
        "GET",
        "/api/v1/agents",
        ok({"agents": [agent("n1", tasks=2)]}),
        ok({"agents": [agent("n1", tasks=0)]}),
    )
    done = scheduler.run("agent", "drain", "n1", "--deadline", "10m", "--wait")
    assert (done.returncode, done.stdout) == (0, "so it is\nn1 is empty\n")
    assert done.stderr == "2 tasks left on n1\n"
    [request] = scheduler.asked("POST", N1 + "/drain")
    assert json.loads(request.body) == {"deadline": "10m0s"}


def test_a_drain_that_is_not_done_in_time_goes_on_and_says_so(scheduler: FakeScheduler) -> None:
    scheduler.on("GET", "/api/v1/agents", ok({"agents": [agent("n1", tasks=2)]}))
    done = scheduler.run("agent", "drain", "n1", "--wait", "--timeout", "0s")
    assert done.returncode == 2
    assert "2 tasks left on n1" in done.stderr
    assert "agent undrain n1" in done.stderr


@pytest.mark.parametrize(
    ("words", "method", "path"),
    [
        (("add", "n1", "10.0.0.7:3333"), "PUT", N1),
        (("remove", "n1"), "DELETE", N1),
        (("drain", "n1"), "POST", N1 + "/drain"),
        (("undrain", "n1"), "DELETE", N1 + "/drain"),
        (("cordon", "n1"), "POST", N1 + "/cordon"),
        (("uncordon", "n1"), "DELETE", N1 + "/cordon"),
    ],
)
def test_the_version_that_was_seen_is_asked_for(
    scheduler: FakeScheduler, words: tuple[str, ...], method: str, path: str
) -> None:
    assert scheduler.run("agent", *words, "--if-version", "7").returncode == 0
    assert scheduler.run("agent", *words).returncode == 0
    asked = scheduler.asked(method, path)
    assert [request.headers.get("if-match") for request in asked] == ['"7"', None]


def test_what_stays_on_a_drained_agent_is_said_with_its_reason(scheduler: FakeScheduler) -> None:
    drain = {"since": 1.0, "deadline_at": None, "left": 1, "staying": 1, "why": {"web-0": "no agent fits"}}
    scheduler.on("GET", "/api/v1/agents", ok({"agents": [agent("n1", drained=True, drain=drain)]}))
    done = scheduler.run("agent", "drain", "n1", "--wait", "--timeout", "0s")
    assert done.returncode == 2
    assert "harpoonctl: web-0 stays: no agent fits" in done.stderr
    assert "1 stay (web-0: no agent" in " ".join(scheduler.run("agents").stdout.split())
