"""The agent over HTTP: wire format v0 byte for byte, and `/api/v1/agent` of our own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import falcon
import falcon.asgi
import msgspec

from agent import exec_api
from agent.about import About
from agent.batch import carry_out, read_batch
from agent.configs import check_id, read_config
from agent.lifecycle import NOT_FOUND, Refusal, RefusedError
from agent.places import Places
from agent.readers import read_along, read_through
from agent.runtime import Runtime
from agent.signals import read_signal
from config.bounds import AGENT_BATCH_ITEMS, AGENT_MOST_FOLLOWERS, AGENT_MOST_WATCHERS, AGENT_RETRY_SECONDS
from config.bounds import AGENT_BODY_BYTES as LARGEST_BODY_BYTES
from config.bounds import AGENT_HISTORY_LINES as MOST_HISTORY_LINES
from scheduling import batch_wire
from scheduling.canonical import go_json, go_text

_DEFAULT_HISTORY_LINES = 10
_TEXT = "text/plain; charset=utf-8"
_JSON = "application/json; charset=utf-8"
_EVENTS = "text/event-stream"
_UNEXPECTED = 1011  # as WebSockets call it

_LOG = logging.getLogger(__name__)
_Request: TypeAlias = falcon.asgi.Request
_Response: TypeAlias = falcon.asgi.Response


def create_app(runtime: Runtime, about: About) -> falcon.asgi.App[Any, Any]:
    """The ASGI application; it finds the earlier tasks at its start and closes the runtime at its end."""
    lifespan: Any = _Lifespan(runtime)
    app = falcon.asgi.App(middleware=[_NoBrowsers(), lifespan])
    container = ContainerResource(runtime)
    app.add_route("/api/v0/containers", ContainersResource(runtime))
    app.add_route("/api/v0/containers/{container_id}", container)
    app.add_route("/api/v0/containers/{container_id}/start", container, suffix="start")
    app.add_route("/api/v0/containers/{container_id}/stop", container, suffix="stop")
    app.add_route("/api/v0/containers/{container_id}/log", container, suffix="log")
    app.add_route("/api/v1/containers/{container_id}/signal", container, suffix="signal")
    exec_api.add_route(app, runtime)
    app.add_route(batch_wire.PATH, BatchResource(runtime))
    app.add_route("/api/v0/resources", HostResource(runtime, about), suffix="resources")
    app.add_route("/api/v1/agent", HostResource(runtime, about), suffix="about")
    app.add_error_handler(RefusedError, _answer_refused)
    app.add_error_handler(falcon.HTTPError, _answer_http_error)
    app.add_error_handler(Exception, _answer_unexpected)
    return app


class _NoBrowsers:
    """Middleware: an agent has no pages, so a change that names one comes from somebody's browser, by a
    foreign web site. Only browsers send Origin."""

    async def process_request(self, request: _Request, _response: _Response) -> None:
        if request.method not in ("GET", "HEAD") and request.get_header("Origin") is not None:
            raise RefusedError(Refusal(403, "changes are not taken from web pages"))

    async def process_request_ws(self, request: _Request, _socket: falcon.asgi.WebSocket) -> None:
        if request.get_header("Origin") is not None:
            raise falcon.HTTPForbidden


class ContainersResource:
    """All containers, as they are now or as an event stream."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._places = Places(AGENT_MOST_WATCHERS, "watch")

    async def on_get(self, request: _Request, response: _Response) -> None:
        """A map from id to ContainerInstance, or StateEvents."""
        runtime = self._runtime
        if _wants_events(request):
            self._places.check()
            events = runtime.hub.watch(runtime.encode_all, runtime.encode_resources)
            response.set_header(batch_wire.HEADER, str(AGENT_BATCH_ITEMS))
            _stream(response, self._places.hold(events))
            return
        instances = sorted(runtime.encode_all().items())
        pairs = (go_text(name).encode() + b":" + encoded for name, encoded in instances)
        _reply_json(response, b"{" + b",".join(pairs) + b"}")


