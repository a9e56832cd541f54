"""What fate does to the cluster: each kind of fault, and its end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from scheduling.container import RUNNING
from scheduling.desired import AGENT
from scheduling.desired import Agent as KnownAgent
from scheduling.registry import AgentSpec
from simulation.agent import Agent
from simulation.disk import Disk
from simulation.judge import BRAKE_AGENTS
from simulation.network import KEEP_ALIVE_SECONDS, Network
from simulation.reach import Reach
from simulation.scenario import FAULTS, PATIENCE_SECONDS, Act
from simulation.stage import Backstage, Stage
from simulation.users import Users

_MOODS = {
    "agent answers 500": "errors",
    "agent answers 500 but did it": "did-errors",
    "agent answers 404 and 409": "contrary",
    "agent talks rubbish": "rubbish",
    "agent uses strange words": "strange",
    "artifacts fail": "no-artifacts",
    "starts fail": "no-starts",
}
_ACTORS = {
    "registry": "Registry", "scheduler": "Scheduler", "transformer": "Transformer", "shepherd": "Shepherd",
    "flock": "Flock", "state machine": "StateMachine", "discovery": "Discovery", "supervisor": "Supervisor",
}  # fmt: skip


# An agent that may not stay away is back after this.
RETURN_SECONDS = 20.0
LOST_PATIENCE_SECONDS, LOOK_SECONDS = 40.0, 0.25


class Faults:
    """Strikes, and stops."""

    def __init__(
        self, stage: Stage, network: Network, disk: Disk, agents: dict[str, Agent], users: Users, reach: Reach
    ) -> None:
        self._stage, self._network, self._disk, self._agents = stage, network, disk, agents
        self._users, self._reach = users, reach
        self._removed: set[str] = set()
        self._over = False
        self._aimed: list[Act] = []
        self.on_strike: Callable[[str], None] = lambda _kind: None

    def strike(self, act: Act) -> None:
        """Let this fault happen."""
        if self._over:
            return
        if act.aim:
            self._aim(act)
            return
        agent = self._agents.get(act.target)
        about = (act.target,) if act.target else ()
        length = f" for {act.seconds:.1f} s" if act.seconds else ""
        self._note(f"{act.kind} {act.target}{length}", *about)
        self._reach.struck(act.kind, self._machines(act.target))
        self.on_strike(act.kind)
        if agent is None:
            self._strike_actor(act)
        elif act.kind == "state machine dies while it sends":
            self._network.last_words.add(act.target)
        elif act.kind.startswith("state machine"):
            for machine in self._machines(act.target):
                self._hit(machine, act)
        else:
            self._strike_agent(act, agent)

    def look(self, machine: Backstage) -> None:
        """A state machine has made a step: let the faults that waited for this strike."""
        executor = getattr(machine.performer, "executor", None)
        if executor is None or not self._aimed:
            return
        phases = {record.phase for record in executor._records.values()}
        for act in [act for act in self._aimed if act.aim in phases and act.target in ("", executor.agent)]:
            self._aimed.remove(act)
            # Some strike at once, others when the request that began the phase is answered.
            late = act.number % 2 * act.number / 5000.0
            self._stage.clock.after(late, partial(self.strike, msgspec.structs.replace(act, aim="")))

    def _aim(self, act: Act) -> None:
        self._aimed.append(act)

        def patience_ends() -> None:
            if act in self._aimed:
                self._aimed.remove(act)
                self.strike(msgspec.structs.replace(act, aim=""))

        self._later(PATIENCE_SECONDS, patience_ends)
        for machine in self._machines(act.target):
            self.look(machine)

    def stop(self) -> None:
        """Everything works again from now on."""
        self._over = True
        now = self._stage.clock.now
        self._disk.full, self._disk.cut = False, ""
        self._network.last_words.clear()
        for name, agent in self._agents.items():
            agent.moods, agent.slow_until = {}, 0.0
            self._network.flaky_until.pop(name, None)
            if self._network.cut_until.pop(name, 0.0) > now:
                self._network.break_streams(agent, "connection reset")
            if not agent.up and not agent.gone:
                self._comes_back(agent)
            agent.hung_until = 0.0
            agent.wake()
            agent.show_all()
        for actor in list(self._stage.actors.values()):
            actor.sends_left, actor.hangs_over = None, None
            if actor.cut_off:
                self._stage.kill(actor, "is not needed any more")
        self._removed = set()
        self._users.sync_agents(self.agent_specs())

    def agent_specs(self) -> tuple[AgentSpec, ...]:
        """The agents that are to be followed now."""
        return tuple(
            AgentSpec(name=agent.name, endpoint=agent.endpoint)
            for agent in self._agents.values()
            if agent.name not in self._removed
        )

    def _machines(self, agent: str) -> list[Backstage]:
        """The state machines of one agent, or all of them."""
        return [
            machine
            for machine in self._stage.of_kind("StateMachine")
            if hasattr(machine.performer, "executor") and machine.performer.executor.agent == (agent or
                machine.performer.executor.agent)
        ]  # fmt: skip

    # --- agents and the way to them ---

    def _strike_agent(self, act: Act, agent: Agent) -> None:
        until = self._stage.clock.now + act.seconds
        strikes: dict[str, Callable[[], object]] = {
            "disk is copied": agent.remember,
            "disk is copied, all has ended": partial(agent.remember, ended=True),
            "agent hangs": lambda: self._hang(act, agent),
            "agent is slow": lambda: setattr(agent, "slow_until", until),
            "agent is removed": lambda: self._remove(act, agent),
            "agent never comes back": lambda: self._never_again(agent),
            "agent is away until it is lost": lambda: self._away_until_lost(act, agent),
            "task exits": lambda: self._exit_a_task(act, agent),
            "network is flaky": lambda: self._network.flaky_until.update({agent.name: until}),
            "network is cut": lambda: self._cut(act, agent),
            "connections are reset": lambda: self._network.break_streams(agent, "connection reset"),
            **{
                kind: (lambda: self._crash(act, agent))
                for kind in FAULTS
                if kind.startswith("agent crashes, ")
            },
            **{kind: (lambda: self._put_in_mood(act, agent)) for kind in _MOODS},
        }
        strikes[act.kind]()

    def _put_in_mood(self, act: Act, agent: Agent) -> None:
        agent.moods[_MOODS[act.kind]] = self._stage.clock.now + act.seconds
        if act.kind == "agent uses strange words":
            agent.show_all()
            self._later(act.seconds + 0.001, agent.show_all)
        elif act.kind == "agent talks rubbish":
            self._network.break_streams(agent, "the agent sent an event that is none")

    def _hang(self, act: Act, agent: Agent) -> None:
        agent.hung_until = max(agent.hung_until, self._stage.clock.now + act.seconds)
        self._later(act.seconds, agent.wake)

    def _cut(self, act: Act, agent: Agent) -> None:
        until = self._stage.clock.now + act.seconds
        self._network.cut_until[agent.name] = max(until, self._network.cut_until.get(agent.name, 0.0))
        self._later(KEEP_ALIVE_SECONDS, partial(self._keep_alive_ends, agent))

    def _crash(self, act: Act, agent: Agent) -> None:
        keeps = {"all kept": "all", "empty": "none", "old disk": "old"}.get(
            act.kind.partition(", ")[2], "rebooted"
        )
        agent.crash(keeps)
        self._network.break_streams(agent, "connection reset")
        self._later(act.seconds, partial(self._comes_back, agent))

    def _never_again(self, agent: Agent) -> None:
        """Its host is gone for good; never so many that the brake would hold for minutes."""
        gone = sum(other.gone for other in self._agents.values())
        agent.gone = gone + 1 < BRAKE_AGENTS and 2 * (gone + 1) <= len(self._agents)
        agent.crash("all")
        self._network.break_streams(agent, "connection reset")
        self._later(RETURN_SECONDS, partial(self._comes_back, agent))

    def _away_until_lost(self, act: Act, agent: Agent) -> None:
        """It is back soon after it was written down as lost, when its tasks are on their way elsewhere."""
        agent.crash("all")
        self._network.break_streams(agent, "connection reset")
        give_up_at = self._stage.clock.now + LOST_PATIENCE_SECONDS

        def look() -> None:
            known = self._disk.state.get((AGENT, agent.name))
            lost = isinstance(known, KnownAgent) and known.lost_since is not None
            if lost or self._stage.clock.now >= give_up_at:
                self._later(act.seconds, partial(self._comes_back, agent))
            else:
                self._later(LOOK_SECONDS, look)

        look()

    def _comes_back(self, agent: Agent) -> None:
        if agent.up or agent.gone:
            return
        agent.up = True
        has = ", ".join(f"{task} {container.status}" for task, container in agent.containers.items())
        self._note(f"{agent.name} is back with {has or 'nothing'}", agent.name)

    def _keep_alive_ends(self, agent: Agent) -> None:
        if self._network.cut(agent):
            self._network.break_streams(agent, "the connection is dead")

    def _exit_a_task(self, act: Act, agent: Agent) -> None:
        running = [each for each in agent.containers.values() if each.status == RUNNING and each.ours]
        if running and agent.up and not agent.hung:
            agent.exits(running[act.number % len(running)])

    def _remove(self, act: Act, agent: Agent) -> None:
        self._removed.add(agent.name)
        self._users.sync_agents(self.agent_specs())

        def back() -> None:
            self._removed.discard(agent.name)
            self._users.sync_agents(self.agent_specs())

        self._later(act.seconds, back)

    # --- actors ---

    def _strike_actor(self, act: Act) -> None:
        if act.kind == "disk is full":
            self._disk.full = True
            self._later(act.seconds, lambda: setattr(self._disk, "full", False))
        elif act.kind == "registry hangs over a write":
            for registry in self._stage.of_kind("Registry"):
                registry.hangs_over = ("Mutate", act.seconds)
        elif act.kind.endswith("a commit"):
            self._disk.cut = act.kind.split()[2]
        else:
            kind = next(kind for name, kind in _ACTORS.items() if act.kind.startswith(name))
            actors = self._stage.of_kind(kind)
            if actors:
                self._hit(actors[act.number % len(actors)], act)

    def _hit(self, actor: Backstage, act: Act) -> None:
        if act.kind.endswith("is killed"):
            self._stage.kill(actor, "killed")
        elif act.kind.endswith("is cut off"):
            self._stage.cut_off(actor)
            self._later(act.seconds, lambda: self._stage.kill(actor, "hears that it is not needed any more"))
        elif act.kind.endswith("dies with late messages"):
            actor.late_seconds = 2.0 + act.seconds
            actor.late_until = self._stage.clock.now + act.seconds
            self._later(act.seconds, lambda: self._stage.kill(actor, "killed, with messages on their way"))
        elif act.kind.endswith("dies in a step"):
            actor.sends_left = act.number % 3
        else:
            actor.held_until = max(actor.held_until, self._stage.clock.now + act.seconds)

    # --- both ---

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        """The end of a fault; when all have stopped there is none left to end."""
        self._stage.clock.after(seconds, lambda: None if self._over else act())

    def _note(self, what: str, *about: str) -> None:
        self._stage.trace.note(self._stage.clock.now, "fate", what, *about)
