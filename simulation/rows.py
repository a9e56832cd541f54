"""The rows of the two tables of docs/architecture.md that a run can play, and those it can't, with why.

tests/test_tables.py sees to it that these are the rows of that page.
"""

from __future__ import annotations

from scheduling.migration import NEXT
from scheduling.update import STRATEGIES

RACES = (
    "a Scheduler dies with a write in flight and its successor decides otherwise",
    "a task moves from A to B",
    "a lost agent returns while the replacement is not running yet",
    "a lost agent returns after the replacement runs",
    "an agent is away while its job is unscheduled",
    "a wanted task without a row is already running somewhere",
    "after a restart, some agents answer late",
    "two state machines for one agent",
    "a change is committed, then the handler raises and is called again",
    "an answer does not come in time",
    "a reader asks another worker than the writer did",
    "capacity counted twice",
)
FAILURES = (
    "a task dies",
    "an agent's stream breaks",
    "an agent is silent past its tolerance",
    "an actor dies",
    "the Supervisor or the actor admin dies",
    "two registries on one store",
    "many peers of an actor hang at once",
    "the scheduler's host restarts",
    "the disk is full",
    "an agent answers nonsense, or very slowly",
    "nothing fits",
)
# The ways of a migration, by what they lead from and to.
MIGRATIONS = (
    *(f"a migration is begun, {strategy}" for strategy in STRATEGIES),
    *dict.fromkeys(
        f"a migration is {state}, then {to}"
        for (state, _), to in NEXT.items()
        if to is not None and to is not state
    ),
    *(
        f"a migration ends as {state}, {strategy}"
        for state in ("done", "reverted")
        for strategy in STRATEGIES
    ),
    "a migration is paused",
    "a migration is resumed",
    "a migration is promoted",
)
DRAINING = (
    "an agent is drained",
    "an agent is drained, by a deadline",
    "an agent is closed, and its tasks stay",
    "a task is moved away from a drained agent",
    "a task is moved away from a drained agent whose deadline is over",
    "a drained agent is open again",
)
EVERYWHERE = (
    "an agent gets its task of a job with scale all",
    "an agent loses its task of a job with scale all",
    "agents change in the middle of a migration with scale all",
)
REBALANCING = (
    "a rebalance is begun",
    "a task is moved by a rebalance",
    "a rebalance is over",
    "a rebalance is over before all has moved",
    "a rebalance is cancelled",
)
# What a run can't play, and why; the tests of these rows are elsewhere.
UNPLAYABLE = {
    "a reader asks another worker than the writer did": "web is not part of the simulation",
    "two registries on one store": "the lock is the kernel's",
    "many peers of an actor hang at once": "it is about the sockets of Thespian, which is not simulated",
}
# Faults that are a row of the tables by themselves.
BY_FAULT = {
    "flock is cut off": "two state machines for one agent",
    "task exits": "a task dies",
    **dict.fromkeys(
        (
            "agent talks rubbish",
            "agent uses strange words",
            "agent answers 404 and 409",
            "agent answers 500",
            "agent is slow",
        ),
        "an agent answers nonsense, or very slowly",
    ),
}
