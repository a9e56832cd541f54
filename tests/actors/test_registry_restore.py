"""The registry actor restores a snapshot durably, and not over a change that its sender can't have seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.messages import Mutate, Mutated
from actors.registry import Registry
from actors.store import Store
from scheduling.desired import Desired
from scheduling.job import JOB_CONFIG_DECODER, JobConfig
from scheduling.registry import Answer, Mutation, RestoreSnapshot, ScheduleJob
from scheduling.replica import Publisher
from scheduling.snapshot import take


def config(job: str) -> JobConfig:
    fields = {
        "scale": 1,
        "product": "p",
        "environment": "e",
        "job": job,
        "command": {"working_dir": "/", "exec": ["true"]},
        "resources": {"mem": 1, "cpu": 1, "fd": 1},
        "grace": {"startup": "1s", "shutdown": "1s"},
        "restart": "no",
    }
    return JOB_CONFIG_DECODER.decode(json.dumps(fields))


class Alone(Registry):
    """The registry without Thespian: what it would send is kept."""

    def __init__(self, directory: Path) -> None:
        self.store = Store(directory)
        self.desired = Desired()
        self.publisher = Publisher(epoch="x")
        self.sent: list[Mutated] = []

    def send(self, _to: Any, message: Mutated) -> None:
        """Keep it."""
        self.sent.append(message)

    def ask(self, *mutations: Mutation) -> tuple[Answer, ...]:
        """Have these judged in one message."""
        self.receiveMsg_Mutate(Mutate(batch="b", mutations=tuple(("", each) for each in mutations)), None)
        return self.sent[-1].answers


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Alone]:
    alone = Alone(tmp_path)
    yield alone
    alone.store.close()


def restoring(registry: Alone, expected: int | None = None) -> RestoreSnapshot:
    saved = take(registry.desired, registry.publisher.version, "")
    return RestoreSnapshot(jobs=saved.jobs, agents=saved.agents, expected=expected)


def test_what_was_restored_is_on_the_disk(registry: Alone) -> None:
    registry.ask(ScheduleJob(config=config("a")))
    saved = restoring(registry)
    registry.ask(RestoreSnapshot(jobs=(), agents=()))
    assert registry.store.load() == (2, {})
    [answer] = registry.ask(saved)
    assert (answer.result, answer.version) == ("changed", 3)
    version, state = registry.store.load()
    assert (version, [job.adopt for job in state.values()]) == (3, [True])


def test_a_change_in_the_same_message_counts_for_the_version_that_is_expected(registry: Alone) -> None:
    registry.ask(ScheduleJob(config=config("a")))
    first, second = registry.ask(ScheduleJob(config=config("b")), restoring(registry, expected=1))
    assert (first.result, second.result) == ("created", "precondition failed")
    assert second.message == "the registry is at version 2, not 1"
    assert len(registry.store.load()[1]) == 2
    assert registry.ask(restoring(registry, expected=2))[0].result == "unchanged"
