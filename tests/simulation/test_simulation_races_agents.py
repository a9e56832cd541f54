"""The rows of the table of races (docs/architecture.md) about agents that go and come back: each with its
story, which must fail without what settles it."""

from typing import Any

import msgspec
import pytest
from story_checks import breaks, holds, off, until_runs, until_runs_anywhere

from actors.messages import Broadcast
from actors.nursery import Nursery
from scheduling.copies import Copies
from scheduling.desired import AGENT, Copy, Placement
from scheduling.replica import Publisher, Update
from simulation.scripted import Script, script

pytestmark = pytest.mark.timeout(300)


def until_replaced(it: Script, task: str, away: str) -> str:
    """Wait until the task is meant to run elsewhere than on the agent that is away; returns where."""
    it.until(
        lambda: it.copies(task).get(away) == "stop" and len(it.copies(task)) == 2, "it is placed elsewhere"
    )
    return next(agent for agent, intent in it.copies(task).items() if intent == "run")


def move(seed: int) -> None:
    with script({"a": 400, "b": 400}, seed) as it:
        it.begin()
        (task,) = it.schedule("web", restart="on-failure")
        (first,) = until_runs_anywhere(it, task)
        let_go = it.hold(first, "remove")
        it.strike("agent crashes, rebooted", first, seconds=27.0)
        second = until_replaced(it, task, first)
        # The command for the second is lost: long before it is there again the first is, with its ended copy.
        it.strike("connections are reset", second)
        it.strike("network is cut", second, seconds=15.0)
        it.never["both have it"] = lambda: it.holders(task) == ["a", "b"]
        it.until(lambda: it.link(first) == it.link(second) == "connected", "both are back")
        it.expect(not it.lost(first), "none is lost")
        it.pass_seconds(10.0)
        it.expect(it.holders(task) == [first], "the second is not commanded")
        let_go()
        until_runs(it, task, second)
        it.expect(it.copies(task) == {second: "run"}, "the first has left the row")
        it.end()


def test_a_task_moves_from_a_to_b() -> None:
    """Settled by "B is commanded only when A's row is gone (absence proven) or A is *lost* by a written
    fact"."""
    holds(move)
    breaks(move, "runs once|both have it", "B is commanded only when A is gone")
    breaks(move, "placements go on proof", "a copy leaves on proof of absence")


def back_before_the_replacement_runs(seed: int) -> None:
    with script({"a": 400, "b": 400}, seed) as it:
        it.begin()
        (task,) = it.schedule("web", restart="always")
        (first,) = until_runs_anywhere(it, task)
        it.hold("b" if first == "a" else "a", "_fetched")
        it.strike("network is cut", first, seconds=50.0)
        second = until_replaced(it, task, first)
        it.until(lambda: second in it.holders(task), "the replacement is on its way")
        it.never["the returned copy is stopped"] = lambda: it.requests(f"{first}: stop")
        it.until(lambda: it.copies(task) == {first: "run"}, "the row is the returned copy's")
        it.expect(it.holders(task) == [first], "the replacement is gone")
        it.end()
        it.expect(it.world.agents[first].containers[task].runs == 1, "it ran all the time")


def test_a_lost_agent_returns_while_the_replacement_is_not_running_yet() -> None:
    """Settled by "the row goes back to the returned copy, the replacement is stopped"."""
    holds(back_before_the_replacement_runs)
    breaks(
        back_before_the_replacement_runs,
        "the returned copy stays|the returned copy is stopped",
        "the returned copy stays while its replacement does not run",
    )


def back_after_the_replacement_runs(seed: int) -> None:
    with script({"a": 400, "b": 400}, seed) as it:
        it.begin()
        (task,) = it.schedule("web", restart="always")
        (first,) = until_runs_anywhere(it, task)
        it.strike("network is cut", first, seconds=60.0)
        second = until_replaced(it, task, first)
        it.until(lambda: it.runs_on(task) == ["a", "b"], "the replacement runs, and so does the lost copy")
        it.never["the replacement is stopped"] = lambda: it.requests(f"{second}: stop")
        it.expect(it.copies(task) == {first: "stop", second: "run"}, "the lost copy has intent stop")
        until_runs(it, task, second)
        it.end()
        it.expect(it.copies(task) == {second: "run"}, "the row is the replacement's")


def test_a_lost_agent_returns_after_the_replacement_runs() -> None:
    """Settled by "the copy on the returned agent has intent stop"."""
    holds(back_after_the_replacement_runs)
    breaks(
        back_after_the_replacement_runs,
        "placements go on proof",
        "a copy that was replaced is stopped when its agent is back",
    )


def unscheduled_while_away(seed: int) -> None:
    with script({"a": 400, "b": 400}, seed, lost_after_seconds=120.0) as it:
        it.begin()
        (task,) = it.schedule("web", restart="always")
        (first,) = until_runs_anywhere(it, task)
        it.strike("network is cut", first, seconds=40.0)
        it.until(lambda: it.link(first) == "stale", "it is stale")
        it.delete("web")
        it.until(lambda: it.copies(task) == {first: "stop"}, "it is to be stopped")
        it.pass_seconds(15.0)
        it.expect(it.copies(task) == {first: "stop"}, "its row stays")
        it.never["its row goes while it is there"] = lambda: it.row(task) is None and it.holders(task)
        it.until(lambda: it.row(task) is None, "its row is gone, once the agent has answered")
        it.end()


