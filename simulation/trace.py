"""What happened, in order: hashed as a whole, and told as a story where it matters."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from simulation.clock import BEGIN_SECONDS

# The newest lines are kept; a story rarely begins earlier.
LINES_KEPT = 50_000


class Line(NamedTuple):
    """One happening: when, who did what, and which tasks and agents it is about."""

    at: float
    who: str
    what: str
    about: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.at - BEGIN_SECONDS:8.3f}  {self.who:<20} {self.what}"


class Trace:
    """Collects lines. Two runs are the same when their digests are."""

    def __init__(self, *, aloud: bool = False) -> None:
        self.lines: list[Line] = []
        self._aloud = aloud
        self._digest = hashlib.blake2b(digest_size=16)

    def note(self, at: float, who: str, what: str, *about: str) -> None:
        """A line for the story, and for the digest."""
        line = Line(at, who, what, about)
        self._digest.update(f"{at:.6f}|{who}|{what}\n".encode())
        if len(self.lines) >= LINES_KEPT:
            del self.lines[: LINES_KEPT // 2]
        self.lines.append(line)
        if self._aloud:
            print(line)

    def count(self, at: float, who: str, what: str) -> None:
        """Only for the digest: too frequent for a story."""
        self._digest.update(f"{at:.6f}|{who}|{what}\n".encode())

    def digest(self) -> str:
        """Stands for everything that has happened so far."""
        return self._digest.hexdigest()

    def story(self, about: tuple[str, ...], most: int = 60) -> list[Line]:
        """The last lines about these tasks and agents, and about everybody."""
        wanted = set(about)
        relevant = [line for line in self.lines if not line.about or not wanted or wanted & set(line.about)]
        return relevant[-most:]
