"""The registry's rule against a simple model of it, under any order of mutations."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from rules_made import LONG_PROPERTY, job_config

from scheduling.desired import AGENT, JOB, PLACEMENT, Copy, Desired, Intent
from scheduling.job import JobConfig, task_id
from scheduling.registry import (
    AgentSpec,
    Answer,
    DeleteJob,
    Mutation,
    PutJob,
    ScheduleJob,
    SyncAgents,
    UnscheduleJob,
    WritePlacement,
    judge,
)
from scheduling.replica import Key

# Two configs of one job, and another job; each at scales 1 to 3.
CONFIGS = [job_config("web", mem=1), job_config("web", mem=2), job_config("db", mem=1)]
NAMES = st.sampled_from("abc")
WANTED = st.builds(
    lambda config, scale: msgspec.structs.replace(config, scale=scale),
    st.sampled_from(CONFIGS),
    st.integers(1, 3),
)


class Model(RuleBasedStateMachine):
    """What should be there: job versions by prefix, the sources of each agent, the copies of each task."""

    def __init__(self) -> None:
        super().__init__()
        self.desired = Desired()
        self.state: dict[Key, object] = {}
        self.version = 0
        self.jobs: dict[str, JobConfig] = {}
        self.sources: dict[str, set[str]] = {}
        self.rows: dict[str, dict[str, Intent]] = {}
        self.generations: dict[str, int] = {}

    def ask(self, mutation: Mutation) -> Answer:
        answer, changes = judge(self.desired, mutation, self.version + 1)
        again, same = judge(self.desired, mutation, self.version + 1)
        assert (answer, changes) == (again, same), "a judgement changes nothing by itself"
        assert answer.accepted or not changes
        assert answer.version == self.version + bool(changes)
        self.desired.apply(changes)
        self.state.update(changes)
        self.version = answer.version
        return answer

    def reserved(self) -> dict[str, str]:
        """All names that resolve, and to which prefix."""
        return {name: prefix for prefix, config in self.jobs.items() for name in (prefix, config.hash())}

    def versions(self, config: JobConfig) -> list[str]:
        return [prefix for prefix, there in self.jobs.items() if there.key == config.key]

    @rule(config=WANTED)
    def schedule(self, config: JobConfig) -> None:
        free = config.hash() not in self.reserved()
        assert self.ask(ScheduleJob(config=config)).accepted == free
        if free:
            self.jobs[config.hash()] = config

    @rule(config=WANTED)
    def put(self, config: JobConfig) -> None:
        versions = self.versions(config)
        answer = self.ask(PutJob(config=config))
        owner = self.reserved().get(config.hash())
        if not versions:
            assert answer.result == "created"
            self.jobs[config.hash()] = config
        elif len(versions) == 1 and self.jobs[versions[0]].container() == config.container():
            assert owner in (None, versions[0])
            assert answer.result == ("unchanged" if self.jobs[versions[0]] == config else "changed")
            self.jobs[versions[0]] = config
        else:
            assert answer.result == "conflict"

    @rule(config=WANTED)
    def unschedule(self, config: JobConfig) -> None:
        prefix = self.reserved().get(config.hash())
        answer = self.ask(UnscheduleJob(hash=config.hash()))
        assert answer.result == ("not found" if prefix is None else "changed")
        if prefix is not None:
            del self.jobs[prefix]

    @rule(config=WANTED)
    def delete(self, config: JobConfig) -> None:
        versions = self.versions(config)
        assert self.ask(DeleteJob(key=config.key)).accepted == bool(versions)
        for prefix in versions:
            del self.jobs[prefix]

    @rule(source=st.sampled_from(["file", "flags"]), names=st.frozensets(NAMES))
    def sync(self, source: str, names: frozenset[str]) -> None:
        specs = tuple(AgentSpec(name=name, endpoint=f"http://{name}:1") for name in sorted(names))
        assert self.ask(SyncAgents(source=source, agents=specs)).accepted
        for name in names:
            self.sources.setdefault(name, set()).add(source)
        for name in list(self.sources):
            if name not in names and source in self.sources[name]:
                self.sources[name].discard(source)
                self.leave_if_empty(name)

    def leave_if_empty(self, name: str) -> None:
        if not self.sources[name] and not any(name in copies for copies in self.rows.values()):
            del self.sources[name]

    @rule(
        config=st.sampled_from(CONFIGS),
        index=st.integers(0, 2),
        behind=st.sampled_from([0, 0, 0, 1]),
        copies=st.lists(st.tuples(NAMES, st.sampled_from(["run", "stop", "stop"])), max_size=3),
    )
    def write(self, config: JobConfig, index: int, behind: int, copies: list[tuple[str, Intent]]) -> None:
        task = task_id(next(iter(self.versions(config)), config.hash()), index)
        seen = self.generations.get(task, 0) - behind
        written = tuple(Copy(name, intent) for name, intent in copies)
        answer = self.ask(WritePlacement(task=task, expected=seen, copies=written))
        runs = [name for name, intent in copies if intent == "run"]
        old = self.rows.get(task, {})
        wanted = any(
            prefix == task.rpartition("-")[0] and index < there.scale for prefix, there in self.jobs.items()
        )
        right = (
            not behind
            and len({name for name, _ in copies}) == len(copies)
            and len(runs) <= 1
            and all(name in self.sources for name, _ in copies)
            and (wanted or not runs or old.get(runs[0]) == "run")
        )
        assert answer.accepted == right, answer.message
        if right:
            self.rows.pop(task, None)
            self.generations.pop(task, None)
            if copies:
                self.rows[task] = dict(copies)
                self.generations[task] = self.version
            for name in set(old) - {name for name, _ in copies}:
                if name in self.sources:
                    self.leave_if_empty(name)

    @invariant()
    def the_registry_says_what_the_model_says(self) -> None:
        assert {prefix: job.config for prefix, job in self.desired.jobs.items()} == self.jobs
        assert self.desired.names == self.reserved()
        assert {name: set(agent.sources) for name, agent in self.desired.agents.items()} == self.sources
        assert {
            task: {copy.agent: copy.intent for copy in row.copies}
            for task, row in self.desired.placements.items()
        } == self.rows
        assert {task: row.generation for task, row in self.desired.placements.items()} == self.generations

    @invariant()
    def the_changes_alone_make_the_same_state(self) -> None:
        """What the registry writes to disk and broadcasts is enough to make it anew."""
        fresh = Desired()
        fresh.apply({key: value for key, value in self.state.items() if value is not None})
        assert fresh.__dict__ == self.desired.__dict__

    @invariant()
    def no_agent_with_a_copy_is_gone(self) -> None:
        assert set(self.desired.by_agent) <= set(self.desired.agents)
        assert {key[0] for key in self.state} <= {AGENT, JOB, PLACEMENT}


TestModel = Model.TestCase
TestModel.settings = LONG_PROPERTY
