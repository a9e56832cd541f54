"""`/api/v1/migrations` and v0's `/migrate`: begun, shown while they go on, steered, refused."""

from __future__ import annotations

from typing import Any

import pytest
from web_cases import config
from web_obedient import BEGUN_AT, MIGRATIONS, V0_MIGRATE, Town, body, town

from scheduling.jobs import ScheduleJob


def begin(cluster: Town, greeting: str = "two", **update: Any) -> str:
    """A migration that has begun; its id."""
    asked = {"old": cluster.job()["versions"][0]["hash"], "new": body(greeting), "update": update}
    reply = cluster.client.simulate_post(MIGRATIONS, json=asked)
    assert reply.status_code == 202, reply.text
    return str(reply.json["migration"])


def test_a_migration_from_begin_to_end() -> None:
    cluster = town()
    old = cluster.job()["versions"][0]["hash"]
    reply = cluster.client.simulate_post(MIGRATIONS, json={"old": old, "new": body("two")})
    assert reply.status_code == 202
    name = reply.json["migration"]
    assert reply.headers["location"] == f"{MIGRATIONS}/{name}"
    shown = cluster.client.simulate_get(reply.headers["location"])
    assert shown.headers["etag"] == reply.headers["etag"] == f'"{reply.json["version"]}"'
    assert cluster.migration() == shown.json
    new = reply.json["hash"]
    assert shown.json == {
        "id": name,
        "job": "p/e/min",
        "state": "running",
        "paused": False,
        "awaits_promotion": False,
        "reason": "",
        "message": "0 of 3 new tasks run, 3 old ones are left",
        "strategy": "rolling",
        "floor": 3,
        "ceiling": 4,
        "max_parallel": 1,
        "min_healthy_seconds": 5.0,
        "old": {"hash": old, "prefix": old, "scale": 3, "wanted": 3, "running": 3},
        "new": {"hash": new, "prefix": new, "scale": 3, "wanted": 0, "running": 0},
        "begun_at": cluster.moving.now,
        "progress_at": cluster.moving.now,
        "deadline_at": cluster.moving.now + 300.0,
        "version": reply.json["version"],
    }
    cluster.settle()
    assert cluster.tasks() == {f"{new}-{index}": "running" for index in range(3)}
    done = cluster.migration()
    assert (done["state"], done["message"], done["deadline_at"]) == ("done", f"{new} runs", None)
    assert cluster.client.simulate_get(MIGRATIONS).json == {"migrations": [done]}
    assert [version["number"] for version in cluster.job()["versions"]] == [2]


def test_while_it_goes_on_the_job_shows_what_is_wanted_of_both_versions() -> None:
    cluster = town()
    begin(cluster)
    cluster.go(3)
    job = cluster.job()
    assert [version["counts"]["wanted"] for version in job["versions"]] == [3, 1]
    assert job["counts"]["running"] == 4, "the ceiling"
    seen = set()
    for _ in range(40):
        cluster.go()
        job = cluster.job()
        assert 3 <= job["counts"]["running"] <= 4
        assert 3 <= job["counts"]["wanted"] <= 4
        seen.add(job["migration"]["message"])
    assert "2 of 3 new tasks run, 1 old one is left" in seen


def test_the_tasks_of_the_first_version_are_wanted_until_their_turn_to_go() -> None:
    cluster = town()
    begin(cluster, strategy="canary")
    assert cluster.migration()["deadline_at"] is not None, "the canaries have to run in time"
    cluster.settle()
    listed = cluster.client.simulate_get("/api/v1/tasks", params={"job": "p/e/min"}).json["tasks"]
    assert len(listed) == 4
    assert all(task["intent"] == "run" for task in listed)
    row = cluster.migration()
    assert (row["awaits_promotion"], row["message"]) == (True, "1 canary runs; promote or abort it")
    assert row["deadline_at"] is None, "no time runs while somebody has to promote it"


