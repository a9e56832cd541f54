"""The registry's rule against a simple model of it, under any order of mutations."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from rules_made import LONG_PROPERTY, job_config

from config.bounds import ENDED_KEPT, VERSIONS_KEPT
from scheduling.answer import Answer
from scheduling.desired import AGENT, HISTORY, JOB, MIGRATION, PLACEMENT, Copy, Desired, Intent
from scheduling.job import JobConfig, task_id
from scheduling.jobs import DeleteJob, HaltJob, ScheduleJob, UnscheduleJob
from scheduling.migrating import Action, PutJob, RestartJob, RevertJob, SteerMigration, StepMigration
from scheduling.migration import Input, State, moved
from scheduling.registry import AgentSpec, Mutation, SyncAgents, WritePlacement, judge
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
        self.stopped: set[str] = set()
        # By each version of a job on its way: the one that is left, and the new one.
        self.ways: dict[str, tuple[str, str]] = {}
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
        names = [(name, prefix) for prefix, config in self.jobs.items() for name in (prefix, config.hash())]
        news = [(name, prefix) for name, prefix in names if prefix in {new for _, new in self.ways.values()}]
        return dict(names) | dict(
            news
        )  # while a job is restarted its hash is that of both, and means the new

    def leave(self, prefix: str) -> None:
        """A version goes, and with it what was under way."""
        del self.jobs[prefix]
        self.stopped.discard(prefix)
        for each in self.ways.get(prefix, ()):
            self.ways.pop(each, None)

    def versions(self, config: JobConfig) -> list[str]:
        return [prefix for prefix, there in self.jobs.items() if there.key == config.key]

    @rule(config=WANTED)
    def schedule(self, config: JobConfig) -> None:
        free = config.hash() not in self.reserved() and not self.under_way(config)
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
        elif self.goes_to(versions[-1]) and self.jobs[versions[-1]] == config:
            assert answer.result == "unchanged"
        elif len(versions) > 1:
            assert answer.result == "conflict"
        else:
            assert owner is None or owner == versions[0]
            self.replaced(versions[0], config, answer)

    def replaced(self, old: str, config: JobConfig, answer: Answer) -> None:
        """A version is being replaced; if it is stopped, it is replaced at once."""
        assert answer.result == "changed", answer.message
        assert bool(answer.migration) == (old not in self.stopped)
        if answer.migration:
            migration = self.desired.migrations[answer.migration]
            assert (migration.old, self.desired.jobs[migration.new].config) == (old, config)
            self.jobs[migration.new] = config
            self.ways[old] = self.ways[migration.new] = (old, migration.new)
        else:
            (new,) = (job.prefix for job in self.desired.versions(config.key))
            self.leave(old)
            self.jobs[new] = config
            self.stopped.add(new)

    def goes_to(self, prefix: str) -> bool:
        """Whether a migration is on its way to this version, and not back."""
        migration = self.desired.migration_of(prefix)
        return migration is not None and migration.state is State.RUNNING

    def under_way(self, config: JobConfig) -> bool:
        return any(prefix in self.ways for prefix in self.versions(config))

    @rule(config=WANTED, number=st.none() | st.integers(1, 12))
    def revert(self, config: JobConfig, number: int | None) -> None:
        versions = self.versions(config)
        history = self.desired.history.get(str(config.key))
        answer = self.ask(RevertJob(key=config.key, number=number))
        if len(versions) != 1:
            assert answer.result == ("conflict" if versions else "not found")
            return
        assert history is not None
        past = history.before() if number is None else history.version(number)
        if past is None:
            assert answer.result == "not found"
        elif self.jobs[versions[0]].container() == past.config.container():
            assert answer.result == ("unchanged" if self.jobs[versions[0]] == past.config else "changed")
            self.jobs[versions[0]] = past.config
        else:
            self.replaced(versions[0], past.config, answer)

    @rule(config=WANTED)
    def restart(self, config: JobConfig) -> None:
        versions = self.versions(config)
        answer = self.ask(RestartJob(key=config.key))
        if len(versions) == 1 and versions[0] not in self.stopped:
            self.replaced(versions[0], self.jobs[versions[0]], answer)
        else:
            assert answer.result == ("conflict" if versions else "not found")

    @rule(config=WANTED, stopped=st.booleans())
    def halt(self, config: JobConfig, stopped: bool) -> None:
        versions = self.versions(config)
        answer = self.ask(HaltJob(key=config.key, stopped=stopped))
        if len(versions) != 1:
            assert answer.result == ("conflict" if versions else "not found")
            return
        before = versions[0] in self.stopped
        assert answer.result == ("unchanged" if before == stopped else "changed")
        (self.stopped.add if stopped else self.stopped.discard)(versions[0])

    @rule(which=st.integers(0, 5), action=st.sampled_from(["pause", "resume", "abort", "promote"]))
    def steer(self, which: int, action: Action) -> None:
        """Whatever its operator says: which tasks are wanted does not change by that."""
        for row in list(self.desired.migrations.values())[which : which + 1]:
            answer = self.ask(SteerMigration(id=row.id, action=action))
            assert not row.over or not answer.accepted or answer.result == "unchanged"
            after = self.desired.migrations[row.id]
            assert (after.old_wanted, after.new_wanted) == (row.old_wanted, row.new_wanted)

    @rule(which=st.integers(0, 5), late=st.booleans(), wanted=st.sets(st.integers(0, 2)))
    def step(self, which: int, late: bool, wanted: set[int]) -> None:
        for row in list(self.desired.migrations.values())[which : which + 1]:
            stepped = msgspec.structs.replace(row, new_wanted=tuple(sorted(wanted)))
            answer = self.ask(StepMigration(migration=stepped, expected=row.generation - late))
            assert answer.accepted == (not late and not row.over)

    @rule(which=st.integers(0, 5))
    def finish(self, which: int) -> None:
        for row in list(self.desired.migrations.values())[which : which + 1]:
            if row.state in (State.RUNNING, State.REVERTING):
                over = moved(row, Input.FINISH)
                assert self.ask(StepMigration(migration=over, expected=row.generation)).accepted
                self.leave(row.old if over.state is State.DONE else row.new)

    @rule(config=WANTED)
    def unschedule(self, config: JobConfig) -> None:
        prefix = self.reserved().get(config.hash())
        answer = self.ask(UnscheduleJob(hash=config.hash()))
        assert answer.result == ("not found" if prefix is None else "changed")
        if prefix is not None:
            same = [each for each in self.versions(config) if self.jobs[each].hash() == config.hash()]
            for each in same or [prefix]:
                self.leave(each)

    @rule(config=WANTED)
    def delete(self, config: JobConfig) -> None:
        versions = self.versions(config)
        assert self.ask(DeleteJob(key=config.key)).accepted == bool(versions)
        for prefix in versions:
            self.leave(prefix)

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
        job = self.desired.jobs.get(task.rpartition("-")[0])
        wanted = job is not None and index in self.desired.indices(job)
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
        assert {prefix for prefix, job in self.desired.jobs.items() if job.stopped} == self.stopped
        assert self.desired.names == self.reserved()
        assert {name: set(agent.sources) for name, agent in self.desired.agents.items()} == self.sources
        assert {
            task: {copy.agent: copy.intent for copy in row.copies}
            for task, row in self.desired.placements.items()
        } == self.rows
        assert {task: row.generation for task, row in self.desired.placements.items()} == self.generations

    @invariant()
    def who_is_wanted_follows_from_the_migrations(self) -> None:
        for prefix, job in self.desired.jobs.items():
            row = self.desired.migration_of(prefix)
            if row is not None:
                assert self.ways[prefix] == (row.old, row.new)
                wanted = row.old_wanted if prefix == row.old else row.new_wanted
            else:
                assert prefix not in self.ways
                wanted = () if prefix in self.stopped else tuple(job.members)
            assert tuple(self.desired.indices(job)) == wanted

    @invariant()
    def each_job_has_a_history_and_its_newest_version_is_in_force(self) -> None:
        keys = {job.config.key for job in self.desired.jobs.values()}
        assert set(self.desired.history) == set(map(str, keys))
        for key in keys:
            newest, history = self.desired.versions(key)[-1], self.desired.history[str(key)]
            assert history.current == newest.number
            past = history.version(newest.number)
            assert past is not None and past.config == newest.config
            assert len(history.kept) <= VERSIONS_KEPT
            over = [row for row in self.desired.migrations.values() if row.key == key and row.over]
            assert len(over) <= ENDED_KEPT

    @invariant()
    def the_changes_alone_make_the_same_state(self) -> None:
        """What the registry writes to disk and broadcasts is enough to make it anew, in any order."""
        there = {key: value for key, value in self.state.items() if value is not None}
        for keys in (list(there), list(reversed(there))):
            fresh = Desired()
            fresh.apply({key: there[key] for key in keys})
            assert fresh.__dict__ == self.desired.__dict__

    @invariant()
    def no_agent_with_a_copy_is_gone(self) -> None:
        assert set(self.desired.by_agent) <= set(self.desired.agents)
        assert {key[0] for key in self.state} <= {AGENT, JOB, PLACEMENT, MIGRATION, HISTORY}


TestModel = Model.TestCase
TestModel.settings = LONG_PROPERTY
