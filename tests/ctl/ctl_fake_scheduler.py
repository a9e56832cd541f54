"""A real HTTP server that plays the scheduler from a script: right answers, late ones, broken ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 30.0


class Reply(msgspec.Struct, kw_only=True):
    """One scripted answer.

    `gate`: sent only once it is set. `drop`: the connection is closed without an answer. `pieces`: the
    body chunk by chunk, an Event among them is waited for; `cut`: it ends as a broken connection does.
    `length`: claims a Content-Length that is not so.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = {}
    gate: threading.Event | None = None
    drop: bool = False
    pieces: list[bytes | threading.Event] | None = None
    cut: bool = False
    length: int | None = None


class Request(msgspec.Struct):
    """One request that came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


def ok(value: Any, status: int = 200) -> Reply:
    """JSON."""
    return Reply(status=status, body=json.dumps(value).encode())


def problem(
    status: int, detail: str, errors: Sequence[Mapping[str, Any]] | None = None, retry_after: str = ""
) -> Reply:
    """RFC 9457."""
    value: dict[str, Any] = {"type": "about:blank", "title": "Problem", "status": status, "detail": detail}
    if errors is not None:
        value["errors"] = errors
    return Reply(
        status=status,
        body=json.dumps(value).encode(),
        headers={
            "Content-Type": "application/problem+json",
            **({"Retry-After": retry_after} if retry_after else {}),
        },
    )


def event(kind: str, data: Any, cursor: str = "") -> bytes:
    """One server-sent event."""
    head = f"id: {cursor}\n" if cursor else ""
    return f"{head}event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def stream(*pieces: bytes | threading.Event, cut: bool = False) -> Reply:
    """An event stream; it ends after the last piece."""
    return Reply(pieces=list(pieces), cut=cut, headers={"Content-Type": "text/event-stream"})


class FakeScheduler:
    """Answers what it was told to; several replies to one request are given in turn, the last for ever."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self._replies: dict[tuple[str, str], list[Reply]] = {}
        self._lock = threading.Lock()
        fake = self

        class Handler(_Handler):
            scheduler = fake

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeScheduler:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def on(self, method: str, path: str, *replies: Reply) -> None:
        """Script the answers to one request."""
        with self._lock:
            self._replies[method, path] = list(replies)

    def asked(self, method: str, path: str) -> list[Request]:
        """The requests of that kind so far."""
        return [one for one in self.requests if (one.method, one.path) == (method, path)]

    def take(self, request: Request) -> Reply:
        """The next answer."""
        with self._lock:
            self.requests.append(request)
            left = self._replies.get((request.method, request.path))
            if not left:
                return problem(404, f"{request.path} is not here")
            return left.pop(0) if len(left) > 1 else left[0]

    def take_again(self, method: str, path: str) -> Reply:
        """The answer that this request gets now."""
        with self._lock:
            return self._replies[method, path][0]

    def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        timeout_seconds: float = DEADLINE_SECONDS,
    ) -> subprocess.CompletedProcess[str]:
        """Run harpoonctl against it, as a program of its own."""
        done = subprocess.run(
            command(self.endpoint, *arguments),
            input=stdin,
            capture_output=True,
            timeout=timeout_seconds,
            env=environment(env),
            check=False,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )


def command(endpoint: str, *arguments: str) -> list[str]:
    """The command line of harpoonctl as it stands in this checkout."""
    return [sys.executable, "-m", "ctl.main", "--endpoint", endpoint, *arguments]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for it, without settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HARPOON_")}
    return {**kept, "PYTHONPATH": str(ROOT), "NO_COLOR": "", **(extra or {})}


class started:  # noqa: N801  # reads as a verb in a with statement
    """harpoonctl running, killed at the end if it still does."""

    def __init__(self, scheduler: FakeScheduler, *arguments: str) -> None:
        self._process = subprocess.Popen(
            command(scheduler.endpoint, *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            text=True,
        )

    def __enter__(self) -> subprocess.Popen[str]:
        return self._process

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(DEADLINE_SECONDS)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


class _Handler(BaseHTTPRequestHandler):
    scheduler: FakeScheduler
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.scheduler.take(Request(str(self.command), parts.path, query, headers, body))
        if reply.gate is not None and not self._passes(reply.gate):
            self.close_connection = True
            return
        if reply.drop:
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.pieces is not None:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self._send_pieces(reply.pieces, cut=reply.cut)
            return
        self.send_header("Content-Length", str(len(reply.body) if reply.length is None else reply.length))
        self.end_headers()
        self.wfile.write(reply.body)
        self.close_connection = reply.length is not None

    do_GET = do_PUT = do_DELETE = do_POST = _serve  # noqa: N815  # names that http.server gives

    def _send_pieces(self, pieces: Iterable[bytes | threading.Event], *, cut: bool) -> None:
        try:
            for piece in pieces:
                if isinstance(piece, threading.Event):
                    if not self._passes(piece):
                        break
                    continue
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                self.wfile.flush()
            if not cut:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            pass  # the client has gone
        self.close_connection = True

    def _passes(self, gate: threading.Event) -> bool:
        """Wait at a gate, unless the server closes first."""
        while not gate.wait(0.01):
            if self.scheduler.closing.is_set():
                return False
        return True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name in http.server
        """Say nothing."""
