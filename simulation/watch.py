"""Watches a run: calls the invariants wherever one could break, and keeps what they found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from actors.messages import Acknowledge, Broadcast, Commands, Mutate, Subscribe
from scheduling.answer import Answer
from scheduling.desired import AGENT, MIGRATION
from scheduling.lifecycle import Input
from scheduling.replica import Key, Replica
from simulation import invariants
from simulation.agent import Agent, Journey
from simulation.bookkeeping import acknowledged_is_kept
from simulation.facts import Facts, Violation
from simulation.judge import SchedulerJudge
from simulation.judge_migration import judge_end, judge_steered
from simulation.sightings import Sightings
from simulation.stage import Address, Backstage, Stage
from simulation.users import Users


class Watch:
    """The first violation is what counts: after it nothing means much."""

    def __init__(self, stage: Stage, facts: Facts, users: Users) -> None:
        self.stage, self.facts, self.users = stage, facts, users
        self.violations: list[Violation] = []
        self.checks = 0
        self.on_machine_step: Callable[[Backstage], None] = lambda _machine: None
        self._durable: dict[Key, Any] = dict(facts.disk.state)
        self._before: Mapping[Key, Any] = {}
        self._newest: dict[str, int] = {}
        self.sightings = Sightings(stage, facts)
        # When each agent was last declared lost.
        self._lost_at: dict[str, float] = {}
        # By the serial of a scheduler.
        self._judges: dict[int, SchedulerJudge] = {}
        # By (sender, its serial, target): whether an update is out that was not acknowledged.
        self._out: dict[tuple[int, Address], bool] = {}
        stage.before_step, stage.after_step = self._before_step, self._after_step
        stage.on_bug, stage.on_send = self._bug, self._sent
        facts.disk.on_commit = self._committed
        for agent in facts.agents.values():
            agent.on_request = self._requested
            agent.is_to_run = self._is_to_run

    def found(self, violation: Violation | None) -> None:
        """Keep it, if it is one."""
        self.checks += 1
        if violation is not None:
            self.violations.append(violation)

    # --- at the agents ---

    def _requested(self, agent: Agent, step: Input, task: str, journey: Journey) -> None:
        self.found(invariants.foreign_is_left_alone(self.facts, agent.name, step, task))
        # What was under way to it when it was declared lost nobody can take back: it or the network hung.
        asked_before = journey.asked_at < self._lost_at.get(agent.name, 0.0)
        # Nor a put and a start of one that is dead.
        there = agent.containers.get(task)
        asked_before |= journey.of_dead and there is not None and there.late_at is not None
        # A start without a container comes late, and starts nothing.
        if step is Input.START and there is not None and not asked_before:
            self.found(invariants.starts_nowhere_else(self.facts, agent.name, task))
        if step is Input.STOP and not journey.of_dead:
            # The last words of a dead state machine may come late and hit a successor: v0 can't tell.
            self.found(invariants.healthy_is_not_stopped(self.facts, agent.name, task))

    def sent_request(self, agent: Agent, machine: Backstage) -> None:
        """A state machine sends a request to its agent."""
        self.found(invariants.successor_commands_alone(self._newest, agent.name, machine.serial))

    def _is_to_run(self, task: str, agent: str) -> bool:
        copy = self.facts.copy(task, agent)
        return copy is not None and copy.intent == "run"

    # --- at the registry ---

    def _committed(self, changes: Mapping[Key, Any], answers: dict[str, tuple[str, Answer]]) -> None:
        self._note_lost(changes)
        self.facts.committed(changes)
        self.sightings.committed(self._durable, changes)
        self.found(invariants.runs_at_most_once(changes))
        self.found(invariants.leaves_only_when_absent(self.facts, self._durable, changes))
        self.found(invariants.agents_are_not_overfilled(self.facts, self._durable, changes))
        self.found(invariants.done_once(self.facts.disk.twice))
        self._migrations_moved(changes, answers)
        self._durable = dict(self.facts.disk.state)
        for key, value in changes.items():
            self.stage.trace.note(self.stage.clock.now, "registry", f"commits {_said(key, value)}", *key[1:])

    def _note_lost(self, changes: Mapping[Key, Any]) -> None:
        for key, value in changes.items():
            is_lost = key[0] == AGENT and value is not None and value.lost_since is not None
            if is_lost and not self.facts.is_lost(key[1]):
                self._lost_at[key[1]] = self.stage.clock.now

    def _migrations_moved(self, changes: Mapping[Key, Any], answers: dict[str, tuple[str, Answer]]) -> None:
        for key, value in changes.items():
            if key[0] == MIGRATION and value is not None:
                before = self._durable.get(key)
                self.sightings.moved(before, value)
                steered = any(answer.migration == value.id for _, answer in answers.values()) or value.over
                for violation in (
                    *judge_end(before, value, self.facts.desired),
                    *judge_steered(before, value, steered),
                ):
                    self.found(violation)

    # --- at every actor ---

    def _before_step(self, actor: Backstage, message: Any, sender: Address) -> None:
        if isinstance(message, Broadcast):
            replica = self._replica(actor, message, sender)
            self._before = dict(replica.state) if replica is not None else {}
        elif isinstance(message, Mutate):
            self.sightings.arrives(message, sender)
        elif isinstance(message, Subscribe) or (
            isinstance(message, Acknowledge) and message.epoch == actor.performer.publisher.epoch
        ):
            self._out[actor.serial, sender] = False

    def _after_step(self, actor: Backstage, message: Any, sender: Address) -> None:
        self.facts.published(actor)
        self.sightings.stepped(actor)
        if actor.kind == "Scheduler" and hasattr(actor.performer, "rule"):
            self._judge_of(actor).stepped(actor, self.stage.clock.now)
        if isinstance(message, Broadcast):
            replica = self._replica(actor, message, sender)
            if replica is not None:
                kinds = (
                    actor.performer.follows.get(message.topic)
                    if hasattr(actor.performer, "follows")
                    else None
                )
                self.found(invariants.replica_is_true(self.facts, actor.name, replica, kinds))
                if message.update.snapshot:
                    self.found(invariants.unknown_is_not_empty(actor.name, replica, self._before))
        elif type(message).__name__ == "Wire" and actor.kind == "Registry":
            self.found(acknowledged_is_kept(self.users.asked, self.facts.disk))
        self.found(invariants.answers_agree(self.users.contradictions))
        if actor.kind == "StateMachine":
            self.on_machine_step(actor)

    def _replica(self, actor: Backstage, message: Broadcast, sender: Address) -> Replica | None:
        """The replica that this message is for."""
        performer = actor.performer
        replicas = getattr(performer, "replicas", {})
        if message.topic == "actual" and replicas:
            nursery = performer.machines if actor.kind == "Flock" else performer.flocks
            replica = replicas.get(nursery.name_of(sender))
        else:
            followed = performer.followed.get(message.topic)
            replica = followed.replica if followed is not None else None
        return replica if isinstance(replica, Replica) else None

    def _judge_of(self, scheduler: Backstage) -> SchedulerJudge:
        return self._judges.setdefault(scheduler.serial, SchedulerJudge(self.facts))

    def _sent(self, sender: Backstage | None, target: Address, message: Any) -> None:
        if isinstance(message, Mutate) and sender is not None and sender.kind == "Scheduler":
            for violation in self._judge_of(sender).sent(sender, message, self.stage.clock.now):
                self.found(violation)
        elif isinstance(message, Commands) and sender is not None and sender.kind == "Transformer":
            agents = sender.performer.rule.desired.agents
            lost = {
                name
                for name in self.facts.agents
                if name not in agents or agents[name].lost_since is not None
            }
            for agent, commands in message.batch.commands.items():
                # What was commanded to run may be carried out still when the command to stop comes.
                self.facts.lost_then.update(
                    {(each.task, agent): lost for each in commands if each.goal == "run"}
                )
        if not isinstance(message, Broadcast) or sender is None:
            return
        out = (sender.serial, target)
        late = self._out.get(out, False)
        if late:
            text = f"{sender.name} sends {target} an update while one is out"
            self.found(Violation("one update at a time", text))
        self._out[out] = True

    def _bug(self, actor: Backstage, reason: str) -> None:
        self.found(Violation("no actor ends by a bug", f"{actor.name}: {reason}"))


def _said(key: Key, value: Any) -> str:
    if value is None:
        return f"{' '.join(key)}: gone"
    if key[0] == "placement":
        copies = ", ".join(f"{copy.intent} on {copy.agent}" for copy in value.copies)
        return f"placement {key[1]}: {copies} (generation {value.generation})"
    if key[0] == "job":
        return f"job {key[1]} x{value.config.scale}{', stopped' if value.stopped else ''}"
    if key[0] == "migration":
        wanted = f"{value.old} {list(value.old_wanted)}, {value.new} {list(value.new_wanted)}"
        return (
            f"migration {key[1]}, {value.state}{', paused' if value.paused else ''}: {wanted} {value.reason}"
        )
    if key[0] == "agent":
        lost = ", lost" if value.lost_since is not None else ""
        drained = ", drained" if value.drain is not None else ", closed" if value.drained else ""
        return f"agent {key[1]}, known by {', '.join(value.sources) or 'nobody'}{lost}{drained}"
    return " ".join(key)
