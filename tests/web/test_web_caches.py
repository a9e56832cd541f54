"""Whatever happens in whatever order, what is kept as bytes is what would be made anew."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import get_args

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from web_cases import config

from scheduling.actual import AgentStatus, ContainerReport
from scheduling.container import HostResources, Metrics
from scheduling.desired import Copy, Job
from scheduling.jobs import HaltJob, ScheduleJob, UnscheduleJob
from scheduling.lifecycle import Phase
from scheduling.migrating import Action, PutJob, RestartJob, SteerMigration, StepMigration
from scheduling.migration import Migration, State
from scheduling.registry import AgentSpec, SyncAgents
from scheduling.waiting import Waiting
from web.encoded import Encoded
from web.events import Hub, Watch
from web.memory import SOURCE, InMemoryCluster
from web.migrations import migration_view
from web.v0_pages import V0Pages

AGENTS = ("n1", "n2", "n3")
ENVS: tuple[dict[str, str] | None, ...] = ({}, None)
CONFIGS = [config(job=job, scale=scale, env=env) for job in "ab" for scale in (1, 3) for env in ENVS]


class Happening:
    """Does one random thing to a cluster at a time."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.cluster = InMemoryCluster()
        self.things: list[Callable[[], object]] = [
            self.schedule,
            self.put,
            self.put,
            self.unschedule,
            self.restart,
            self.halt,
            self.steer,
            self.step_migration,
            self.step_migration,
            self.step_migration,
            self.sync_agents,
            self.place,
            self.place,
            self.report_agent,
            self.report_container,
            self.report_container,
            self.remove_container,
            self.report_metrics,
            self.report_waiting,
        ]

    def step(self) -> None:
        """One thing."""
        self.random.choice(self.things)()

    def job(self) -> Job | None:
        jobs = list(self.cluster.state.desired.jobs.values())
        return self.random.choice(jobs) if jobs else None

    def task(self) -> str:
        job = self.job()
        placed = list(self.cluster.state.desired.placements)
        if placed and self.random.random() < 0.3:
            return self.random.choice(placed)
        return f"{job.prefix}-{self.random.randrange(4)}" if job else "stranger-0"

    def agent(self) -> str:
        return self.random.choice(AGENTS)

    def schedule(self) -> None:
        self.cluster.judge(ScheduleJob(config=self.random.choice(CONFIGS)))

    def put(self) -> None:
        self.cluster.judge(PutJob(config=self.random.choice(CONFIGS)))

    def unschedule(self) -> None:
        if job := self.job():
            self.cluster.judge(UnscheduleJob(hash=job.hash))

    def restart(self) -> None:
        if job := self.job():
            self.cluster.judge(RestartJob(key=job.config.key))

    def halt(self) -> None:
        if job := self.job():
            self.cluster.judge(HaltJob(key=job.config.key, stopped=self.random.random() < 0.6))

    def migration(self) -> Migration | None:
        rows = list(self.cluster.state.desired.migrations.values())
        return self.random.choice(rows) if rows else None

    def steer(self) -> None:
        if row := self.migration():
            self.cluster.judge(SteerMigration(id=row.id, action=self.random.choice(get_args(Action))))

    def step_migration(self) -> None:
        """As the scheduler may write it: other tasks are wanted, or it comes to an end."""
        row = self.migration()
        if row is None or row.over:
            return
        after = msgspec.structs.replace(
            row,
            old_wanted=self.some(row.old_scale),
            new_wanted=self.some(row.new_scale),
            state=self.random.choice([*State]) if self.random.random() < 0.2 else row.state,
            reason=self.random.choice(["", "it broke"]),
        )
        self.cluster.judge(StepMigration(migration=after, expected=row.generation))

    def some(self, scale: int) -> tuple[int, ...]:
        return tuple(index for index in range(scale) if self.random.random() < 0.5)

    def sync_agents(self) -> None:
        specs = [
            AgentSpec(name=name, endpoint=f"http://{name}.test:{self.random.randint(1, 2)}")
            for name in AGENTS
            if self.random.random() < 0.8
        ]
        self.cluster.judge(SyncAgents(source=SOURCE, agents=tuple(specs)))

    def place(self) -> None:
        copies = [Copy(name, "stop") for name in AGENTS if self.random.random() < 0.3]
        if copies and self.random.random() < 0.8:
            copies[0] = Copy(copies[0].agent, "run")
        self.cluster.write_copies(self.task(), *copies)

    def report_agent(self) -> None:
        name = self.agent()
        self.cluster.report_agent(
            AgentStatus(
                name=name,
                endpoint=f"http://{name}.test:1",
                link=self.random.choice(("connecting", "connected", "stale")),
                answered=self.random.random() < 0.5,
                since=self.random.randrange(3),
                resources=HostResources() if self.random.random() < 0.5 else None,
            )
        )

    def report_container(self) -> None:
        if self.random.random() < 0.7:
            self.cluster.run(
                self.task(), self.agent(), self.random.choice(("created", "running", "finished"))
            )
        else:
            phase = self.random.choice(list(Phase))
            self.cluster.report_container(ContainerReport(agent=self.agent(), task=self.task(), phase=phase))

    def remove_container(self) -> None:
        self.cluster.remove_container(self.agent(), self.task())

    def report_metrics(self) -> None:
        sample = Metrics(cpu_time=self.random.randrange(3))
        self.cluster.report_metrics(self.agent(), {self.task(): sample})

    def report_waiting(self) -> None:
        if job := self.job():
            none = self.random.random() < 0.3
            waiting = Waiting(prefix=job.prefix, tasks=self.random.randrange(3), reason="no room")
            self.cluster.report_waiting(None if none else waiting, job.prefix)


