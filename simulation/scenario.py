"""What a seed stands for: a small cluster, what its users ask for, and which faults hit it when.

All of it is made before the run begins, so that a run can be repeated with parts left out.
"""

from __future__ import annotations

from random import Random

import msgspec

from scheduling.durations import Duration
from scheduling.job import Command, Grace, JobConfig, Resources
from scheduling.lifecycle import Phase
from scheduling.update import Update

CHAOS_SECONDS = 60.0
PATIENCE_SECONDS = 12.0
# So many faults of each seed go through all kinds and phases in turn, whatever the dice say.
AIMED = 8
# In every so many-th seed a migration is led along a rare way.
STEERED = 3
JOB_NAMES = ("web", "db", "cache", "queue")
# Nobody else asks anything about this one.
STEERED_JOB = "ledger"


class AgentPlan(msgspec.Struct, frozen=True):
    """One host. `foreign`: how many containers are there that are nobody's business."""

    name: str
    mem: int
    cpu: float
    modern: bool
    foreign: int


class Act(msgspec.Struct, frozen=True):
    """One thing that is done to the cluster, by its users or by fate."""

    at: float
    kind: str
    target: str = ""
    seconds: float = 0.0
    number: int = 0
    # Waits until a container (of the target, if there is one) is in this phase, for PATIENCE_SECONDS at most;
    # a request: until a migration of the target is in this state.
    aim: str = ""

    def __str__(self) -> str:
        words = f"{self.at:7.3f}  {self.kind} {self.target}"
        words += f" once something is {self.aim}" if self.aim else ""
        return words + (f" for {self.seconds:.1f} s" if self.seconds else "") + f" ({self.number})"


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What kind of scenarios to make: how many of what, and which faults how often (by weight)."""

    agents: tuple[int, int] = (3, 5)
    requests: tuple[int, int] = (6, 14)
    faults: tuple[int, int] = (5, 14)
    chaos_seconds: float = CHAOS_SECONDS
    weights: dict[str, float] = {}
    lasts: dict[str, tuple[float, float]] = {}
    reuse_ports: float = 0.05
    # How many tasks the imported job has, one of these.
    imported: tuple[int, ...] = (0, 0, 1, 3)
    # How long agents may be away before they are lost, one of these.
    lost_after: tuple[float, ...] = (60.0, 15.0)


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """All that is decided before a run."""

    seed: int
    agents: tuple[AgentPlan, ...]
    acts: tuple[Act, ...]
    flock_size: int
    algorithm: str
    reuse_ports: bool
    # Old containers of this job run already, here and there; it is imported.
    imported: int
    chaos_seconds: float
    lost_after_seconds: float = 60.0

    @property
    def remote(self) -> bool:
        """Whether flocks are on hosts of their own: only those can be cut off."""
        return any(act.kind == "flock is cut off" for act in self.acts)


ON_AGENTS = {
    "agent crashes, all kept": 2.0, "agent crashes, rebooted": 1.0, "agent crashes, empty": 2.0,
    "agent crashes, old disk": 1.5, "agent hangs": 2.0, "agent is slow": 1.0, "agent answers 500": 1.0,
    "agent answers 500 but did it": 1.0, "agent answers 404 and 409": 1.0, "agent talks rubbish": 1.0,
    "agent uses strange words": 1.0,
    "artifacts fail": 0.5, "starts fail": 0.5, "task exits": 2.0,
    "network is cut": 2.0, "network is flaky": 2.0, "connections are reset": 1.0,
    "state machine is killed": 2.0, "state machine dies in a step": 1.0, "state machine hangs": 1.0,
    "state machine dies while it sends": 1.0,
    "agent is removed": 0.7, "agent never comes back": 0.5, "agent is away until it is lost": 2.0,
}  # fmt: skip
ON_ACTORS = {
    "registry is killed": 1.5, "registry dies before a commit": 1.0, "registry dies after a commit": 1.5,
    "disk is full": 1.0, "registry hangs": 1.0, "registry hangs over a write": 1.0,
    "scheduler is killed": 2.0, "scheduler dies in a step": 1.0, "scheduler hangs": 1.0,
    "scheduler dies with late messages": 1.0, "transformer dies with late messages": 1.0,
    "transformer is killed": 1.5, "transformer dies in a step": 1.0, "transformer hangs": 1.0,
    "shepherd is killed": 1.0, "shepherd hangs": 1.0, "shepherd dies with late messages": 0.7,
    "flock is killed": 1.5, "flock hangs": 1.0, "flock is cut off": 1.0,
    "flock dies with late messages": 0.5, "registry dies with late messages": 0.7,
    "discovery is killed": 0.3, "supervisor is killed": 1.0, "supervisor hangs": 0.3,
}  # fmt: skip
FAULTS = {**ON_AGENTS, **ON_ACTORS}
# How long each lasts, from and to; 8 s where nothing is said.
_LASTS = {
    "agent hangs": (2.0, 60.0), "agent is slow": (10.0, 40.0), "network is cut": (1.0, 40.0),
    "network is flaky": (3.0, 25.0), "disk is full": (2.0, 15.0), "agent is removed": (10.0, 40.0),
    "agent is away until it is lost": (0.0, 6.0),
    "flock is cut off": (3.0, 40.0),
    "registry hangs": (1.0, 14.0), "registry hangs over a write": (1.0, 25.0), "supervisor hangs": (1.0, 5.0),
}  # fmt: skip
REQUESTS = {
    "schedule": 4.0, "put": 4.0, "unschedule": 3.0, "delete": 2.0,
    "migrate": 5.0, "steer": 2.0, "restart": 0.7, "revert": 0.7, "stop": 0.5, "start": 0.7,
    "drain": 1.5, "undrain": 1.0, "migrate to what fits nowhere": 0.2,
    "rebalance": 1.5, "cancel the rebalance": 0.5,
}  # fmt: skip
# What is asked for about agents; the rest is about jobs.
OF_AGENTS = ("drain", "undrain")
OF_ALL = ("rebalance", "cancel the rebalance")


def job_config(name: str, variant: int, scale: int) -> JobConfig:
    """A job of the simulated users; the variants are versions of it."""
    mem = {"web": 100, "db": 350, "cache": 150, "queue": 60, STEERED_JOB: 40}[name]
    return JobConfig(
        product="sim",
        environment="test",
        job=name,
        scale=scale,
        env={"VARIANT": str(variant)},
        command=Command(working_dir="/", exec=["./run"]),
        resources=Resources(mem=mem, cpu=0.1 + 0.4 * (name == "db"), fd=64),
        ports={"HTTP": 8080} if name == "cache" else None,
        grace=Grace(startup=Duration(10**9), shutdown=Duration(10**9)),
        restart=("always", "on-failure", "no")[(variant + len(name)) % 3],
        update=Update(min_healthy_time=Duration(2 * 10**9), progress_deadline=Duration(40 * 10**9)),
    )


def make(seed: int, rng: Random, profile: Profile) -> Scenario:
    """The scenario of a seed. The run goes on with the same `rng`."""
    count = rng.randint(*profile.agents)
    agents = tuple(
        AgentPlan(f"agent{number}", rng.choice((400, 800, 1200)), 2.0, rng.random() < 0.5,
                  rng.choice((0, 0, 1, 2)))
        for number in range(count)
    )  # fmt: skip
    names = [agent.name for agent in agents]
    weights = profile.weights or FAULTS
    acts = [_request(rng, profile, names) for _ in range(rng.randint(*profile.requests))]
    for _ in range(rng.randint(*profile.faults)):
        kind = rng.choices(list(weights), list(weights.values()))[0]
        acts += _fault(rng, profile, names, kind, rng.choice(list(Phase)) if rng.random() < 0.4 else "")
    combinations = [(kind, phase) for kind in weights for phase in Phase]
    for number in range(AIMED):
        kind, phase = combinations[(seed * AIMED + number) % len(combinations)]
        acts += _fault(rng, profile, names, kind, phase)
    if seed % STEERED == 0:
        acts += _steered(seed, rng)
    if seed % STEERED == 1:
        # Taken back while it is under way, which chance hardly ever does.
        acts += [Act(20.0, "rebalance", number=seed % 1000), Act(20.5, "cancel the rebalance")]
    if seed % 5 < 4:
        # Rare, and worth seeing: what is being made is there already, as it once was; what is deleted, again.
        # The rarest of them comes in one of sixteen that aim at it, so most do.
        aim = (Phase.CREATING, Phase.DELETING, Phase.CREATED, Phase.CREATED)[seed % 5]
        acts += _fault(rng, profile, names, "agent crashes, old disk", aim)
    return Scenario(
        seed=seed,
        agents=agents,
        acts=tuple(sorted(acts, key=lambda act: (act.at, act.kind, act.target))),
        flock_size=rng.choice((1, 2, 2, 50)),
        algorithm=rng.choice(("random_fit", "least_used")),
        reuse_ports=rng.random() < profile.reuse_ports,
        imported=rng.choice(profile.imported),
        chaos_seconds=profile.chaos_seconds,
        lost_after_seconds=rng.choice(profile.lost_after),
    )


def _request(rng: Random, profile: Profile, agents: list[str]) -> Act:
    # Most ask early, so that faults find something to hit.
    at = rng.random() ** 1.5 * profile.chaos_seconds
    kind = rng.choices(list(REQUESTS), list(REQUESTS.values()))[0]
    return Act(at, kind, rng.choice(agents if kind in OF_AGENTS else JOB_NAMES), 0.0, rng.randrange(1000))


def _steered(seed: int, rng: Random) -> list[Act]:
    """A migration led along one of the ways that chance alone hardly ever takes, in turn."""
    job, at = STEERED_JOB, rng.uniform(0.5, 5.0)
    begin = Act(at, "schedule", job, 0.0, rng.randrange(1000))
    # No policy of these numbers reverts by itself; what to steer is one of ACTIONS (users.py), by number.
    number = rng.randrange(192)
    fails = Act(at + 4.0, "migrate to what fits nowhere", job, 0.0, number)
    goes = Act(at + 4.0, "migrate", job, 0.0, number)
    pause, resume, abort = (Act(at + 5.0, "steer", job, 0.0, which) for which in range(3))
    leave = Act(at + 5.0, "unschedule", job)
    return [begin] + [
        [fails, _once("failed", abort)],
        [fails, _once("failed", resume)],
        [fails, _once("failed", leave)],
        [goes, _once("running", abort), _once("reverting", leave)],
        [goes, _once("running", pause), msgspec.structs.replace(resume, at=at + 15.0)],
    ][seed // STEERED % 5]


def _once(state: str, act: Act) -> Act:
    """The same, once a migration of that job is in this state."""
    return msgspec.structs.replace(act, aim=state)


def _prepared(rng: Random, at: float, aim: str, agent: str) -> list[Act]:
    """What helps a container to be in this phase soon after: there is one to be made, or one to go."""
    job, number = rng.choice(JOB_NAMES), rng.randrange(1000)
    soon = at + rng.uniform(0.0, 2.0)
    made = [Act(soon, "schedule", job, 0.0, number), Act(soon + 0.5, "restart", job, 0.0, number)]
    if aim == Phase.UNCLEAR:
        return [Act(at, "agent uses strange words", agent, 8.0)]
    if aim == Phase.CREATED:
        return [Act(at, "agent answers 500", agent, 8.0), *made]
    if aim in (Phase.STOPPING, Phase.DELETING, Phase.ENDED):
        return [Act(max(0.5, at - 6.0), "schedule", job, 0.0, number), Act(soon, "delete", job)]
    return made if aim in (Phase.CREATING, Phase.STARTING) else []


def _fault(rng: Random, profile: Profile, names: list[str], kind: str, aim: str) -> list[Act]:
    weights = profile.weights or FAULTS
    at = rng.uniform(2.0, profile.chaos_seconds - (PATIENCE_SECONDS if aim else 0.0))
    target = rng.choice(names) if kind in ON_AGENTS else ""
    low, high = (profile.lasts or _LASTS).get(kind, (0.5, 8.0))
    seconds = round(low + (high - low) * rng.random() ** 2, 3)
    acts = [Act(at, kind, target, seconds, rng.randrange(1000), aim)]
    if aim:
        acts += _prepared(rng, at, aim, target or rng.choice(names))
    if kind == "agent crashes, old disk":
        copied_at = max(0.5, at - rng.uniform(3.0, 25.0))
        if aim in (Phase.CREATING, Phase.CREATED):
            # What had ended when the disk was copied is gone, and being made again when the old disk is back.
            copied = rng.choice(("disk is copied", "disk is copied, all has ended"))
            acts.append(Act(copied_at, copied, target))
            acts.append(Act(at - 1.0, "agent crashes, empty", target, 0.5))
        else:
            acts.append(Act(copied_at, "disk is copied", target))
    if rng.random() < 0.25:
        # Troubles come in pairs: another one close by.
        other = rng.choices(list(weights), list(weights.values()))[0]
        where = target or rng.choice(names)
        when = min(at + rng.uniform(0.0, 3.0), profile.chaos_seconds)
        acts.append(Act(when, other, where if other in ON_AGENTS else "", seconds, rng.randrange(1000)))
    return acts
