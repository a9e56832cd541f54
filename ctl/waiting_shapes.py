"""Why tasks wait, as /api/v1 tells it of jobs and of plans."""

from __future__ import annotations

import msgspec


class Refusal(msgspec.Struct, frozen=True):
    """Why one agent was not chosen."""

    agent: str
    reason: str


class Waiting(msgspec.Struct, frozen=True):
    """Why tasks have no place; `refusals` nearest miss first, `agents` counts those not shown too."""

    tasks: int = 0
    reason: str = ""
    agents: int = 0
    refusals: list[Refusal] = []
