"""A run by hand: a small cluster in virtual time, to which a test does things and whose outcome it expects.

As in a run of a seed the actors are the real ones and every invariant is watched; what is done, and when,
is the test's. `told` tells a story once for each seed: the seeds only vary delays and chances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from random import Random

import msgspec

from scheduling.actual import Actual
from scheduling.container import RUNNING
from scheduling.desired import AGENT, Agent, Placement
from scheduling.job import JobConfig
from scheduling.jobs import DeleteJob, ScheduleJob
from scheduling.migrating import PutJob
from scheduling.registry import Mutation
from simulation.agent import Container
from simulation.clock import BEGIN_SECONDS
from simulation.scenario import Act, AgentPlan, Scenario, job_config
from simulation.stage import Backstage
from simulation.switches import Mutation as Switch
from simulation.users import Asked
from simulation.world import World

SEEDS = range(3)
# So long a story waits for something that should come by itself.
PATIENCE_SECONDS = 60.0


# What happens by chance to one in a hundred (a slow message, a failed start) happens to none here.
RARE_SHARE = 0.05


class Steady(Random):
    """Chance without what is rare: a story must not fail because a start happened to."""

    def random(self) -> float:
        """From RARE_SHARE to 1."""
        return RARE_SHARE + (1.0 - RARE_SHARE) * super().random()


class BrokenStoryError(AssertionError):
    """The outcome is another one: an invariant broke, or what was expected did not come."""


class Script:
    """One cluster, and what can be done to it and seen of it. Agents are named with their memory in MB."""

    def __init__(
        self,
        agents: Mapping[str, int],
        seed: int,
        lost_after_seconds: float,
    ) -> None:
        plans = tuple(AgentPlan(name, mem, 8.0, modern=True, foreign=0) for name, mem in agents.items())
        scenario = Scenario(
            seed=seed,
            agents=plans,
            acts=(),
            flock_size=2,
            algorithm="least_used",
            reuse_ports=False,
            imported=0,
            chaos_seconds=0.0,
            lost_after_seconds=lost_after_seconds,
        )
        self.scenario = scenario
        self.world = World(scenario, Steady(seed))
        # Looked at after every step; a text says what is wrong.
        self.never: dict[str, Callable[[], object]] = {}

    # --- what is done ---

    def begin(self) -> None:
        """Wait until the scheduler knows all agents."""
        names = list(self.world.agents)
        self.until(lambda: all(self.link(name) == "connected" for name in names), "all agents connected")

    def ask(self, mutation: Mutation) -> Asked:
        """Have the users ask for this, and again until it is answered."""
        self.world.users.ask(mutation)
        return self.world.users.asked[-1]

    def schedule(self, name: str, scale: int = 1, **changes: object) -> list[str]:
        """Schedule one of the simulated jobs, wait for the answer; returns its tasks."""
        config = self.config(name, scale, **changes)
        asked = self.ask(ScheduleJob(config=config))
        self.until(lambda: asked.answer is not None, f"{name} is scheduled")
        return [f"{config.hash()}-{index}" for index in range(scale)]

    def config(self, name: str, scale: int = 1, **changes: object) -> JobConfig:
        """The config of a simulated job, with changes."""
        config: JobConfig = msgspec.structs.replace(job_config(name, 0, scale), **changes)
        return config

    def put(self, config: JobConfig) -> Asked:
        """Make this the job's config, and wait for the answer."""
        asked = self.ask(PutJob(config=config))
        self.until(lambda: asked.answer is not None, f"{config.job} is put")
        return asked

    def delete(self, name: str) -> None:
        """Unschedule all of a job, and wait for the answer."""
        asked = self.ask(DeleteJob(key=self.config(name).key))
        self.until(lambda: asked.answer is not None, f"{name} is deleted")

    def strike(self, kind: str, target: str = "", seconds: float = 0.0, number: int = 0) -> None:
        """Let a fault happen now."""
        self.world.act(Act(0.0, kind, target, seconds, number))

    def hold(self, agent: str, step: str) -> Callable[[], None]:
        """What this agent does next of this (`_fetched`, `remove`) it does not do before it is let go."""
        host, held = self.world.agents[agent], list[Container]()
        setattr(host, step, held.append)

        def let_go() -> None:
            delattr(host, step)
            for container in held:
                getattr(host, step)(container)

        return let_go

    def kill(self, kind: str) -> None:
        """Kill the actors of a class."""
        for actor in self.world.stage.of_kind(kind):
            self.world.stage.kill(actor, "killed")

    # --- time ---

    def until(
        self, condition: Callable[[], object], what: str, within_seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Let time pass until this is so. Raises BrokenStoryError if it is not, or something breaks."""
        world = self.world
        give_up_at = world.clock.now + within_seconds
        while not condition():
            if world.clock.now >= give_up_at:
                raise BrokenStoryError(f"not within {within_seconds:.0f} s: {what}")
            world.clock.step(give_up_at)
            self._look()

    def pass_seconds(self, seconds: float) -> None:
        """Let this much time pass. Raises BrokenStoryError when something breaks meanwhile."""
        until = self.world.clock.now + seconds
        while self.world.clock.step(until):
            self._look()

    def expect(self, holds: object, what: str) -> None:
        """It is so now. Raises BrokenStoryError."""
        if not holds:
            raise BrokenStoryError(f"not so: {what}")

    def end(self) -> None:
        """Stop all faults; everything must become as it should be."""
        violation = self.world.recover()
        if violation is not None:
            raise BrokenStoryError(str(violation))

    def _look(self) -> None:
        violations = self.world.watch.violations
        if violations:
            raise BrokenStoryError(str(violations[0]))
        for what, happens in self.never.items():
            if happens():
                raise BrokenStoryError(f"it must never be: {what}")

    # --- what is seen ---

    def holders(self, task: str) -> list[str]:
        """The agents that have the task's container."""
        return [name for name, agent in self.world.agents.items() if task in agent.containers]

    def runs_on(self, task: str) -> list[str]:
        """The agents where it runs."""
        agents = self.world.agents.items()
        return [name for name, agent in agents if task in agent.containers
                and agent.containers[task].status == RUNNING]  # fmt: skip

    def row(self, task: str) -> Placement | None:
        """Its placement, as it is on the disk."""
        return self.world.facts.row(task)

    def copies(self, task: str) -> dict[str, str]:
        """The intents of its placement's copies, by agent."""
        row = self.row(task)
        return {copy.agent: copy.intent for copy in row.copies} if row is not None else {}

    def lost(self, agent: str) -> bool:
        """Whether it is written down that this agent is lost."""
        known = self.world.disk.state.get((AGENT, agent))
        return isinstance(known, Agent) and known.lost_since is not None

    def actor(self, kind: str) -> Backstage:
        """The living actor of a class that there is one of."""
        (actor,) = self.world.stage.of_kind(kind)
        return actor

    @property
    def actual(self) -> Actual:
        """The actual state as the scheduler is told of it; empty while there is no scheduler."""
        rules = [each.performer.rule for each in self.world.stage.of_kind("Scheduler")
                 if hasattr(each.performer, "rule")]  # fmt: skip
        actual: Actual = rules[0].actual if rules else Actual()
        return actual

    def link(self, agent: str) -> str:
        """How the link to an agent is, as the scheduler is told; empty before it is."""
        status = self.actual.agents.get(agent)
        return status.link if status is not None else ""

    def waiting(self, prefix: str) -> str:
        """Why tasks of a version wait, as the scheduler says."""
        publishers = [each.performer.publisher for each in self.world.stage.of_kind("Scheduler")]
        why = publishers[0].state.get(("waiting", prefix)) if publishers else None
        return "" if why is None else str(why.reason)

    def memory(self, agent: str) -> int:
        """The memory of an agent, in MB."""
        return self.world.agents[agent].mem

    def requests(self, word: str = "") -> list[str]:
        """All requests that reached an agent so far, as `agent1: start web-…-0: 202 …`, with this word."""
        verbs = ("put ", "start ", "stop ", "delete ")
        said = [f"{line.who}: {line.what}" for line in self.world.trace.lines if line.what.startswith(verbs)]
        return [line for line in said if word in line]

    def logged(self, word: str) -> list[str]:
        """The lines of the trace with this word."""
        return [str(line) for line in self.world.trace.lines if word in f"{line.who} {line.what}"]

    def elapsed(self) -> float:
        """Seconds since the story began."""
        return self.world.clock.now - BEGIN_SECONDS


@contextmanager
def script(
    agents: Mapping[str, int],
    seed: int,
    *,
    lost_after_seconds: float = 20.0,
    before: Callable[[World], None] = lambda _world: None,
) -> Iterator[Script]:
    """A script whose time passes while this lasts; `before` sees to what is there when it begins."""
    scripted = Script(agents, seed, lost_after_seconds)
    before(scripted.world)
    with scripted.world.going_on():
        yield scripted


def told(story: Callable[[int], None], off: tuple[Switch, ...] = ()) -> list[str]:
    """How the story ends for each seed, with these protections off: empty as expected, or what broke."""
    ends = []
    for seed in SEEDS:
        with ExitStack() as stack:
            for switch in off:
                stack.enter_context(switch.applied())
            try:
                story(seed)
            except BrokenStoryError as error:
                ends.append(str(error))
            else:
                ends.append("")
    return ends
