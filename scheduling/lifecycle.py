"""The life of one container as its state machine sees it: one total table, and what to do next.

Requests only lead to a pending phase; only the agent's event stream or a deadline leads out of it
(an HTTP 201 from an agent is not a running task). `NEXT` says where each input leads, `STEPS` which
request a phase calls for under a goal. Both are complete, which is asserted at import, and the
diagram in docs/lifecycle.md is generated from them.
"""

from __future__ import annotations

from enum import StrEnum

from scheduling.container import CREATED as SAYS_CREATED
from scheduling.container import DELETED as SAYS_DELETED
from scheduling.container import FAILED as SAYS_FAILED
from scheduling.container import FINISHED as SAYS_FINISHED
from scheduling.container import RUNNING as SAYS_RUNNING


class Phase(StrEnum):
    """Where a container stands. The -ing phases wait for the agent to prove what was requested."""

    ABSENT = "absent"
    CREATING = "creating"
    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"
    DELETING = "deleting"
    UNCLEAR = "unclear"


class Input(StrEnum):
    """What can happen to a container: a request we send, what the stream says of it, or a deadline."""

    PUT = "put"
    START = "start"
    STOP = "stop"
    DELETE = "delete"
    SAW_CREATED = "saw created"
    SAW_RUNNING = "saw running"
    SAW_ENDED = "saw ended"
    SAW_GONE = "saw gone"
    SAW_OTHER = "saw something else"
    REFUSED = "refused"
    DEADLINE = "deadline"


REQUESTS = (Input.PUT, Input.START, Input.STOP, Input.DELETE)
PENDING = frozenset({Phase.CREATING, Phase.STARTING, Phase.STOPPING, Phase.DELETING})

_P = Phase
# In the order of Input after the four requests: created, running, ended, gone, other, refused, deadline.
_SEEN = (Input.SAW_CREATED, Input.SAW_RUNNING, Input.SAW_ENDED, Input.SAW_GONE, Input.SAW_OTHER)
_TABLE: dict[Phase, tuple[Phase, Phase, Phase, Phase, Phase, Phase, Phase]] = {
    #              created      running      ended      gone       other        refused      deadline
    _P.ABSENT: (_P.CREATED, _P.RUNNING, _P.ENDED, _P.ABSENT, _P.UNCLEAR, _P.ABSENT, _P.ABSENT),
    _P.CREATING: (_P.CREATED, _P.RUNNING, _P.ENDED, _P.ABSENT, _P.CREATING, _P.ABSENT, _P.ABSENT),
    _P.CREATED: (_P.CREATED, _P.RUNNING, _P.ENDED, _P.ABSENT, _P.UNCLEAR, _P.CREATED, _P.CREATED),
    _P.STARTING: (_P.STARTING, _P.RUNNING, _P.ENDED, _P.ABSENT, _P.STARTING, _P.CREATED, _P.CREATED),
    _P.RUNNING: (_P.CREATED, _P.RUNNING, _P.ENDED, _P.ABSENT, _P.UNCLEAR, _P.RUNNING, _P.RUNNING),
    _P.STOPPING: (_P.CREATED, _P.STOPPING, _P.ENDED, _P.ABSENT, _P.STOPPING, _P.RUNNING, _P.RUNNING),
    _P.ENDED: (_P.CREATED, _P.RUNNING, _P.ENDED, _P.ABSENT, _P.UNCLEAR, _P.ENDED, _P.ENDED),
    _P.DELETING: (_P.DELETING, _P.RUNNING, _P.DELETING, _P.ABSENT, _P.DELETING, _P.ENDED, _P.ENDED),
    _P.UNCLEAR: (_P.CREATED, _P.RUNNING, _P.ENDED, _P.ABSENT, _P.UNCLEAR, _P.UNCLEAR, _P.UNCLEAR),
}
# From which phases a request may be sent, and where it leads.
_SENT = {
    Input.PUT: ({_P.ABSENT}, _P.CREATING),
    Input.START: ({_P.CREATED}, _P.STARTING),
    Input.STOP: ({_P.RUNNING, _P.UNCLEAR}, _P.STOPPING),
    Input.DELETE: ({_P.CREATING, _P.CREATED, _P.ENDED}, _P.DELETING),
}

NEXT: dict[tuple[Phase, Input], Phase | None] = {
    **{
        (phase, said): row[position]
        for phase, row in _TABLE.items()
        for position, said in enumerate((*_SEEN, Input.REFUSED, Input.DEADLINE))
    },
    **{
        (phase, request): to if phase in starts else None
        for request, (starts, to) in _SENT.items()
        for phase in Phase
    },
}

# Which request a settled phase calls for under a goal; None: nothing to do, or wait.
STEPS: dict[tuple[Phase, str], Input | None] = {
    **{(phase, goal): None for phase in Phase for goal in ("run", "stop", "")},
    (_P.ABSENT, "run"): Input.PUT,
    (_P.CREATED, "run"): Input.START,
    (_P.CREATING, "stop"): Input.DELETE,
    (_P.CREATED, "stop"): Input.DELETE,
    (_P.RUNNING, "stop"): Input.STOP,
    (_P.UNCLEAR, "stop"): Input.STOP,
    (_P.ENDED, "stop"): Input.DELETE,
}

_SAYS = {
    SAYS_CREATED: Input.SAW_CREATED,
    SAYS_RUNNING: Input.SAW_RUNNING,
    SAYS_FINISHED: Input.SAW_ENDED,
    SAYS_FAILED: Input.SAW_ENDED,
    SAYS_DELETED: Input.SAW_GONE,
}

if set(NEXT) != {(phase, said) for phase in Phase for said in Input}:
    raise AssertionError("the lifecycle table is not complete")
if any(NEXT[phase, step] is None for (phase, _), step in STEPS.items() if step is not None):
    raise AssertionError("a step of the lifecycle is not allowed by its table")


class IllegalRequestError(Exception):
    """A request was to be sent from a phase that does not allow it; nothing has changed."""


def advance(phase: Phase, said: Input) -> Phase:
    """The phase after an input. Raises IllegalRequestError for a request the phase does not allow."""
    after = NEXT[phase, said]
    if after is None:
        raise IllegalRequestError(f"{said} is not possible while {phase}")
    return after


def seen(status: str) -> Input:
    """What an agent's word for a container's status says to us."""
    return _SAYS.get(status, Input.SAW_OTHER)