def everything(encoded: Encoded, pages: V0Pages) -> dict[str, bytes]:
    """All that the caches hold."""
    found = {
        "jobs": encoded.jobs.page().body,
        "tasks": encoded.tasks.page().body,
        "agents": encoded.agents.page().body,
    }
    for key in list(encoded.state.desired.by_key):
        found[str(key)] = encoded.job_with_tasks(key) or b""
    found["migrations"] = msgspec.json.encode(
        [
            migration_view(encoded.state, row, encoded.tasks.view)
            for row in encoded.state.desired.migrations.values()
        ]
    )
    return {**found, "registry": pages.registry().body, "proxy": pages.proxy().body}


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), looks=st.lists(st.integers(1, 12), min_size=1, max_size=8))
def test_what_is_kept_is_what_would_be_made_anew(seed: int, looks: list[int]) -> None:
    happening = Happening(seed)
    state = happening.cluster.state
    kept = Encoded(state), V0Pages(state)
    for steps in looks:
        for _ in range(steps):
            happening.step()
        etags = kept[1].proxy().etag, kept[1].registry().etag
        fresh = Encoded(state), V0Pages(state)
        assert everything(*kept) == everything(*fresh)
        assert etags == (fresh[1].proxy().etag, fresh[1].registry().etag)
        for part in fresh:
            part.close()


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), looks=st.lists(st.integers(0, 4), min_size=5, max_size=40))
def test_a_watcher_ends_up_with_what_a_new_one_is_shown(seed: int, looks: list[int]) -> None:
    """Also one that reads seldom, one that comes back, and after a time when nobody watched."""

    async def story() -> None:
        happening = Happening(seed)
        hub = Hub(happening.cluster.state, Encoded(happening.cluster.state))
        readers = [Reader(hub), Reader(hub)]
        for steps in looks:
            if happening.random.random() < 0.5:
                happening.random.choice(readers).connect()
            for _ in range(steps):
                happening.step()
            if happening.random.random() < 0.5:
                hub.flush()
            reader = happening.random.choice(readers)
            await reader.catch_up()
            if happening.random.random() < 0.5:
                reader.leave()
        hub.flush()
        newcomer = Reader(hub)
        for reader in (*readers, newcomer):
            await reader.catch_up()
        for reader in readers:
            assert reader.shown == newcomer.shown

    asyncio.run(story())


class Reader:
    """A client of the events, as a program would write it."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.cursor: str | None = None
        self.shown: dict[tuple[str, str], object] = {}
        self.watch: Watch | None = None

    def leave(self) -> None:
        """Cut off; the next time it comes back with its last cursor."""
        self.watch = None

    def connect(self) -> Watch:
        """The connection, made again if there is none; nothing is read yet."""
        if self.watch is None:
            self.watch = self.hub.watch(self.cursor)
        return self.watch

    async def catch_up(self) -> None:
        """Read all there is now."""
        watch = self.connect()
        while watch.behind:
            self.take((await anext(watch)).encoded)

    def take(self, encoded: bytes) -> None:
        for block in encoded.decode().split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            self.cursor = fields["id"]
            value = msgspec.json.decode(fields["data"])
            if fields["event"] == "snapshot":
                self.shown = {
                    (kind[:-1], item[field]): item
                    for kind, field in (("jobs", "key"), ("tasks", "id"), ("agents", "name"))
                    for item in value[kind]
                }
                continue
            name = value[{"job": "key", "task": "id", "agent": "name"}[fields["event"]]]
            if value.get("gone"):
                self.shown.pop((fields["event"], name), None)
            else:
                self.shown[fields["event"], name] = value
