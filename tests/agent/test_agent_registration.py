"""A real agent and a scheduler that writes down what it is asked: announced, renewed, refused, ended."""

from __future__ import annotations

import json
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from agent_harness import Agent, running_agent, wait_until

from agent.registration import RegistrationError, identity, read_token

TOKEN = "s" * 64


class Asked(msgspec.Struct):
    """One request."""

    method: str
    path: str
    token: str
    body: dict[str, Any]


class Scheduler:
    """Answers as it is told to, and remembers."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.status, self.reply = 201, {"result": "created", "renew_seconds": 1.0}
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = json.loads(content) if content else {}
                token = str(self.headers.get("Authorization"))
                fake.asked.append(Asked(self.command, self.path, token, body))
                data = json.dumps(fake.reply).encode()
                self.send_response(fake.status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_PUT = do_DELETE = answer  # noqa: N815 - the base class calls them so

            def log_message(self, *_: Any) -> None:
                """Nobody reads it."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()

    def puts(self) -> list[Asked]:
        return [one for one in self.asked if one.method == "PUT"]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    made = Scheduler()
    yield made
    made.close()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


@contextmanager
def agent(tmp_path: Path, url: str, token: Path, *flags: str) -> Iterator[Agent]:
    register = ("--register", url, "--register-token-file", str(token), "--name", "h1")
    with running_agent(tmp_path / "agent", *register, *flags) as program:
        yield program


def said(program: Agent) -> str:
    return "".join(program.lines)


def test_it_announces_itself_renews_and_says_goodbye(
    tmp_path: Path, scheduler: Scheduler, token: Path
) -> None:
    with agent(tmp_path, scheduler.url, token, "--label", "zone=eu") as program:
        wait_until(lambda: len(scheduler.puts()) >= 3, "it is renewed")
        first = scheduler.puts()[0]
        assert (first.path, first.token) == ("/api/v1/agents/h1/registration", f"Bearer {TOKEN}")
        known = (tmp_path / "agent" / "identity").read_text()
        address = f"127.0.0.1:{program.port}"
        assert first.body == {"endpoint": address, "labels": {"zone": "eu"}, "identity": known}
        assert all(one.body == first.body for one in scheduler.puts())
        assert program.end() == 0
    last = scheduler.asked[-1]
    assert (last.method, last.path) == ("DELETE", f"/api/v1/agents/h1/registration?identity={known}")
    assert TOKEN not in said(program)


def test_a_refusal_is_said_once_and_tried_again(tmp_path: Path, scheduler: Scheduler, token: Path) -> None:
    scheduler.status, scheduler.reply = 409, {"detail": "h1 is connected at http://x:1; another --name"}
    with agent(tmp_path, scheduler.url, token, "--advertise", "10.1.2.3:99") as program:
        wait_until(lambda: len(scheduler.puts()) >= 2, "it is tried again")
        scheduler.status, scheduler.reply = 200, {"result": "unchanged", "renew_seconds": 1.0}
        wait_until(lambda: f"registered at {scheduler.url} as h1" in said(program), "it is told")
        assert said(program).count("409: h1 is connected at http://x:1; another --name; trying again") == 1
        assert scheduler.puts()[0].body["endpoint"] == "10.1.2.3:99"


def test_without_a_scheduler_it_runs_and_goes_on_trying(tmp_path: Path, token: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with agent(tmp_path, url, token) as program:
            text = f"not registered at {url}: Connection refused; trying again"
            wait_until(lambda: text in said(program), "it says so")
            assert program.end() == 0


def test_nonsense_is_no_registration(tmp_path: Path, scheduler: Scheduler, token: Path) -> None:
    scheduler.status, scheduler.reply = 500, {"detail": "x\n" * 5000}
    with agent(tmp_path, scheduler.url, token) as program:
        wait_until(lambda: "not registered" in said(program), "it says so")
        line = next(line for line in said(program).splitlines() if "not registered" in line)
        assert len(line) < 700


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (["--register", "http://127.0.0.1:1"], "there is no --register-token-file"),
        (["--register", "https://x:1", "--register-token-file", "t"], "is no scheduler"),
        (["--advertise", "10.0.0.1:1"], "say nothing without --register"),
        (["--register", "127.0.0.1:1", "--register-token-file", "missing"], "can't be read: No such file"),
        (["--register", "127.0.0.1:1", "--register-token-file", "."], "the token . is no file"),
    ],
)
def test_wrong_flags_stop_the_start_with_one_line(tmp_path: Path, flags: list[str], what: str) -> None:
    with pytest.raises(AssertionError) as ended:
        Agent(tmp_path / "agent", *flags)
    assert what in str(ended.value)


def test_a_token_that_others_can_read_is_refused(token: Path) -> None:
    assert read_token(token) == TOKEN
    token.chmod(stat.S_IRUSR | stat.S_IRGRP)
    with pytest.raises(RegistrationError, match="readable by others; chmod 600"):
        read_token(token)
    token.chmod(0o600)
    for wrong in ("", "two words", "a\x00b"):
        token.write_text(wrong)
        with pytest.raises(RegistrationError, match="one word"):
            read_token(token)


def test_a_data_directory_keeps_its_identity(tmp_path: Path) -> None:
    assert identity(tmp_path) == identity(tmp_path)
    assert identity(tmp_path).isalnum()
