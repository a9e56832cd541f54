"""Below a job's path: history, revert, restart, stop, start; conditions and request ids on every change."""

from __future__ import annotations

from typing import Any

import pytest
from falcon.testing import Result
from web_obedient import MIGRATIONS, URL, V0_MIGRATE, Town, body, town

from web.obedient import WROTE


def two_versions(**changes: Any) -> Town:
    """The job at its second version, the first one in its history."""
    cluster = town(**changes)
    assert cluster.client.simulate_put(URL, json=body("two", **changes)).status_code == 202
    cluster.settle()
    return cluster


def test_the_history_tells_the_newest_first_and_what_was_given_up() -> None:
    cluster = two_versions()
    cluster.client.simulate_put(URL, json=body("bad", {"FAIL": "1"}))
    cluster.settle()
    reply = cluster.client.simulate_get(f"{URL}/history")
    assert reply.headers["cache-control"] == "no-store"
    versions = reply.json["versions"]
    assert [past["number"] for past in versions] == [3, 2, 1]
    assert [past["current"] for past in versions] == [False, True, False]
    assert [past["config"]["env"]["GREETING"] for past in versions] == ["bad", "two", "one"]
    assert WROTE[-1] in versions[0]["reverted"]
    assert versions[1]["reverted"] == ""
    assert versions[0]["at"] > versions[1]["at"] > versions[2]["at"] > 0
    assert [version["number"] for version in cluster.job()["versions"]] == [2]
    missing = cluster.client.simulate_get("/api/v1/jobs/p/e/other/history")
    assert (missing.status_code, "there is no job p/e/other" in missing.json["detail"]) == (404, True)


def test_reverted_to_the_last_good_version_or_to_any() -> None:
    cluster = two_versions()
    reply = cluster.client.simulate_post(f"{URL}/revert")
    assert (reply.status_code, reply.json["result"]) == (200, "changed")
    assert reply.json["migration"].startswith("m-")
    assert reply.headers["etag"] == f'"{cluster.job()["version"]}"'
    cluster.settle()
    assert cluster.job()["versions"][0]["config"]["env"]["GREETING"] == "one"
    assert cluster.client.simulate_post(f"{URL}/revert", json={"version": 2}).status_code == 200
    cluster.settle()
    assert cluster.job()["versions"][0]["config"]["env"]["GREETING"] == "two"
    none = cluster.client.simulate_post(f"{URL}/revert", json={"version": 99})
    assert (none.status_code, "has no version 99 to go back to" in none.json["detail"]) == (404, True)


def test_restarted_with_new_tasks_of_the_same_config() -> None:
    cluster = two_versions()
    before = cluster.job()["versions"][0]
    reply = cluster.client.simulate_post(f"{URL}/restart")
    assert (reply.status_code, reply.json["hash"]) == (200, before["hash"])
    cluster.settle()
    after = cluster.job()["versions"][0]
    assert (after["hash"], after["number"]) == (before["hash"], before["number"])
    assert after["prefix"] != before["prefix"]
    assert set(cluster.tasks()) == {f"{after['prefix']}-{index}" for index in range(3)}


@pytest.mark.parametrize(("action", "asked"), [("restart", {}), ("revert", {}), ("revert", {"version": 1})])
def test_a_field_of_the_request_overrides_the_job_s_policy_and_leaves_the_rest(
    action: str, asked: dict[str, Any]
) -> None:
    cluster = two_versions(update={"strategy": "blue_green", "min_healthy_time": "2s"})
    asked = {**asked, "update": {"min_healthy_time": "7s"}}
    reply = cluster.client.simulate_post(f"{URL}/{action}", json=asked)
    assert reply.status_code == 200, reply.text
    row = cluster.migration()
    assert (row["strategy"], row["min_healthy_seconds"]) == ("blue_green", 7.0)


def test_stopped_without_being_forgotten_and_started_again() -> None:
    cluster = two_versions()
    reply = cluster.client.simulate_post(f"{URL}/stop")
    assert (reply.status_code, reply.json["result"]) == (200, "changed")
    cluster.settle()
    job = cluster.job()
    assert (job["stopped"], job["tasks"], job["counts"]["wanted"]) == (True, [], 0)
    assert cluster.client.simulate_post(f"{URL}/stop").json["result"] == "unchanged"
    refused = cluster.client.simulate_post(f"{URL}/restart")
    assert (refused.status_code, "start it instead" in refused.json["detail"]) == (409, True)
    changed = cluster.client.simulate_put(URL, json=body("three"))
    assert (changed.status_code, changed.json["migration"]) == (200, "")
    assert "it is stopped" in changed.json["message"]
    assert cluster.client.simulate_post(f"{URL}/start").status_code == 200
    cluster.settle()
    job = cluster.job()
    assert (job["stopped"], set(cluster.tasks().values())) == (False, {"running"})
    assert job["versions"][0]["config"]["env"]["GREETING"] == "three"


# Every change of a job: its path below the job's, its body, and the status when it is taken.
CHANGES: list[tuple[str, str, Any, int]] = [
    ("PUT", URL, body("new"), 202),
    ("POST", MIGRATIONS, {"old": "OLD", "new": body("new")}, 202),
    ("POST", V0_MIGRATE, {"old": "OLD", "new": body("new")}, 202),
    ("POST", f"{URL}/revert", {"version": 1}, 200),
    ("POST", f"{URL}/restart", {}, 200),
    ("POST", f"{URL}/stop", None, 200),
]
NAMES = [f"{method} {path}" for method, path, _, _ in CHANGES]


