"""How a task ended, by what its shim left: `exit`, and `signaled`, blank unless a signal ended it."""

from __future__ import annotations

import signal
from pathlib import Path

from msgspec.structs import replace

from scheduling.container import ExitStatus

_KILLED = ExitStatus(signaled=True, signal=signal.SIGKILL)
# A shell does not remark on these two: 128+2 and 128+13 are taken for the signals they mean by custom.
_UNREMARKED = (signal.SIGINT, signal.SIGPIPE)
_LAST_SIGNAL = 64
_ROOM = " " * 64


def make_room(directory: Path) -> None:
    """Take the disk space that a shim will need for its word: the disk may be full then. Raises OSError."""
    (directory / "exit").unlink(missing_ok=True)
    for name in ("exit.new", "signaled"):
        (directory / name).write_text(_ROOM)


def read_exit(directory: Path, *, passed_on: bool = False) -> ExitStatus | None:
    """How a task ended; None if it never began. Without a word of its shim, both were killed.

    `passed_on`: a program between shim and task makes 128+N of a signal N, so that is what it means.
    """
    word = _words(directory)[0]
    if word == "never":
        return None
    ended = _KILLED
    if word.isdigit():
        status = int(word)
        by_signal = 128 < status <= 128 + _LAST_SIGNAL
        if by_signal and (passed_on or status - 128 in _UNREMARKED or _remarked(directory)):
            ended = ExitStatus(signaled=True, signal=status - 128)
        else:
            ended = ExitStatus(exited=True, exit_status=status)
    failed = ended.signaled or ended.exit_status != 0
    return replace(ended, oomed=failed and read_ooms(directory) > 0)


def read_ooms(directory: Path) -> int:
    """How often the kernel ended a process of the task for want of memory, as its shim counted it."""
    words = _words(directory)
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


def write_killed(directory: Path, ooms: int) -> None:
    """Say in the place of a shim that was killed what it would have counted."""
    if ooms and not (directory / "exit").exists():
        (directory / "exit").write_text(f"killed {ooms}\n")


def _words(directory: Path) -> list[str]:
    try:
        return (directory / "exit").read_text().split() or [""]
    except (OSError, UnicodeDecodeError):
        return [""]


def _remarked(directory: Path) -> bool:
    try:
        return bool((directory / "signaled").read_bytes().strip())
    except OSError:
        return False
