"""Text for people: what comes from the scheduler is cleaned, and put into few words.

Names, reasons and log lines are written by others. A control character among them could move the
cursor, rename the window or hide text, so none of them reaches a terminal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from ctl.shapes import Counts, Task
from ctl.waiting_shapes import Waiting

# C0, DEL and C1 controls; line separators; characters that turn the direction of text; lone surrogates.
_HARMFUL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_COLOURS = re.compile("\x1b\\[[0-9;:]*m")


def clean(text: str) -> str:
    """`text` on one line, with everything a terminal could obey written out, like `\\x1b`."""
    return _HARMFUL.sub(_written_out, text)


def clean_log_line(line: str) -> str:
    """A log line: tabs stay, colours go, other control characters are written out."""
    return "\t".join(clean(part) for part in _COLOURS.sub("", line.rstrip("\r\n")).split("\t"))


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def pretty_json(value: Any, indent: int | None = 2) -> str:
    """JSON that reads back as the same value and holds nothing that a terminal would obey."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    # Only newlines of the layout are left of C0: JSON itself escapes those inside strings.
    return _HARMFUL.sub(lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text)


def when(seconds: float) -> str:
    """A time of the scheduler in the local time; nothing for one that is not known."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S") if seconds else ""


def counted(number: int, thing: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def counts_text(counts: Counts) -> str:
    """`2 of 3 running, 1 waiting`; what is zero is left out."""
    rest = [
        f"{number} {name}"
        for name, number in (
            ("pending", counts.pending),
            ("waiting", counts.waiting),
            ("ended", counts.ended),
            ("stopping", counts.stopping),
            ("stale", counts.stale),
        )
        if number
    ]
    return ", ".join([f"{counts.running} of {counts.wanted} running", *rest])


def waiting_text(waiting: Waiting, most: int = 3) -> str:
    """Why tasks wait, with the nearest misses: `no agent fits (n7: short 128 MB; n3: …; 9 more)`."""
    misses = [f"{refusal.agent}: {refusal.reason}" for refusal in waiting.refusals]
    # The reason may name the very nearest one itself.
    untold = [miss for miss in misses if miss not in waiting.reason]
    nearest = untold[:most]
    more = max(waiting.agents, len(misses)) - (len(misses) - len(untold)) - len(nearest)
    if more > 0:
        nearest.append(f"{more} more")
    return waiting.reason + (f" ({'; '.join(nearest)})" if nearest else "")


def waiting_lines(waiting: Waiting, head: str = "") -> Iterator[str]:
    """Why tasks wait, or agents have none, a line for each that is named; `head` begins the first line."""
    yield f"  {head}{waiting.reason}"
    for refusal in waiting.refusals:
        yield f"    {refusal.agent}: {refusal.reason}"
    more = waiting.agents - len(waiting.refusals)
    if more > 0:
        yield f"    and {counted(more, 'agent')} more"


def exit_text(task: Task) -> str:
    """How a task ended or failed to start; empty when there is nothing to tell."""
    parts = []
    exited = task.exit
    if exited is not None:
        if exited.oomed:
            parts.append("ran out of memory")
        if exited.signaled:
            parts.append(f"killed by signal {exited.signal}")
        elif exited.exited:
            parts.append(f"exit status {exited.exit_status}")
    if task.error:
        parts.append(task.error)
    return ", ".join(parts)


def task_note(task: Task, waiting: Waiting | None = None) -> str:
    """What a task waits for, or how it ended."""
    notes = []
    if task.foreign:
        notes.append("not ours")
    if task.stale:
        notes.append("agent not connected")
    if task.status == "waiting" and waiting is not None:
        notes.append(waiting_text(waiting, most=1))
    elif ended := exit_text(task):
        notes.append(ended if task.status == "ended" else f"last time: {ended}")
    elif task.status in _WAITS_FOR and not task.stale and task.intent != "stop":
        notes.append(_WAITS_FOR[task.status])
    if task.health is not None and task.health.last:
        notes.append(task.health.last)
    if task.restarts:
        notes.append(f"restarted {task.restarts}×")
    if task.next_start_at:
        at = datetime.fromtimestamp(task.next_start_at).strftime("%H:%M:%S")
        notes.append(f"is started again at {at}")
    notes += [f"another copy on {copy.agent} ({copy.status})" for copy in task.other_copies or ()]
    return ", ".join(notes)


_WAITS_FOR = {
    "absent": "about to be created",
    "creating": "fetching its artifact",
    "created": "about to be started",
}


def addresses(task: Task) -> list[str]:
    """`HTTP=10.0.0.7:30000` for each port; a port that is still to be chosen is left out."""
    host = urlsplit(task.endpoint or "").hostname or ""
    host = f"[{host}]" if ":" in host else host
    return [f"{name}={host}:{port}" for name, port in sorted((task.ports or {}).items()) if port]


def joined(names: Iterable[str]) -> str:
    """`a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
