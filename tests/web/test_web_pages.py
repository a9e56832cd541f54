"""Health, metrics, the HTML pages, the description of the API, and compression."""

from __future__ import annotations

import gzip
import hashlib
import re
from base64 import b64encode

import falcon.inspect
import msgspec
import pytest
from falcon.testing import TestClient
from web_cases import MIN, MIN_HASH, client_of, cluster_with, config, running_cluster

from scheduling.job import POLICY, JobConfig
from scheduling.jobs import ScheduleJob
from scheduling.roster import ActorStatus
from web.app import create_app
from web.cluster import ClusterState
from web.html_pages import DASHBOARD
from web.memory import InMemoryCluster
from web.operations import OPERATIONS
from web.pages import accepts_gzip, matches
from web.shapes import ChangeReply, JobView, MigrationView, PastView, PlanView, SideView


def actor(name: str, up: bool = True) -> ActorStatus:
    return ActorStatus(name=name, address="x", pid=1, restarts=2, since=3.0, up=up)


def test_a_worker_with_everything_is_ready() -> None:
    cluster = running_cluster()
    cluster.report_actor(actor("registry"))
    client = client_of(cluster)
    assert client.simulate_get("/health/live").json == {"live": True}
    ready = client.simulate_get("/health/ready")
    assert ready.status_code == 200
    assert ready.json == {
        "ready": True,
        "why": [],
        "brake": None,
        "brake_released": False,
        "actors": [{"name": "registry", "up": True, "restarts": 2, "since": 3.0}],
        "supervision": [
            {"kind": "actor", "restarts": 2, "waiting": 0, "next_seconds": None, "troubled": 0, "names": []},
            *(
                {"kind": kind, "restarts": 0, "waiting": 0, "next_seconds": None, "troubled": 0, "names": []}
                for kind in ("flock", "state_machine")
            ),
        ],
        "members": [],
        "version": cluster.state.version,
    }


def test_a_worker_says_why_it_is_not_ready() -> None:
    cluster = InMemoryCluster()
    cluster.state = ClusterState()
    client = client_of(cluster)
    cluster.state.set_connected(False, 1.0)
    cluster.report_actor(actor("registry", up=False))
    reply = client.simulate_get("/health/ready")
    assert (reply.status_code, reply.headers["retry-after"], reply.json["ready"]) == (503, "1", False)
    assert "has not arrived" in reply.json["why"][0]
    assert "can't be reached for" in reply.json["why"][1]
    assert "registry is being started anew" in reply.json["why"][2]
    assert client.simulate_get("/health/live").status_code == 200


def test_an_actor_that_lives_but_cannot_do_its_work_is_a_reason_too() -> None:
    cluster = running_cluster()
    cluster.report_actor(msgspec.structs.replace(actor("registry"), trouble="database or disk is full"))
    client = client_of(cluster)
    reply = client.simulate_get("/health/ready")
    assert (reply.status_code, reply.json["why"]) == (503, ["registry: database or disk is full"])
    assert 'harpoon_actor_troubled{actor="registry"} 1' in client.simulate_get("/metrics").text
    cluster.report_actor(actor("registry"))
    assert client.simulate_get("/health/ready").status_code == 200
    assert 'harpoon_actor_troubled{actor="registry"} 0' in client.simulate_get("/metrics").text


def test_metrics_tell_of_the_cluster_and_of_the_requests() -> None:
    cluster = running_cluster()
    cluster.judge(ScheduleJob(config=config(job="other", scale=3)))
    cluster.report_actor(actor('an "odd\\name'))
    client = client_of(cluster)
    client.simulate_put("/api/v0/schedule", body=MIN)
    reply = client.simulate_get("/metrics")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = reply.text.splitlines()
    for line in (
        'harpoon_http_requests_total{method="PUT",status="409"} 1',
        f"harpoon_registry_version {cluster.state.version}",
        "harpoon_connected 1",
        "harpoon_jobs 2",
        'harpoon_tasks{status="running"} 1',
        'harpoon_tasks{status="waiting"} 3',
        'harpoon_agents{link="connected"} 1',
        "harpoon_brake 0",
        "harpoon_agents_lost 0",
        'harpoon_supervised_restarts_total{kind="actor"} 2',
        'harpoon_supervised_waiting{kind="flock"} 0',
        'harpoon_supervised_next_attempt_seconds{kind="state_machine"} 0.0',
        'harpoon_job_tasks{job="p/e/other",state="wanted"} 3',
        'harpoon_actor_up{actor="an \\"odd\\\\name"} 1',
        "harpoon_event_watchers 0",
    ):
        assert line in lines
    sample = re.compile(r'[a-z_]+(\{([a-z]+="([^"\\]|\\.)*",?)+\})? [0-9.e+-]+')
    assert all(line.startswith("# ") or sample.fullmatch(line) for line in lines)


