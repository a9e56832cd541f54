"""The v1 shapes of a rebalance, and of the plan of one."""

from __future__ import annotations

from typing import Literal

import msgspec

from scheduling.rebalancing import MoveState


class MoveView(msgspec.Struct, frozen=True, kw_only=True):
    """One task that is moved, and how far that is; `elsewhere`: its target had no room for it any more."""

    task: str
    source: str
    target: str
    why: str
    state: MoveState


class RebalanceView(msgspec.Struct, frozen=True, kw_only=True):
    """The rebalance under way, or the last one. Times are seconds since 1970; `version` for If-Match.

    `left` of its moves are still to come to an end. What has not begun to move by `deadline_at` stays.
    """

    state: Literal["running", "over"]
    message: str
    moved: int
    left: int
    moves: list[MoveView]
    begun_at: float
    deadline_at: float
    ended_at: float | None
    version: int


class LoadView(msgspec.Struct, frozen=True, kw_only=True):
    """How full an agent is before and after: the larger of the used shares of memory and cores, 0 to 1."""

    agent: str
    tasks_before: int
    tasks_after: int
    use_before: float
    use_after: float


class PlannedMoveView(msgspec.Struct, frozen=True, kw_only=True):
    """One task that would be moved."""

    task: str
    source: str
    target: str
    why: str


class RebalancePlanView(msgspec.Struct, frozen=True, kw_only=True):
    """What a rebalance would do. `token` approves exactly this; `left_out`: jobs that stay, and why."""

    message: str
    token: str
    version: int
    moves: list[PlannedMoveView]
    agents: list[LoadView]
    left_out: list[str]
