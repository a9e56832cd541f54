"""The users: they schedule, rescale, unschedule and delete, and remember what was acknowledged.

They ask like web does: a request that is not answered in time is sent again, with the same id, until it is.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Literal, get_args

import msgspec

from actors.messages import Mutate, Mutated
from scheduling.answer import Answer
from scheduling.draining import DrainAgent, UndrainAgent
from scheduling.durations import Duration
from scheduling.job import ALL, JobConfig
from scheduling.jobs import DeleteJob, HaltJob, ScheduleJob, UnscheduleJob
from scheduling.migrating import Action, PutJob, RestartJob, RevertJob, SteerMigration
from scheduling.moves import Move
from scheduling.rebalancing import BeginRebalance, CancelRebalance
from scheduling.registry import AgentSpec, Mutation, SyncAgents
from scheduling.update import STRATEGIES, Update
from simulation.scenario import OF_AGENTS, OF_ALL, Act, job_config
from simulation.stage import Address, Stage

ANSWER_SECONDS = 10.0
# What is asked for by v0 has a number as its scale.
THROUGH_V1 = ("put", "migrate", "migrate to what fits nowhere")
ACTIONS: tuple[Action, ...] = get_args(Action)


class Asked(msgspec.Struct, kw_only=True):
    """One request and what became of it."""

    request_id: str
    mutation: Mutation
    answer: Answer | None = None
    tries: int = 0
    batch: str = ""
    superseded: bool = False


class Users:
    """All users together; each request has an id of its own and is repeated until it is answered."""

    def __init__(
        self,
        stage: Stage,
        rng: Random,
        registry: Callable[[], Address | None],
        moves: Callable[[], tuple[Move, ...]] = tuple,
    ) -> None:
        self._stage, self._rng, self._registry, self._moves = stage, rng, registry, moves
        self.address = stage.outsider(self._receive)
        self.asked: list[Asked] = []
        self.contradictions: list[str] = []
        self._by_batch: dict[str, Asked] = {}

    @property
    def waiting(self) -> list[Asked]:
        """Requests that are not answered yet."""
        return [asked for asked in self.asked if asked.answer is None and not asked.superseded]

    def act(self, act: Act) -> None:
        """Ask for what the scenario says."""
        if act.kind in OF_ALL:
            self.ask(self._about_all(act))
            return
        if act.kind in OF_AGENTS:
            self.ask(_about_agent(act))
            return
        variant, number = act.number % 2, 1 + act.number // 2 % 4
        scale: int | Literal["all"] = number
        config = job_config(act.target, variant, number)
        versions = self._scheduled(act.target)
        if act.kind in THROUGH_V1 and act.number % 11 < 3:
            scale = ALL
            config = msgspec.structs.replace(config, scale=scale)
        if act.kind == "put" and versions and act.number % 5:
            config = msgspec.structs.replace(versions[-1], scale=scale)  # a change of scale alone
        mutations: dict[str, Mutation] = {
            "schedule": ScheduleJob(config=config),
            "put": PutJob(config=config),
            "unschedule": UnscheduleJob(hash=(versions[-1] if versions else config).hash()),
            "delete": DeleteJob(key=config.key),
            "migrate": PutJob(config=_another(versions, config, scale), update=policy(act.number)),
            "migrate to what fits nowhere": PutJob(
                config=_too_large(_another(versions, config, scale)), update=policy(act.number)
            ),
            "steer": SteerMigration(
                id=self._latest_migration(act.target), action=ACTIONS[act.number % len(ACTIONS)]
            ),
            "restart": RestartJob(key=config.key, update=policy(act.number)),
            "revert": RevertJob(key=config.key, update=policy(act.number)),
            "stop": HaltJob(key=config.key, stopped=True),
            "start": HaltJob(key=config.key, stopped=False),
        }
        self.ask(mutations[act.kind])

    def _about_all(self, act: Act) -> Mutation:
        """Even out what the scheduler knows now, as web does with what it knows; or do so no longer."""
        if act.kind == "cancel the rebalance":
            return CancelRebalance()
        return BeginRebalance(moves=self._moves(), seconds=float(10 + act.number % 40))

    def sync_agents(self, agents: tuple[AgentSpec, ...]) -> None:
        """These are the agents now; an older word on that is not repeated."""
        for asked in self.waiting:
            asked.superseded |= isinstance(asked.mutation, SyncAgents)
        self.ask(SyncAgents(source="operator", agents=agents))

    def ask(self, mutation: Mutation) -> None:
        """Send a new request."""
        asked = Asked(request_id=f"request-{len(self.asked)}", mutation=mutation)
        self.asked.append(asked)
        self._send(asked)

    def _scheduled(self, name: str) -> list[JobConfig]:
        """The versions of a job that these users believe are scheduled."""
        believed: dict[str, JobConfig] = {}
        for asked in self.asked:
            mutation = asked.mutation
            if isinstance(mutation, ScheduleJob | PutJob) and mutation.config.job == name:
                believed[mutation.config.hash()] = mutation.config
            elif isinstance(mutation, DeleteJob) and mutation.key.job == name:
                believed = {}
            elif isinstance(mutation, UnscheduleJob):
                believed.pop(mutation.hash, None)
        return list(believed.values())

    def _latest_migration(self, name: str) -> str:
        """The migration of a job that these users were told of last."""
        told = [one.answer for one in self.asked if one.answer is not None and one.answer.migration]
        ours = [answer for answer in told if answer.hash.rpartition("-")[0] == name]
        return (ours or told)[-1].migration if told else "m-0"

    def _send(self, asked: Asked) -> None:
        registry = self._registry()
        clock = self._stage.clock
        if asked.superseded:
            return
        if registry is None:
            clock.after(self._rng.uniform(0.2, 2.0), lambda: self._send(asked))
            return
        asked.tries += 1
        asked.batch = f"{asked.request_id}-{asked.tries}"
        self._by_batch[asked.batch] = asked
        message = Mutate(batch=asked.batch, mutations=((asked.request_id, asked.mutation),))
        kind = type(asked.mutation).__name__
        self._stage.trace.note(clock.now, "users", f"ask {asked.batch}: {kind} {_what(asked.mutation)}")
        self._stage.send(self.address, registry, message)
        batch = asked.batch
        clock.after(ANSWER_SECONDS, lambda: self._again(asked, batch))

    def _again(self, asked: Asked, batch: str) -> None:
        if asked.answer is None and asked.batch == batch and not asked.superseded:
            self._stage.clock.after(self._rng.uniform(0.0, 15.0), lambda: self._send(asked))

    def _receive(self, message: object, _sender: Address) -> None:
        if not isinstance(message, Mutated) or message.batch not in self._by_batch:
            return
        asked = self._by_batch[message.batch]
        if message.error:
            self._again(asked, message.batch)
        elif asked.answer is None:
            asked.answer = message.answers[0]
            said = f"{asked.answer.result} at {asked.answer.version}: {asked.answer.message}"
            self._stage.trace.note(self._stage.clock.now, "users", f"are told {message.batch}: {said}")
        elif message.answers[0] != asked.answer:
            self.contradictions.append(f"{asked.request_id}: {asked.answer}, then {message.answers[0]}")


def _about_agent(act: Act) -> Mutation:
    """Drained or not: emptied without a deadline, by one, or left with what it has; or open again."""
    if act.kind == "undrain":
        return UndrainAgent(agent=act.target)
    seconds = float(5 + act.number % 30) if act.number % 3 == 0 else None
    return DrainAgent(agent=act.target, empty=act.number % 5 > 0, seconds=seconds)


def policy(number: int) -> Update:
    """An update policy out of a number: any strategy, any bounds that may work, quick to prove or to fail."""
    return Update(
        strategy=STRATEGIES[number % len(STRATEGIES)],
        max_parallel=1 + number // 4 % 3,
        floor=(None, None, 0, 1)[number // 12 % 4],
        canary=1 + number // 48 % 2,
        auto_promote=number // 96 % 2 == 0,
        auto_revert=number // 192 % 4 != 0,
        min_healthy_time=Duration((1 + number % 3) * 10**9),
        progress_deadline=Duration((20 + number % 20) * 10**9),
    )


def _another(versions: list[JobConfig], config: JobConfig, scale: int | Literal["all"]) -> JobConfig:
    """The other variant of the job that is scheduled, or the given one."""
    if not versions:
        return config
    variant = str(1 - int((versions[-1].env or {}).get("VARIANT", "0")))
    return msgspec.structs.replace(versions[-1], env={"VARIANT": variant}, scale=scale)


def _too_large(config: JobConfig) -> JobConfig:
    """The same with more memory than any agent has."""
    large = msgspec.structs.replace(config.resources, mem=100_000)
    return msgspec.structs.replace(config, resources=large)


def _what(mutation: Mutation) -> str:
    if isinstance(mutation, ScheduleJob | PutJob):
        return f"{mutation.config.hash()} x{mutation.config.scale}"
    if isinstance(mutation, UnscheduleJob):
        return mutation.hash
    if isinstance(mutation, SteerMigration):
        return f"{mutation.action} {mutation.id}"
    if isinstance(mutation, DeleteJob | HaltJob | RestartJob | RevertJob):
        return str(mutation.key)
    if isinstance(mutation, DrainAgent):
        by = f" within {mutation.seconds:g} s" if mutation.seconds is not None else ""
        return f"{mutation.agent}{by if mutation.empty else ', its tasks stay'}"
    if isinstance(mutation, UndrainAgent):
        return mutation.agent
    if isinstance(mutation, BeginRebalance):
        return ", ".join(f"{move.task} from {move.source} to {move.target}" for move in mutation.moves)
    return ""