def test_the_version_is_told() -> None:
    assert set(client_of(InMemoryCluster()).simulate_get("/api/v1/version").json) == {"version"}


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_needs_nothing_from_elsewhere_and_allows_nothing_else(path: str) -> None:
    reply = client_of(InMemoryCluster()).simulate_get(path)
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.search(r"""(src|href)=["'](https?:|//)""", reply.text)
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        for content in re.findall(rf"<{tag}>(.*?)</{tag}>", reply.text, re.DOTALL):
            digest = b64encode(hashlib.sha256(content.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy
    assert reply.headers["x-content-type-options"] == "nosniff"
    # What the policy would block anyway must not be relied on either.
    assert not re.search(r"\son[a-z]+=|\sstyle=", reply.text)


def test_the_dashboard_puts_values_into_the_page_as_text_only() -> None:
    source = DASHBOARD.read_text(encoding="utf-8")
    for dangerous in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", ".href ="):
        assert dangerous not in source


def test_the_dashboard_shows_what_migrations_really_have() -> None:
    source = DASHBOARD.read_text(encoding="utf-8")
    shown = set(re.findall(r"\btold\.(\w+)", source))
    assert {"state", "message", "deadline_at"} <= shown <= set(MigrationView.__struct_fields__)
    assert set(re.findall(r"\bjob\.(\w+)", source)) <= {*JobView.__struct_fields__, "tasks"}
    assert set(re.findall(r"told\.(?:old|new)\.(\w+)", source)) <= set(SideView.__struct_fields__)


def test_names_and_values_of_jobs_are_no_part_of_any_page() -> None:
    cluster = InMemoryCluster()
    cluster.judge(ScheduleJob(config=config(env={"X": "<script>alert(1)</script>"})))
    client = client_of(cluster)
    for path in ("/", "/docs"):
        assert "alert(1)" not in client.simulate_get(path).text
    for path in ("/api/v1/jobs", "/api/v0/registry"):
        reply = client.simulate_get(path)
        assert reply.headers["content-type"].startswith("application/json")
        assert "<script>" not in reply.text


def test_every_route_is_described_and_every_description_is_a_route() -> None:
    app = create_app(InMemoryCluster())
    routes = {
        (method.method.lower(), route.path)
        for route in falcon.inspect.inspect_routes(app)
        for method in route.methods
        # A WebSocket begins as a GET, and is described with it.
        if not method.internal and method.method not in ("OPTIONS", "HEAD", "WEBSOCKET")
    }
    assert {(operation.method, operation.path) for operation in OPERATIONS} == routes


def test_the_description_is_whole() -> None:
    document = client_of(InMemoryCluster()).simulate_get("/openapi.json").json
    assert document["openapi"] == "3.1.0"
    schemas = document["components"]["schemas"]
    text = msgspec.json.encode(document).decode()
    for name in re.findall(r'"#/components/schemas/([^"]+)"', text):
        assert name in schemas
    described = set(schemas["JobConfig"]["properties"])
    assert described == {field.encode_name for field in msgspec.structs.fields(JobConfig)}
    assert described >= {*msgspec.json.decode(MIN), *POLICY}
    assert schemas["JobConfig"]["properties"]["update"]["anyOf"][0]["properties"]["strategy"]
    for shape in (MigrationView, PlanView, PastView, JobView, ChangeReply):
        assert set(shape.__struct_fields__) <= set(schemas[shape.__name__]["properties"])
    assert schemas["JobConfig"]["properties"]["grace"]["properties"]["startup"]["type"] == "string"
    assert "tasks" in schemas["JobView"]["properties"]


def test_a_change_that_can_be_conditional_or_repeated_says_so() -> None:
    """As the code does: changes take a request id, and 412 follows from If-Match or a token."""
    for operation in OPERATIONS:
        named = {name for name, _ in operation.headers}
        if operation.method == "get" or not operation.path.startswith("/api/v1"):
            continue
        conditional = "If-Match" in named or "approve" in dict(operation.query)
        assert conditional == (412 in operation.errors), operation
        assert ("Idempotency-Key" in named) == (not operation.path.endswith(("/plan", "/signal"))), operation


def test_big_replies_are_compressed_for_those_who_take_it() -> None:
    cluster = cluster_with(*(f"n{number}" for number in range(30)))
    client = client_of(cluster)
    plain = client.simulate_get("/api/v1/agents")
    packed = client.simulate_get("/api/v1/agents", headers={"Accept-Encoding": "br, gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
    assert gzip.decompress(packed.content) == plain.content
    assert plain.headers["etag"] == packed.headers["etag"]
    same = client.simulate_get("/api/v1/agents", headers={"If-None-Match": plain.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    small = client_of(cluster_with("n1")).simulate_get("/api/v1/jobs", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in small.headers


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("", False),
        ("br", False),
    ],
)
def test_accept_encoding(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted


@pytest.mark.parametrize(
    ("header", "same"),
    [(None, False), ("*", True), ('W/"a"', True), ('"a"', True), ('"b", W/"a"', True), ('"b"', False)],
)
def test_if_none_match(header: str | None, same: bool) -> None:
    assert matches(header, 'W/"a"') is same


@pytest.mark.parametrize(
    "path", ["/nothing", "/api/v1/nothing", "/api/v2/jobs", f"/api/v1/tasks/{MIN_HASH}/x"]
)
def test_unknown_paths_are_problems(path: str) -> None:
    reply = TestClient(create_app(InMemoryCluster())).simulate_get(path)
    assert (reply.status_code, reply.headers["content-type"]) == (404, "application/problem+json")
    assert reply.json["detail"].startswith(f"there is nothing at {path}")
