"""How health checks add up, what one check finds, and which port it looks at."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from agent.health import Checks
from agent.probe import port_of, probe
from config.bounds import LONGEST_HEALTH_TEXT
from scheduling.container import TaskHealth
from scheduling.durations import Duration
from scheduling.job import HealthCheck

READY = HealthCheck(protocol="TCP", port="PORT_A")
ALIVE = HealthCheck(protocol="TCP", port="PORT_A", kind="liveness")


def states(checks: Checks, *found: tuple[int, str]) -> list[str]:
    """The states after each finding, a second apart."""
    told = []
    for now, (position, problem) in enumerate(found, start=1):
        checks.note(position, problem, float(now))
        told.append(checks.health.state)
    return told


def test_it_is_starting_until_each_check_has_passed_once() -> None:
    checks = Checks([READY, ALIVE], 0, 0.0)
    assert checks.health == TaskHealth(state="starting", since=0.0)
    assert states(checks, (0, ""), (0, "no"), (0, ""), (1, "")) == ["starting"] * 3 + ["healthy"]
    assert checks.health == TaskHealth(state="healthy", since=4.0)


def test_it_is_unhealthy_after_so_many_failures_in_a_row_of_one_check_until_that_one_passes() -> None:
    checks = Checks([READY, ALIVE], 2, 0.0)
    states(checks, (0, ""), (1, ""))
    found = ((0, "no"), (1, "no"), (0, ""), (0, "no"), (0, "no"), (1, ""), (0, ""))
    assert states(checks, *found) == ["healthy"] * 4 + ["unhealthy"] * 2 + ["healthy"]


def test_the_default_is_three_failures() -> None:
    assert states(Checks([READY], 0, 0.0), *[(0, "no")] * 3) == ["starting", "starting", "unhealthy"]


def test_it_is_told_of_only_when_something_is_another() -> None:
    checks = Checks([READY], 2, 0.0)
    told = [checks.note(0, problem, 1.0) for problem in ("", "", "no", "no", "no", "other", "other", "", "")]
    assert told == [True, False, True, True, False, True, False, True, False]


def test_what_was_found_last_is_told_cut_and_forgotten_once_all_passes() -> None:
    checks = Checks([READY, ALIVE], 3, 0.0)
    states(checks, (0, "x" * 1000), (1, ""))
    assert (checks.health.failures, checks.health.last) == (1, "x" * LONGEST_HEALTH_TEXT)
    states(checks, (0, ""))
    assert (checks.health.failures, checks.health.last) == (0, "")


def test_only_a_liveness_check_is_fatal_and_only_after_so_many_failures() -> None:
    checks = Checks([READY, ALIVE], 2, 0.0)
    states(checks, (0, "no"), (0, "no"), (1, "no"))
    assert (checks.fatal(0), checks.fatal(1)) == (False, False)
    states(checks, (1, "no"))
    assert checks.fatal(1)


@pytest.mark.parametrize(
    ("name", "env", "port"),
    [
        ("PORT_HTTP", {"PORT_HTTP": "30001"}, 30001),
        ("HTTP", {"PORT_HTTP": "30001"}, 30001),
        ("ADMIN", {"ADMIN": "8080"}, 8080),
        ("PORT_DB", {"PORT_HTTP": "30001"}, None),
        ("ADMIN", {"ADMIN": "99999"}, None),
        ("ADMIN", {"ADMIN": "0"}, None),
        ("ADMIN", {"ADMIN": "٣٤"}, None),
        ("ADMIN", {"ADMIN": "9" * 5000}, None),
    ],
)
def test_the_port_is_that_of_a_variable(name: str, env: dict[str, str], port: int | None) -> None:
    assert port_of(HealthCheck(port=name), env) == port


def asked(answer: bytes | None, **changes: Any) -> tuple[str, bytes]:
    """What a check finds at a server that answers so (None: never), and what it was asked."""
    seen = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        seen = await reader.readuntil(b"\r\n\r\n") if changes.get("protocol") != "TCP" else b""
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
        writer.close()

    async def run() -> str:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            fields: dict[str, Any] = {"protocol": "HTTP", "port": "P", "timeout": Duration.parse("2s")}
            fields |= {"http_path": "/up", "http_acceptable_responses": [200, 204]}
            problem = await probe(HealthCheck(**(fields | changes)), {"P": str(port)})
            return problem.replace(str(port), "PORT")

    return asyncio.run(run()), seen


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.0 200\r\n\r\n", ""),
        (b"HTTP/1.1 503 Busy\r\n\r\n", "HTTP check of port PORT: /up answered 503, not 200 or 204"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n",
            "HTTP check of port PORT: /up answered 302, not 200 or 204",
        ),
        (b"", "HTTP check of port PORT: its answer is no HTTP"),
        (b"SSH-2.0-OpenSSH\r\n", "HTTP check of port PORT: its answer is no HTTP"),
        (b"HTTP/1.1 " + b"2" * 100_000, "HTTP check of port PORT: its answer is no HTTP"),
    ],
)
def test_an_http_check_goes_by_the_status(answer: bytes, problem: str) -> None:
    assert asked(answer)[0] == problem


def test_a_server_that_never_answers_fails_its_check_in_time() -> None:
    problem, _ = asked(None, timeout=Duration.parse("50ms"))
    assert problem == "HTTP check of port PORT: nothing within 0.05 s"


def test_a_path_can_not_smuggle_headers() -> None:
    _, request = asked(b"HTTP/1.1 200 OK\r\n\r\n", http_path="up?a=b c\r\nX-Evil: 1\r\n\r\nGET / é")
    assert request.startswith(
        b"GET /up?a=b%20c%0D%0AX-Evil:%201%0D%0A%0D%0AGET%20/%20%C3%A9 HTTP/1.1\r\nHost: "
    )
    assert request.count(b"\r\n") == 6


def test_a_tcp_check_is_a_connection() -> None:
    assert asked(b"", protocol="TCP")[0] == ""


def test_nobody_listening_and_no_such_port() -> None:
    check = HealthCheck(protocol="TCP", port="P")
    with socket.socket() as bound:  # bound and not listening: nobody else can take it meanwhile
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        refused = asyncio.run(probe(check, {"P": str(port)}))
    assert refused.startswith(f"TCP check of port {port}: ")
    assert "refused" in refused.lower() or "connect" in refused.lower()
    assert asyncio.run(probe(check, {})) == "TCP check: the task has no port 'P'"
