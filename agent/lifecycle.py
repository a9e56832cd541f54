"""The life of a container as one total table: state × input → state, or a refusal.

What is not in the table cannot happen; what a client may not ask is in it as the reply it gets
(statuses and texts are those of wire format v0). The wire knows five statuses; the agent needs a
few states more, because a container that is fetched, restarted or stopped has a promise to keep.
"""

from __future__ import annotations

from enum import StrEnum, auto

import msgspec

from config.bounds import LONGEST_RESTART_DELAY_SECONDS as LONGEST_DELAY_SECONDS
from scheduling.container import CREATED, DELETED, FAILED, FINISHED, RUNNING


class State(StrEnum):
    """Where a container is in its life; `wire_status` is what the others call it."""

    FETCHING = auto()  # registered, its artifact is on the way
    WAITING = auto()  # the same, and it was already told to start
    CREATED = auto()  # ready to start
    RUNNING = auto()  # its process was started and has not ended
    RESTARTING = auto()  # its process ended, the next one starts after the delay
    STOPPING = auto()  # told to stop, its process has not ended yet
    FINISHED = auto()  # ended for good
    FAILED = auto()  # could not be started
    DELETED = auto()  # gone; nothing leads out of here


class Input(StrEnum):
    """What happens to a container: three requests, then the facts."""

    START = auto()
    STOP = auto()
    DESTROY = auto()
    FETCHED = auto()
    FETCH_FAILED = auto()
    SPAWN_FAILED = auto()
    ENDED = auto()  # the process ended and stays ended
    CRASHED = auto()  # the process ended and its policy wants another one
    DELAY_OVER = auto()


class Refusal(msgspec.Struct, frozen=True):
    """The answer to a request that changes nothing."""

    status: int
    text: str


class RefusedError(Exception):
    """A request that is not carried out, with the answer to it."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


class ImpossibleError(AssertionError):
    """A fact that cannot be: a mistake of the agent itself."""


NOT_FOUND = Refusal(404, "not found")
ALREADY_EXISTS = Refusal(409, "already exists")
ALREADY_RUNNING = Refusal(409, "already running")
ALREADY_STOPPED = Refusal(409, "already stopped")
STILL_RUNNING = Refusal(500, "can't destroy container in status running")

WIRE_STATUS = {
    State.FETCHING: CREATED,
    State.WAITING: CREATED,
    State.CREATED: CREATED,
    State.RUNNING: RUNNING,
    State.RESTARTING: RUNNING,
    State.STOPPING: RUNNING,
    State.FINISHED: FINISHED,
    State.FAILED: FAILED,
    State.DELETED: DELETED,
}

_S, _I = State, Input
_REQUESTS: dict[State, tuple[State | Refusal, State | Refusal, State | Refusal]] = {
    #              START            STOP             DESTROY
    _S.FETCHING: (_S.WAITING, ALREADY_STOPPED, _S.DELETED),
    _S.WAITING: (ALREADY_RUNNING, _S.FINISHED, _S.DELETED),
    _S.CREATED: (_S.RUNNING, ALREADY_STOPPED, _S.DELETED),
    _S.RUNNING: (ALREADY_RUNNING, _S.STOPPING, STILL_RUNNING),
    _S.RESTARTING: (ALREADY_RUNNING, _S.FINISHED, STILL_RUNNING),
    _S.STOPPING: (ALREADY_RUNNING, _S.STOPPING, STILL_RUNNING),
    _S.FINISHED: (_S.RUNNING, ALREADY_STOPPED, _S.DELETED),
    _S.FAILED: (_S.RUNNING, ALREADY_STOPPED, _S.DELETED),
    _S.DELETED: (NOT_FOUND, NOT_FOUND, NOT_FOUND),
}
_FACTS = {
    (_S.FETCHING, _I.FETCHED): _S.CREATED,
    (_S.FETCHING, _I.FETCH_FAILED): _S.DELETED,
    (_S.WAITING, _I.FETCHED): _S.RUNNING,
    (_S.WAITING, _I.FETCH_FAILED): _S.DELETED,
    (_S.RUNNING, _I.SPAWN_FAILED): _S.FAILED,
    (_S.RUNNING, _I.ENDED): _S.FINISHED,
    (_S.RUNNING, _I.CRASHED): _S.RESTARTING,
    (_S.RESTARTING, _I.DELAY_OVER): _S.RUNNING,
    (_S.STOPPING, _I.ENDED): _S.FINISHED,
}
_ASKED = (Input.START, Input.STOP, Input.DESTROY)


def _table() -> dict[tuple[State, Input], State | Refusal | None]:
    table: dict[tuple[State, Input], State | Refusal | None] = {
        (state, asked): answers[position]
        for state, answers in _REQUESTS.items()
        for position, asked in enumerate(_ASKED)
    }
    for state in State:
        for fact in Input:
            if fact not in _ASKED:
                table[state, fact] = _FACTS.get((state, fact))
    return table


TABLE = _table()
assert set(TABLE) == {(state, what) for state in State for what in Input}, "the table must be total"  # noqa: S101
assert set(WIRE_STATUS) == set(State), "every state needs a status on the wire"  # noqa: S101


def step(state: State, what: Input) -> State | Refusal:
    """The next state, or why the request is refused. Raises ImpossibleError for a fact that cannot be."""
    answer = TABLE[state, what]
    if answer is None:
        raise ImpossibleError(f"{what} cannot happen to a container that is {state}")
    return answer


def restart_due(policy: str, *, failed: bool) -> bool:
    """Whether a task that ended by itself is started again; `failed`: by a signal or a status not 0."""
    return policy == "always" or (policy == "on-failure" and failed)


def restarts_in_a_row(before: int, ran_seconds: float) -> int:
    """How many restarts led to a life that ended now: those before a good run count no more."""
    return 0 if ran_seconds >= HEALTHY_AFTER_SECONDS else before


FIRST_DELAY_SECONDS = 1.0
HEALTHY_AFTER_SECONDS = 30.0


def restart_delay(previous_seconds: float, ran_seconds: float) -> float:
    """How long to wait before the next start: 1 s, doubled for each quick death, at most 30 s.

    A task that ran for 30 s counts as healthy again: it starts over with 1 s.
    """
    if previous_seconds <= 0 or ran_seconds >= HEALTHY_AFTER_SECONDS:
        return FIRST_DELAY_SECONDS
    return min(previous_seconds * 2, LONGEST_DELAY_SECONDS)