def ask(cluster: Town, method: str, path: str, asked: Any, **headers: str) -> Result:
    """One change, of the version that runs."""
    if isinstance(asked, dict) and "old" in asked:
        asked = {**asked, "old": cluster.state.desired.versions(KEY)[0].hash}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return cluster.client.simulate_request(method, path, json=asked, headers=named)


KEY = town().state.desired.jobs.popitem()[1].config.key


@pytest.mark.parametrize(("method", "path", "asked", "status"), CHANGES, ids=NAMES)
def test_of_two_operators_one_wins_and_the_other_is_told_what_changed(
    method: str, path: str, asked: Any, status: int
) -> None:
    cluster = two_versions()
    seen = cluster.client.simulate_get(URL).headers["etag"]
    other = cluster.client.simulate_put(URL, json=body("two", scale=4), headers={"If-Match": seen})
    assert other.status_code == 200
    at = cluster.state.version
    lost = ask(cluster, method, path, asked, If_Match=seen)
    assert lost.status_code == 412
    job = cluster.job()
    assert f"is at version {job['version']}, not {seen.strip(chr(34))}" in lost.text
    assert f"it runs {job['versions'][0]['hash']} now" in lost.text
    assert cluster.state.version == at
    now = cluster.client.simulate_get(URL).headers["etag"]
    assert ask(cluster, method, path, asked, If_Match=now).status_code == status


@pytest.mark.parametrize(("method", "path", "asked", "status"), CHANGES, ids=NAMES)
def test_a_repeated_request_gets_the_same_answer_and_is_done_once(
    method: str, path: str, asked: Any, status: int
) -> None:
    cluster = two_versions()
    if isinstance(asked, dict) and "old" in asked:
        asked = {**asked, "old": cluster.job()["versions"][0]["hash"]}
    key = {"Idempotency-Key": "k"}
    first = cluster.client.simulate_request(method, path, json=asked, headers=key)
    assert first.status_code == status, first.text
    begun = len(cluster.state.desired.migrations)
    cluster.settle()
    again = cluster.client.simulate_request(method, path, json=asked, headers=key)
    assert (again.status_code, again.content) == (status, first.content)
    assert len(cluster.state.desired.migrations) == begun
    assert cluster.migration()["state"] == "done"


def test_steps_and_steering_are_conditional_and_repeatable_too() -> None:
    cluster = two_versions()
    name = cluster.client.simulate_put(URL, json=body("three")).json["migration"]
    path = f"{MIGRATIONS}/{name}"
    seen = cluster.client.simulate_get(path).headers["etag"]
    cluster.go(2)
    lost = cluster.client.simulate_post(f"{path}/pause", headers={"If-Match": seen})
    now = cluster.migration()["version"]
    assert lost.status_code == 412
    assert f"{name} is at version {now}, not {seen.strip(chr(34))}" in lost.json["detail"]
    headers = {"If-Match": f'"{now}"', "Idempotency-Key": "k"}
    first = cluster.client.simulate_post(f"{path}/pause", headers=headers)
    assert cluster.client.simulate_post(f"{path}/resume").status_code == 200
    again = cluster.client.simulate_post(f"{path}/pause", headers=headers)
    assert (first.status_code, again.content) == (200, first.content)
    assert cluster.migration()["paused"] is False, "it is not paused a second time"


@pytest.mark.parametrize("action", ["revert", "restart", "stop", "start"])
def test_a_job_that_there_is_not(action: str) -> None:
    cluster = town()
    reply = cluster.client.simulate_post(f"/api/v1/jobs/p/e/other/{action}")
    assert (reply.status_code, "p/e/other is not scheduled" in reply.json["detail"]) == (404, True)


@pytest.mark.parametrize("action", ["revert", "restart", "stop", "start"])
def test_nothing_else_begins_while_a_migration_is_under_way(action: str) -> None:
    cluster = two_versions()
    cluster.client.simulate_put(URL, json=body("three"))
    reply = cluster.client.simulate_post(f"{URL}/{action}")
    assert (reply.status_code, "is being migrated (m-" in reply.json["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("action", "asked", "field"),
    [
        ("revert", {"foo": 1}, "foo"),
        ("revert", {"version": "two"}, "version"),
        ("revert", {"version": True}, "version"),
        ("revert", {"version": 0}, "version"),
        ("revert", {"update": {"foo": 1}}, "update.foo"),
        ("restart", {"version": 1}, "version"),
        ("restart", {"update": {"canary": 0}}, "update.canary"),
        ("restart", {"update": {"min_healthy_time": 3}}, "update.min_healthy_time"),
    ],
)
def test_what_is_wrong_in_a_body_is_named(action: str, asked: dict[str, Any], field: str) -> None:
    cluster = two_versions()
    at = cluster.state.version
    reply = cluster.client.simulate_post(f"{URL}/{action}", json=asked)
    assert reply.status_code == 400
    assert [error["field"] for error in reply.json["errors"]] == [field]
    assert cluster.state.version == at
