"""A command that runs beside a task, under its keeper (agent/enter.py): what goes in and out, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from agent.driver import Entry
from scheduling.container import ExitStatus
from scheduling.exec_wire import DATA, ERRORS, ExecProblem

_ENTER = Path(__file__).with_name("enter.py")
_CHUNK_BYTES = 16 * 1024
_TOO_EARLY_SECONDS = 0.005
_END_OF_FILE = b"\x04"  # as a terminal takes it


class _Word(msgspec.Struct, frozen=True):
    """What the keeper says at the end."""

    exited: int = 0
    signaled: int = 0
    failed: str = ""


class Beside:
    """One command. Belongs to the event loop; `close` must be called at last."""

    def __init__(self, entry: Entry, rows: int, columns: int) -> None:
        """Start it. Raises OSError."""
        self._tty = entry.tty
        self._has_terminal = False
        self._over = asyncio.Event()
        self._ours: list[int] = []
        self._control, control = socket.socketpair()
        theirs = [control.detach()]
        try:
            theirs.append(_memory(msgspec.json.encode(entry)))
            if entry.beside:
                theirs.append(os.pidfd_open(entry.beside))
            passed = [*theirs]
            self._stdin, self._outputs, streams = self._open(entry, theirs)
            if self._tty:
                self.resize(rows, columns)
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_ENTER), *map(str, [*passed, -1][:3])],
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                pass_fds=passed,
                cwd="/",
                env={},
                start_new_session=True,
            )
        except OSError:
            self.close()
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        self._control.setblocking(False)
        for descriptor in self._ours:
            os.set_blocking(descriptor, False)

    def _open(self, entry: Entry, theirs: list[int]) -> tuple[int, dict[bytes, int], list[int]]:
        """Our ends (stdin, outputs by what they are called on the wire), and the command's three."""
        if entry.tty:
            master, slave = os.openpty()
            self._ours.append(master)
            theirs.append(slave)
            if entry.user is not None:
                os.fchown(slave, entry.user[0], -1)
            return master, {DATA: master}, [slave] * 3
        (read, stdin), (stdout, write), (stderr, write_errors) = (os.pipe() for _ in range(3))
        self._ours += [stdin, stdout, stderr]
        theirs += [read, write, write_errors]
        return stdin, {DATA: stdout, ERRORS: stderr}, [read, write, write_errors]

    @property
    def outputs(self) -> Iterator[bytes]:
        """What to `read` from, DATA and perhaps ERRORS."""
        return iter(self._outputs)

    async def read(self, output: bytes) -> bytes:
        """What the command has written, as it comes; empty once it has ended and no more is there."""
        descriptor = self._outputs[output]
        while True:
            try:
                return os.read(descriptor, _CHUNK_BYTES)
            except BlockingIOError:
                if self._over.is_set():
                    # Somebody who was not found holds it open.
                    return b""
                await self._ready(asyncio.get_running_loop().add_reader, descriptor)
            except OSError:
                # Nobody has the terminal any more.
                return b""

    async def write(self, content: bytes) -> None:
        """Give the command something to read, and wait until it is taken; nobody may read any more."""
        if self._tty and not self._has_terminal:
            await self._terminal_taken()
        while content and self._stdin in self._ours and not self._over.is_set():
            try:
                content = content[os.write(self._stdin, content) :]
            except BlockingIOError:
                await self._ready(asyncio.get_running_loop().add_writer, self._stdin)
            except OSError:
                return

    async def _terminal_taken(self) -> None:
        """Wait until the terminal is the command's: it would signal nobody for a Ctrl-C before."""
        while not self._over.is_set():
            with contextlib.suppress(OSError):
                if os.tcgetpgrp(self._stdin) > 0:
                    break
            await asyncio.sleep(_TOO_EARLY_SECONDS)
        self._has_terminal = True

    async def end_of_input(self) -> None:
        """Let the command see the end of its stdin."""
        if self._tty:
            await self.write(_END_OF_FILE)
        elif self._stdin in self._ours:
            self._ours.remove(self._stdin)
            os.close(self._stdin)

    def resize(self, rows: int, columns: int) -> None:
        """The terminal's new size; the command is told by SIGWINCH."""
        if self._tty and rows and columns:
            fcntl.ioctl(self._stdin, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def end(self) -> None:
        """Nobody wants it any more: the keeper ends all of it."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)

    async def ended(self) -> ExitStatus | ExecProblem:
        """How it ended, once nothing of it is left."""
        said = b""
        with contextlib.suppress(OSError):
            while chunk := await asyncio.get_running_loop().sock_recv(self._control, _CHUNK_BYTES):
                said += chunk
        await asyncio.to_thread(self._keeper.wait)
        self._over.set()
        if not said:
            return ExecProblem(500, "the command was killed together with what kept it")
        word = msgspec.json.decode(said, type=_Word)
        if word.failed:
            return ExecProblem(400, word.failed, word.exited)
        if word.signaled:
            return ExitStatus(signaled=True, signal=word.signaled)
        return ExitStatus(exited=True, exit_status=word.exited)

    def close(self) -> None:
        """Let go of everything, after `ended`."""
        self._control.close()
        while self._ours:
            os.close(self._ours.pop())

    async def _ready(self, add: Callable[..., Any], descriptor: int) -> None:
        """Wait until a descriptor is ready, or all is over."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        add(descriptor, ready.set)
        waits = [asyncio.ensure_future(event.wait()) for event in (ready, self._over)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            (loop.remove_reader if add == loop.add_reader else loop.remove_writer)(descriptor)
            for wait in waits:
                wait.cancel()


def _memory(content: bytes) -> int:
    """A descriptor to read this from."""
    descriptor = os.memfd_create("entry")
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
