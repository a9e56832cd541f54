"""Bad input: each a 4xx that names the field, the value and what would be right; and nothing changed."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from falcon.testing import Result, TestClient
from web_cases import MIN, client_of, raw

from scheduling.answer import Answer
from scheduling.registry import Mutation
from web import limits
from web.memory import InMemoryCluster

V0, V1 = "/api/v0/schedule", "/api/v1/jobs/p/e/min"


def with_inner(field: str, **changes: Any) -> bytes:
    """The example with changes in one of its objects."""
    return json.dumps(raw(**{field: {**raw()[field], **changes}})).encode()


def changed(**changes: Any) -> bytes:
    """The example with changes at the top."""
    return json.dumps(raw(**changes)).encode()


CHECK = {"protocol": "HTTP", "port": "PORT_HTTP", "http_path": "/", "http_acceptable_responses": [200]}
# Body, the field, its value as text, and a part of what would be right.
WRONG_VALUES = [
    (changed(scale=0), "scale", "0", "from 1 to 1000"),
    (changed(scale=1001), "scale", "1001", "from 1 to 1000"),
    (changed(scale="two"), "scale", "'two'", "a whole number"),
    (changed(scale=1.5), "scale", "1.5", "a whole number"),
    (changed(scale=True), "scale", "True", "a whole number"),
    (MIN.replace(b'"scale":1', b'"scale":' + b"1" * 5000), "scale", "inf", "a whole number"),
    (MIN.replace(b'"scale":1', b'"scale":' + b"1" * 30), "scale", "1" * 30, "from 1 to 1000"),
    (with_inner("resources", cpu=0), "resources.cpu", "0.0", "more than 0"),
    (with_inner("resources", cpu=-1), "resources.cpu", "-1.0", "more than 0"),
    (MIN.replace(b'"cpu":1', b'"cpu":1e999'), "resources.cpu", "inf", "more than 0"),
    (with_inner("resources", mem=-1), "resources.mem", "-1", "0 or more"),
    (with_inner("resources", mem=2**80), "resources.mem", str(2**80), "memory in MB"),
    (with_inner("resources", cpu="1"), "resources.cpu", "'1'", "a number"),
    (changed(env={"A": "x", "B": 3}), "env.B", "3", "a text"),
    (changed(env=[1]), "env", "[1]", "an object or null"),
    (changed(ports={"HTTP": 70000}), "ports.HTTP", "70000", "from 0 to 65535"),
    (changed(ports={"HTTP": "x"}), "ports.HTTP", "'x'", "a whole number"),
    (with_inner("command", exec=["a", 1]), "command.exec[1]", "1", "a text"),
    (with_inner("command", exec=[]), "command.exec", "[]", "name a program"),
    (with_inner("grace", startup="1 second"), "grace.startup", "'1 second'", "1.5s"),
    (with_inner("grace", startup=5), "grace.startup", "5", "1.5s"),
    (with_inner("grace", shutdown="1m"), "grace.shutdown", "'1m0s'", "from 250ms to 10s"),
    (changed(restart="sometimes"), "restart", "'sometimes'", "no, on-failure, always"),
    (changed(artifact_url="ftp://x"), "artifact_url", "'ftp://x'", "http://"),
    (changed(health_checks=[{**CHECK, "timeout": "4s"}]), "health_checks[0].timeout", "'4s'", "0s to 3s"),
    (changed(health_checks=[CHECK, {"timeout": 1}]), "health_checks[1].timeout", "1", "1.5s"),
    (MIN.replace(b'"e"', b'"\\ud83d"'), "environment", "surrogate", "UTF-8"),
]
# Bodies that are no object at all, and what the reply says.
NO_JOBS = [
    (b"", "the body is empty"),
    (b" \n", "the body is empty"),
    (b'{"scale":1,"job":"\xff"}', "not UTF-8: byte 0xff at position 18"),
    (b'{"scale":1', "not JSON: Expecting ',' delimiter at line 1, column 11"),
    (b"\xef\xbb\xbf" + MIN, "not JSON"),
    (MIN + b" x", "not JSON: Extra data"),
    (MIN.replace(b'"cpu":1', b'"cpu":NaN'), "NaN is no JSON number"),
    (b"null", "the body is null; send a job config as a JSON object"),
    (b"[1,2]", "the body is [1, 2]; send a job config as a JSON object"),
    (b'"text"', 'the body is "text"; send a job config'),
    (b"[" * 100_000, "nested too deeply"),
    (b'{"env":' * 50_000, "nested too deeply"),
]


def assert_refused(client: TestClient, cluster: InMemoryCluster, reply: Result, status: int) -> str:
    """It is refused in the right style, nothing has changed, the next request is fine; returns the text."""
    assert reply.status_code == status
    assert "Traceback" not in reply.text
    assert cluster.state.version == 0
    assert client.simulate_get("/api/v0/registry").content == b"{}\n"
    if "msg" in reply.json:
        assert reply.json["status_code"] == status
        assert reply.content.endswith(b"\n")
        assert '"' not in reply.json["msg"]
        return str(reply.json["msg"])
    assert reply.headers["content-type"] == "application/problem+json"
    assert (reply.json["type"], reply.json["status"]) == ("about:blank", status)
    return str(reply.json["detail"])


@pytest.mark.parametrize("path", [V0, V1])
@pytest.mark.parametrize(("body", "field", "value", "right"), WRONG_VALUES)
def test_a_wrong_value_is_named(path: str, body: bytes, field: str, value: str, right: str) -> None:
    cluster = InMemoryCluster()
    client = client_of(cluster)
    if path == V1 and field == "environment":
        path = V1.replace("/e/", "/x/")
    reply = client.simulate_put(path, body=body)
    text = assert_refused(client, cluster, reply, 400)
    assert f"{field} is " in text
    for part in (value, right):
        assert part in text
    if path == V1:
        assert field in [error["field"] for error in reply.json["errors"]]
        assert all(error["expected"] for error in reply.json["errors"])
    assert client.simulate_put(V0, body=MIN).status_code == 202


@pytest.mark.parametrize("path", [V0, V1])
@pytest.mark.parametrize(("body", "says"), NO_JOBS)
def test_a_body_that_is_no_job_is_explained(path: str, body: bytes, says: str) -> None:
    cluster = InMemoryCluster()
    client = client_of(cluster)
    text = assert_refused(client, cluster, client.simulate_put(path, body=body), 400)
    assert says.replace('"', "'") in text.replace('"', "'")
    assert client.simulate_put(path, body=MIN).status_code in (201, 202)


def test_v0_joins_all_problems_in_the_order_of_the_wire_format() -> None:
    body = raw(scale=0, product="", environment="", job="a/b", artifact_url="x", restart="")
    body |= {
        "health_checks": [{"protocol": "ICMP", "port": "P"}],
        "command": {},
        "resources": {},
        "storage": {"tmp": {"relative": 1}},
        "grace": {},
    }
    text = client_of(InMemoryCluster()).simulate_put(V0, json=body).json["msg"]
    fields = [
        part.split(" is ")[0] for part in text.split("; ") if " is " in part and "artifact's" not in part
    ]
    assert fields == [
        "scale",
        "product",
        "environment",
        "job",
        "health_checks[0].protocol",
        "artifact_url",
        "command.working_dir",
        "command.exec",
        "resources.cpu",
        "storage.tmp",
        "grace.startup",
        "grace.shutdown",
        "restart",
    ]


def test_unknown_fields_are_ignored_by_v0_and_refused_by_v1() -> None:
    cluster = InMemoryCluster()
    client = client_of(cluster)
    body = raw(colour="red", resources={**raw()["resources"], "gpu": 2})
    reply = client.simulate_put(V1, json=body)
    text = assert_refused(client, cluster, reply, 400)
    assert "colour is 'red'; there is no such field" in text
    assert {error["field"]: error["value"] for error in reply.json["errors"]} == {
        "colour": "red",
        "resources.gpu": 2,
    }
    assert client.simulate_put(V0, json=body).status_code == 202


def test_a_name_given_twice_counts_last_in_v0_and_is_refused_by_v1() -> None:
    cluster = InMemoryCluster()
    client = client_of(cluster)
    body = MIN.replace(b'{"scale":1', b'{"scale":5000,"scale":1')
    text = assert_refused(client, cluster, client.simulate_put(V1, body=body), 400)
    assert "scale is 1; it is given twice" in text
    assert "min-aad7b17" in client.simulate_put(V0, body=body).json["msg"]


def test_v0_takes_null_for_absent_as_the_old_scheduler_does() -> None:
    body = MIN.replace(b'"storage":{"tmp":null,"volumes":null}', b'"storage":null')
    reply = client_of(InMemoryCluster()).simulate_put(V0, body=body)
    assert "min-aad7b17" in reply.json["msg"]


def test_a_job_name_with_a_slash() -> None:
    cluster = InMemoryCluster()
    client = client_of(cluster)
    text = assert_refused(client, cluster, client.simulate_put(V0, json=raw(job="a/b")), 400)
    assert "job is 'a/b'; it must be 1 to 100 letters" in text
    text = assert_refused(client, cluster, client.simulate_put("/api/v1/jobs/p/e/a%2Fb", body=MIN), 400)
    assert text == "job is 'a/b'; a name can't contain '/'"
    text = assert_refused(client, cluster, client.simulate_put(V1, json=raw(job="other")), 400)
    assert text == "job is 'other'; it must be 'min' as in the path, or be left out"


@pytest.mark.parametrize("path", [V0, V1])
def test_a_body_of_20_mb_is_refused_and_the_next_request_is_fine(path: str) -> None:
    cluster = InMemoryCluster()
    client = client_of(cluster)
    body = MIN + b" " * 20_000_000
    text = assert_refused(client, cluster, client.simulate_put(path, body=body), 413)
    assert f"the body is {len(body)} bytes; at most {limits.LARGEST_BODY_BYTES} are accepted" in text
    edge = MIN + b" " * (limits.LARGEST_BODY_BYTES - len(MIN))
    assert client.simulate_put(path, body=edge).status_code in (201, 202)


@pytest.mark.parametrize("header", [{"Content-Length": str(10**12)}, {"Content-Length": "x"}])
def test_a_length_that_is_not_true_is_refused_at_once(header: dict[str, str]) -> None:
    cluster = InMemoryCluster()
    client = client_of(cluster)
    reply = client.simulate_put(V1, headers=header)
    assert_refused(client, cluster, reply, 413 if header["Content-Length"] != "x" else 400)


def test_a_reply_stays_small_however_much_is_wrong() -> None:
    cluster = InMemoryCluster()
    client = client_of(cluster)
    body = json.dumps(raw(env={"=" + "n" * 1000 + str(n): "v" * 1000 for n in range(400)}))
    reply = client.simulate_put(V1, body=body)
    assert "more problems" in assert_refused(client, cluster, reply, 400)
    assert len(reply.content) < 100_000
    assert len(reply.json["errors"]) == limits.MOST_PROBLEMS


@pytest.mark.parametrize("path", [V0, V1])
def test_a_mistake_of_ours_is_a_500_without_details_and_no_secret_in_the_log(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(InMemoryCluster):
        async def submit(self, mutation: Mutation, request_id: str) -> Answer:
            raise ZeroDivisionError("inner")

    client = client_of(Broken())
    with caplog.at_level(logging.DEBUG):
        reply = client.simulate_put(path, json=raw(env={"PASSWORD": "hunter2"}))
    assert reply.status_code == 500
    assert "ZeroDivisionError" not in reply.text
    assert "inner" not in reply.text
    assert "ZeroDivisionError" in caplog.text
    assert "hunter2" not in caplog.text
