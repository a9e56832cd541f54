"""`/api/v1/snapshot`: what a backup holds, restoring it, and what is refused."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from falcon.testing import ASGIConductor, TestClient
from web_cases import MIN_HASH, client_of, cluster_with, config, raw, running_cluster

from scheduling.answer import Answer
from scheduling.jobs import ScheduleJob, UnscheduleJob
from scheduling.leap import RESTORE_LEAP
from scheduling.migrating import PutJob
from scheduling.registry import Mutation
from web import limits, v1_snapshot
from web.app import create_app
from web.memory import InMemoryCluster

URL = "/api/v1/snapshot"


def job_of(**changes: Any) -> dict[str, Any]:
    name = config(**changes).hash()
    return {"prefix": name, "hash": name, "version": 1, "config": raw(**changes)}


def snapshot_of(*jobs: dict[str, Any], agents: list[Any] | None = None) -> dict[str, Any]:
    return {
        "format": 1,
        "version": 7,
        "saved_at": "2026-01-02T03:04:05Z",
        "jobs": [*jobs],
        "agents": agents or [],
    }


def backup(client: TestClient) -> dict[str, Any]:
    body: dict[str, Any] = client.simulate_get(URL).json
    return body


def test_a_backup_holds_jobs_and_agents_and_not_where_tasks_run() -> None:
    cluster = running_cluster()
    cluster.judge(PutJob(config=config(scale=3)))
    reply = client_of(cluster).simulate_get(URL)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    version = cluster.state.version
    assert reply.headers["etag"] == f'"{version}"'
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["content-disposition"] == f'attachment; filename="harpoon-snapshot-{version}.json"'
    body = reply.json
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body.pop("saved_at"))
    [job] = body.pop("jobs")
    assert body == {
        "format": 1,
        "version": version,
        "agents": [
            {
                "name": "n1",
                "endpoint": "http://h1.test:3333",
                "labels": {},
                "sources": ["memory"],
                "drained": False,
            }
        ],
    }
    assert (job["prefix"], job["hash"], job["version"]) == (MIN_HASH, config(scale=3).hash(), version)
    assert {name: job["config"][name] for name in raw()} == raw(scale=3)
    assert len(reply.text.splitlines()) == 5, "a line for each job and agent"


def test_what_is_restored_somewhere_else_is_the_same() -> None:
    cluster = running_cluster()
    cluster.judge(ScheduleJob(config=config(job="other", on_lost={"after": "2m"}, env={"A": "é\u2028"})))
    saved = client_of(cluster).simulate_get(URL)
    empty = cluster_with()
    client = client_of(empty)
    reply = client.simulate_put(URL, body=saved.content)
    assert (reply.status_code, set(reply.json)) == (200, {"result", "message", "version"})
    leapt = saved.json["version"] + RESTORE_LEAP
    assert (reply.json["result"], reply.headers["etag"]) == ("changed", f'"{leapt}"')
    assert reply.json["version"] == int(reply.headers["x-harpoon-index"]) == empty.state.version
    before, after = saved.json, backup(client)
    for job in (*before["jobs"], *after["jobs"]):
        del job["version"]
    assert (after["jobs"], after["agents"]) == (before["jobs"], before["agents"])
    assert all(job.adopt for job in empty.state.desired.jobs.values())
    again = client.simulate_put(URL, body=saved.content)
    assert (again.json["result"], again.json["version"]) == ("unchanged", leapt)


def test_a_snapshot_of_a_version_that_none_can_have_is_refused() -> None:
    body = backup(client_of(running_cluster())) | {"version": -1}
    reply = client_of(cluster_with()).simulate_put(URL, json=body)
    assert reply.status_code == 400
    assert reply.json["errors"][0]["field"] == "version"


def test_an_empty_snapshot_is_written_and_restored() -> None:
    client = client_of(InMemoryCluster())
    assert (backup(client)["jobs"], backup(client)["agents"]) == ([], [])
    assert client.simulate_put(URL, body=client.simulate_get(URL).content).json["result"] == "unchanged"


def test_jobs_that_are_not_in_it_are_removed_and_running_ones_left_alone() -> None:
    cluster = running_cluster()
    client = client_of(cluster)
    saved = client.simulate_get(URL).content
    job = cluster.state.desired.jobs[MIN_HASH]
    cluster.judge(ScheduleJob(config=config(job="new")))
    reply = client.simulate_put(URL, body=saved)
    assert reply.json["message"].endswith("0 added, 0 changed, 1 removed, 1 as before")
    assert cluster.state.desired.jobs == {MIN_HASH: job}
    assert list(cluster.state.desired.placements) == [f"{MIN_HASH}-0"]


# --- what a request carries ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-Match": '"2"'}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"1"'}, 412),
        ({"If-None-Match": "*"}, 412),
        ({"If-Match": "2"}, 400),
    ],
)
def test_a_condition_is_compared_with_the_registry_s_version(headers: dict[str, str], status: int) -> None:
    cluster = InMemoryCluster()
    cluster.judge(ScheduleJob(config=config()))
    cluster.judge(ScheduleJob(config=config(job="other")))
    reply = client_of(cluster).simulate_put(URL, json=snapshot_of(), headers=headers)
    assert reply.status_code == status
    assert len(cluster.state.desired.jobs) == (0 if status == 200 else 2)


def test_a_repeated_request_id_restores_once() -> None:
    cluster = InMemoryCluster()
    client = client_of(cluster)
    key = {"Idempotency-Key": "restore 1"}
    first = client.simulate_put(URL, json=snapshot_of(job_of()), headers=key)
    cluster.judge(UnscheduleJob(hash=MIN_HASH))
    again = client.simulate_put(URL, json=snapshot_of(job_of()), headers=key)
    assert again.json == first.json
    assert cluster.state.desired.jobs == {}
    other = client.simulate_put(URL, json=snapshot_of(), headers=key)
    assert (other.status_code, "was used for another request" in other.json["detail"]) == (409, True)


def test_other_web_sites_can_not_restore() -> None:
    cluster = running_cluster()
    reply = client_of(cluster).simulate_put(
        URL, json=snapshot_of(), headers={"Origin": "http://elsewhere.test"}
    )
    assert reply.status_code == 403
    assert list(cluster.state.desired.jobs) == [MIN_HASH]


def test_a_worker_without_the_state_has_no_backup_and_one_cut_off_marks_it() -> None:
    cluster = running_cluster()
    client = client_of(cluster)
    cluster.state.set_connected(False, 1.0)
    assert client.simulate_get(URL).headers["x-harpoon-stale"] == "true"
    cluster.available = False
    assert client.simulate_put(URL, json=snapshot_of()).status_code == 503


# --- refusals -----------------------------------------------------------------------------------------

WRONG: list[tuple[Any, str, Any, str]] = [
    ({**snapshot_of(), "format": 2}, "format", 2, "it must be 1, the only one this scheduler knows"),
    ({}, "format", None, "it must be 1, the only one this scheduler knows"),
    ({**snapshot_of(), "more": 1}, "more", 1, "there is no such field"),
    (snapshot_of({**job_of(), "adopt": True}), "jobs[0].adopt", True, "there is no such field"),
    (
        snapshot_of(job_of(job="a"), {**job_of(), "config": raw(resources={"mem": 0, "cpu": 1, "gpu": 3})}),
        "jobs[1].config.resources.gpu",
        3,
        "there is no such field",
    ),
    (snapshot_of(agents=[{"nam": "x"}]), "agents[0].nam", "x", "there is no such field"),
    (snapshot_of({**job_of(), "version": "1"}), "jobs[0].version", "1", "it must be a whole number"),
    ({**snapshot_of(), "jobs": {"a": 1}}, "jobs", '{"a": 1}', "it must be an array"),
    (
        snapshot_of({**job_of(), "config": raw(grace={"startup": "1 s"})}),
        "jobs[0].config.grace.startup",
        "1 s",
        "not a duration",
    ),
    (
        snapshot_of({**job_of(), "config": raw(scale=2)}),
        "jobs[0].hash",
        MIN_HASH,
        f"it must be {config(scale=2).hash()}, the hash of its config",
    ),
    (
        snapshot_of({**job_of(), "config": raw(restart="x")}),
        "jobs[0].config.restart",
        "x",
        "it must be one of",
    ),
    (snapshot_of(job_of(), job_of()), "jobs[1].prefix", MIN_HASH, "jobs[0] has it already"),
    (snapshot_of(agents=[{"name": "x", "endpoint": "x"}]), "agents[0].endpoint", "x", "it must be like"),
]


@pytest.mark.parametrize(("body", "field", "value", "right"), WRONG, ids=[case[1] for case in WRONG])
def test_a_bad_snapshot_is_refused_field_by_field(body: Any, field: str, value: Any, right: str) -> None:
    cluster = running_cluster()
    before = cluster.state.version
    reply = client_of(cluster).simulate_put(URL, json=body)
    assert (reply.status_code, reply.headers["content-type"]) == (400, "application/problem+json")
    error = reply.json["errors"][0]
    assert (error["field"], error["value"]) == (field, value)
    assert right in error["expected"]
    assert cluster.state.version == before


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is empty"),
        (b"{", "not JSON: Input data was truncated"),
        (b'{"format":1,"saved_at":"\xff"}', "not JSON"),
        (b'{"saved_at":"\\ud800"}', "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"null", "the body is no object; send a snapshot"),
    ],
)
def test_what_is_no_object_is_refused(body: bytes, said: str) -> None:
    reply = client_of(InMemoryCluster()).simulate_put(URL, body=body)
    assert (reply.status_code, said in reply.json["detail"]) == (400, True), reply.json


def test_what_does_not_fit_to_what_runs_is_a_conflict() -> None:
    other = {**job_of(env={}), "prefix": MIN_HASH}
    cluster = running_cluster()
    reply = client_of(cluster).simulate_put(URL, json=snapshot_of(other))
    assert (reply.status_code, "run another config" in reply.json["detail"]) == (409, True)


def test_a_snapshot_may_be_larger_than_other_bodies_and_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(InMemoryCluster())
    text = json.dumps(snapshot_of()).encode()
    larger = text + b" " * (limits.LARGEST_BODY_BYTES + 1)
    assert client.simulate_put(URL, body=larger).status_code == 200
    monkeypatch.setattr(limits, "LARGEST_SNAPSHOT_BYTES", len(larger) - 1)
    reply = client.simulate_put(URL, body=larger)
    assert (reply.status_code, f"at most {len(larger) - 1} are accepted" in reply.json["detail"]) == (
        413,
        True,
    )


class Slow(InMemoryCluster):
    """A cluster whose registry answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def submit(self, mutation: Mutation, request_id: str) -> Answer:
        """As `Cluster.submit`."""
        self.asked.set()
        await self.go_on.wait()
        return await super().submit(mutation, request_id)