class ContainerResource:
    """One container: what it is, its life, its log."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._places = Places(AGENT_MOST_FOLLOWERS, "read logs along")

    async def on_get(self, _request: _Request, response: _Response, container_id: str) -> None:
        """The ContainerInstance."""
        _reply_json(response, self._runtime.find(container_id).encode())

    async def on_put(self, request: _Request, response: _Response, container_id: str) -> None:
        """Register it with the ContainerConfig in the body."""
        check_id(container_id)
        config = read_config(await _read_body(request))
        await self._runtime.register(container_id, config)
        _reply_text(response, 201, "created OK")

    async def on_delete(self, _request: _Request, response: _Response, container_id: str) -> None:
        """Remove it; refused while it runs."""
        await self._runtime.destroy(container_id)
        _reply_text(response, 200, "destroy OK")

    async def on_post_start(self, _request: _Request, response: _Response, container_id: str) -> None:
        """Start it; its events say whether that worked."""
        await self._runtime.start(container_id)
        _reply_text(response, 202, "start accepted")

    async def on_post_stop(self, _request: _Request, response: _Response, container_id: str) -> None:
        """Stop it for good."""
        await self._runtime.stop(container_id)
        _reply_text(response, 202, "stop accepted")

    async def on_post_signal(self, request: _Request, response: _Response, container_id: str) -> None:
        """Send the signal in the body, `{"signal": "HUP"}`, to its program."""
        number = read_signal(await _read_body(request))
        await self._runtime.signal(container_id, number)
        _reply_text(response, 200, f"sent {number.name.removeprefix('SIG')}")

    async def on_get_log(self, request: _Request, response: _Response, container_id: str) -> None:
        """The last `history` lines as an array; with `Accept: text/event-stream` also what follows.

        Each event is `data: ["line",…]`: the history in the first one, then one for each line. A reader
        that is too slow finds a line that says how many it lost. Of a container that is gone the log is kept
        for a while; such a stream ends after the history.
        """
        log, goes_on = await self._runtime.log(container_id)
        count = request.get_param_as_int("history", min_value=0, default=_DEFAULT_HISTORY_LINES)
        count = min(count, MOST_HISTORY_LINES)
        if _wants_events(request):
            self._places.check()
            wait_seconds = self._runtime.settings.keep_alive_seconds
            events = read_along(log, count, wait_seconds) if goes_on else read_through(log, count)
            _stream(response, self._places.hold(events))
        else:
            _reply_json(response, go_json(await asyncio.to_thread(log.history, count)))


class BatchResource:
    """Many requests for containers in one."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def on_post(self, request: _Request, response: _Response) -> None:
        """Carry out its items; each has a result of its own."""
        batch = read_batch(await _read_body(request))
        _reply_json(response, msgspec.json.encode(await carry_out(self._runtime, batch)))


class HostResource:
    """The host itself: what it has, and what the agent on it is."""

    def __init__(self, runtime: Runtime, about: About) -> None:
        self._runtime = runtime
        self._about = go_json(about)

    async def on_get_resources(self, _request: _Request, response: _Response) -> None:
        """The HostResources."""
        _reply_json(response, self._runtime.encode_resources())

    async def on_get_about(self, _request: _Request, response: _Response) -> None:
        """Name, version, labels and attributes of this agent."""
        _reply_json(response, self._about)


class _Encoded(falcon.asgi.SSEvent):
    """Some bytes of an event stream, sent as they are."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._content = content

    def serialize(self, handler: Any = None) -> bytes:  # noqa: ARG002 - Falcon's signature
        return self._content


class _Lifespan:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def process_startup(self, _scope: dict[str, Any], _event: dict[str, Any]) -> None:
        await self._runtime.recover()

    async def process_shutdown(self, _scope: dict[str, Any], _event: dict[str, Any]) -> None:
        await self._runtime.close()


def _wants_events(request: _Request) -> bool:
    return _EVENTS in request.accept


async def _read_body(request: _Request) -> bytes:
    too_large = RefusedError(Refusal(413, f"the body has more than {LARGEST_BODY_BYTES} bytes"))
    if (request.content_length or 0) > LARGEST_BODY_BYTES:
        raise too_large
    body = bytearray()
    async for chunk in request.stream:
        body += chunk
        if len(body) > LARGEST_BODY_BYTES:
            raise too_large
    return bytes(body)


def _reply_text(response: _Response, status: int, text: str) -> None:
    response.status = status
    response.content_type = _TEXT
    response.text = text


def _reply_json(response: _Response, encoded: bytes) -> None:
    response.content_type = _JSON
    response.data = encoded + b"\n"


def _stream(response: _Response, events: AsyncIterator[bytes]) -> None:
    async def encoded() -> Any:
        async for event in events:
            yield _Encoded(event)

    response.set_header("Cache-Control", "no-cache")
    response.sse = encoded()


# A WebSocket that is refused has no response: before it is accepted, its end is a 403.


async def _answer_refused(_request: _Request, response: _Response, error: RefusedError, _params: Any) -> None:
    if error.refusal.status == 503:
        response.set_header("Retry-After", str(AGENT_RETRY_SECONDS))
    _reply_text(response, error.refusal.status, error.refusal.text + "\n")


async def _answer_http_error(
    _request: _Request, response: _Response, error: falcon.HTTPError, _params: Any, ws: Any = None
) -> None:
    if ws is not None:
        await ws.close()
        return
    missing = error.status_code == NOT_FOUND.status
    text = NOT_FOUND.text if missing else str(error.description or error.title or error.status)
    response.set_headers(error.headers or {})
    _reply_text(response, error.status_code, text + "\n")


async def _answer_unexpected(
    _request: _Request, response: _Response, error: Exception, _params: Any, ws: Any = None
) -> None:
    _LOG.error("a request failed unexpectedly", exc_info=error)
    if ws is not None:
        await ws.close(_UNEXPECTED)
        return
    _reply_text(response, 500, f"unexpected: {type(error).__name__}\n")
