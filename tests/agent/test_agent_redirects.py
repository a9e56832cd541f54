"""Redirects of artifacts: followed a few times, wherever they lead, and harmless whatever comes with them."""

from __future__ import annotations

import http.server
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from agent_harness import Agent, config, running_agent, wait_until
from test_agent_artifact import GOOD, SMALL

from agent.artifact import ArtifactError, fetch

_FLOOD_BYTES = 64 * 1024 * 1024
_MEMORY_BYTES = 16 * 1024 * 1024


class Server(http.server.ThreadingHTTPServer):
    """`/N` leads to `/N-1`, `/0` is an archive, `/flood` leads there with a long body, `/to` to `to`."""

    to = b""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path == "/0":
            self._answer(b"200 OK", b"", GOOD)
        elif self.path == "/flood":
            with suppress(OSError):
                self._answer(b"302 Found", b"/0", b"", _FLOOD_BYTES)
                for _ in range(_FLOOD_BYTES >> 20):
                    self.wfile.write(bytes(1 << 20))
        else:
            to = self.server.to if self.path == "/to" else b"%d" % (int(self.path[1:]) - 1)
            self._answer(b"302 Found", to, b"")

    def _answer(self, status: bytes, to: bytes, body: bytes, length_bytes: int = 0) -> None:
        location = b"Location: %s\r\n" % to if to else b""
        length = b"Content-Length: %d\r\n" % (length_bytes or len(body))
        self.wfile.write(b"HTTP/1.0 " + status + b"\r\n" + location + length + b"\r\n" + body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def get(server: Server, path: str, place: Path) -> Path:
    place.mkdir()
    fetch(server.url + path, place, threading.Event(), SMALL)
    return place / "root/bin/web"


def test_ten_are_followed_and_no_more(tmp_path: Path, server: Server) -> None:
    assert get(server, "/10", tmp_path / "ten").exists()
    with pytest.raises(ArtifactError, match="more than 10 redirects"):
        get(server, "/11", tmp_path / "eleven")


def test_what_comes_with_one_is_not_read(tmp_path: Path, server: Server) -> None:
    tracemalloc.start()
    try:
        assert get(server, "/flood", tmp_path / "flood").exists()
        assert tracemalloc.get_traced_memory()[1] < _MEMORY_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "to", [b"http://[", b"/\xff\xfe", b"http://h:99999999/", b"file:///etc/passwd", b"http://a..b/"]
)
def test_one_to_what_is_no_url_is_an_error_of_the_download(tmp_path: Path, server: Server, to: bytes) -> None:
    server.to = to
    with pytest.raises(ArtifactError, match="download failed: "):
        get(server, "/to", tmp_path / "to")


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with running_agent(tmp_path_factory.mktemp("agent") / "data") as agent:
        yield agent


def test_nobody_waits_for_a_task_whose_url_leads_nowhere(agent: Agent, server: Server) -> None:
    server.to = b"http://["
    watch = agent.watch()
    assert agent.call("PUT", "/containers/lost-0", config(artifact_url=f"{server.url}/to")).status == 201
    wait_until(lambda: watch.statuses("lost-0") == ["deleted"])
    told = [event["containers"]["lost-0"] for event in watch.events if "lost-0" in event["containers"]]
    assert "download failed: Invalid IPv6 URL" in told[-1]["process_state"]["err"]
    assert agent.instance("lost-0") is None


@pytest.mark.parametrize("url", ["http://[", "http://", "http:///a.tar", "https://h:99999/a.tar"])
def test_a_url_without_a_host_is_refused(agent: Agent, url: str) -> None:
    reply = agent.call("PUT", "/containers/none-0", config(artifact_url=url))
    assert reply.status == 400
    assert b"it must name a host, and a port only from 0 to 65535" in reply.body