def test_one_snapshot_is_taken_in_at_a_time() -> None:
    async def run() -> None:
        cluster = Slow()
        async with ASGIConductor(create_app(cluster)) as client:
            first = asyncio.ensure_future(client.simulate_put(URL, json=snapshot_of(job_of())))
            await cluster.asked.wait()
            second = await client.simulate_put(URL, json=snapshot_of())
            assert (second.status_code, second.headers["retry-after"]) == (503, "1")
            cluster.go_on.set()
            assert (await first).status_code == 200
            assert (await client.simulate_put(URL, json=snapshot_of())).status_code == 200

    asyncio.run(run())


def test_megabytes_are_read_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other requests go on meanwhile: nobody in the loop reads."""
    read = v1_snapshot.read

    def read_elsewhere(body: bytes) -> Any:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return read(body)

    monkeypatch.setattr(v1_snapshot, "read", read_elsewhere)
    assert client_of(InMemoryCluster()).simulate_put(URL, json=snapshot_of()).status_code == 200


def test_the_description_has_its_shape() -> None:
    schemas = client_of(InMemoryCluster()).simulate_get("/openapi.json").json["components"]["schemas"]
    assert set(schemas["Snapshot"]["properties"]) == set(snapshot_of())
    job = schemas["Snapshot"]["properties"]["jobs"]["items"]["properties"]
    assert (set(job), job["config"]) == (
        {*job_of(), "stopped", "places"},
        {"$ref": "#/components/schemas/JobConfig"},
    )
    assert set(schemas["RestoreReply"]["properties"]) == {"result", "message", "version"}
