"""More watchers and changes than a real scheduler has room for: told so, and served when it is over."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from system_harness import Scheduler, job, running, wait_until

from config.bounds import MOST_WATCHERS, MOST_WRITES_WAITING

TOO_MANY = 20
PATIENCE_SECONDS = 60.0


class Reply(msgspec.Struct):
    """The head of a reply, and of a body whose length is given the body; `writer` keeps it open."""

    status: int
    headers: dict[str, str]
    body: bytes
    writer: asyncio.StreamWriter

    @property
    def may_be_repeated(self) -> bool:
        """Whether it is a problem that says when to try again."""
        told = self.headers.get("retry-after"), self.headers.get("content-type")
        return self.status == 503 and told == ("1", "application/problem+json")


async def ask(scheduler: Scheduler, method: str, path: str, body: bytes = b"") -> Reply:
    """One request on a connection of its own."""
    parts = urlsplit(scheduler.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"{method} {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    async with asyncio.timeout(PATIENCE_SECONDS):
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines if line)
        headers = {name.lower(): value for name, value in pairs}
        content = await reader.readexactly(int(headers.get("content-length", 0)))
    return Reply(int(first.split(" ")[1]), headers, content, writer)


@pytest.fixture(autouse=True)
def many_descriptors() -> Iterator[None]:
    """Thousands of connections need as many descriptors as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < MOST_WATCHERS + 200:
        pytest.skip(f"only {hard} descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_many_watchers_are_told_so_and_the_rest_is_served(tmp_path: Path) -> None:
    async def flood(scheduler: Scheduler) -> None:
        held = []
        for _ in range(MOST_WATCHERS // 100):
            held += await asyncio.gather(*(ask(scheduler, "GET", "/api/v1/events") for _ in range(100)))
        assert {reply.status for reply in held} == {200}
        more = [await ask(scheduler, "GET", "/api/v1/events") for _ in range(TOO_MANY)]
        assert all(reply.may_be_repeated for reply in more)
        assert f"{MOST_WATCHERS} watch already" in json.loads(more[0].body)["detail"]
        put = await ask(scheduler, "PUT", "/api/v0/schedule", json.dumps(job("meanwhile")).encode())
        assert (put.status, (await ask(scheduler, "GET", "/api/v1/jobs")).status) == (202, 200)
        for reply in (*held, *more):
            reply.writer.close()

    async def served(scheduler: Scheduler) -> bool:
        reply = await ask(scheduler, "GET", "/api/v1/events")
        reply.writer.close()
        return reply.status == 200

    with running(["serve"], tmp_path / "scheduler") as scheduler:
        asyncio.run(flood(scheduler))
        # A place is free once the worker has found out that its client has left.
        wait_until(lambda: asyncio.run(served(scheduler)), "a place is free again", 40)


def test_too_many_changes_are_told_so_while_the_registry_hangs(tmp_path: Path) -> None:
    async def put(scheduler: Scheduler, number: int) -> Reply:
        config = json.dumps(job(f"j{number}")).encode()
        return await ask(scheduler, "PUT", f"/api/v1/jobs/test/system/j{number}", config)

    async def flood(scheduler: Scheduler) -> None:
        registry = scheduler.child("Registry")
        registry.suspend()
        try:
            asked = [
                asyncio.create_task(put(scheduler, number))
                for number in range(MOST_WRITES_WAITING + TOO_MANY)
            ]
            done = 0
            async with asyncio.timeout(PATIENCE_SECONDS):
                while done < TOO_MANY:
                    await asyncio.wait(asked, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
                    done = sum(task.done() for task in asked)
            assert (await ask(scheduler, "GET", "/api/v1/jobs")).status == 200, "reads go on"
        finally:
            registry.send_signal(signal.SIGCONT)
        replies = await asyncio.gather(*asked)
        refused = [number for number, reply in enumerate(replies) if reply.status != 201]
        assert len(refused) >= TOO_MANY
        assert all(replies[number].may_be_repeated for number in refused)
        says = [json.loads(replies[number].body)["detail"] for number in refused]
        full = f"{MOST_WRITES_WAITING} changes wait for the registry already; nothing has changed, try again"
        assert full in says
        for number in refused:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (await put(scheduler, number)).status not in (200, 201):
                    await asyncio.sleep(0.05)
        for reply in replies:
            reply.writer.close()

    with running(["serve"], tmp_path / "scheduler") as scheduler:
        asyncio.run(flood(scheduler))
        jobs = scheduler.get("/api/v1/jobs").json()["jobs"]
        assert len(jobs) == MOST_WRITES_WAITING + TOO_MANY, "each of them once"
