"""All bounds stand in one place, say what they bound, and docs/bounds.md tells of each."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from config import bounds
from config.bounds_page import Bound, entries, page, shown

ROOT = Path(__file__).parents[2]
# Not the programs that only test and measure.
PACKAGES = ("actors", "agent", "config", "ctl", "scheduling", "web")
# What the name of a bound looks like.
LOOKS = re.compile(
    r"(^|_)(MOST|LARGEST|LONGEST|WIDEST|MAX|MAXIMUM|LIMIT|DEEPEST|ATTEMPTS)(_|$)"
    r"|_(LIMIT|KEPT|BYTES|LINES|IN_FLIGHT|HELD|SHOWN|BUFFERED|BATCH|QUEUED|WAITING)$"
)
# Each with its reason: a name like that of a bound, for something else.
NO_BOUNDS = {
    "actors/secret.py SECRET_BYTES": "how long our secret is",
    "actors/transport.py _SIGNATURE_BYTES": "how long a signature is",
    "actors/agent_link.py _READ_BYTES": "the size of a buffer",
    "actors/agent_requests.py _ITEM_BYTES": "a size that is reckoned with",
    "agent/artifact.py _CHUNK_BYTES": "the size of a buffer",
    "agent/unzip.py _CHUNK_BYTES": "the size of a buffer",
    "agent/untar.py _CHUNK_BYTES": "the size of a buffer",
    "agent/image.py _LARGEST_ID": "the kernel's",
    "agent/beside.py _CHUNK_BYTES": "the size of a buffer",
    "agent/download.py _CHUNK_BYTES": "the size of a buffer",
    "agent/log.py _TAIL_BYTES": "the size of a first read",
    "agent/process.py _LONGEST_WORD_BYTES": "the kernel's",
    "agent/process.py _POINTER_BYTES": "the kernel's",
    "agent/procfs.py _PAGE_BYTES": "the kernel's",
    "ctl/exec_link.py _CHUNK_BYTES": "the size of a buffer",
    "ctl/client.py _CHUNK_BYTES": "the size of a buffer",
    "ctl/progress.py _LINES_AROUND": "what else is on the screen",
    "ctl/tables.py _WIDEST_ADDRESS": "when a column is broken into lines",
    "scheduling/durations.py _LARGEST_NANOSECONDS": "what 64 bits hold",
    "scheduling/leap.py LARGEST_VERSION": "what leaves room in the numbers of JSON",
    "scheduling/validation.py LARGEST_COUNT": "what stays exact in JSON",
    "scheduling/waiting.py WAITING": "the kind of a key",
    "web/agent_logs.py _LINES": "a decoder",
    "web/log_search.py _LINES": "a decoder",
    "agent/log.py _STAMP_BYTES": "how long a stamp is",
    "web/agent_logs.py _READ_BYTES": "the size of a buffer",
    "actors/transport.py READ_AHEAD_BYTES": "the size of a buffer",
    "web/logs.py DEFAULT_HISTORY_LINES": "a default",
    "web/requests_in.py _LARGEST_INDEX": "what 64 bits hold",
    "agent/api.py _DEFAULT_HISTORY_LINES": "a default",
}


def constants(text: str) -> list[str]:
    """The names that a module gives to values of its own."""
    named: list[str] = []
    for node in ast.parse(text).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        named += [each.id for each in targets if isinstance(each, ast.Name) and each.id.isupper()]
    return named


def test_no_bound_stands_elsewhere() -> None:
    found = {
        f"{path.relative_to(ROOT)} {name}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path != Path(bounds.__file__)
        for name in constants(path.read_text("utf-8"))
        if LOOKS.search(name)
    }
    assert found - set(NO_BOUNDS) == set(), "a bound belongs into config/bounds.py"


def test_the_search_finds_bounds() -> None:
    assert constants("MOST_X = 1\n_Y_KEPT: int = 2\nz = 3\ndef f():\n    MOST_Z = 1\n") == [
        "MOST_X",
        "_Y_KEPT",
    ]
    assert all(LOOKS.search(name) for name in ("MOST_X", "_LARGEST_Y_BYTES", "WRITES_A_BATCH", "MAX_AGE"))
    assert not LOOKS.search("BRAKE_SECONDS")


def test_every_bound_has_an_entry_and_is_used() -> None:
    named = [bound.name for bound in entries()]
    assert named == [name for name in vars(bounds) if name.isupper()]
    sources = [path.read_text("utf-8") for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    unused = [name for name in named if sum(bool(re.search(rf"\b{name}\b", text)) for text in sources) < 2]
    assert unused == []


def test_an_entry_without_its_line_is_refused() -> None:
    with pytest.raises(ValueError, match="MOST_PORTS has no line"):
        entries("# --- rules ---\n\nMOST_PORTS = 256\n")
    [bound] = entries("# --- rules ---\n\n# ports: of a job → 400\nMOST_PORTS = 256\n")
    assert bound == Bound("rules", "MOST_PORTS", 256, "ports", "of a job", "400")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (65536, "bytes", "64 KB"),
        (5 * 1024**2, "bytes", "5 MB"),
        (4 * 1024**3, "bytes", "4 GB"),
        (1000, "bytes", "1,000 bytes"),
        (10_000, "names", "10,000 names"),
        (0.5, "s", "0.5 s"),
    ],
)
def test_values_are_shown_as_people_read_them(value: float, unit: str, text: str) -> None:
    assert shown(Bound("", "", value, unit, "", "")) == text


def test_the_committed_page_is_the_generated_one() -> None:
    assert (ROOT / "docs" / "bounds.md").read_text("utf-8") == page(), (
        "write it anew: python -m config.bounds_page > docs/bounds.md"
    )
