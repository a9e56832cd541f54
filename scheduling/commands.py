"""Task commands: what the transformer asks of state machines, through the shepherd and the flocks."""

from __future__ import annotations

from typing import Literal

import msgspec

Goal = Literal["run", "stop", "forget"]


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """Bring one container to a goal, for this generation of its placement.

    Level-triggered: it says what should be so, and the state machine takes the steps there. `prefix`
    names the container config of a run in the batch's `configs`. `forget`: its placement is gone, the
    proof of its absence need not be kept.
    """

    task: str
    generation: int
    goal: Goal
    prefix: str = ""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Commands for many agents: by agent, with each container config once, as the bytes an agent gets.

    `lives`: by agent, which life of its state machine they are meant for (`AgentStatus.life`). One that was
    made since then has forgotten what was stopped, and could not tell an old command from a new one.
    """

    commands: dict[str, tuple[Command, ...]]
    configs: dict[str, bytes]
    lives: dict[str, str] = {}

    def is_for(self, agent: str, life: str) -> bool:
        """Whether the commands for this agent are meant for this life of its state machine."""
        return self.lives.get(agent, "") == life

    def part(self, agents: set[str]) -> Batch:
        """The commands for some agents, with the configs they need."""
        commands = {name: self.commands[name] for name in self.commands if name in agents}
        prefixes = {command.prefix for batch in commands.values() for command in batch}
        return Batch(
            commands=commands,
            configs={name: self.configs[name] for name in self.configs if name in prefixes},
            lives={name: self.lives[name] for name in commands if name in self.lives},
        )

    def then(self, later: Batch) -> Batch:
        """These and later ones, in order, each command once; not those for another life than the later."""
        commands = dict(self.commands)
        for agent, more in later.commands.items():
            earlier = commands.get(agent, ()) if self.is_for(agent, later.lives.get(agent, "")) else ()
            commands[agent] = tuple(dict.fromkeys((*earlier, *more)))
        return Batch(
            commands=commands,
            configs={**self.configs, **later.configs},
            lives={**self.lives, **later.lives},
        )
