"""The container lifecycle: the table itself, and what no sequence of inputs may lead to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.lifecycle import (
    TABLE,
    WIRE_STATUS,
    ImpossibleError,
    Input,
    Refusal,
    State,
    restart_delay,
    restart_due,
    restarts_in_a_row,
    step,
)

REQUESTS = (Input.START, Input.STOP, Input.DESTROY)


def test_every_request_has_an_answer_in_every_state() -> None:
    assert all(TABLE[state, asked] is not None for state in State for asked in REQUESTS)


def test_requests_are_refused_by_what_the_wire_status_says() -> None:
    """The five statuses of the wire format decide, whatever finer state is behind them."""
    for state in State:
        status = WIRE_STATUS[state]
        if status == "running":
            assert step(state, Input.START) == Refusal(409, "already running")
            assert isinstance(step(state, Input.STOP), State)
            assert step(state, Input.DESTROY) == Refusal(500, "can't destroy container in status running")
        elif status != "deleted":
            assert step(state, Input.DESTROY) is State.DELETED


def test_nothing_leads_out_of_deleted() -> None:
    for asked in REQUESTS:
        assert step(State.DELETED, asked) == Refusal(404, "not found")


def test_a_fact_that_cannot_be_is_a_mistake_of_ours() -> None:
    with pytest.raises(ImpossibleError, match="delay_over cannot happen to a container that is finished"):
        step(State.FINISHED, Input.DELAY_OVER)


@given(st.lists(st.sampled_from(Input), max_size=30))
def test_once_stopped_it_runs_only_if_started_again(inputs: list[Input]) -> None:
    state, stopped = State.FETCHING, False
    for what in inputs:
        answer = TABLE[state, what]
        if not isinstance(answer, State):
            continue
        state = answer
        if what is Input.STOP:
            stopped = True
        elif what is Input.START:
            stopped = False
        assert not (stopped and state in (State.RUNNING, State.RESTARTING, State.WAITING))


@pytest.mark.parametrize(
    ("policy", "failed", "due"),
    [
        ("no", False, False),
        ("no", True, False),
        ("on-failure", False, False),
        ("on-failure", True, True),
        ("always", False, True),
        ("always", True, True),
    ],
)
def test_restart_policies(policy: str, failed: bool, due: bool) -> None:
    assert restart_due(policy, failed=failed) is due


def test_the_delay_doubles_to_30_s_and_starts_over_after_a_good_run() -> None:
    delays = [0.0]
    for _ in range(7):
        delays.append(restart_delay(delays[-1], ran_seconds=0.1))
    assert delays[1:] == [1, 2, 4, 8, 16, 30, 30]
    assert restart_delay(30, ran_seconds=29.9) == 30
    assert restart_delay(30, ran_seconds=30) == 1


def test_a_good_run_makes_earlier_restarts_be_forgotten() -> None:
    assert restarts_in_a_row(4, ran_seconds=29.9) == 4
    assert restarts_in_a_row(4, ran_seconds=30) == 0
