"""A run: the cluster of a scenario, its faults, and then the time to recover."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import msgspec

from actors.messages import Begin
from actors.supervisor import Supervisor
from config.settings import load_settings
from scheduling.desired import JOB, Desired
from scheduling.job import ContainerConfig, JobConfig
from scheduling.jobs import ScheduleJob
from scheduling.moves import Move
from scheduling.rebalance import balance
from scheduling.registry import judge
from simulation.agent import Agent, Container
from simulation.clock import BEGIN_SECONDS, Clock
from simulation.decisions import Decisions
from simulation.disk import Disk, store_on
from simulation.edges import Outside, exchanged
from simulation.facts import Facts, Violation
from simulation.faults import Faults
from simulation.liveness import unfinished
from simulation.network import Network
from simulation.reach import Reach
from simulation.scenario import REQUESTS, Act, Scenario, job_config
from simulation.stage import Address, Backstage, Stage
from simulation.trace import Trace
from simulation.users import Users
from simulation.watch import Watch

# After the faults: everything is as it should be within this time, and stays so for the calm.
RECOVERY_SECONDS = 300.0
CALM_SECONDS = 20.0
MOST_STEPS = 400_000
# So often a user who waits for a migration looks how it stands.
LOOK_SECONDS = 0.1


class Result(msgspec.Struct, kw_only=True):
    """How a run ended."""

    scenario: Scenario
    violation: Violation | None
    trace: Trace
    steps: int
    seconds: float
    reach: Reach
    decisions: Decisions
    checks: int

    @property
    def digest(self) -> str:
        """The same for the same run."""
        return self.trace.digest()


class World:
    """Everything there is in one run."""

    def __init__(self, scenario: Scenario, rng: Random, *, aloud: bool = False) -> None:
        self.scenario, self.rng = scenario, rng
        self.clock = Clock()
        self.trace = Trace(aloud=aloud)
        self.stage = Stage(self.clock, rng, self.trace, reuse_ports=scenario.reuse_ports)
        self.disk = Disk()
        self.agents = {
            plan.name: Agent(plan.name, self.clock, rng, plan.mem, plan.cpu, modern=plan.modern)
            for plan in scenario.agents
        }
        self.network = Network(self.stage, self.agents)
        self.facts = Facts(self.disk, self.agents)
        self.users = Users(self.stage, rng, self._registry, self._moves)
        self.reach = Reach()
        self.outside = Outside(self.clock, rng, self.stage)
        self.disk.who_acts = lambda: self.stage.acting
        self.outside.make_store = store_on(self.disk)
        self.outside.make_mailbox = self.network.mailbox
        self.outside.make_stream = self.network.stream
        self.outside.make_senders = self.network.senders
        self.outside.remote = scenario.remote
        settings = load_settings({}, {}, None)
        self._settings = msgspec.structs.replace(
            settings,
            flock_size=scenario.flock_size,
            placement=scenario.algorithm,
            lost_after_seconds=scenario.lost_after_seconds,
        )
        self._launcher = self.stage.outsider(lambda _message, _sender: None)
        self._populate()
        self.watch = Watch(self.stage, self.facts, self.users)
        self.reach.told = self.watch.sightings.counts
        self.network.on_request = self.watch.sent_request
        self.faults = Faults(self.stage, self.network, self.disk, self.agents, self.users, self.reach)
        self.watch.on_machine_step = self.faults.look
        self.decisions = Decisions()
        self.decisions.listen(self.stage, self.network, self.faults)
        self.stage.on_end = self._ended

    def run(self) -> Result:
        """The faults, and then the recovery."""
        with self.going_on():
            violation = self.pass_until(BEGIN_SECONDS + self.scenario.chaos_seconds) or self.recover()
        return Result(
            scenario=self.scenario, violation=violation, trace=self.trace, steps=self.clock.steps,
            seconds=self.clock.elapsed, reach=self.reach, decisions=self.decisions, checks=self.watch.checks,
        )  # fmt: skip

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Start everything; time passes by `pass_until` and `recover` while this lasts."""
        with exchanged(self.outside), self.reach.watching():
            self._launch()
            self.users.sync_agents(self.faults.agent_specs())
            for act in self.scenario.acts:
                self.clock.at(BEGIN_SECONDS + act.at, lambda act=act: self.act(act))  # type: ignore[misc]
            for agent in self.agents.values():
                self._sample(agent)
            yield

    def pass_until(self, until: float) -> Violation | None:
        """Let time pass until then, or until an invariant breaks."""
        while self.clock.step(until):
            if self.watch.violations:
                return self.watch.violations[0]
            if self.clock.steps > MOST_STEPS:
                return Violation("time passes", f"{MOST_STEPS} steps by {self.clock.elapsed:.0f} s")
        return None

    def recover(self) -> Violation | None:
        """The faults stop: in bounded time everything is as it should be, and then nothing happens."""
        self.trace.note(self.clock.now, "fate", "stops")
        self.faults.stop()
        give_up_at = self.clock.now + RECOVERY_SECONDS
        calm_since, requests = self.clock.now, self.network.requests
        while self.clock.now < give_up_at:
            violation = self.pass_until(self.clock.now + 1.0)
            if violation is not None:
                return violation
            wrong = next(unfinished(self.facts, self.users, self.stage), None)
            if wrong is not None or requests != self.network.requests:
                calm_since, requests = self.clock.now, self.network.requests
            elif self.clock.now - calm_since >= CALM_SECONDS:
                return None
        wrong = next(
            unfinished(self.facts, self.users, self.stage), ("requests are sent again and again", ())
        )
        return Violation("actual becomes desired", wrong[0], wrong[1])

    # --- the beginning ---

    def _populate(self) -> None:
        """Foreign containers everywhere; and old containers of a job that is imported."""
        for plan in self.scenario.agents:
            for number in range(plan.foreign):
                self.put(plan.name, f"other-{number}", job_config("queue", 0, 1).container(), "running")
        if not self.scenario.imported:
            return
        config = job_config("web", 0, self.scenario.imported)
        prefix = self.import_job(config)
        for index in range(self.scenario.imported):
            for name in self.rng.sample(sorted(self.agents), k=self.rng.choice((0, 1, 1, 2))):
                status = self.rng.choice(("running", "running", "created", "finished"))
                self.put(name, f"{prefix}-{index}", config.container(), status)

    def import_job(self, config: JobConfig) -> str:
        """Let the registry begin with this job, whose tasks may run already; returns its prefix."""
        _, changes = judge(Desired(), ScheduleJob(config=config, adopt=True), 1)
        self.disk.commit(1, changes, {})
        self.facts.committed(changes)
        return next(key[1] for key in changes if key[0] == JOB)

    def put(self, agent: str, task: str, config: ContainerConfig, status: str) -> None:
        """Let an agent begin with this container."""
        container = Container(task=task, config=config, status=status, ours=not task.startswith("other"))
        self.agents[agent].containers[task] = container

    # --- what goes on ---

    def _launch(self) -> None:
        supervisor = self.stage.create(Supervisor, None)
        self.stage.send(self._launcher, supervisor.address, Begin(settings=self._settings))

    def _ended(self, actor: Backstage) -> None:
        self.watch.sightings.ended(actor)
        if actor.kind == "Supervisor":
            self.clock.after(self.rng.uniform(0.1, 2.0), self._launch)

    def _registry(self) -> Address | None:
        registries = [each for each in self.stage.of_kind("Registry") if hasattr(each.performer, "desired")]
        return registries[0].address if registries else None

    def _moves(self) -> tuple[Move, ...]:
        """What a rebalance would move, by what a scheduler knows; web's replicas are no other."""
        rules = [
            each.performer.rule for each in self.stage.of_kind("Scheduler") if hasattr(each.performer, "rule")
        ]
        return balance(rules[0].desired, rules[0].actual).moves if rules else ()

    def act(self, act: Act) -> None:
        """It happens now; a request that waits for a migration looks again soon."""
        if act.kind not in REQUESTS:
            self.faults.strike(act)
        elif not act.aim or self._is_so(act):
            self.users.act(act)
        elif self.clock.elapsed < self.scenario.chaos_seconds:
            self.clock.after(LOOK_SECONDS, lambda: self.act(act))

    def _is_so(self, act: Act) -> bool:
        migrations = self.facts.desired.migrations.values()
        return any(each.key.job == act.target and each.state == act.aim for each in migrations)

    def _sample(self, agent: Agent) -> None:
        agent.sample()
        self.clock.after(self.rng.uniform(5.0, 15.0), lambda: self._sample(agent))
