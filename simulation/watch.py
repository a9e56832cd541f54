"""Watches a run: calls the invariants wherever one could break, and keeps what they found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from actors.messages import Acknowledge, Broadcast, Subscribe
from scheduling.lifecycle import Input
from scheduling.registry import Answer
from scheduling.replica import Key, Replica
from simulation import invariants
from simulation.agent import Agent
from simulation.bookkeeping import acknowledged_is_kept
from simulation.facts import Facts, Violation
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

    def _requested(self, agent: Agent, step: Input, task: str, of_dead: bool) -> None:
        self.found(invariants.foreign_is_left_alone(self.facts, agent.name, step, task))
        if step is Input.START:
            self.found(invariants.starts_nowhere_else(self.facts, agent.name, task))
        elif step is Input.STOP and not of_dead:
            # The last words of a dead state machine may come late and hit a successor: v0 can't tell.
            self.found(invariants.healthy_is_not_stopped(self.facts, agent.name, task))

    def _is_to_run(self, task: str, agent: str) -> bool:
        copy = self.facts.copy(task, agent)
        return copy is not None and copy.intent == "run"

    # --- at the registry ---

    def _committed(self, changes: Mapping[Key, Any], _answers: dict[str, Answer]) -> None:
        self.facts.committed(changes)
        self.found(invariants.runs_at_most_once(changes))
        self.found(invariants.leaves_only_when_absent(self.facts, self._durable, changes))
        self.found(invariants.agents_are_not_overfilled(self.facts, self._durable, changes))
        self.found(invariants.done_once(self.facts.disk.twice))
        self._durable = dict(self.facts.disk.state)
        for key, value in changes.items():
            self.stage.trace.note(self.stage.clock.now, "registry", f"commits {_said(key, value)}", *key[1:])

    # --- at every actor ---

    def _before_step(self, actor: Backstage, message: Any, sender: Address) -> None:
        if isinstance(message, Broadcast):
            replica = self._replica(actor, message, sender)
            self._before = dict(replica.state) if replica is not None else {}
        elif isinstance(message, Subscribe) or (
            isinstance(message, Acknowledge) and message.epoch == actor.performer.publisher.epoch
        ):
            self._out[actor.serial, sender] = False

    def _after_step(self, actor: Backstage, message: Any, sender: Address) -> None:
        self.facts.published(actor)
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

    def _sent(self, sender: Backstage | None, target: Address, message: Any) -> None:
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
        return f"job {key[1]} x{value.config.scale}"
    return f"agent {key[1]}, known by {value.sources}"
