"""What a task said last is told with its failure: a few lines, and only of a task that failed by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from agent_harness import Agent, running_agent, shell, wait_until

from agent.container import Container
from agent.lifecycle import State
from agent.log import TaskLog
from agent.store import Record
from config.bounds import FAILURE_LINES_SHOWN, LONGEST_FAILURE_LINE
from scheduling.canonical import go_json
from scheduling.container import INSTANCE_DECODER
from scheduling.job import ContainerConfig


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with running_agent(tmp_path_factory.mktemp("agent") / "data") as agent:
        yield agent


def ended(agent: Agent, name: str, script: str, **changes: Any) -> Any:
    agent.run(name, shell(script, **changes))
    return agent.wait_for(name, "finished")


@pytest.mark.parametrize("ends", ["exit 3", "kill -KILL $SELF"])
def test_the_end_of_the_log_of_a_task_that_failed_is_told(agent: Agent, ends: str) -> None:
    name = f"failed-{len(ends)}"
    watch = agent.watch()
    told = ended(
        agent, name, f"echo first; echo 'no such table' >&2; printf half; {ends}", env={"SELF": "$$"}
    )
    assert told["last_lines"] == ["first", "no such table", "half"]
    wait_until(lambda: "finished" in watch.statuses(name))
    assert watch.events[-1]["containers"][name]["last_lines"] == told["last_lines"]
    watch.close()


def test_it_is_told_while_the_task_waits_to_be_started_again(agent: Agent) -> None:
    agent.run("again-0", shell("echo oops; exit 1", restart="always"))

    def restarting() -> Any:
        said = agent.instance("again-0")
        return said if said["process_state"]["restarting"] else None

    assert wait_until(restarting)["last_lines"][-1] == "oops"
    agent.stop("again-0")


def test_it_is_a_few_short_lines(agent: Agent) -> None:
    lines = ended(agent, "long-0", "seq 1 1000; exit 1")["last_lines"]
    assert lines == [str(number) for number in range(1001 - FAILURE_LINES_SHOWN, 1001)]
    (line,) = ended(agent, "wide-0", "head -c 100000 /dev/zero | tr '\\0' x; exit 1")["last_lines"]
    assert line == "x" * LONGEST_FAILURE_LINE


def test_what_is_no_text_is_told_as_well_as_it_can_be(agent: Agent) -> None:
    assert ended(agent, "bytes-0", "printf 'a\\377b\\n'; exit 1")["last_lines"] == ["a\ufffdb"]


def test_a_task_that_did_well_or_said_nothing_tells_nothing(agent: Agent) -> None:
    assert "last_lines" not in ended(agent, "well-0", "echo done")
    assert "last_lines" not in ended(agent, "mute-0", "exit 1")


def test_one_that_was_told_to_stop_has_not_failed(agent: Agent) -> None:
    trap = "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.01; done"
    for name, script in (("bye-0", trap), ("term-0", "echo ready; exec sleep 1000")):
        agent.run(name, shell(script, restart="always"))
        agent.wait_for_log(name, "ready")
        agent.stop(name)
        assert "last_lines" not in agent.wait_for(name, "finished")


def test_a_later_good_end_takes_it_back(agent: Agent) -> None:
    script = "if [ -e once ]; then echo well; else touch once; echo oops; exit 1; fi"
    assert ended(agent, "twice-0", script)["last_lines"] == ["oops"]
    assert agent.call("POST", "/containers/twice-0/start").status == 202
    wait_until(lambda: "well" in agent.log("twice-0"))
    wait_until(lambda: agent.instance("twice-0")["status"] == "finished")
    assert "last_lines" not in agent.instance("twice-0")


def test_without_output_there_is_no_ending(tmp_path: Path) -> None:
    assert TaskLog("t-0", tmp_path).ending() == []
    (tmp_path / "output").write_bytes(b"\0" * 5000 + b"after a hole\n")  # what was read is given back
    assert TaskLog("t-0", tmp_path).ending() == ["after a hole"]


def test_it_stands_at_the_end_of_an_instance_and_nowhere_without_it(tmp_path: Path) -> None:
    """Old programs skip what they do not know; to them nothing else has changed."""
    container = Container("t-0", tmp_path, ContainerConfig(), Record(state=State.FINISHED))
    before = container.encode()
    assert b"last_lines" not in before
    container.last_lines = ["one", 'two "quoted" \u2028']
    after = container.encode()
    assert after == go_json(container.instance())
    assert after.startswith(before[:-1] + b',"last_lines":[')
    assert INSTANCE_DECODER.decode(after).last_lines == container.last_lines
    known = msgspec.json.decode(after)
    del known["last_lines"]
    assert known == msgspec.json.decode(before)
