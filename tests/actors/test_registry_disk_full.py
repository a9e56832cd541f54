"""The registry actor when its disk is full: it says so once, and says by itself when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.log import make_logger
from actors.messages import Mutate, Mutated, Troubled
from actors.registry import Registry
from actors.store import Store, StoreError
from scheduling.desired import Desired
from scheduling.registry import AgentSpec, SyncAgents
from scheduling.replica import Publisher

FULL = "the registry file x can't be written: database or disk is full"


class FillingStore(Store):
    """A store whose disk is full for as long as it is told."""

    full = False

    def commit(self, *changes: Any) -> None:
        """Write, or refuse."""
        if self.full:
            raise StoreError(FULL)
        super().commit(*changes)


class Alone(Registry):
    """The registry without Thespian: what it would send is kept."""

    name = "registry"

    log = make_logger("registry", "CRITICAL")

    def __init__(self, directory: Path) -> None:
        self.store: FillingStore = FillingStore(directory)
        self.desired = Desired()
        self.publisher = Publisher(epoch="x")
        self.peers = {"supervisor": "supervisor"}
        self.sent: list[Any] = []

    def send(self, _to: Any, message: Any) -> None:
        """Keep it."""
        self.sent.append(message)

    def add(self, name: str) -> Mutated:
        """Have an agent added; returns the answer."""
        agents = (AgentSpec(name=name, endpoint=f"http://{name}:1"),)
        mutation = SyncAgents(source=name, agents=agents)
        self.receiveMsg_Mutate(Mutate(batch="b", mutations=(("", mutation),)), "web")
        answer = self.sent[-1]
        assert isinstance(answer, Mutated)
        return answer

    def troubles(self) -> list[str]:
        """What it has told the supervisor since the last look."""
        told = [message.error for message in self.sent if isinstance(message, Troubled)]
        self.sent.clear()
        return told


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Alone]:
    alone = Alone(tmp_path)
    yield alone
    alone.store.close()


def test_a_refused_change_is_told_with_the_reason_and_changes_nothing(registry: Alone) -> None:
    registry.add("a")
    registry.store.full = True
    answer = registry.add("b")
    assert (answer.error, answer.answers) == (FULL, ())
    assert set(registry.desired.agents) == {"a"}
    assert registry.publisher.version == 1
    registry.add("c")
    assert registry.troubles() == [FULL], "once, not for every refusal"


def test_it_finds_out_by_itself_that_there_is_room_again(registry: Alone) -> None:
    registry.store.full = True
    registry.add("a")
    registry.tick()
    assert registry.troubles() == [FULL]
    registry.store.full = False
    registry.tick()
    assert registry.troubles() == [""]
    assert registry.store.load() == (0, {}), "and it has written nothing for that"
    registry.add("a")
    registry.tick()
    assert registry.troubles() == []


def test_a_change_that_is_stored_ends_it_too(registry: Alone) -> None:
    registry.store.full = True
    registry.add("a")
    registry.store.full = False
    assert registry.add("a").answers[0].accepted
    assert registry.troubles() == [FULL, ""]
