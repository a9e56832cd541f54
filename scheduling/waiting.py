"""Why tasks wait: for each agent what it lacks, the nearest miss first."""

from __future__ import annotations

import msgspec

WAITING, STAYING, LEFT_OUT = "waiting", "staying", "left_out"
# Whether, and why, nobody is declared lost; beside the waiting jobs, since the scheduler says both.
BRAKE_KEY = ("brake", "brake")


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why one agent was not chosen. `distance`: how far it is from fitting, 0 is nearest.

    `kind`: what is most in the way, as is said of one agent: "lacks memory".
    """

    agent: str
    reason: str
    distance: float = 0.0
    kind: str = ""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The agents with the same thing most in the way: how many, what ("lack memory"), which is nearest."""

    agents: int
    what: str
    nearest: str


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """The tasks of one job version that have no place: how many, the main reason, and who refused.

    With scale `all` also why agents have none, and then `tasks` is 0: none waits for them (`LEFT_OUT`).
    `refusals` are sorted nearest miss first, and only the first are named; `agents` counts them all, and
    `groups` by what is most in the way, each agent once, the group with the nearest miss first.
    """

    prefix: str
    tasks: int
    reason: str
    refusals: tuple[Refusal, ...] = ()
    groups: tuple[Group, ...] = ()
    agents: int = 0


class Staying(msgspec.Struct, frozen=True, kw_only=True):
    """The tasks of a drained agent that do not move now: how many, and why, for the first of them by name."""

    agent: str
    tasks: int
    why: dict[str, str]
