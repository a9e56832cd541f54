"""One health check of a task, by HTTP or TCP on loopback: all of it in the event loop, within its timeout."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import quote

from config.bounds import HEALTH_REPLY_LINE_BYTES as _MOST_LINE_BYTES
from scheduling.job import HealthCheck

_HOST = "127.0.0.1"
DEFAULT_TIMEOUT_SECONDS = 1.0
# What a path and its query are made of; anything else is sent as %XX, line ends above all.
_SAFE = "/?&=%:;@!$'()*+,~[]"


def port_of(check: HealthCheck, env: Mapping[str, str]) -> int | None:
    """The port that a check names, as a variable of the task (`PORT_HTTP`) or by its name (`HTTP`)."""
    for name in (check.port, f"PORT_{check.port}"):
        value = env.get(name, "")
        if value.isascii() and value.isdigit() and len(value) <= 5 and 0 < int(value) < 65536:
            return int(value)
    return None


async def probe(check: HealthCheck, env: Mapping[str, str]) -> str:
    """Carry out one check; "" if it passed, else what was wrong."""
    port = port_of(check, env)
    if port is None:
        return f"{check.protocol} check: the task has no port {check.port!r}"
    what = f"{check.protocol} check of port {port}"
    timeout_seconds = check.timeout.seconds or DEFAULT_TIMEOUT_SECONDS
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await asyncio.open_connection(_HOST, port, limit=_MOST_LINE_BYTES)
            try:
                problem = await _ask(check, port, reader, writer) if check.protocol == "HTTP" else ""
            finally:
                writer.close()
    except TimeoutError:
        problem = f"nothing within {timeout_seconds:g} s"
    except ValueError:
        problem = "its answer is no HTTP"
    except OSError as error:
        problem = error.strerror or str(error)
    return f"{what}: {problem}" if problem else ""


async def _ask(
    check: HealthCheck, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> str:
    """Send the request and judge the status of the answer; the rest of it is not read."""
    path = quote(check.http_path, safe=_SAFE)
    path = path if path.startswith("/") else f"/{path}"
    request = f"GET {path} HTTP/1.1\r\nHost: {_HOST}:{port}\r\nUser-Agent: harpoon-agent\r\n"
    writer.write(request.encode() + b"Accept: */*\r\nConnection: close\r\n\r\n")
    words = (await reader.readline()).split(maxsplit=2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return "its answer is no HTTP"
    status = words[1].decode()
    accepted = check.http_acceptable_responses or []
    if len(status) == 3 and int(status) in accepted:
        return ""
    return f"{path} answered {status[:3]}, not {' or '.join(map(str, accepted))}"
