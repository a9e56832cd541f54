"""A rebalance as it is written down: which tasks move from where to where, and by when."""

from __future__ import annotations

import msgspec


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """One task that goes from one agent to another; `why` in words, for people."""

    task: str
    source: str
    target: str
    why: str = ""


class Rebalance(msgspec.Struct, frozen=True, kw_only=True):
    """The moves that were asked for, in order. There is one at a time, and the last one is kept.

    `generation`: the registry's version at the last write. Times are seconds since 1970; what has not begun
    to move by `deadline_at` stays. `ended_at`, `reason`: when it ended, and why.
    """

    moves: tuple[Move, ...]
    begun_at: float
    deadline_at: float
    generation: int = 0
    ended_at: float | None = None
    reason: str = ""

    @property
    def over(self) -> bool:
        """Whether it has come to an end."""
        return self.ended_at is not None

    def move_from(self, task: str, agent: str) -> Move | None:
        """The move of a task away from this agent, while it is under way."""
        if self.over:
            return None
        return next((move for move in self.moves if (move.task, move.source) == (task, agent)), None)

    def target_of(self, task: str) -> str | None:
        """Where a task is to go, while it is under way."""
        if self.over:
            return None
        return next((move.target for move in self.moves if move.task == task), None)
