"""A book of the registry for tests: mutations are judged against what it holds, one version each."""

from __future__ import annotations

from typing import Any

from rules_made import job_config

from scheduling.answer import Answer
from scheduling.desired import MIGRATION, Desired
from scheduling.job import JobConfig
from scheduling.migration import Migration
from scheduling.registry import Mutation, judge
from scheduling.replica import Changes, Key

A, B, C = (job_config(scale=2, mem=mem) for mem in (1, 2, 3))
KEY = A.key


class Book:
    """What is there, and every change that led to it."""

    def __init__(self, *mutations: Mutation) -> None:
        self.desired = Desired()
        self.written: dict[Key, Any] = {}
        self.version = 0
        self.now = 1000.0
        for mutation in mutations:
            self.accepts(mutation)

    def ask(self, mutation: Mutation) -> tuple[Answer, Changes]:
        """The answer and what it changes, which is applied; what holds for every answer is checked."""
        answer, changes = judge(self.desired, mutation, self.version + 1, now=self.now)
        assert answer.accepted or not changes, "a refused mutation changes nothing"
        self.desired.apply(changes)
        self.written.update(changes)
        self.version += bool(changes)
        assert answer.version == self.version
        self.check()
        return answer, changes

    def accepts(self, mutation: Mutation, result: str = "") -> Answer:
        answer, _ = self.ask(mutation)
        assert answer.accepted, answer.message
        assert not result or answer.result == result, answer
        return answer

    def refuses(self, mutation: Mutation, result: str, message: str) -> Answer:
        answer, changes = self.ask(mutation)
        assert (answer.result, answer.message, changes) == (result, message, {})
        return answer

    def check(self) -> None:
        """Every reader comes to the same, in whatever order it hears of things, and nothing hangs loose."""
        there = {key: value for key, value in self.written.items() if value is not None}
        for keys in (sorted(there), sorted(there, reverse=True)):
            fresh = Desired()
            fresh.apply({key: there[key] for key in keys})
            assert fresh.__dict__ == self.desired.__dict__
        for job in self.desired.jobs.values():
            for name in (job.prefix, job.hash):
                named = self.desired.resolve(name)
                assert named is not None and named.hash == job.hash, f"{name} names nothing of its config"
        for prefix, name in self.desired.migrating.items():
            assert prefix in self.desired.jobs, f"{name} is under way without {prefix}"
        for key, history in self.desired.history.items():
            newest = [self.desired.versions(each)[-1] for each in self.desired.by_key if str(each) == key]
            assert [job.number for job in newest] == [history.current], "what is in force is the newest"
            assert history.version(history.current) is not None

    def migration(self) -> Migration:
        """The migration that was begun last."""
        return max(self.desired.migrations.values(), key=lambda row: int(row.id.removeprefix("m-")))

    def changed_migrations(self, changes: Changes) -> list[Any]:
        return [value for key, value in changes.items() if key[0] == MIGRATION]

    def configs(self) -> list[JobConfig]:
        return [job.config for job in self.desired.versions(KEY)]
