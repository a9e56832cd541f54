"""The agents file, and agents as flags name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import agents_file
from config.agents_file import AgentsFileError, read_agents_file, spec
from scheduling.registry import AgentSpec


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "agents"


def test_a_line_is_an_agent_with_or_without_name_and_labels(file: Path) -> None:
    file.write_text(
        """
# the first rack
n1 10.0.0.1:3333 rack=1 disk=ssd   # the fast one
   n2   http://10.0.0.2:3333
10.0.0.3:3333
10.0.0.4:3333 note=a=b empty=
"""
    )
    assert read_agents_file(file) == (
        AgentSpec(name="n1", endpoint="http://10.0.0.1:3333", labels={"rack": "1", "disk": "ssd"}),
        AgentSpec(name="n2", endpoint="http://10.0.0.2:3333"),
        AgentSpec(name="10.0.0.3:3333", endpoint="http://10.0.0.3:3333"),
        AgentSpec(name="10.0.0.4:3333", endpoint="http://10.0.0.4:3333", labels={"note": "a=b", "empty": ""}),
    )


def test_an_empty_file_has_no_agents(file: Path) -> None:
    file.write_text("\n# nothing\n")
    assert read_agents_file(file) == ()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("n1", '"n1" is no agent address; write HOST:PORT or http://HOST:PORT'),
        ("n1 https://h:1", '"https://h:1" is no agent address'),
        ("n1 h:1 rack", '"n1 h:1 rack" is no agent; write [NAME] HOST:PORT [KEY=VALUE …]'),
        ("rack=1", '"rack=1" is no agent; write [NAME] HOST:PORT [KEY=VALUE …]'),
        ("n1 rack=1 h:1", '"n1 rack=1 h:1" is no agent'),
        ("n/1 h:1", "'n/1' is no agent name; it must be printable, not empty, and without '/'"),
        ("ok http://h:9", 'the agent "ok" is there twice; a name is one agent'),
        ("other http://h:1/", '"other" and "ok" are both http://h:1; an agent has one name'),
    ],
)
def test_a_wrong_line_is_named_with_what_would_be_right(file: Path, line: str, why: str) -> None:
    file.write_text(f"# comment\nok h:1\n{line}\n")
    with pytest.raises(AgentsFileError) as caught:
        read_agents_file(file)
    assert str(caught.value).startswith(f"{file}, line 3: {why}")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(file: Path) -> None:
    with pytest.raises(AgentsFileError, match=r"the agents file .* can't be read: .*No such file"):
        read_agents_file(file)
    file.write_bytes(b"n\xff h:1")
    with pytest.raises(AgentsFileError, match=r"the agents file .* is not UTF-8: "):
        read_agents_file(file)


def test_a_file_with_too_many_agents_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents_file, "MOST_AGENTS", 3)
    file.write_text("".join(f"h{number}:1\n" for number in range(3)))
    assert len(read_agents_file(file)) == 3
    file.write_text("".join(f"h{number}:1\n" for number in range(4)))
    with pytest.raises(AgentsFileError, match="has 4 agents; at most 3 are possible"):
        read_agents_file(file)


def test_a_file_that_is_too_large_is_refused_without_reading_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents_file, "LARGEST_AGENTS_FILE_BYTES", 10)
    file = tmp_path / "agents"
    file.write_text("hh:1\n" * 2)
    with pytest.raises(AgentsFileError, match="is there twice"):
        read_agents_file(file)
    file.write_text("#" * 11)
    with pytest.raises(AgentsFileError, match="has more than 10 bytes"):
        read_agents_file(file)


def test_an_agent_as_a_flag() -> None:
    assert spec("h:1") == AgentSpec(name="h:1", endpoint="http://h:1")
    assert spec("n=h:1") == AgentSpec(name="n", endpoint="http://h:1")
    assert spec("n=http://h:1") == AgentSpec(name="n", endpoint="http://h:1")


@pytest.mark.parametrize("text", ["", "n=", "=h:1", "n/m=h:1", "n\n=h:1", "n\udcff=h:1"])
def test_what_is_no_agent_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no agent"):
        spec(text)
