"""A client of `…/exec`, of an agent or of a scheduler: says what a test says, and keeps what it hears."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import msgspec
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from scheduling.exec_wire import (
    CONTROL,
    DATA,
    ERRORS,
    ExecControl,
    ExecReply,
    ExecRequest,
    encode,
    read_reply,
)

PATIENCE_SECONDS = 15.0


class ExecClient:
    """One command. `out` and `err` are what it has written so far, `last` the agent's last word."""

    def __init__(self, url: str, *command: str, **wanted: Any) -> None:
        self._connected = ExitStack()
        self.socket: ClientConnection = self._connected.enter_context(
            connect(url, proxy=None, open_timeout=PATIENCE_SECONDS)
        )
        self.out, self.err, self.taken = b"", b"", 0
        self.last = ExecReply()
        if command:
            self.say(ExecRequest(command=list(command), **wanted))

    def __enter__(self) -> ExecClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._connected.close()

    def say(self, message: ExecRequest | ExecControl) -> None:
        self.socket.send(encode(message))

    def type(self, content: bytes) -> None:
        self.socket.send(DATA + content)

    def hear(self, seconds: float = PATIENCE_SECONDS) -> ExecReply | None:
        """The next message of the agent; None for output, and when it says no more."""
        try:
            message = self.socket.recv(timeout=seconds)
        except ConnectionClosed:
            raise EOFError(f"closed; so far {self.out!r} {self.err!r} {self.last}") from None
        assert isinstance(message, bytes)
        if message[:1] == CONTROL:
            self.last = read_reply(message)
            self.taken += self.last.taken
            return self.last
        assert message[:1] in (DATA, ERRORS)
        if message[:1] == DATA:
            self.out += message[1:]
        else:
            self.err += message[1:]
        return None

    def until(self, condition: Callable[[], Any]) -> None:
        """Listen until something is so."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, (self.out, self.err, self.last)
            self.hear()

    def started(self) -> ExecClient:
        """Listen until the command has started."""
        self.until(lambda: self.last.started)
        return self

    def end(self) -> Any:
        """Listen to the end; the last word as JSON."""
        self.until(lambda: self.last.ended or self.last.problem)
        return msgspec.to_builtins(self.last.ended or self.last.problem)
