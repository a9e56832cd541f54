"""`/api/v0`, byte for byte as programs of 2014 know it."""

from __future__ import annotations

import msgspec
import pytest
from web_cases import ENDPOINT, MIN, MIN_HASH, client_of, cluster_with, config, raw, running_cluster

from scheduling.actual import ContainerReport
from scheduling.canonical import go_json
from scheduling.container import (
    STATE_EVENT_DECODER,
    Amount,
    ContainerInstance,
    Cores,
    HostResources,
    Metrics,
    StateEvent,
)
from scheduling.jobs import ScheduleJob
from scheduling.lifecycle import Phase
from web.memory import InMemoryCluster

NO_RESOURCES = (
    b'{"mem":{"total":0,"reserved":0},"cpus":{"total":0,"reserved":0},'
    b'"storage":{"total":0,"reserved":0},"volumes":null}'
)
TYPE = "application/json; charset=utf-8"


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_job_is_scheduled_and_then_again(method: str) -> None:
    client = client_of(InMemoryCluster())
    first = client.simulate_request(method, "/api/v0/schedule", body=MIN + b"\n")
    again = client.simulate_request(method, "/api/v0/schedule", body=MIN)
    assert first.status_code == 202
    assert first.headers["content-type"] == again.headers["content-type"] == TYPE
    accepted = b"request to schedule 'min' (min-aad7b17) has been accepted"
    assert first.content == b'{"status_code":202,"msg":"' + accepted + b'"}\n'
    assert again.status_code == 409
    assert again.content == b'{"status_code":409,"msg":"min-aad7b17 already scheduled"}\n'


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_job_is_unscheduled_by_its_config(method: str) -> None:
    client = client_of(InMemoryCluster())
    client.simulate_put("/api/v0/schedule", body=MIN)
    gone = client.simulate_request(method, "/api/v0/unschedule", body=MIN)
    again = client.simulate_request(method, "/api/v0/unschedule", body=MIN)
    text = b"request to unschedule min (min-aad7b17) has been accepted"
    assert gone.content == b'{"status_code":202,"msg":"' + text + b'"}\n'
    assert gone.status_code == 202
    assert again.content == b'{"status_code":404,"msg":"min-aad7b17 not scheduled"}\n'
    assert again.status_code == 404


def test_a_job_is_unscheduled_by_its_hash() -> None:
    client = client_of(InMemoryCluster())
    client.simulate_put("/api/v0/schedule", body=MIN)
    gone = client.simulate_put(f"/api/v0/unschedule/{MIN_HASH}")
    text = b"request to unschedule job (min-aad7b17) has been accepted"
    assert gone.content == b'{"status_code":202,"msg":"' + text + b'"}\n'
    assert client.simulate_get("/api/v0/registry").content == b"{}\n"
    unknown = client.simulate_put("/api/v0/unschedule/nosuch-1234567")
    assert unknown.status_code == 404
    assert unknown.content == b'{"status_code":404,"msg":"nosuch-1234567 not scheduled"}\n'


def test_the_registry_is_the_canonical_configs_by_hash_in_bytewise_order() -> None:
    client = client_of(InMemoryCluster())
    assert client.simulate_get("/api/v0/registry").content == b"{}\n"
    bodies = {}
    for name in ("b", "a.x", "B", "a-x", "a"):
        job = config(job=name, env={"Z": "<&>", "A": "é\u2028"})
        bodies[job.hash()] = job.canonical()
        assert client.simulate_put("/api/v0/schedule", body=job.canonical()).status_code == 202
    expected = b",".join(b'"%s":%s' % (name.encode(), bodies[name]) for name in sorted(bodies))
    reply = client.simulate_get("/api/v0/registry")
    assert reply.content == b"{" + expected + b"}\n"
    assert b"\\u003c\\u0026\\u003e" in reply.content
    assert reply.headers["content-type"] == TYPE


def test_after_a_change_of_scale_the_registry_shows_the_current_hash() -> None:
    client = client_of(InMemoryCluster())
    client.simulate_put("/api/v0/schedule", body=MIN)
    client.simulate_put("/api/v1/jobs/p/e/min", json=raw(scale=7))
    now = config(scale=7)
    assert client.simulate_get("/api/v0/registry").content == (
        b'{"%s":%s}\n' % (now.hash().encode(), now.canonical())
    )


def test_an_agent_that_has_not_answered_is_shown_empty() -> None:
    reply = client_of(cluster_with("n1", "n2")).simulate_get("/api/v0/proxy")
    entry = b'{"resources":' + NO_RESOURCES + b',"containers":{}}'
    assert reply.content == b'{"http://h1.test:3333":' + entry + b',"http://h2.test:3333":' + entry + b"}\n"
    assert reply.headers["content-type"] == TYPE


