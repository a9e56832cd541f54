"""The agent's HTTP, byte for byte as wire format v0 has it, against a real agent."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
from agent_harness import Agent, config, running_agent, wait_until

from scheduling.canonical import go_json
from scheduling.container import INSTANCE_DECODER

TEXT, JSON = "text/plain; charset=utf-8", "application/json; charset=utf-8"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    data = tmp_path_factory.mktemp("agent") / "data"
    with running_agent(
        data, "--cpu", "2", "--mem", "1000", "--label", "zone=a", "--name", "n1", "--no-limits"
    ) as agent:
        yield agent


def test_every_reply_of_a_whole_life(agent: Agent) -> None:
    def answer(method: str, path: str = "", body: object = None) -> tuple[int, bytes, str]:
        reply = agent.call(method, f"/containers/life-0{path}", body)
        return reply.status, reply.body, reply.content_type

    for method, path in [("POST", "/start"), ("POST", "/stop"), ("DELETE", ""), ("GET", ""), ("GET", "/log")]:
        assert answer(method, path) == (404, b"not found\n", TEXT), (method, path)
    watch = agent.watch()
    assert answer("PUT", "", config()) == (201, b"created OK", TEXT)
    assert answer("PUT", "", config()) == (409, b"already exists\n", TEXT)
    wait_until(lambda: watch.statuses("life-0") == ["created"])
    assert answer("POST", "/stop") == (409, b"already stopped\n", TEXT)
    assert answer("POST", "/start") == (202, b"start accepted", TEXT)
    wait_until(lambda: watch.statuses("life-0") == ["created", "running"])
    assert answer("POST", "/start") == (409, b"already running\n", TEXT)
    assert answer("DELETE") == (500, b"can't destroy container in status running\n", TEXT)
    assert answer("POST", "/stop") == (202, b"stop accepted", TEXT)
    wait_until(lambda: watch.statuses("life-0")[-1] == "finished")
    assert answer("POST", "/stop") == (409, b"already stopped\n", TEXT)
    assert answer("DELETE") == (200, b"destroy OK", TEXT)
    wait_until(lambda: watch.statuses("life-0")[-1] == "deleted")
    assert answer("GET") == (404, b"not found\n", TEXT)
    assert answer("DELETE") == (404, b"not found\n", TEXT)
    wait_until(lambda: not list((agent.data / "containers").iterdir()), "all its files are gone")


def test_a_container_is_shown_as_go_would_write_it(agent: Agent) -> None:
    agent.create(
        "shown-0", config(env={"A": "<é>&"}, ports={"HTTP": 0}, resources={"mem": 64, "cpu": 0.1, "fd": 9})
    )
    reply = agent.call("GET", "/containers/shown-0")
    port = reply.json()["config"]["ports"]["HTTP"]
    assert reply.content_type == JSON
    assert reply.body.decode() == (
        '{"container_id":"shown-0","status":"created","config":{"product":"search","environment":"test",'
        '"job":"web","health_checks":null,"artifact_url":"","ports":{"HTTP":' + str(port) + "},"
        '"env":{"A":"\\u003cé\\u003e\\u0026"},"command":{"working_dir":"/","exec":["sleep","1000"]},'
        '"resources":{"mem":64,"cpu":0.1,"fd":9},"storage":{"tmp":null,"volumes":null},'
        '"grace":{"startup":"1s","shutdown":"5s"},"restart":"no"},"process_state":{"up":false,'
        '"restarting":false,"container_exit_status":{},"restarts":0,"ooms":0,'
        '"container_metrics":{"cpu_time":0,"memory_usage":0,"memory_limit":0}}}\n'
    )
    assert go_json(INSTANCE_DECODER.decode(reply.body)) + b"\n" == reply.body
    every = agent.call("GET", "/containers")
    assert every.content_type == JSON
    assert b'"shown-0":' + reply.body.rstrip() in every.body
    assert every.body.endswith(b"}}}\n")
    agent.call("DELETE", "/containers/shown-0")


def without_ours(resources: bytes) -> bytes:
    """What an agent of 2014 would have said of its host, without the brace that ends it."""
    return resources.partition(b',"drivers":')[0]


def test_resources_count_what_is_registered(agent: Agent) -> None:
    before = agent.call("GET", "/resources")
    disk = before.json()["storage"]["total"]
    assert without_ours(before.body) == (
        b'{"mem":{"total":1000,"reserved":0},"cpus":{"total":2,"reserved":0},"storage":{"total":%d,'
        b'"reserved":0},"volumes":[]' % disk
    )
    tmp = {"tmp": {"/tmp": 1024, "/scratch": -1}, "volumes": None}
    agent.create("r-0", config(resources={"mem": 64, "cpu": 0.1, "fd": 0}, storage=tmp))
    agent.create("r-1", config(resources={"mem": 64, "cpu": 0.2, "fd": 0}))
    during = agent.call("GET", "/resources").json()
    assert during["mem"] == {"total": 1000, "reserved": 128}
    assert during["cpus"] == {"total": 2, "reserved": 0.3}
    assert during["storage"] == {"total": disk, "reserved": 1024}
    for container_id in ("r-0", "r-1"):
        agent.call("DELETE", f"/containers/{container_id}")
    assert without_ours(agent.call("GET", "/resources").body) == without_ours(before.body)


def test_the_event_stream_byte_for_byte(agent: Agent) -> None:
    watch = agent.watch()
    assert watch.response.getheader("content-type") == "text/event-stream"
    resources = agent.call("GET", "/resources").body.rstrip()
    assert watch.raw == b'data: {"resources":' + resources + b',"containers":{}}\n\n'
    agent.create("s-0", config())
    wait_until(lambda: len(watch.events) == 2)
    after = agent.call("GET", "/resources").body.rstrip()
    instance = agent.call("GET", "/containers/s-0").body.rstrip()
    second = b'data: {"resources":' + after + b',"containers":{"s-0":' + instance + b"}}\n\n"
    assert watch.raw.endswith(b"\n\n" + second)
    assert b'"reserved":1}' in second
    agent.call("DELETE", "/containers/s-0")
    wait_until(lambda: watch.statuses("s-0") == ["created", "deleted"])
    assert watch.events[-1]["resources"]["mem"]["reserved"] == 0


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", b"not a ContainerConfig: "),
        (b"{", b"not a ContainerConfig: "),
        (b"[]", b"not a ContainerConfig: Expected `object`, got `array`"),
        (b'{"product":"\xff"}', b"not a ContainerConfig: "),
        (b'{"resources":{"mem":"much"}}', b"Expected `int`, got `str` - at `$.resources.mem`"),
        (b'{"grace":{"startup":"soon"}}', b'"soon" is not a duration'),
        (b'{"env":' * 100_000, b"not a ContainerConfig: "),
        (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b"not a ContainerConfig: "),
        (b"{}", b"product is ''; it must be 1 to 100 letters"),
        (json.dumps(config("")).encode(), b"command.exec is ['']"),
        (
            json.dumps(config(env={"A": "nul\0"})).encode(),
            b"env.A is 'nul\\x00'; a variable's value must not",
        ),
        (json.dumps(config(restart="often")).encode(), b"restart is 'often'; it must be one of"),
        (json.dumps(config(ports={f"P{i}": 0 for i in range(10_000)})).encode(), b"at most 256 are possible"),
        (json.dumps(config(artifact_url="ftp://x/y")).encode(), b"artifact_url is 'ftp://x/y'; it must be"),
    ],
)
def test_a_wrong_config_is_400_and_says_why(agent: Agent, body: bytes, told: bytes) -> None:
    reply = agent.call("PUT", "/containers/wrong-0", body)
    assert (reply.status, reply.content_type) == (400, TEXT)
    assert told in reply.body
    assert reply.body.endswith(b"\n")
    assert b"Traceback" not in reply.body
    assert agent.call("GET", "/containers/wrong-0").status == 404


def test_unknown_fields_are_ignored(agent: Agent) -> None:
    agent.create("unknown-0", config(colour="blue"))
    assert "colour" not in agent.instance("unknown-0")["config"]
    agent.call("DELETE", "/containers/unknown-0")


@pytest.mark.parametrize("container_id", [".hidden", "-x", "a%20b", "..", "x" * 201, "a%00b", "%C3%A9"])
def test_an_id_that_is_no_file_name_is_refused(agent: Agent, container_id: str) -> None:
    reply = agent.call("PUT", f"/containers/{container_id}", config())
    assert reply.status in (400, 404)
    assert reply.body.endswith(b"\n")
    wait_until(lambda: not list((agent.data / "containers").iterdir()), "nothing was made")


def test_a_body_too_large_is_413_and_the_next_request_is_fine(agent: Agent) -> None:
    reply = agent.call("PUT", "/containers/big-0", b"x" * (1024 * 1024 + 1))
    assert (reply.status, reply.body) == (413, b"the body has more than 1048576 bytes\n")
    with socket.create_connection(("127.0.0.1", agent.port), timeout=10) as connection:
        # Without a length, as a chunked body that goes on and on.
        connection.sendall(
            b"PUT /api/v0/containers/big-1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        try:
            for _ in range(20):
                connection.sendall(chunk)
        except OSError:
            pass  # the agent may hang up before it has read all of it
        assert b"413" in connection.recv(100)
    assert agent.call("GET", "/resources").status == 200


def test_unknown_paths_and_methods(agent: Agent) -> None:
    reply = agent.call("GET", "/nothing")
    assert (reply.status, reply.body, reply.content_type) == (404, b"not found\n", TEXT)
    reply = agent.call("PATCH", "/containers")
    assert (reply.status, reply.content_type) == (405, TEXT)
    assert agent.call("GET", "/containers/x/log?history=many").status == 404


def test_a_history_that_is_no_number_is_400(agent: Agent) -> None:
    agent.create("h-0", config())
    for history in ("many", "-1"):
        reply = agent.call("GET", f"/containers/h-0/log?history={history}")
        assert reply.status == 400
        assert b"history" in reply.body
    agent.call("DELETE", "/containers/h-0")


def test_what_the_host_lacks_is_refused_with_the_reason(agent: Agent) -> None:
    def refused(**changes: object) -> bytes:
        reply = agent.call("PUT", "/containers/lack-0", config(**changes))
        assert reply.status == 500
        assert agent.call("GET", "/containers/lack-0").status == 404
        return reply.body

    agent.create("static-0", config(ports={"DB": 29999}))
    assert refused(ports={"SQL": 29999}) == b"port 29999 (SQL) is taken by static-0\n"
    assert refused(resources={"mem": 2000, "cpu": 1, "fd": 0}) == (
        b"no room: 2000 MB of memory wanted, 999 of 1000 MB free\n"
    )
    assert refused(resources={"mem": 1, "cpu": 2, "fd": 0}) == b"no room: 2 cores wanted, 1.999 of 2 free\n"
    assert refused(storage={"tmp": None, "volumes": {"/data": "/etc"}}) == (
        b"no volume /etc (for /data) on this host\n"
    )
    agent.call("DELETE", "/containers/static-0")
    agent.create("lack-0", config(ports={"SQL": 29999}))
    agent.call("DELETE", "/containers/lack-0")


def test_who_the_agent_is(agent: Agent) -> None:
    told = agent.call("GET", "/agent", base="/api/v1").json()
    assert list(told) == ["name", "version", "labels", "attributes"]
    assert (told["name"], told["labels"]) == ("n1", {"zone": "a"})
    assert told["attributes"]["drivers"] == agent.call("GET", "/resources").json()["drivers"]
    assert told["attributes"]["drivers"][0] == "process"
    assert set(told["attributes"]) == {"os", "arch", "kernel", "drivers", "limits"}
