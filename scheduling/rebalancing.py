"""What may be done about a rebalance: begin one, cancel it, end it; and how far it is.

Part of the registry's rule, see `scheduling.registry`. Which moves make things more even is
`scheduling.rebalance`, how they are made `scheduling.moving`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from scheduling.answer import ANY, Answer
from scheduling.desired import REBALANCE, Desired
from scheduling.moves import Move, Rebalance
from scheduling.replica import Changes

MoveState = Literal["waiting", "moving", "moved", "elsewhere", "unwanted"]
OPEN: frozenset[MoveState] = frozenset({"waiting", "moving"})
# The only key of its kind.
THE_ONE = (REBALANCE, REBALANCE)


class BeginRebalance(msgspec.Struct, frozen=True, kw_only=True):
    """Make these moves, within so many seconds. `approved`: the token of the plan that they are of."""

    moves: tuple[Move, ...]
    seconds: float
    approved: str = ""


class CancelRebalance(msgspec.Struct, frozen=True, kw_only=True):
    """Move no more; what is on its way arrives. `expected`: its generation."""

    expected: int | None = None


class EndRebalance(msgspec.Struct, frozen=True, kw_only=True):
    """From the scheduler: nothing is left to be moved, or its time is over."""

    expected: int
    reason: str


def begin_rebalance(
    desired: Desired, mutation: BeginRebalance, version: int, now: float
) -> tuple[Answer, Changes]:
    """One at a time, and only what is still where the plan has seen it."""
    if desired.under_way is not None:
        left = len(open_moves(desired, desired.under_way))
        text = f"a rebalance is under way, with {left} moves left; wait for it, or cancel it first"
        return Answer(result="conflict", message=text), {}
    if mutation.approved and not mutation.moves:
        return Answer(result="conflict", message="what was approved is not to be done any more"), {}
    if not mutation.moves:
        return Answer(result="unchanged", message="no move would make the agents more evenly full"), {}
    row = Rebalance(
        moves=mutation.moves, begun_at=now, deadline_at=now + mutation.seconds, generation=version
    )
    for move in row.moves:
        state = move_state(desired, move)
        if state != "waiting" or move.target not in desired.agents:
            text = f"{move.task} is not on {move.source} to be moved to {move.target} any more; plan again"
            return Answer(result="conflict", message=text), {}
    text = f"{len(row.moves)} tasks are moved, each job's floor kept, within {mutation.seconds:g} s"
    return Answer(result="changed", message=text), {THE_ONE: row}


def cancel_rebalance(
    desired: Desired, mutation: CancelRebalance, version: int, now: float
) -> tuple[Answer, Changes]:
    """Idempotent, once there was one."""
    row = desired.rebalance
    if row is None:
        return Answer(result="not found", message="there was no rebalance"), {}
    if mutation.expected not in (None, ANY, row.generation):
        text = f"the rebalance is at version {row.generation}, not {mutation.expected}"
        return Answer(result="precondition failed", message=text), {}
    if row.over:
        return Answer(result="unchanged", message=f"the rebalance is over already: {row.reason}"), {}
    left = len(open_moves(desired, row))
    text = f"cancelled by its operator, with {left} moves left"
    ended = msgspec.structs.replace(row, ended_at=now, reason=text, generation=version)
    return Answer(result="changed", message=f"the rebalance is {text}"), {THE_ONE: ended}


def end_rebalance(
    desired: Desired, mutation: EndRebalance, version: int, now: float
) -> tuple[Answer, Changes]:
    """If it is still the one that the scheduler has seen."""
    row = desired.rebalance
    if row is None or row.over or row.generation != mutation.expected:
        return Answer(result="conflict", message="the rebalance is another one by now"), {}
    ended = msgspec.structs.replace(row, ended_at=now, reason=mutation.reason, generation=version)
    return Answer(result="changed", message=mutation.reason), {THE_ONE: ended}


def ended_rebalance(desired: Desired, now: float) -> list[EndRebalance]:
    """The end of the rebalance under way, when it has come. `now`: seconds since 1970."""
    row = desired.under_way
    left = open_moves(desired, row) if row is not None else []
    if row is None or (left and now < row.deadline_at):
        return []
    moved = sum(move_state(desired, move) == "moved" for move in row.moves)
    reason = f"{moved} of {len(row.moves)} tasks were moved"
    if left:
        reason += f"; {len(left)} stay, its time was over"
    elif moved < len(row.moves):
        reason += "; the others went elsewhere, or are not wanted any more"
    return [EndRebalance(expected=row.generation, reason=reason)]


def open_moves(desired: Desired, row: Rebalance) -> list[Move]:
    """The moves that are still to come to an end."""
    return [move for move in row.moves if move_state(desired, move) in OPEN]


def move_state(desired: Desired, move: Move) -> MoveState:
    """How far one move is, as the placement of its task tells."""
    if not desired.wanted(move.task):
        return "unwanted"
    row = desired.placements.get(move.task)
    agent = row.running if row is not None else None
    if agent is None:
        return "moving"
    if agent == move.source:
        return "waiting"
    return "moved" if agent == move.target else "elsewhere"