def test_the_proxy_shows_what_an_agent_reports_with_the_newest_sample() -> None:
    cluster = running_cluster()
    resources = HostResources(
        mem=Amount(total=9, reserved=1), cpus=Cores(total=2, reserved=0.5), volumes=["/v"]
    )
    cluster.connect("n1", resources)
    client = client_of(cluster)
    task = f"{MIN_HASH}-0"
    before = client.simulate_get("/api/v0/proxy")
    report = cluster.state.actual.report("n1", task)
    assert report is not None and report.instance is not None
    instance = report.instance

    def body(shown: ContainerInstance) -> bytes:
        event = StateEvent(resources=resources, containers={task: shown})
        return b'{"%s":%s}\n' % (ENDPOINT.encode(), go_json(event))

    assert before.content == body(instance)
    sample = Metrics(cpu_time=12, memory_usage=34, memory_limit=56)
    cluster.report_metrics("n1", {task: sample})
    state = msgspec.structs.replace(instance.process_state, container_metrics=sample)
    sampled = msgspec.structs.replace(instance, process_state=state)
    assert client.simulate_get("/api/v0/proxy").content == body(sampled)
    cluster.remove_container("n1", task)
    assert b'"containers":{}' in client.simulate_get("/api/v0/proxy").content


def test_the_proxy_shows_the_last_known_state_of_a_stale_agent() -> None:
    cluster = running_cluster()
    client = client_of(cluster)
    before = client.simulate_get("/api/v0/proxy").content
    status = cluster.state.actual.agents["n1"]
    cluster.report_agent(msgspec.structs.replace(status, link="stale", error="silent"))
    assert client.simulate_get("/api/v0/proxy").content == before
    containers = msgspec.json.decode(before)[ENDPOINT]["containers"]
    assert list(containers) == [f"{MIN_HASH}-0"]


def test_the_proxy_leaves_out_what_is_proven_absent_and_agents_that_are_gone() -> None:
    cluster = running_cluster()
    client = client_of(cluster)
    cluster.report_container(ContainerReport(agent="n1", task=f"{MIN_HASH}-0", phase=Phase.ABSENT))
    decoded = STATE_EVENT_DECODER.decode(
        msgspec.json.encode(client.simulate_get("/api/v0/proxy").json[ENDPOINT])
    )
    assert decoded.containers == {}
    cluster.write_copies(f"{MIN_HASH}-0")
    cluster.remove_agents()
    assert client.simulate_get("/api/v0/proxy").content == b"{}\n"


@pytest.mark.parametrize("path", ["/api/v0/registry", "/api/v0/proxy"])
def test_a_reader_that_has_it_already_gets_304(path: str) -> None:
    cluster = running_cluster()
    client = client_of(cluster)
    etag = client.simulate_get(path).headers["etag"]
    same = client.simulate_get(path, headers={"If-None-Match": f'"other", {etag}'})
    assert (same.status_code, same.content) == (304, b"")
    # Every worker names the same content the same.
    assert client_of(cluster).simulate_get(path).headers["etag"] == etag
    cluster.judge(ScheduleJob(config=config(job="other")))
    cluster.report_metrics("n1", {f"{MIN_HASH}-0": Metrics(cpu_time=1)})
    changed = client.simulate_get(path, headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag


def test_replies_are_not_compressed() -> None:
    cluster = cluster_with(*(f"n{number}" for number in range(40)))
    reply = client_of(cluster).simulate_get("/api/v0/proxy", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in reply.headers


def test_unknown_paths_and_methods_answer_in_the_style_of_v0() -> None:
    client = client_of(InMemoryCluster())
    for path in ("/api/v0", "/api/v0/nothing", "/api/v0/unschedule/a/b"):
        reply = client.simulate_get(path)
        assert reply.status_code == 404
        assert reply.json["status_code"] == 404
        assert path in reply.json["msg"]
        assert reply.content.endswith(b"}\n")
    wrong = client.simulate_delete("/api/v0/registry")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert "DELETE" in wrong.json["msg"]


def test_head_and_options() -> None:
    client = client_of(running_cluster())
    whole = client.simulate_get("/api/v0/proxy")
    head = client.simulate_head("/api/v0/proxy")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))
    assert client.simulate_options("/api/v0/schedule").headers["allow"] == "POST, PUT"


def test_quotes_in_messages_become_single_ones() -> None:
    reply = client_of(InMemoryCluster()).simulate_put("/api/v0/unschedule/a%22b")
    assert reply.content == b'{"status_code":404,"msg":"a\'b not scheduled"}\n'
