"""What is said while a command runs in a task (`harpoonctl exec`): the messages of its WebSocket.

The same messages all the way, harpoonctl ↔ web ↔ agent, so that web only passes them on. Each is bytes, of
which the first says what the others are: CONTROL is a JSON object, DATA what goes to the command's stdin or
comes from its stdout, ERRORS what comes from its stderr. In order:

1. the client: an ExecRequest;
2. the agent: an ExecReply that says `started`, or a `problem`, with which it ends;
3. the client: DATA, or an ExecControl; the agent: DATA and ERRORS, or an ExecReply that says how much of
   stdin was `taken`. The client has at most EXEC_WINDOW_BYTES on the way, so that the agent can always read
   on, and notices when the client leaves, whether the command reads or not;
4. the agent: an ExecReply that says how the command `ended`, or a `problem`.

A connection that breaks on either side before that ends the command.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from config.bounds import EXEC_COMMAND_BYTES, EXEC_LARGEST_WINDOW, EXEC_MOST_WORDS, LONGEST_TERM
from scheduling.container import ExitStatus

CONTROL, DATA, ERRORS = b"\0", b"\1", b"\2"
Message = TypeVar("Message")


class ExecRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which command is to run; with a terminal of `rows` × `columns` that is called `term`, or without."""

    command: list[str]
    tty: bool = False
    rows: int = 24
    columns: int = 80
    term: str = ""


class ExecControl(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change while it runs: the window's new size (0: as it is), or the end of stdin."""

    rows: int = 0
    columns: int = 0
    eof: bool = False


class ExecProblem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why it does not run (any more): an HTTP status, and one sentence.

    `exit_status`: of a command that can't be run, as shells count it: 127 is not there, 126 not possible.
    """

    status: int
    detail: str
    exit_status: int = 0


class ExecReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the agent says; one of them is set. `taken`: bytes of stdin since the last time."""

    started: bool = False
    taken: int = 0
    ended: ExitStatus | None = None
    problem: ExecProblem | None = None


class ExecMessageError(ValueError):
    """A message is not what belongs there; the text says what would."""


def encode(message: ExecRequest | ExecControl | ExecReply) -> bytes:
    """A message as it is sent."""
    return CONTROL + msgspec.json.encode(message)


def read_request(message: bytes) -> ExecRequest:
    """The client's first message. Raises ExecMessageError that says all that is wrong."""
    request = _decode(message, ExecRequest, '{"command": ["sh"]}')
    wrong = []
    words = request.command
    if not words or not words[0]:
        wrong.append("command names no program")
    elif len(words) > EXEC_MOST_WORDS or sum(len(word.encode()) + 1 for word in words) > EXEC_COMMAND_BYTES:
        wrong.append(f"command has more than {EXEC_MOST_WORDS} words or {EXEC_COMMAND_BYTES} bytes")
    if any("\0" in word for word in words):
        wrong.append("command has a NUL character, which no program can be given")
    if not _is_window(request.rows, request.columns, smallest=1):
        wrong.append(f"a terminal has 1 to {EXEC_LARGEST_WINDOW} rows and columns")
    if len(request.term) > LONGEST_TERM or not (request.term.isascii() and request.term.isprintable()):
        wrong.append(f"term is no name of a terminal: at most {LONGEST_TERM} printable characters")
    if wrong:
        raise ExecMessageError("; ".join(wrong))
    return request


def read_control(message: bytes) -> ExecControl:
    """A later CONTROL message of the client. Raises ExecMessageError."""
    control = _decode(message, ExecControl, '{"rows": 24, "columns": 80}')
    if not _is_window(control.rows, control.columns, smallest=0):
        raise ExecMessageError(f"a terminal has 1 to {EXEC_LARGEST_WINDOW} rows and columns")
    return control


def read_reply(message: bytes) -> ExecReply:
    """A CONTROL message of the agent. Raises ExecMessageError."""
    return _decode(message, ExecReply, '{"started": true}')


def _is_window(rows: int, columns: int, *, smallest: int) -> bool:
    return all(smallest <= size <= EXEC_LARGEST_WINDOW for size in (rows, columns))


def _decode(message: bytes, shape: type[Message], right: str) -> Message:
    try:
        if message[:1] == CONTROL:
            return msgspec.json.decode(message[1:], type=shape)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ExecMessageError(f"not a message like {right}: {error}") from error
    raise ExecMessageError(f"not a message like {right}, after a first byte 0")
