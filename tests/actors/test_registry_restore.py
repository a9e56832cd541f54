"""The registry actor restores a snapshot durably, and not over a change that its sender can't have seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.messages import Mutate, Mutated
from actors.registry import Registry
from actors.store import Store
from scheduling.answer import Answer
from scheduling.desired import JOB, Desired
from scheduling.job import JOB_CONFIG_DECODER, JobConfig
from scheduling.jobs import ScheduleJob
from scheduling.leap import RESTORE_LEAP
from scheduling.registry import Mutation, RestoreSnapshot
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
    assert (version, [job.adopt for key, job in state.items() if key[0] == JOB]) == (3, [True])


def test_a_registry_that_is_behind_a_snapshot_goes_on_far_beyond_it(registry: Alone) -> None:
    """Its predecessor was further: whoever has known that one obeys only what is newer."""
    registry.ask(ScheduleJob(config=config("a")))
    saved = restoring(registry)
    registry.ask(RestoreSnapshot(jobs=(), agents=()))
    [answer] = registry.ask(msgspec.structs.replace(saved, taken_at=5000))
    leapt = 5000 + RESTORE_LEAP
    assert (answer.version, registry.store.load()[0], registry.publisher.version) == (leapt, leapt, leapt)
    [answer] = registry.ask(msgspec.structs.replace(saved, taken_at=5000))
    assert (answer.result, answer.version, registry.store.load()[0]) == ("unchanged", leapt, leapt)
    assert registry.ask(RestoreSnapshot(jobs=(), agents=()))[0].version == leapt + 1


def test_a_change_in_the_same_message_counts_for_the_version_that_is_expected(registry: Alone) -> None:
    registry.ask(ScheduleJob(config=config("a")))
    first, second = registry.ask(ScheduleJob(config=config("b")), restoring(registry, expected=1))
    assert (first.result, second.result) == ("created", "precondition failed")
    assert second.message == "the registry is at version 2, not 1"
    assert len(registry.desired.jobs) == 2
    assert sum(key[0] == JOB for key in registry.store.load()[1]) == 2
    assert registry.ask(restoring(registry, expected=2))[0].result == "unchanged"
