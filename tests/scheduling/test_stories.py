"""Each file in scenarios/ is a story: what happens, and below it exactly what must follow."""

from __future__ import annotations

from pathlib import Path

import pytest
from story_teller import tell

SCENARIOS = sorted(Path(__file__).with_name("scenarios").glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_story(path: Path) -> None:
    written = path.read_text("utf-8")
    assert tell(written).splitlines() == written.splitlines(), f"{path.name} tells another story now"
