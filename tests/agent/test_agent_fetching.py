"""What may be asked of a container while its artifact is on its way, or when that fails."""

from __future__ import annotations

import http.server
import io
import tarfile
import threading
from collections.abc import Iterator

import pytest
from agent_harness import Agent, config, running_agent, wait_until


class SlowServer(http.server.ThreadingHTTPServer):
    """Serves one archive, but only once it is `opened`."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.opened = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/web.tar"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: SlowServer

    def do_GET(self) -> None:
        self.server.asked.set()
        self.server.opened.wait(20)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            program = b"#!/bin/sh\necho hello\nexec sleep 1000\n"
            member = tarfile.TarInfo("bin/web")
            member.size, member.mode = len(program), 0o755
            archive.addfile(member, io.BytesIO(program))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(buffer.getvalue())

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[SlowServer]:
    server = SlowServer()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.opened.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with running_agent(tmp_path_factory.mktemp("agent") / "data") as agent:
        yield agent


def test_created_is_told_when_the_artifact_is_there(agent: Agent, server: SlowServer) -> None:
    watch = agent.watch()
    body = config("./web", artifact_url=server.url, command={"working_dir": "/bin", "exec": ["./web"]})
    assert agent.call("PUT", "/containers/slow-0", body).status == 201
    assert server.asked.wait(10)
    assert agent.call("PUT", "/containers/slow-0", body).status == 409
    assert agent.instance("slow-0")["status"] == "created"
    assert watch.statuses("slow-0") == []
    server.opened.set()
    wait_until(lambda: watch.statuses("slow-0") == ["created"])
    assert agent.call("POST", "/containers/slow-0/start").status == 202
    assert agent.wait_for_log("slow-0", "hello") == ["hello"]
    agent.stop("slow-0")
    agent.wait_for("slow-0", "finished")
    agent.call("DELETE", "/containers/slow-0")


def test_a_start_meanwhile_is_carried_out_then(agent: Agent, server: SlowServer) -> None:
    watch = agent.watch()
    agent.call("PUT", "/containers/early-0", config("bin/web", artifact_url=server.url))
    assert server.asked.wait(10)
    assert agent.call("POST", "/containers/early-0/start").status == 202
    assert agent.call("POST", "/containers/early-0/start").body == b"already running\n"
    server.opened.set()
    wait_until(lambda: watch.statuses("early-0")[-1:] == ["running"])
    agent.stop("early-0")


def test_a_stop_of_such_a_start_holds(agent: Agent, server: SlowServer) -> None:
    agent.call("PUT", "/containers/never-0", config("bin/web", artifact_url=server.url))
    assert server.asked.wait(10)
    assert agent.call("POST", "/containers/never-0/stop").body == b"already stopped\n"
    agent.call("POST", "/containers/never-0/start")
    agent.stop("never-0")
    assert agent.instance("never-0")["status"] == "finished"
    server.opened.set()
    wait_until(lambda: not list((agent.data / "containers").glob(".*")), "the fetch is over")
    assert agent.instance("never-0")["status"] == "finished"
    # What was never fetched can't be started any more, and says so.
    assert agent.call("POST", "/containers/never-0/start").status == 202
    assert "was not fetched" in agent.wait_for("never-0", "failed")["process_state"]["err"]
    assert agent.call("DELETE", "/containers/never-0").status == 200


def test_a_delete_meanwhile_is_final_and_the_id_is_free_at_once(agent: Agent, server: SlowServer) -> None:
    watch = agent.watch()
    agent.call("PUT", "/containers/gone-0", config("bin/web", artifact_url=server.url))
    assert server.asked.wait(10)
    assert agent.call("DELETE", "/containers/gone-0").status == 200
    agent.create("gone-0", config("true"))
    server.opened.set()
    wait_until(lambda: not list((agent.data / "containers").glob(".*")), "the fetch is over")
    assert list((agent.data / "containers/gone-0/root").iterdir()) == []
    assert watch.statuses("gone-0")[-1] == "created"
    agent.call("DELETE", "/containers/gone-0")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"artifact_url": "file:///no/such/file.tar"}, "artifact file:///no/such/file.tar: No such file or"),
        ({"artifact_url": "file:///etc/passwd"}, "not a usable tar archive"),
        ({"artifact_url": "http://127.0.0.1:9/x.tar"}, "download failed"),
        ({"artifact_url": "file:///etc/passwd", "artifact_sha256": "0" * 64}, "its SHA-256 is "),
        ({"storage": {"tmp": {"/../..": -1}, "volumes": None}}, "is not inside the artifact"),
    ],
)
def test_one_that_cannot_be_fetched_is_deleted_and_says_why(
    agent: Agent, changes: dict[str, object], told: str
) -> None:
    watch = agent.watch()
    before = agent.call("GET", "/resources").body
    body = config(ports={"DB": 29003}, **changes)
    assert agent.call("PUT", "/containers/bad-0", body).status == 201
    wait_until(lambda: watch.statuses("bad-0") == ["deleted"])
    instance = watch.events[-1]["containers"]["bad-0"]
    assert told in instance["process_state"]["err"]
    assert watch.events[-1]["resources"] == agent.call("GET", "/resources").json()
    assert agent.call("GET", "/resources").body == before
    assert agent.instance("bad-0") is None
    wait_until(lambda: "bad-0" not in [e.name for e in (agent.data / "containers").iterdir()])
    agent.create("bad-0", config(ports={"DB": 29003}))
    agent.call("DELETE", "/containers/bad-0")
    watch.close()


def test_a_slow_host_holds_up_only_what_comes_from_there(agent: Agent, server: SlowServer) -> None:
    slow = config("./web", artifact_url=server.url, command={"working_dir": "/bin", "exec": ["./web"]})
    names = [f"held-{number}" for number in range(6)]
    for name in names:
        assert agent.call("PUT", f"/containers/{name}", slow).status == 201
    assert server.asked.wait(10)

    agent.run("plain-0", config("/bin/sh", "-c", "exit 0"))

    agent.wait_for("plain-0", "finished")
    assert not server.opened.is_set(), "none of the slow ones was there"
    for name in [*names, "plain-0"]:
        assert agent.call("DELETE", f"/containers/{name}").status == 200


def test_a_fetch_that_was_cancelled_gives_up_its_turn(agent: Agent) -> None:
    """A server that dribbles must not keep the turns of containers that are gone."""
    stop = threading.Event()

    class Dribble(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "100000000")
            self.end_headers()
            asked.release()
            while not stop.wait(0.05):
                try:
                    self.wfile.write(b"x" * 10)
                except OSError:
                    gone.release()
                    return

        def log_message(self, *args: object) -> None:
            pass

    asked, gone = threading.Semaphore(0), threading.Semaphore(0)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dribble) as dribble:
        threading.Thread(target=dribble.serve_forever, args=(0.01,), daemon=True).start()
        body = config("./web", artifact_url=f"http://127.0.0.1:{dribble.server_port}/web.tar")
        try:
            for number in range(4):
                one = body | {"artifact_url": f"{body['artifact_url']}?{number}"}
                assert agent.call("PUT", f"/containers/dribble-{number}", one).status == 201
            for _ in range(4):
                assert asked.acquire(timeout=10), "all four downloads under way"
            for number in range(4):
                assert agent.call("DELETE", f"/containers/dribble-{number}").status == 200
            for _ in range(4):
                assert gone.acquire(timeout=10), "the download goes on for nobody"
        finally:
            stop.set()
            dribble.shutdown()