def test_what_does_not_run_is_brought_back_and_says_why() -> None:
    cluster = town()
    before = cluster.tasks()
    asked = {"old": cluster.job()["versions"][0]["hash"], "new": body("bad", {"FAIL": "1"})}
    assert cluster.client.simulate_post(MIGRATIONS, json=asked).status_code == 202
    cluster.settle()
    row = cluster.migration()
    assert row["state"] == "reverted"
    assert "it ended with status 3; its last lines: starting | no such table: people" in row["reason"]
    assert row["message"].startswith(f"back at {asked['old']}: ")
    assert cluster.tasks() == before


def test_paused_resumed_promoted_and_aborted() -> None:
    cluster = town()
    path = f"{MIGRATIONS}/{begin(cluster, strategy='canary')}"
    post = cluster.client.simulate_post
    paused = post(f"{path}/pause")
    assert (paused.status_code, paused.json["result"]) == (200, "changed")
    assert post(f"{path}/pause").json["result"] == "unchanged"
    cluster.go(20)
    row = cluster.migration()
    assert (row["paused"], row["new"]["wanted"], row["deadline_at"]) == (True, 0, None)
    assert row["message"] == "paused; resume or abort it"
    assert post(f"{path}/resume").status_code == 200
    cluster.settle()
    assert post(f"{path}/promote").status_code == 200
    cluster.go(2)
    assert post(f"{path}/abort").status_code == 200
    assert cluster.migration()["message"].startswith("going back to ")
    cluster.settle()
    assert cluster.migration()["state"] == "reverted"
    for action in ("pause", "resume", "abort", "promote"):
        refused = post(f"{path}/{action}")
        assert refused.status_code == 409, action
        assert "is reverted" in refused.json["detail"]


def test_one_that_has_failed_waits_for_its_operator() -> None:
    cluster = town()
    old = cluster.job()["versions"][0]["hash"]
    asked = {"old": old, "new": body("bad", {"FAIL": "1"}), "update": {"auto_revert": False}}
    name = cluster.client.simulate_post(MIGRATIONS, json=asked).json["migration"]
    cluster.settle()
    row = cluster.migration()
    assert row["state"] == "failed"
    assert row["message"].endswith("; resume or abort it")
    assert cluster.client.simulate_post(f"{MIGRATIONS}/{name}/abort").status_code == 200
    cluster.settle()
    assert cluster.migration()["state"] == "reverted"


def test_the_policy_of_the_request_overrides_that_of_the_config_field_by_field() -> None:
    cluster = town()
    asked = {
        "old": cluster.job()["versions"][0]["hash"],
        "new": body("two", update={"max_parallel": 2, "min_healthy_time": "1s"}),
        "update": {"min_healthy_time": "9s"},
    }
    assert cluster.client.simulate_post(MIGRATIONS, json=asked).status_code == 202
    row = cluster.migration()
    assert (row["max_parallel"], row["min_healthy_seconds"]) == (2, 9.0)


@pytest.mark.parametrize("path", [MIGRATIONS, V0_MIGRATE])
def test_what_can_not_be_migrated(path: str) -> None:
    cluster = town()
    post = cluster.client.simulate_post
    old = cluster.job()["versions"][0]["hash"]
    nobody = post(path, json={"old": "min-0000000", "new": body("two")})
    assert (nobody.status_code, "min-0000000 not scheduled" in nobody.text) == (404, True)
    other = post(path, json={"old": old, "new": body("two", job="other")})
    assert (other.status_code, "is p/e/min and the new config is p/e/other" in other.text) == (409, True)
    cluster.judge(ScheduleJob(config=config(job="other")))
    other = post(path, json={"old": old, "new": body("two", job="other")})
    assert (other.status_code, "from one config of a job to another" in other.text) == (409, True)
    unworkable = post(path, json={"old": old, "new": body("two"), "update": {"floor": 7}})
    assert (unworkable.status_code, "at most that many" in unworkable.text) == (400, True)
    assert post(path, json={"old": old, "new": body("two")}).status_code == 202
    again = post(path, json={"old": old, "new": body("three")})
    assert (again.status_code, "is being migrated (m-" in again.text) == (409, True)