def test_an_agent_is_away_while_its_job_is_unscheduled() -> None:
    """Settled by "its rows stay with intent stop until it has answered"."""
    holds(unscheduled_while_away)
    breaks(unscheduled_while_away, "placements go on proof", "a copy leaves on proof of absence")


def back_while_the_scheduler_is_out(seed: int) -> None:
    with script({"a": 400, "b": 400}, seed) as it:
        it.begin()
        (task,) = it.schedule("web", restart="always")
        (first,) = until_runs_anywhere(it, task)
        it.hold("b" if first == "a" else "a", "_fetched")
        it.strike("network is cut", first, seconds=50.0)
        cut_until = it.elapsed() + 50.0
        until_replaced(it, task, first)
        it.pass_seconds(cut_until - it.elapsed() - 1.0)
        it.strike("scheduler hangs", seconds=20.0)
        it.never["the returned copy is stopped"] = lambda: it.requests(f"{first}: stop")
        it.until(lambda: it.copies(task) == {first: "run"}, "the row is the returned copy's")
        it.end()


def test_a_lost_agent_is_back_and_commands_and_placements_for_it_cross() -> None:
    """Settled by "which copies stay is written first, and that it is back after that: nothing is commanded
    there before"."""
    holds(back_while_the_scheduler_is_out)
    how = "the returned copy is stopped"
    breaks(back_while_the_scheduler_is_out, how, "nothing is commanded on a lost agent")


def back_without_anything(seed: int) -> None:
    with script({"a": 400, "b": 400}, seed) as it:
        it.begin()
        (task,) = it.schedule("web", restart="always")
        (first,) = until_runs_anywhere(it, task)
        it.strike("agent crashes, empty", first, seconds=40.0)
        second = until_replaced(it, task, first)
        it.never["it is made again where it was lost"] = lambda: len(it.requests(f"{first}: put")) > 1
        it.until(lambda: it.link(first) == "connected", "the first is back")
        it.until(lambda: it.copies(task) == {second: "run"}, "the first has left the row")
        it.end()


def test_a_lost_agent_comes_back_without_its_containers() -> None:
    """Settled by "its state machine waits for new commands for what is not there or not started"."""
    holds(back_without_anything)
    breaks(back_without_anything, "made again where it was lost", "who was away waits for new commands")


def never_returns(seed: int) -> None:
    with script({"a": 400, "b": 400}, seed) as it:
        it.begin()
        (task,) = it.schedule("web", restart="always")
        (first,) = until_runs_anywhere(it, task)
        it.strike("agent crashes, all kept", first, seconds=10_000.0)
        second = until_replaced(it, task, first)
        until_runs_anywhere(it, task)
        it.pass_seconds(120.0)
        it.expect(it.copies(task) == {first: "stop", second: "run"}, "its copy stays, there is no proof")
        it.strike("agent is removed", first, seconds=10_000.0)
        it.until(lambda: it.copies(task) == {second: "run"}, "its copy leaves on its operator's word")
        it.until(lambda: (AGENT, first) not in it.world.disk.state, "nothing of it is left")


def _only_on_proof(self: Copies, placement: Placement, copy: Copy) -> bool:
    return self.proven_absent(placement, copy)


def test_a_lost_agent_never_returns() -> None:
    """Settled by "when it is taken out of the list of agents, its copies leave without proof: that is the
    operator's word"."""
    holds(never_returns)
    breaks(never_returns, "on its operator's word", off(Copies, "is_gone", _only_on_proof))


def late_words_of_a_dead_flock(seed: int) -> None:
    with script({"a": 400, "b": 400}, seed) as it:
        it.begin()
        (task,) = it.schedule("web", restart="always")
        (first,) = until_runs_anywhere(it, task)
        flock, shepherd = it.actor("Flock"), it.actor("Shepherd")
        before = _said_by(flock.performer.publisher)
        it.kill("Flock")
        it.until(lambda: it.link(first) != "connected", "its death is known")
        it.until(lambda: it.link("a") == it.link("b") == "connected", "a new one has come up")
        # Its port is that of the dead one, as far as its parent can see.
        it.world.stage.send(it.actor("Flock").address, shepherd.address, before)
        it.pass_seconds(120.0)
        it.expect(it.copies(task) == {first: "run"}, "nothing has changed")
        it.end()


def _said_by(publisher: Publisher) -> Broadcast:
    """A snapshot of when its agents were not connected yet."""
    early = {
        key: msgspec.structs.replace(value, link="connecting", answered=False) if key[0] == AGENT else value
        for key, value in publisher.state.items()
    }
    update = Update(epoch=publisher.epoch, since=0, version=1, snapshot=True, changes=early)
    return Broadcast(topic="actual", update=update)


def _by_its_address_only(self: Nursery, address: Any, _epoch: str | None = None) -> str | None:
    name = self.name_of(address)
    if name is not None:
        self.children[name].heard = True
    return name


def test_a_message_of_a_dead_child_comes_when_another_child_has_its_port() -> None:
    """Settled by "a parent tells each child the epoch that it is to broadcast under, and takes in no
    other"."""
    holds(late_words_of_a_dead_flock)
    breaks(
        late_words_of_a_dead_flock,
        "replicas are true: shepherd",
        off(Nursery, "heard_from", _by_its_address_only),
    )
