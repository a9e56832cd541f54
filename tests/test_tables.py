"""The tables of races and failures of docs/architecture.md: each row has its test, and none is forgotten."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from simulation.rows import BY_FAULT, FAILURES, RACES, UNPLAYABLE
from simulation.scenario import FAULTS

ROOT = Path(__file__).parents[1]


class Row(NamedTuple):
    """One row: what happens, and which test in which file is about it."""

    title: str
    file: str
    test: str


def _rows(section: str) -> list[list[Row]]:
    """The rows of each table of a section."""
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    text = page.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    tables = re.findall(r"^\|.*its test \|\n\| ---.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [[_row(line) for line in table.splitlines()] for table in tables]


def _row(line: str) -> Row:
    title, _, where = (cell.strip() for cell in line.strip("|").split(" | "))
    title = title.partition(" (")[0]
    file, _, test = where.strip("`").partition("::")
    named = "test_" + re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")
    return Row(title, file, test or named)


RACE_TABLES = _rows("The races, and what settles each")
FAILURE_TABLES = _rows("Failures, and what must happen")
EVERY_ROW = [row for table in RACE_TABLES + FAILURE_TABLES for row in table]


def test_the_tables_are_those_that_the_simulation_counts() -> None:
    assert [row.title for row in RACE_TABLES[0]] == list(RACES)
    assert [row.title for row in FAILURE_TABLES[0]] == list(FAILURES)
    assert set(UNPLAYABLE) < {*RACES, *FAILURES}
    assert set(BY_FAULT) <= set(FAULTS)
    assert set(BY_FAULT.values()) < {*RACES, *FAILURES}


@pytest.mark.parametrize("row", EVERY_ROW, ids=lambda row: row.title)
def test_each_row_has_its_test(row: Row) -> None:
    text = (ROOT / row.file).read_text("utf-8")
    if row.file.endswith(".txt"):
        return  # a story, which tests/scheduling/test_stories.py tells
    tree = ast.parse(text)
    tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert row.test in tests, f"{row.file} has no {row.test}"


def test_a_row_may_name_its_test() -> None:
    named = _row("| an agent's row (as such) | it | `a.py` |")
    assert named == Row("an agent's row", "a.py", "test_an_agent_s_row")
    assert _row("| a row | it | `a.py::test_b` |") == Row("a row", "a.py", "test_b")
