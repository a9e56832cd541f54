"""The registry's disk: a dict that survives the registry, fills up, and may be cut off in mid-commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from actors.store import StoreError
from scheduling.answer import Answer
from scheduling.replica import Key
from simulation.stage import ActorEndedError


class Process(Protocol):
    """What can have the disk."""

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""


class Disk:
    """What is durable. `on_commit` is told of every commit, after it."""

    def __init__(self) -> None:
        self.version = 0
        self.state: dict[Key, Any] = {}
        self.answers: dict[str, tuple[str, Answer]] = {}
        self.full = False
        # The registry dies at its next commit: "before" it or "after" it is on the disk.
        self.cut: str = ""
        self.on_commit: Callable[[Mapping[Key, Any], dict[str, tuple[str, Answer]]], None] = (
            lambda _changes, _answers: None
        )
        self.twice: list[str] = []
        # The lock ends with the process that has it.
        self.owner: Process | None = None
        self.who_acts: Callable[[], Process | None] = lambda: None

    def lock(self) -> None:
        """Whoever acts now has the disk from now on. Raises StoreError when another process has it."""
        holder, owner = self.owner, self.who_acts()
        if holder is not None and holder is not owner and holder.alive:
            raise StoreError("another registry uses the disk; one at a time")
        self.owner = owner

    def commit(
        self, version: int, changes: Mapping[Key, Any], answers: dict[str, tuple[str, Answer]]
    ) -> None:
        """Write all of it, or nothing."""
        cut, self.cut = self.cut, ""
        if cut == "before":
            raise ActorEndedError("killed before its commit")
        if self.full:
            raise StoreError("the disk is full")
        self.twice += [request for request in answers if request in self.answers]
        for key, value in changes.items():
            if value is None:
                self.state.pop(key, None)
            else:
                self.state[key] = value
        self.version = version
        self.answers.update(answers)
        self.on_commit(changes, answers)
        if cut == "after":
            raise ActorEndedError("killed after its commit")


class MemoryStore:
    """`actors.store.Store`, on a simulated disk."""

    disk: Disk

    def __init__(self, _directory: Path) -> None:
        """Take the lock. Raises StoreError while another process that lives has it."""
        self.disk.lock()

    def load(self) -> tuple[int, dict[Key, Any]]:
        """The version and the whole state."""
        return self.disk.version, dict(self.disk.state)

    def answer(self, request_id: str) -> tuple[str, Answer] | None:
        """What this request was answered, if it is known."""
        return self.disk.answers.get(request_id)

    def commit(
        self, version: int, changes: Mapping[Key, Any], answers: Iterable[tuple[str, tuple[str, Answer]]]
    ) -> None:
        """Write all of it durably, or nothing. Raises StoreError."""
        self.disk.commit(version, changes, dict(answers))


def store_on(disk: Disk) -> type[MemoryStore]:
    """A store class for this disk."""
    return type("StoreOnDisk", (MemoryStore,), {"disk": disk})
