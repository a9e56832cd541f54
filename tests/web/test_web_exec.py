"""Commands in tasks, passed on to an agent: who may, who is refused, and agents that are strange."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import falcon
import pytest
from falcon.testing import ASGIConductor, TestClient
from web_cases import MIN_HASH, client_of, config
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from scheduling.actual import ContainerReport
from scheduling.container import ExitStatus
from scheduling.exec_wire import DATA, ExecProblem, ExecReply, ExecRequest, encode, read_reply
from scheduling.jobs import ScheduleJob
from scheduling.lifecycle import Phase
from scheduling.registry import AgentSpec
from web import limits
from web.app import create_app
from web.memory import InMemoryCluster

TASK = f"{MIN_HASH}-0"
URL = f"/api/v1/tasks/{TASK}/exec"
REQUEST = encode(ExecRequest(command=["ls", "-l"]))
Handler = Callable[[ServerConnection], Awaitable[None]]


def cluster_at(endpoint: str, phase: Phase = Phase.RUNNING) -> InMemoryCluster:
    cluster = InMemoryCluster()
    cluster.add_agents(AgentSpec(name="n1", endpoint=endpoint))
    cluster.judge(ScheduleJob(config=config()))
    cluster.place(TASK, "n1")
    cluster.report_container(ContainerReport(agent="n1", task=TASK, phase=phase))
    return cluster


@contextlib.asynccontextmanager
async def agent(handler: Handler, status: int = 0) -> AsyncIterator[str]:
    """An agent that talks as told, or answers with a status; its endpoint."""

    def answer(connection: ServerConnection, _request: Request) -> Response | None:
        if not status:
            return None
        response = connection.respond(status, "no")
        response.headers["Location"] = "http://127.0.0.1:1/elsewhere"
        return response

    async with serve(handler, "127.0.0.1", 0, process_request=answer) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _silent(connection: ServerConnection) -> None:
    await connection.wait_closed()


async def last_word(
    cluster: InMemoryCluster, message: bytes | str | None = REQUEST, url: str = URL, *, allowed: bool = True
) -> ExecReply:
    """What is said last of one command; None for a client that says nothing."""
    app = create_app(cluster, exec_allowed=allowed)
    reply = ExecReply(started=True)
    async with ASGIConductor(app) as client, client.simulate_ws(url) as socket:
        await socket.wait_ready()
        if isinstance(message, str):
            await socket.send_text(message)
        elif message is not None:
            await socket.send_data(message)
        while reply.started:
            reply = read_reply(await socket.receive_data())
    return reply


def problem(
    cluster: InMemoryCluster, message: bytes | str | None = REQUEST, url: str = URL, *, allowed: bool = True
) -> tuple[int, str]:
    found = asyncio.run(last_word(cluster, message, url, allowed=allowed)).problem
    assert found is not None
    return found.status, found.detail


async def _with_agent(handler: Handler, status: int = 0) -> ExecReply:
    async with agent(handler, status) as endpoint:
        return await last_word(cluster_at(endpoint))


def problem_of(handler: Handler, status: int = 0) -> tuple[int, str]:
    """The last word where the agent is like this."""
    found = asyncio.run(_with_agent(handler, status)).problem
    assert found is not None
    return found.status, found.detail


def test_both_sides_hear_each_other_as_they_speak() -> None:
    async def echo(connection: ServerConnection) -> None:
        assert connection.request is not None
        assert connection.request.path == f"/api/v1/containers/{TASK}/exec"
        assert connection.request.headers["X-Forwarded-For"] == "127.0.0.1"
        assert await connection.recv() == REQUEST
        await connection.send(encode(ExecReply(started=True)))
        await connection.send(await connection.recv())
        await connection.send(encode(ExecReply(ended=ExitStatus(exited=True, exit_status=3))))

    async def story() -> None:
        async with (
            agent(echo) as endpoint,
            ASGIConductor(create_app(cluster_at(endpoint))) as client,
            client.simulate_ws(URL) as socket,
        ):
            await socket.wait_ready()
            await socket.send_data(REQUEST)
            assert read_reply(await socket.receive_data()).started
            metrics = await client.simulate_get("/metrics")
            assert "harpoon_execs 1\n" in metrics.text
            await socket.send_data(DATA + b"hello")
            assert await socket.receive_data() == DATA + b"hello"
            assert read_reply(await socket.receive_data()).ended == ExitStatus(exited=True, exit_status=3)

    asyncio.run(story())


def test_text_in_the_middle_is_refused_with_a_word() -> None:
    async def story() -> None:
        async with (
            agent(_silent) as endpoint,
            ASGIConductor(create_app(cluster_at(endpoint))) as client,
            client.simulate_ws(URL) as socket,
        ):
            await socket.wait_ready()
            await socket.send_data(REQUEST)
            await socket.send_text("hello")
            problem = read_reply(await socket.receive_data()).problem
            assert problem is not None
            assert problem.status == 400

    asyncio.run(story())


def test_when_the_client_leaves_the_agent_hears_of_it() -> None:
    async def story() -> None:
        gone = asyncio.Event()

        async def watch(connection: ServerConnection) -> None:
            await connection.send(encode(ExecReply(started=True)))
            await connection.wait_closed()
            gone.set()

        async with agent(watch) as endpoint, ASGIConductor(create_app(cluster_at(endpoint))) as client:
            async with client.simulate_ws(URL) as socket:
                await socket.wait_ready()
                await socket.send_data(REQUEST)
                assert read_reply(await socket.receive_data()).started
                await socket.close()
            await asyncio.wait_for(gone.wait(), 10)

    asyncio.run(story())


async def _leave(connection: ServerConnection) -> None:
    connection.transport.abort()


async def _too_much(connection: ServerConnection) -> None:
    await connection.send(DATA + b"x" * limits.EXEC_MESSAGE_BYTES)


def test_strange_agents() -> None:
    for status in (404, 403, 500):
        assert problem_of(_silent, status) == (
            502,
            f"the agent n1 can't run commands in tasks: it answered {status}",
        )
    assert problem_of(_silent, 302) == (502, "the agent n1 can't run commands in tasks: it answered 302"), (
        "nobody goes where an agent points"
    )
    broke = (502, "the connection to the agent n1 broke; the command was ended")
    assert problem_of(_leave) == broke
    assert problem_of(_too_much) == broke


def test_an_agent_that_is_not_there_or_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    status, detail = problem(cluster_at("http://127.0.0.1:1"))
    assert (status, detail.startswith("the agent n1 can't be asked: ")) == (502, True)
    monkeypatch.setattr(limits, "LOG_CONNECT_SECONDS", 0.1)

    async def story() -> ExecReply:
        async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        return await last_word(cluster_at(f"http://127.0.0.1:{port}"))

    assert asyncio.run(story()).problem == ExecProblem(504, "the agent n1 did not answer in time")


def test_only_what_runs_and_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = "http://127.0.0.1:1"
    assert problem(cluster_at(nowhere, Phase.ENDED))[0] == 409
    assert problem(cluster_at(nowhere), url="/api/v1/tasks/nobody-0/exec")[0] == 404
    assert problem(cluster_at(nowhere), allowed=False) == (
        *(403, "exec is switched off on this scheduler (the setting exec)"),
    )
    monkeypatch.setattr(limits, "MOST_EXECS", 0)
    assert problem(cluster_at(nowhere))[0] == 503


@pytest.mark.parametrize("message", [b"\0{}", b"\1ls", b"", "ls", b"\0" + b"[" * 9000])
def test_what_is_no_request_reaches_nobody(message: bytes | str) -> None:
    assert problem(cluster_at("http://127.0.0.1:1"), message)[0] == 400


def test_who_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EXEC_REQUEST_SECONDS", 0.05)
    assert problem(cluster_at("http://127.0.0.1:1"), None)[0] == 408


@pytest.mark.parametrize(
    ("origin", "host", "refused"),
    [
        ("http://evil.example", "127.0.0.1", True),
        ("http://evil.example", "evil.example", True),
        ("null", "127.0.0.1", True),
        (None, "evil.example", True),
        ("http://localhost", "localhost", False),
        (None, "127.0.0.1", False),
    ],
)
def test_pages_of_others_are_refused_before_they_can_say_a_word(
    origin: str | None, host: str, refused: bool
) -> None:
    headers = {"Origin": origin} if origin is not None else {}

    async def story() -> bool:
        app = create_app(cluster_at("http://127.0.0.1:1"), frozenset({"127.0.0.1"}))
        async with (
            ASGIConductor(app) as client,
            client.simulate_ws(URL, headers=headers, host=host) as socket,
        ):
            await socket.wait_ready()
        return True

    if refused:
        with pytest.raises(falcon.WebSocketDisconnected):
            asyncio.run(story())
    else:
        assert asyncio.run(story())


def test_without_a_websocket_it_is_told_what_it_is() -> None:
    client: TestClient = client_of(cluster_at("http://127.0.0.1:1"))
    reply = client.simulate_get(URL)
    assert (reply.status_code, "harpoonctl exec" in reply.json["detail"]) == (426, True)
