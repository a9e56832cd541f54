"""docs/bounds.md, made of config/bounds.py: `python -m config.bounds_page > docs/bounds.md`."""

from __future__ import annotations

import re
import sys
from math import log2
from pathlib import Path
from typing import NamedTuple

from config import bounds

_AREA = re.compile(r"# --- (.+) ---")
_TOLD = re.compile(r"# ([^:]+): (.+) → (.+)")
_BOUND = re.compile(r"([A-Z][A-Z0-9_]*) = .+")
_HEAD = """\
# Bounds

Made of `config/bounds.py` by `make docs`; change it there.

Nothing grows without end: each queue, body, retry and stream has a bound, and this is what happens when it is
reached. A 503 comes with `Retry-After`, and the same request succeeds when the rush is over. What can be set
by the operator is in [configuration.md](configuration.md). The bounds of web are those of one worker.
"""


class Bound(NamedTuple):
    """A bound: in which part of the programs, how much of which unit, of what, and what happens then."""

    area: str
    name: str
    value: int | float
    unit: str
    what: str
    then: str


def entries(text: str | None = None) -> list[Bound]:
    """All bounds, in the order of the file. Raises ValueError for one that says nothing of itself."""
    if text is None:
        text = Path(bounds.__file__).read_text("utf-8")
    found: list[Bound] = []
    area, told = "", None
    for line in text.splitlines():
        bound = _BOUND.fullmatch(line)
        if bound is not None:
            if told is None or not area:
                raise ValueError(f"{bound[1]} has no line `# unit: what → what happens` above it")
            found.append(Bound(area, bound[1], getattr(bounds, bound[1]), *told.groups()))
        area = heading[1] if (heading := _AREA.fullmatch(line)) else area
        told = _TOLD.fullmatch(line)
    return found


def page() -> str:
    """docs/bounds.md as a whole."""
    parts = [_HEAD]
    area = ""
    for bound in entries():
        if bound.area != area:
            area = bound.area
            parts.append(f"\n## {area}\n\n| bound | of | at most | then |\n| --- | --- | --- | --- |\n")
        parts.append(f"| `{bound.name}` | {bound.what} | {shown(bound)} | {bound.then} |\n")
    return "".join(parts)


def shown(bound: Bound) -> str:
    """The value as people read it."""
    if bound.unit == "bytes" and bound.value >= 1024:
        power = min(int(log2(bound.value)) // 10, 3)
        return f"{bound.value / 1024**power:g} {('bytes', 'KB', 'MB', 'GB')[power]}"
    return (
        f"{bound.value:,} {bound.unit}" if isinstance(bound.value, int) else f"{bound.value:g} {bound.unit}"
    )


if __name__ == "__main__":
    sys.stdout.write(page())
