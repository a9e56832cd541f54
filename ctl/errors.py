"""What can go wrong on the command line, each with the exit code that scripts rely on.

HarpoonctlError          lines for stderr, and an exit code
├── UserMistakeError     1: a wrong file, a name that is unknown or ambiguous
├── RefusedError         1: the scheduler said no, with its HTTP status
├── NotInTimeError       2: accepted, but it did not come true (in time)
└── UnreachableError     3: no scheduler answers there, or none that can do its work
"""

from __future__ import annotations

from typing import ClassVar

INTERRUPTED = 130  # 128 + SIGINT, as shells count it
PIPE_CLOSED = 141  # 128 + SIGPIPE


class HarpoonctlError(Exception):
    """A failure to tell the user about: one line each, without "harpoonctl: " before it."""

    exit_code: ClassVar[int] = 1

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class UserMistakeError(HarpoonctlError):
    """Nothing was asked of the scheduler, because the command itself is wrong."""


class RefusedError(HarpoonctlError):
    """The scheduler answered with a 4xx: nothing has changed."""

    def __init__(self, status: int, *lines: str) -> None:
        super().__init__(*lines)
        self.status = status


class NotInTimeError(HarpoonctlError):
    """What was asked is accepted, and is not so yet; or can't become so."""

    exit_code: ClassVar[int] = 2


class UnreachableError(HarpoonctlError):
    """No answer, an answer that no scheduler gives, or a 5xx.

    `unsent` tells that the request has certainly not arrived, so its outcome is known.
    """

    exit_code: ClassVar[int] = 3

    def __init__(self, *lines: str, unsent: bool = False, retry_after_seconds: float | None = None) -> None:
        super().__init__(*lines)
        self.unsent = unsent
        self.retry_after_seconds = retry_after_seconds