@pytest.mark.parametrize("path", [MIGRATIONS, V0_MIGRATE])
def test_a_job_that_is_there_already_changes_nothing(path: str) -> None:
    cluster = town()
    at = cluster.state.version
    old = cluster.job()["versions"][0]["hash"]
    reply = cluster.client.simulate_post(path, json={"old": old, "new": body("one")})
    assert reply.status_code == (200 if path == MIGRATIONS else 202)
    assert "nothing changes" in reply.text
    assert cluster.state.version == at


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_an_old_client_migrates_as_it_always_did(method: str) -> None:
    cluster = town()
    old = cluster.job()["versions"][0]["hash"]
    asked = {"old": old, "new": {**body("two"), "unknown": 1}, "also": "unknown"}
    reply = cluster.client.simulate_request(method, V0_MIGRATE, json=asked)
    assert reply.status_code == 202
    assert reply.json["status_code"] == 202
    assert f"migrated from {old} to" in reply.json["msg"]
    assert reply.content.endswith(b"\n")
    cluster.settle()
    registry = cluster.client.simulate_get("/api/v0/registry").json
    assert [job["env"]["GREETING"] for job in registry.values()] == ["two"]


@pytest.mark.parametrize("path", [MIGRATIONS, V0_MIGRATE])
@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({}, ["old", "new"]),
        ({"old": 3, "new": {}}, ["old"]),
        ({"old": "x", "new": []}, ["new"]),
        ({"old": "x", "new": {**body(), "scale": 0, "restart": "x"}}, ["scale", "restart"]),
        ({"old": "x", "new": body(), "update": 3}, ["update"]),
        ({"old": "x", "new": body(), "update": {"foo": 1, "bar": 2}}, ["update.foo", "update.bar"]),
        ({"old": "x", "new": body(), "update": {"floor": "x"}}, ["update.floor"]),
        (
            {"old": "x", "new": body(), "update": {"max_parallel": 0, "strategy": "x"}},
            ["update.strategy", "update.max_parallel"],
        ),
    ],
)
def test_every_problem_of_a_body_is_named(path: str, asked: dict[str, Any], named: list[str]) -> None:
    cluster = town()
    at = cluster.state.version
    reply = cluster.client.simulate_post(path, json=asked)
    assert reply.status_code == 400
    for field in named:
        assert f"{field} is " in reply.text
    assert cluster.state.version == at
    if path == MIGRATIONS:
        assert [error["field"] for error in reply.json["errors"]] == named


@pytest.mark.parametrize("field", ["foo", "new.foo", "new.update.foo", "update.foo"])
def test_v1_refuses_what_it_does_not_know(field: str) -> None:
    cluster = town()
    asked: dict[str, Any] = {"old": "x", "new": body(update={"floor": 1}), "update": {"floor": 1}}
    owner = asked
    *parents, name = field.split(".")
    for parent in parents:
        owner = owner[parent]
    owner[name] = 1
    reply = cluster.client.simulate_post(MIGRATIONS, json=asked)
    assert reply.status_code == 400
    assert f"{field.removeprefix('new.')} is 1; there is no such field" in reply.json["detail"]


def test_a_migration_that_there_is_not() -> None:
    cluster = town()
    for reply in (
        cluster.client.simulate_get(f"{MIGRATIONS}/m-99"),
        cluster.client.simulate_post(f"{MIGRATIONS}/m-99/abort"),
        cluster.client.simulate_post(f"{MIGRATIONS}/{'x' * 5000}/pause"),
    ):
        assert reply.status_code == 404
        assert MIGRATIONS in reply.json["detail"]
        assert len(reply.text) < 500
    begin(cluster)
    assert cluster.client.simulate_post(f"{MIGRATIONS}/m-99/dance").status_code == 404


def test_the_times_are_the_registry_s() -> None:
    cluster = town()
    cluster.moving.now = BEGUN_AT + 5000.0
    begin(cluster)
    assert cluster.migration()["begun_at"] == BEGUN_AT + 5000.0
