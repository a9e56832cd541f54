"""`/api/v1/jobs`: idempotent, conditional and repeatable changes; reads that wait."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from falcon.testing import ASGIConductor, TestClient
from web_cases import MIN, MIN_HASH, client_of, cluster_with, config, raw, running_cluster

from scheduling.answer import Answer
from scheduling.job import JobKey
from scheduling.jobs import DeleteJob, ScheduleJob
from scheduling.registry import Mutation
from scheduling.waiting import Refusal, Waiting
from web import limits
from web.app import create_app
from web.cluster import ClusterState
from web.memory import InMemoryCluster

URL = "/api/v1/jobs/p/e/min"


def test_a_put_creates_then_changes_nothing_then_rescales() -> None:
    cluster = InMemoryCluster()
    client = client_of(cluster)
    created = client.simulate_put(URL, body=MIN)
    assert created.status_code == 201
    assert created.headers["location"] == URL
    assert created.headers["etag"] == '"1"'
    assert created.headers["x-harpoon-index"] == "1"
    assert created.json == {
        "result": "created",
        "message": "request to schedule 'min' (min-aad7b17) has been accepted",
        "hash": MIN_HASH,
        "version": 1,
        "migration": "",
    }
    same = client.simulate_put(URL, body=MIN)
    assert (same.status_code, same.json["result"], cluster.state.version) == (200, "unchanged", 1)
    scaled = client.simulate_put(URL, json=raw(scale=4))
    assert (scaled.status_code, scaled.json["result"], scaled.json["version"]) == (200, "changed", 2)
    assert scaled.json["hash"] == config(scale=4).hash()
    assert scaled.headers["etag"] == '"2"'


def test_the_names_may_be_left_to_the_path() -> None:
    cluster = InMemoryCluster()
    body = raw()
    for name in ("product", "environment", "job"):
        del body[name]
    assert client_of(cluster).simulate_put(URL, json=body).json["hash"] == MIN_HASH


def test_another_config_begins_a_migration_and_during_it_a_third_is_refused() -> None:
    cluster = InMemoryCluster()
    client = client_of(cluster)
    client.simulate_put(URL, body=MIN)
    reply = client.simulate_put(URL, json=raw(env={"A": "b"}))
    assert reply.status_code == 202
    assert reply.json["migration"] == "m-2"
    assert reply.headers["etag"] == client.simulate_get(URL).headers["etag"] == '"2"'
    same = client.simulate_put(URL, json=raw(env={"A": "b"}))
    assert (same.status_code, same.json["result"]) == (200, "unchanged")
    third = client.simulate_put(URL, json=raw(env={"A": "c"}))
    assert third.status_code == 409
    assert "is being migrated (m-2); wait for it, or abort it first" in third.json["detail"]
    assert cluster.state.version == 2


def test_a_job_with_two_versions_of_an_old_client_is_left_alone() -> None:
    cluster = InMemoryCluster()
    client = client_of(cluster)
    cluster.judge(ScheduleJob(config=config()))
    cluster.judge(ScheduleJob(config=config(env={"A": "c"})))
    two = client.simulate_put(URL, json=raw(env={"A": "b"}))
    assert two.status_code == 409
    assert "2 versions" in two.json["detail"]
    assert cluster.state.version == 2


def test_a_delete_stops_all_versions() -> None:
    cluster = InMemoryCluster()
    client = client_of(cluster)
    cluster.judge(ScheduleJob(config=config()))
    cluster.judge(ScheduleJob(config=config(env={})))
    reply = client.simulate_delete(URL)
    assert (reply.status_code, reply.json["result"], reply.headers["etag"]) == (202, "changed", '"3"')
    assert cluster.state.desired.jobs == {}
    again = client.simulate_delete(URL)
    assert (again.status_code, again.json["detail"]) == (404, "p/e/min is not scheduled")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-Match": '"1"'}, 200),
        ({"If-Match": '"7", "1"'}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"7"'}, 412),
        ({"If-Match": '"0"'}, 412),
        ({"If-None-Match": "*"}, 412),
        ({"If-Match": "7"}, 400),
        ({"If-Match": 'W/"1"'}, 400),
        ({"If-Match": '"x"'}, 400),
        ({"If-None-Match": '"1"'}, 400),
    ],
)
def test_a_condition_is_compared_with_the_job_s_version(headers: dict[str, str], status: int) -> None:
    cluster = InMemoryCluster()
    client = client_of(cluster)
    client.simulate_put(URL, body=MIN)
    client.simulate_put("/api/v1/jobs/p/e/other", json=raw(job="other"))
    reply = client.simulate_put(URL, json=raw(scale=2), headers=headers)
    assert reply.status_code == status
    assert cluster.state.version == (3 if status == 200 else 2)


def test_conditions_on_a_job_that_is_not_there() -> None:
    cluster = InMemoryCluster()
    client = client_of(cluster)
    assert client.simulate_put(URL, body=MIN, headers={"If-Match": "*"}).status_code == 412
    assert client.simulate_put(URL, body=MIN, headers={"If-Match": '"3"'}).status_code == 412
    assert client.simulate_delete(URL, headers={"If-Match": '"3"'}).status_code == 412
    assert cluster.state.version == 0
    assert client.simulate_put(URL, body=MIN, headers={"If-None-Match": "*"}).status_code == 201


def test_the_etag_of_every_reply_works_as_a_condition() -> None:
    cluster = InMemoryCluster()
    client = client_of(cluster)
    client.simulate_put(URL, body=MIN)
    client.simulate_put("/api/v1/jobs/p/e/other", json=raw(job="other"))
    unchanged = client.simulate_put(URL, body=MIN)
    assert unchanged.headers["etag"] == client.simulate_get(URL).headers["etag"] == '"1"'
    after = client.simulate_put(URL, json=raw(scale=2), headers={"If-Match": unchanged.headers["etag"]})
    assert after.status_code == 200


def test_a_repeated_request_id_gets_the_same_answer_and_nothing_happens_twice() -> None:
    cluster = InMemoryCluster()
    client = client_of(cluster)
    key = {"Idempotency-Key": "attempt 1"}
    first = client.simulate_put("/api/v0/schedule", body=MIN, headers=key)
    again = client.simulate_put("/api/v0/schedule", body=MIN, headers=key)
    assert first.status_code == again.status_code == 202
    assert first.content == again.content
    assert first.headers["idempotency-key"] == "attempt 1"
    assert cluster.state.version == 1
    fresh = client.simulate_put("/api/v0/schedule", body=MIN)
    assert fresh.status_code == 409
    assert len(fresh.headers["idempotency-key"]) == 32


@pytest.mark.parametrize("key", ["x" * 129, "a\tb", "é", ""])
def test_a_request_id_that_is_none(key: str) -> None:
    cluster = InMemoryCluster()
    reply = client_of(cluster).simulate_put(URL, body=MIN, headers={"Idempotency-Key": key})
    assert reply.status_code == 400
    assert "1 to 128 printable ASCII characters" in reply.json["detail"]
    assert cluster.state.version == 0


@pytest.mark.parametrize("path", ["/api/v0/schedule", URL])
def test_writes_while_the_registry_is_away(path: str) -> None:
    cluster = InMemoryCluster()
    client = client_of(cluster)
    cluster.available = False
    reply = client.simulate_put(path, body=MIN)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert "nothing has changed" in reply.text
    cluster.available, cluster.answering = True, False
    lost = client.simulate_put(path, body=MIN, headers={"Idempotency-Key": "k"})
    assert (lost.status_code, lost.headers["retry-after"]) == (503, "1")
    assert "the outcome is unknown; repeating with the same Idempotency-Key is safe" in lost.text
    assert lost.headers["idempotency-key"] == "k"
    cluster.answering = True
    assert client.simulate_put(path, body=MIN, headers={"Idempotency-Key": "k"}).status_code in (201, 202)
    assert cluster.state.version == 1


def test_a_job_is_shown_with_its_versions_counts_and_tasks() -> None:
    cluster = running_cluster()
    cluster.judge(ScheduleJob(config=config(scale=2, env={})))
    other = config(scale=2, env={}).hash()
    cluster.report_waiting(
        Waiting(
            prefix=other,
            tasks=2,
            reason="no agent has room",
            refusals=(Refusal(agent="n1", reason="short 128 MB", distance=0.5),),
            agents=1,
        )
    )
    reply = client_of(cluster).simulate_get(URL)
    job = reply.json
    assert reply.headers["etag"] == f'"{cluster.state.version}"'
    assert (job["key"], job["product"], job["environment"], job["job"]) == ("p/e/min", "p", "e", "min")
    assert [version["hash"] for version in job["versions"]] == [MIN_HASH, other]
    assert job["versions"][0]["config"] == raw()
    assert job["versions"][0]["waiting"] is None
    assert job["versions"][1]["waiting"] == {
        "tasks": 2,
        "reason": "no agent has room",
        "agents": 1,
        "refusals": [{"agent": "n1", "reason": "short 128 MB"}],
        "groups": [],
    }
    assert job["counts"] == {
        "wanted": 3,
        "running": 1,
        "pending": 0,
        "waiting": 2,
        "ended": 0,
        "stopping": 0,
        "stale": 0,
    }
    assert [task["id"] for task in job["tasks"]] == [f"{MIN_HASH}-0", f"{other}-0", f"{other}-1"]
    listed = client_of(cluster).simulate_get("/api/v1/jobs").json["jobs"]
    assert listed == [{name: value for name, value in job.items() if name != "tasks"}]


def test_a_job_that_is_not_there() -> None:
    client = client_of(InMemoryCluster())
    reply = client.simulate_get(URL)
    assert reply.status_code == 404
    assert "there is no job p/e/min" in reply.json["detail"]
    short = client.simulate_get("/api/v1/jobs/p/e")
    assert (short.status_code, "PRODUCT/ENVIRONMENT/JOB" in short.json["detail"]) == (404, True)


def test_jobs_are_listed_by_key() -> None:
    cluster = InMemoryCluster()
    for product, name in [("b", "a"), ("a", "z"), ("a", "b-1"), ("a", "b")]:
        cluster.judge(ScheduleJob(config=config(product=product, job=name)))
    client = client_of(cluster)
    keys = [job["key"] for job in client.simulate_get("/api/v1/jobs").json["jobs"]]
    assert keys == ["a/e/b", "a/e/b-1", "a/e/z", "b/e/a"]
    cluster.judge(DeleteJob(key=JobKey("a", "e", "z")))
    assert "a/e/z" not in client.simulate_get("/api/v1/jobs").text


def test_replies_say_how_new_they_are_and_when_they_are_stale() -> None:
    cluster = running_cluster()
    client = client_of(cluster)
    for path in ("/api/v1/jobs", URL, "/api/v1/tasks", f"/api/v1/tasks/{MIN_HASH}-0", "/api/v1/agents"):
        cluster.state.set_connected(True, 0.0)
        fresh = client.simulate_get(path)
        assert fresh.headers["x-harpoon-index"] == str(cluster.state.version)
        assert "x-harpoon-stale" not in fresh.headers
        cluster.state.set_connected(False, 1.0)
        assert client.simulate_get(path).headers["x-harpoon-stale"] == "true"


@pytest.mark.parametrize("path", ["/api/v0/registry", "/api/v0/proxy", "/api/v1/jobs", "/api/v1/events"])
def test_before_the_first_snapshot_nothing_is_shown_as_empty(path: str) -> None:
    cluster = InMemoryCluster()
    cluster.state = ClusterState()
    reply = client_of(cluster).simulate_get(path)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert "not arrived" in reply.text


def test_a_read_waits_until_the_state_is_newer() -> None:
    async def story() -> None:
        cluster = cluster_with("n1")
        async with ASGIConductor(create_app(cluster)) as client:
            at = cluster.state.version
            old = asyncio.create_task(client.simulate_get("/api/v1/jobs", params={"index": at - 1}))
            new = asyncio.create_task(
                client.simulate_get("/api/v1/jobs", params={"index": at, "wait": "60s"})
            )
            assert (await old).json == {"jobs": []}
            assert not new.done()
            await client.simulate_put(URL, body=MIN)
            reply = await asyncio.wait_for(new, 5)
            assert reply.headers["x-harpoon-index"] == str(at + 1)
            assert [job["key"] for job in reply.json["jobs"]] == ["p/e/min"]
            # When the wait is over it just answers.
            late = await client.simulate_get("/api/v1/jobs", params={"index": at + 1, "wait": "1ms"})
            assert late.status_code == 200

    asyncio.run(story())


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"index": "x"}, "index is 'x'"),
        ({"index": "-1"}, "index is '-1'"),
        ({"index": "1" * 30}, "it must be a version"),
        ({"wait": "1s"}, "wait is given without index"),
        ({"index": "1", "wait": "soon"}, '"soon" is not a duration'),
    ],
)
def test_a_wait_that_makes_no_sense(params: dict[str, str], says: str) -> None:
    reply = client_of(InMemoryCluster()).simulate_get("/api/v1/jobs", params=params)
    assert reply.status_code == 400
    assert says in reply.json["detail"]


def test_too_many_waits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_WAITERS", 0)
    reply = client_of(InMemoryCluster()).simulate_get("/api/v1/jobs", params={"index": "5", "wait": "60s"})
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize(
    "origin", ["http://evil.test", "null", "http://here.test:81", "https://here.test.evil.test"]
)
def test_changes_that_another_web_site_asks_for_are_refused(origin: str) -> None:
    cluster = InMemoryCluster()
    client = client_of(cluster)
    for path in (URL, "/api/v0/schedule"):
        reply = client.simulate_put(path, body=MIN, host="here.test", headers={"Origin": origin})
        assert reply.status_code == 403
        assert origin in reply.text
    assert cluster.state.version == 0
    own = client.simulate_put(URL, body=MIN, host="here.test", headers={"Origin": "http://here.test"})
    assert own.status_code == 201


def test_with_host_names_given_no_other_is_answered() -> None:
    client = TestClient(create_app(InMemoryCluster(), frozenset({"here.test", "::1"})))
    for host, status in [("here.test", 200), ("[::1]", 200), ("evil.test", 403)]:
        assert client.simulate_get("/api/v1/jobs", host=host, port=4444).status_code == status


def test_the_answer_of_the_registry_is_what_the_reply_says() -> None:
    seen: list[tuple[Mutation, str]] = []

    class Recording(InMemoryCluster):
        async def submit(self, mutation: Mutation, request_id: str) -> Answer:
            seen.append((mutation, request_id))
            return Answer(result="changed", message="as told", version=41, hash="h-1")

    reply: Any = client_of(Recording()).simulate_delete(URL, headers={"Idempotency-Key": "k"})
    assert seen == [(DeleteJob(key=JobKey("p", "e", "min")), "k")]
    told = {"result": "changed", "message": "as told", "hash": "h-1", "version": 41, "migration": ""}
    assert reply.json == told
    assert reply.headers["etag"] == '"41"'
