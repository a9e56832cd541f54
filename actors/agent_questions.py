"""What is asked of an agent in one HTTP request, and what its reply says about each container."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from config.bounds import LARGEST_REPLY_BYTES
from scheduling.batch_wire import PATH, REPLY_DECODER, Result, Step, encode_batch
from scheduling.executor import Outcome, Request
from scheduling.lifecycle import Input

_VERBS = {
    Input.PUT: ("PUT", "", 201),
    Input.START: ("POST", "/start", 202),
    Input.STOP: ("POST", "/stop", 202),
    Input.DELETE: ("DELETE", "", 200),
}
_STEPS: dict[Input, Step] = {
    Input.PUT: "put",
    Input.START: "start",
    Input.STOP: "stop",
    Input.DELETE: "delete",
}
_NAME = re.compile(r"[!-~]+")
_OK = 200

# What became of a request, and what is wrong with it if anything.
Verdict = tuple[Outcome, str]
Failed = Literal["refused", "unanswered"]


class Question:
    """One request of the executor as an HTTP request of v0; or many, for an agent that takes batches."""

    __slots__ = ("_what", "data", "problem", "requests")

    def __init__(self, requests: tuple[Request, ...], host: str) -> None:
        self.requests = requests
        # Why it can't be asked; empty if it can.
        self.problem = ""
        if not all(_NAME.fullmatch(request.task) for request in requests):
            self.problem = "the task's name can't be part of a request"
            self.data, self._what = b"", "request"
        elif len(requests) == 1:
            (request,) = requests
            verb, suffix, _ = _VERBS[request.step]
            self._what = f"{verb} /api/v0/containers/{request.task}{suffix}"
            self.data = _http(self._what, host, request.body, needs_length=verb != "DELETE")
        else:
            self._what = f"POST {PATH}"
            body = encode_batch([(each.task, _STEPS[each.step], each.body) for each in requests])
            self.data = _http(self._what, host, body, needs_length=True)

    def failed(self, outcome: Failed, error: str) -> list[Verdict]:
        """The verdict on all of them, for there is no reply that can be read."""
        return [(outcome, f"{self._what}: {error}")] * len(self.requests)

    def answered(self, status: int, body: bytes) -> list[Verdict]:
        """The verdict on each, in order."""
        if len(self.requests) == 1:
            return [self._judged(self.requests[0], status, _text(body))]
        if status != _OK:
            return self.failed("refused", f"the agent answered {status} {_text(body)}")
        try:
            results: list[Result] = REPLY_DECODER.decode(body).results
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
            return self.failed("unanswered", f"the agent's reply is no batch's: {problem}")
        if len(results) != len(self.requests):
            words = f"{len(results)} results to {len(self.requests)} items"
            return self.failed("unanswered", f"the agent's reply has {words}")
        return [
            self._judged(request, result.status, result.text[:LARGEST_REPLY_BYTES])
            for request, result in zip(self.requests, results, strict=True)
        ]

    def _judged(self, request: Request, status: int, text: str) -> Verdict:
        return judge(status, _VERBS[request.step][2], f"{self._what}: the agent answered {status} {text}")


def judge(status: int, right: int, words: str) -> Verdict:
    """A 409 or 404 means that the agent's containers are not what its stream made us believe."""
    if status == right:
        return "accepted", ""
    return ("contradicted" if status in (404, 409) else "refused"), words


def _http(what: str, host: str, body: bytes, *, needs_length: bool) -> bytes:
    length = f"Content-Length: {len(body)}\r\n" if body or needs_length else ""
    return f"{what} HTTP/1.1\r\nHost: {host}\r\n{length}\r\n".encode() + body


def _text(body: bytes) -> str:
    return body[:LARGEST_REPLY_BYTES].decode("utf-8", "replace").strip()
