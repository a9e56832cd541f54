"""A migration step by step: each strategy as an example, and who may lead it where."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from scheduling.job import JobKey
from scheduling.migration import ENDS, NEXT, Input, Migration, Standing, State, advance, moved
from scheduling.update import Update, limits

NOW = 1000.0


def migration(old: int = 3, new: int = 3, *, policy: dict[str, Any] | None = None, **row: Any) -> Migration:
    """A migration between these scales, just begun."""
    fields: dict[str, Any] = {
        "id": "m-1",
        "key": JobKey("p", "e", "web"),
        "old": "web-old",
        "new": "web-new",
        "old_hash": "web-old",
        "new_hash": "web-new",
        "old_scale": old,
        "new_scale": new,
        "limits": limits(Update(**(policy or {})), old, new),
        "old_wanted": tuple(range(old)),
        "begun_at": NOW,
        "progress_at": NOW,
    }
    return Migration(**(fields | row))


def standing(healthy: Iterable[int] = (), **more: Iterable[int]) -> Standing:
    """Tasks that are healthy; `running`, `down` and `there` are beyond these."""
    well = frozenset(healthy)
    running = well | frozenset(more.get("running", ()))
    return Standing(
        there=running | frozenset(more.get("there", ())),
        running=running,
        down=frozenset(more.get("down", ())),
        healthy=well,
    )


def told(row: Migration, *, at: float = NOW) -> list[str]:
    """A migration in a world where everything asked for is so at once: its rows, as `old|new`."""
    lines = []
    for _ in range(50):
        after = advance(row, standing(row.old_wanted), standing(row.new_wanted), at, at)
        if after is None:
            break
        row = after
        if row.state is State.RUNNING:
            lines.append(f"{_digits(row.old_wanted)}|{_digits(row.new_wanted)}")
        else:
            lines.append(str(row.state))
    return lines


def _digits(indices: Iterable[int]) -> str:
    return "".join(map(str, indices))


# --- each strategy, step by step ----------------------------------------------------------------------


def test_rolling_starts_one_then_stops_one() -> None:
    assert told(migration(policy={"strategy": "rolling"})) == [
        "012|0",
        "12|0",
        "12|01",
        "2|01",
        "2|012",
        "|012",
        "done",
    ]


def test_rolling_two_at_a_time() -> None:
    assert told(migration(4, 4, policy={"max_parallel": 2})) == [
        "0123|01",
        "23|01",
        "23|0123",
        "|0123",
        "done",
    ]


def test_rolling_without_room_for_more_stops_first() -> None:
    assert told(migration(2, 2, policy={"surge": 0})) == ["1|", "1|0", "|0", "|01", "done"]


def test_in_place_stops_one_then_starts_one_in_its_stead() -> None:
    assert told(migration(policy={"strategy": "in_place"})) == [
        "12|",
        "12|0",
        "2|0",
        "2|01",
        "|01",
        "|012",
        "done",
    ]


def test_blue_green_starts_all_then_stops_all() -> None:
    assert told(migration(policy={"strategy": "blue_green"})) == ["012|012", "|012", "done"]


def test_a_canary_waits_for_its_promotion_and_rolls_on_after_it() -> None:
    canary = migration(policy={"strategy": "canary"})
    assert told(canary) == ["012|0"]
    first = msgspec.structs.replace(canary, new_wanted=(0,), promoted=True)
    assert told(first) == ["12|0", "12|01", "2|01", "2|012", "|012", "done"]


def test_a_canary_promotes_itself_where_it_may() -> None:
    row = migration(policy={"strategy": "canary", "auto_promote": True}, new_wanted=(0,))
    after = advance(row, standing(range(3)), standing([0]), NOW + 7, NOW)
    assert after is not None
    assert (after.promoted, after.old_wanted, after.new_wanted) == (True, (0, 1, 2), (0,))
    assert after.progress_at == NOW + 7
    assert advance(row, standing(range(3)), standing(running=[0]), NOW, NOW) is None, "not while it is new"


def test_it_grows_and_shrinks_on_the_way() -> None:
    assert told(migration(1, 3)) == ["0|0", "0|01", "0|012", "|012", "done"]
    assert told(migration(3, 1)) == ["012|0", "12|0", "2|0", "|0", "done"]


def test_reverting_brings_the_old_ones_back_and_then_takes_the_new_ones_away() -> None:
    row = migration(old_wanted=(2,), new_wanted=(0, 1), state=State.REVERTING)
    rows = []
    while not row.over:
        after = advance(row, standing(row.old_wanted), standing(row.new_wanted), NOW, NOW)
        assert after is not None
        row = after
        rows.append(f"{_digits(row.old_wanted)}|{_digits(row.new_wanted)}")
    assert rows == ["02|01", "02|1", "012|1", "012|", "012|"], "never below 3 that run, nor above 4"
    assert row.state is State.REVERTED


# --- it waits -------------------------------------------------------------------------------------------


def test_nothing_is_stopped_while_the_new_one_is_not_healthy() -> None:
    row = migration(new_wanted=(0,))
    for new in (standing(), standing(running=[0]), standing(down=[0]), standing(there=[0])):
        assert advance(row, standing(range(3)), new, NOW, NOW) is None


def test_one_that_runs_but_not_for_long_enough_does_not_make_up_for_a_stopped_one() -> None:
    row = migration(new_wanted=(0,), policy={"max_parallel": 2, "surge": 1})
    assert advance(row, standing(range(3)), standing(running=[0]), NOW, NOW) is None
    after = advance(row, standing(range(3)), standing([0]), NOW, NOW)
    assert after is not None and after.old_wanted == (1, 2)


def test_one_that_is_unknown_counts_as_down_for_the_floor_and_as_up_for_the_ceiling() -> None:
    unknown = standing([1, 2], there=[0])
    row = migration(new_wanted=(0,))
    assert advance(row, unknown, standing([0]), NOW, NOW) is None, "1, 2 and the new one: no more than 3 run"
    row = migration()
    after = advance(row, unknown, standing(), NOW, NOW)
    assert after is not None and after.new_wanted == (0,)
    row = migration(old_wanted=(1, 2), new_wanted=(0,), policy={"max_parallel": 2, "surge": 1})
    assert advance(row, unknown, standing([0]), NOW, NOW) is None, "0 may still run: 4 do, and that is all"
    gone = advance(row, standing([1, 2]), standing([0]), NOW, NOW)
    assert gone is not None and gone.new_wanted == (0, 1)


def test_one_that_is_down_is_stopped_first_and_costs_no_floor() -> None:
    old = standing([0, 1], there=[2], down=[2])
    after = advance(migration(new_wanted=(0,)), old, standing([0]), NOW, NOW)
    assert after is not None
    assert after.old_wanted == (0, 1)


def test_it_is_done_only_when_the_old_ones_are_gone() -> None:
    row = migration(old_wanted=(), new_wanted=(0, 1, 2))
    assert advance(row, standing(there=[1]), standing(range(3)), NOW, NOW) is None
    after = advance(row, standing(), standing(range(3)), NOW, NOW)
    assert after is not None
    assert after.state is State.DONE


@pytest.mark.parametrize("state", [State.RUNNING, State.REVERTING])
def test_a_paused_one_takes_no_step(state: State) -> None:
    row = migration(state=state)
    assert advance(row, standing(range(3)), standing(), NOW, NOW) is not None
    paused = msgspec.structs.replace(row, paused=True)
    assert advance(paused, standing(range(3)), standing(), NOW + 9999, NOW) is None


@pytest.mark.parametrize("state", [State.FAILED, *sorted(ENDS)])
def test_one_that_failed_or_is_over_takes_no_step(state: State) -> None:
    assert advance(migration(state=state), standing(), standing(), NOW + 9999, NOW) is None


# --- it fails -------------------------------------------------------------------------------------------


def test_a_task_that_can_not_run_turns_it_back_with_the_reason() -> None:
    new = Standing(failed={1: "web-new-1 failed 2 times", 0: "web-new-0 failed 2 times"})
    after = advance(migration(new_wanted=(0, 1)), standing(range(3)), new, NOW + 3, NOW)
    assert after is not None
    assert (after.state, after.reason, after.progress_at) == (
        State.REVERTING,
        "web-new-0 failed 2 times",
        NOW + 3,
    )
    assert (after.old_wanted, after.new_wanted) == ((0, 1, 2), (0, 1)), "turning back stops nothing by itself"


def test_without_auto_revert_it_waits_for_its_operator() -> None:
    row = migration(new_wanted=(0,), policy={"auto_revert": False})
    after = advance(row, standing(range(3)), Standing(failed={0: "broken"}), NOW, NOW)
    assert after is not None
    assert (after.state, after.reason) == (State.FAILED, "broken")


def test_without_progress_until_the_deadline_it_has_failed() -> None:
    row = migration(new_wanted=(0,))
    assert advance(row, standing(range(3)), standing(), NOW + 300.0, NOW) is None
    after = advance(row, standing(range(3)), standing(), NOW + 300.1, NOW)
    assert after is not None
    assert (after.state, after.reason) == (State.REVERTING, "nothing went forward for 300 s")


def test_the_deadline_does_not_count_while_a_good_canary_waits_for_its_promotion() -> None:
    row = migration(new_wanted=(0,), policy={"strategy": "canary"})
    assert advance(row, standing(range(3)), standing([0]), NOW + 9999, NOW) is None
    after = advance(row, standing(range(3)), standing(running=[0]), NOW + 9999, NOW)
    assert after is not None and after.state is State.REVERTING, "one that is not good does not wait for ever"


# --- the table ------------------------------------------------------------------------------------------


def test_the_table_is_total() -> None:
    assert set(NEXT) == {(state, said) for state in State for said in Input}


@pytest.mark.parametrize(("state", "said"), sorted(key for key, to in NEXT.items() if to is None))
def test_what_is_illegal_raises_and_changes_nothing(state: State, said: Input) -> None:
    row = migration(state=state)
    before = msgspec.structs.replace(row)
    with pytest.raises(ValueError, match=f"migration m-1 is {state}; it can't {said}"):
        moved(row, said, reason="no")
    assert row == before


@pytest.mark.parametrize(("state", "said"), sorted(key for key, to in NEXT.items() if to is not None))
def test_what_is_legal_leads_where_the_table_says(state: State, said: Input) -> None:
    after = moved(migration(state=state), said, reason="because")
    assert (after.state, after.reason) == (NEXT[state, said], "because")


def test_no_way_leads_out_of_an_end() -> None:
    assert all(NEXT[state, said] is None for state in ENDS for said in Input)


def test_one_whose_new_tasks_are_all_good_is_not_given_up_for_an_old_one_that_is_slow_to_go() -> None:
    row = migration(new_wanted=(0, 1, 2), old_wanted=(), progress_at=0.0)
    stuck = standing(there=(2,))
    assert advance(row, stuck, standing(healthy=(0, 1, 2)), 1e6, 0.0) is None


def test_going_back_stops_no_good_copy_for_one_that_ends_at_once() -> None:
    row = migration(new_wanted=(0, 1, 2), old_wanted=(0,), state=State.REVERTING)
    looping = standing(running=(0,), there=(0,))
    stepped = advance(row, looping, standing(healthy=(0, 1, 2)), 1.0, 1.0)
    assert stepped is None or stepped.new_wanted == (0, 1, 2)
