"""Agents are added, removed, drained and cordoned over HTTP; what is wrong is named, and changes nothing."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from web_cases import client_of, cluster_with, running_cluster

from scheduling.job import JobConfig
from scheduling.migrating import PutJob
from scheduling.update import Update
from web.memory import InMemoryCluster

NEW = "/api/v1/agents/new"


def body(**fields: Any) -> str:
    return json.dumps(fields)


def test_an_agent_is_added_changed_and_added_again() -> None:
    client = client_of(InMemoryCluster())
    reply = client.simulate_put(NEW, body=body(endpoint="h9.test:3333", labels={"zone": "a"}))
    assert (reply.status_code, reply.json["result"]) == (201, "created")
    reply = client.simulate_put(NEW, body=body(endpoint="h9.test:3333", labels={"zone": "a"}))
    assert (reply.status_code, reply.json["result"]) == (200, "unchanged")
    reply = client.simulate_put(NEW, body=body(endpoint="http://h9.test:3334"))
    assert (reply.status_code, reply.json["result"]) == (200, "changed")
    shown = client.simulate_get(NEW).json
    assert (shown["endpoint"], shown["labels"]) == ("http://h9.test:3334", {})


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ("{}", "endpoint"),
        (body(endpoint="nowhere"), "endpoint"),
        (body(endpoint=7), "endpoint"),
        (body(endpoint="h:1", labels={"a": 1}), "labels"),
        (body(endpoint="h:1", labels={str(number): "x" for number in range(65)}), "labels"),
        (body(endpoint="h:1", port=1), "port"),
    ],
)
def test_a_wrong_body_names_what_is_wrong(content: str, field: str) -> None:
    cluster = InMemoryCluster()
    reply = client_of(cluster).simulate_put(NEW, body=content)
    assert reply.status_code == 400
    assert [error["field"] for error in reply.json["errors"]] == [field]
    assert not cluster.state.desired.agents


def test_one_address_has_one_name_and_what_others_name_stays_theirs() -> None:
    cluster = cluster_with("n1")
    client = client_of(cluster)
    reply = client.simulate_put(NEW, body=body(endpoint="h1.test:3333"))
    assert (reply.status_code, reply.json["detail"]) == (409, "http://h1.test:3333 is n1 already")
    reply = client.simulate_put("/api/v1/agents/n1", body=body(endpoint="h2.test:3333"))
    assert (reply.status_code, "change it there" in reply.json["detail"]) == (409, True)
    reply = client.simulate_delete("/api/v1/agents/n1")
    assert (reply.status_code, "take it out there" in reply.json["detail"]) == (409, True)


def test_an_agent_that_was_added_is_removed() -> None:
    client = client_of(InMemoryCluster())
    client.simulate_put(NEW, body=body(endpoint="h9.test:3333"))
    assert client.simulate_delete(NEW).status_code == 202
    assert client.simulate_get(NEW).status_code == 404
    assert client.simulate_delete(NEW).status_code == 404


def test_draining_shows_what_is_left_and_by_when() -> None:
    cluster = running_cluster()
    client = client_of(cluster)
    reply = client.simulate_post("/api/v1/agents/n1/drain", body=body(deadline="10m"))
    assert (reply.status_code, "its 1 tasks are moved, in 600 s" in reply.json["message"]) == (200, True)
    shown = client.simulate_get("/api/v1/agents/n1").json
    assert (shown["drained"], shown["drain"]["left"]) == (True, 1)
    assert shown["drain"]["deadline_at"] == pytest.approx(shown["drain"]["since"] + 600.0)
    assert client.simulate_delete("/api/v1/agents/n1/drain").json["result"] == "changed"
    shown = client.simulate_get("/api/v1/agents/n1").json
    assert (shown["drained"], shown["drain"]) == (False, None)
    assert client.simulate_delete("/api/v1/agents/n1/drain").json["result"] == "unchanged"


def test_a_drain_that_could_never_keep_a_floor_is_a_conflict() -> None:
    cluster = running_cluster()
    client = client_of(cluster)
    [job] = cluster.state.desired.jobs.values()
    config: JobConfig = msgspec.structs.replace(job.config, update=Update(floor=1, surge=0))
    cluster.judge(PutJob(config=config))
    reply = client.simulate_post("/api/v1/agents/n1/drain", body=body(deadline="10m"))
    assert (reply.status_code, reply.json["title"]) == (409, "Conflict")
    assert f"{config.key} has scale" in reply.json["detail"]
    assert not client.simulate_get("/api/v1/agents/n1").json["drained"]
    assert client.simulate_post("/api/v1/agents/n1/drain", body=body(deadline="0s")).status_code == 200


def test_cordoning_moves_nothing() -> None:
    client = client_of(cluster_with("n1"))
    assert client.simulate_post("/api/v1/agents/n1/cordon").json["result"] == "changed"
    assert client.simulate_post("/api/v1/agents/n1/cordon").json["result"] == "unchanged"
    shown = client.simulate_get("/api/v1/agents/n1").json
    assert (shown["drained"], shown["drain"]) == (True, None)
    assert client.simulate_delete("/api/v1/agents/n1/cordon").json["result"] == "changed"


@pytest.mark.parametrize("deadline", ["soon", "-1s", "169h", 5, [], {}])
def test_a_wrong_deadline_is_refused(deadline: Any) -> None:
    client = client_of(cluster_with("n1"))
    reply = client.simulate_post("/api/v1/agents/n1/drain", body=body(deadline=deadline))
    assert (reply.status_code, reply.json["errors"][0]["field"]) == (400, "deadline")
    assert not client.simulate_get("/api/v1/agents/n1").json["drained"]


def test_an_agent_that_nobody_knows_is_not_found() -> None:
    client = client_of(InMemoryCluster())
    for method, path in (("POST", "drain"), ("DELETE", "drain"), ("POST", "cordon")):
        assert client.simulate_request(method, f"{NEW}/{path}").status_code == 404


def test_of_two_operators_one_wins() -> None:
    client = client_of(cluster_with("n1"))
    version = client.simulate_post("/api/v1/agents/n1/cordon").headers["etag"]
    seen = {"If-Match": version}
    assert client.simulate_delete("/api/v1/agents/n1/cordon", headers=seen).status_code == 200
    late = client.simulate_post("/api/v1/agents/n1/drain", headers=seen)
    assert (late.status_code, "n1 is at version" in late.json["detail"]) == (412, True)
    nobody = client.simulate_put(NEW, body=body(endpoint="h9.test:3333"), headers={"If-Match": "*"})
    assert nobody.status_code == 412


@pytest.mark.parametrize("labels", [{"": "x"}, {"a b": "x"}, {"a": "x" * 257}, {"a": "\x00"}, 0])
def test_labels_are_looked_at(labels: Any) -> None:
    cluster = InMemoryCluster()
    reply = client_of(cluster).simulate_put(NEW, body=body(endpoint="h9.test:3333", labels=labels))
    assert (reply.status_code, reply.json["errors"][0]["field"][:6]) == (400, "labels")
    assert not cluster.state.desired.agents
