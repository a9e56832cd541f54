"""The command lease: two state machines for one agent, and what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from msgspec.structs import replace
from story_checks import breaks, holds, until_runs_anywhere
from thespian.actors import ActorSystemConventionUpdate

from actors import shepherd
from actors.flock import NO_COMMANDS
from actors.hosts import capabilities
from actors.messages import Commands, LeaseGrant
from scheduling import registry
from scheduling.canonical import go_json
from scheduling.commands import Batch, Command
from scheduling.job import task_prefix
from scheduling.jobs import ScheduleJob
from scheduling.lease import LEASE_SECONDS, SUCCESSION_SECONDS
from scheduling.registry import AgentSpec
from simulation import stage
from simulation.liveness import machines
from simulation.scripted import Script, script
from simulation.world import World

pytestmark = pytest.mark.timeout(300)

RENEWED = "a state machine commands only while its lease is renewed"
WAITS = "a successor waits until its predecessor's lease is over"
TWO = "a successor commands alone"


@pytest.fixture(autouse=True)
def cut_off_is_noticed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst case: a successor is there while the predecessor's lease is as fresh as it can be."""
    monkeypatch.setattr(stage, "DETECTION_SECONDS", (0.1, 0.1))
    # Nor does a new shepherd give the old lease time to run out while it waits for members.
    monkeypatch.setattr(shepherd, "GATHERING_SECONDS", 0.0)


def elsewhere(world: World) -> None:
    """Flocks are on hosts of their own."""
    world.outside.remote = True


def ends_when_told(it: Script, agent: str, task: str) -> Callable[[], None]:
    """From now on a stop is accepted there, and nothing happens until the task is told to end."""
    host = it.world.agents[agent]
    setattr(host, "_finish", lambda _container: None)  # noqa: B010 - a method

    def let_end() -> None:
        delattr(host, "_finish")
        host._finish(host.containers[task])

    return let_end


def until_stopped(it: Script, agent: str, times: int) -> None:
    it.until(lambda: len(it.requests(f"{agent}: stop")) == times, f"stop is sent to {agent}, {times} in all")


def cut_off(seed: int) -> None:
    """The flock that has sent a stop is cut off; its successor does it again; the task ends, both see it."""
    with script({"a": 400}, seed, before=elsewhere) as it:
        it.begin()
        (task,) = it.schedule("web")
        until_runs_anywhere(it, task)
        let_end = ends_when_told(it, "a", task)
        it.delete("web")
        until_stopped(it, "a", 1)
        it.strike("flock is cut off", seconds=40.0)
        until_stopped(it, "a", 2)
        let_end()
        it.until(lambda: not it.holders(task), "it is deleted")
        it.pass_seconds(10.0)
        it.end()


def test_two_state_machines_for_one_agent() -> None:
    """Settled by "a state machine commands only while its lease is renewed; a replacement waits longer"."""
    holds(cut_off)
    breaks(cut_off, TWO, RENEWED)
    breaks(cut_off, TWO, WAITS)


def cut_off_from_two(seed: int) -> None:
    """The same, and the shepherd dies, too: its successor has never heard of that flock."""
    with script({"a": 400}, seed, before=elsewhere) as it:
        it.begin()
        (task,) = it.schedule("web")
        until_runs_anywhere(it, task)
        let_end = ends_when_told(it, "a", task)
        it.delete("web")
        until_stopped(it, "a", 1)
        it.strike("flock is cut off", seconds=40.0)
        it.kill("Shepherd")
        until_stopped(it, "a", 2)
        let_end()
        it.until(lambda: not it.holders(task), "it is deleted")
        it.pass_seconds(10.0)
        it.end()


def test_a_new_shepherd_waits_for_flocks_it_never_knew() -> None:
    holds(cut_off_from_two)
    breaks(cut_off_from_two, TWO, RENEWED)
    breaks(cut_off_from_two, TWO, WAITS)


def moved(seed: int) -> None:
    """An agent is taken out while its flock hangs, and comes back to another flock. A late command of the
    first one reaches its state machine, which should have ended."""
    with script({"a": 600, "b": 40, "c": 40, "d": 40}, seed) as it:
        it.begin()
        (task,) = it.schedule("web")
        until_runs_anywhere(it, task)
        it.delete("web")
        it.until(lambda: it.row(task) is None, "it is gone")
        old = next(machine for machine in machines(it.world.stage) if machine.performer.executor.agent == "a")
        assert old.parent is not None
        old.parent.held_until = it.world.clock.now + 30.0
        follow_only(it, "bd")
        follow_only(it, "bcd")
        follow_only(it, "abcd")
        it.schedule("db")
        it.until(lambda: it.requests("put db"), "the new state machine commands")
        run = Command(task=task, generation=99, goal="run", prefix=task_prefix(task))
        configs = {run.prefix: go_json(it.config("web").container())}
        lives = {"a": old.performer.status.life}
        late = Commands(batch=Batch(commands={"a": (run,)}, configs=configs, lives=lives))
        it.world.stage.send(old.parent.address, old.address, late)
        it.pass_seconds(2.5)


def follow_only(it: Script, names: str) -> None:
    """These are the agents from now on."""
    hosts = [it.world.agents[name] for name in names]
    it.world.users.sync_agents(tuple(AgentSpec(name=host.name, endpoint=host.endpoint) for host in hosts))
    it.pass_seconds(0.1)


def test_an_agent_that_moves_to_another_flock_is_not_commanded_by_both() -> None:
    holds(moved)
    breaks(moved, TWO, RENEWED)
    breaks(moved, TWO, WAITS)


def label(it: Script, *zones: str) -> None:
    """The agents have these zones from now on."""
    hosts = it.world.agents.values()
    specs = tuple(
        AgentSpec(name=each.name, endpoint=each.endpoint, labels={"zone": zone})
        for each, zone in zip(hosts, zones, strict=True)
    )
    it.world.users.sync_agents(specs)
    it.pass_seconds(0.1)


def news(it: Script, *, added: bool, zone: str = "east") -> None:
    """Thespian tells the shepherd that a host is there, or is gone."""
    settings = it.actor("Shepherd").performer.settings
    told = capabilities(replace(settings, actor_address="10.0.0.9", zone=zone, name="m"))
    shepherd_now = it.actor("Shepherd")
    message = ActorSystemConventionUpdate(shepherd_now.address, told, added)
    it.world.stage.send(shepherd_now.address, shepherd_now.address, message)
    it.pass_seconds(0.1)


def moved_home(seed: int) -> None:
    """A host of its agent's zone joins, and a flock is made there; where it was it hears of that too late."""
    with script({"a": 400}, seed) as it:
        it.begin()
        label(it, "east")
        (task,) = it.schedule("web")
        until_runs_anywhere(it, task)
        let_end = ends_when_told(it, "a", task)
        it.delete("web")
        until_stopped(it, "a", 1)
        old = it.actor("Flock")
        old.held_until = it.world.clock.now + 30.0
        news(it, added=True)
        assert old.alive
        until_stopped(it, "a", 2)
        let_end()
        it.until(lambda: not it.holders(task), "it is deleted")
        it.until(lambda: not old.alive, "it has heard of it")
        (leader, member) = it.actual.members.values()
        assert (leader.flocks, member.flocks, member.agents) == (0, 1, 1)
        it.end()


def test_a_flock_that_moves_to_another_host_does_not_command_beside_itself() -> None:
    holds(moved_home)
    breaks(moved_home, TWO, RENEWED)
    breaks(moved_home, TWO, WAITS)


def test_a_host_on_which_no_flock_comes_up_is_not_used_for_a_while() -> None:
    """A firewall lets it reach the leader, and not the other way round."""
    with script({"a": 400}, 1, before=elsewhere) as it:
        it.begin()
        label(it, "east")
        news(it, added=True)
        it.world.stage.of_kind("Flock")[-1].held_until = it.world.clock.now + 100.0
        it.until(lambda: it.link("a") == "connected", "it is followed from elsewhere")
        (leader, member) = it.actual.members.values()
        assert (leader.flocks, member.flocks) == (1, 0)
        assert member.trouble == "a flock that was made there said nothing"
        it.until(lambda: [each.flocks for each in it.actual.members.values()] == [0, 1], "it is used again")
        it.end()


def lost_with_its_host(seed: int) -> None:
    """Thespian says that a host is gone, and its flock lives on there."""
    with script({"a": 400}, seed, before=elsewhere) as it:
        it.begin()
        label(it, "east")
        news(it, added=True)
        (task,) = it.schedule("web")
        until_runs_anywhere(it, task)
        let_end = ends_when_told(it, "a", task)
        it.delete("web")
        until_stopped(it, "a", 1)
        old = it.actor("Flock")
        old.held_until = it.world.clock.now + 30.0
        news(it, added=False)
        until_stopped(it, "a", 2)
        let_end()
        it.until(lambda: not it.holders(task), "it is deleted")
        it.until(lambda: not old.alive, "it has ended")
        (leader, member) = it.actual.members.values()
        assert (leader.flocks, member.connected, member.flocks) == (1, False, 0)
        it.end()


def test_a_flock_of_a_lost_host_does_not_command_beside_its_successor() -> None:
    holds(lost_with_its_host)
    breaks(lost_with_its_host, TWO, RENEWED)
    breaks(lost_with_its_host, TWO, WAITS)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_agent_that_gets_another_zone_is_in_another_flock_and_its_tasks_run_on(seed: int) -> None:
    """What its first flock says of it, when it lets it go, comes later than what the second one knows."""
    with script({"a": 400, "b": 1}, seed) as it:
        it.begin()
        label(it, "east", "east")
        (task,) = it.schedule("web")
        until_runs_anywhere(it, task)
        it.actor("Flock").held_until = it.world.clock.now + 8.0
        label(it, "west", "east")
        it.until(lambda: len(it.world.stage.of_kind("Flock")) == 2, "another flock")
        it.until(lambda: it.link("a") == "connected", "it is followed")
        it.pass_seconds(15.0)
        assert it.link("a") == it.link("b") == "connected"
        assert it.actual.report("a", task) is not None
        assert it.runs_on(task) == ["a"]
        assert len(it.requests("start")) == 1
        it.delete("web")
        it.until(lambda: it.row(task) is None, "it is gone")
        it.end()


def readdressed(seed: int) -> None:
    """An agent gets another address while its state machine hangs, and ends too late."""
    with script({"a": 400}, seed) as it:
        it.begin()
        (task,) = it.schedule("web")
        until_runs_anywhere(it, task)
        let_end, let_go = ends_when_told(it, "a", task), it.hold("a", "remove")
        it.delete("web")
        until_stopped(it, "a", 1)
        old, host = it.actor("StateMachine"), it.world.agents["a"]
        old.held_until = it.world.clock.now + 3.0
        let_end()
        it.pass_seconds(0.1)
        host.endpoint = "http://other.test:3333"
        it.world.network.agents[host.endpoint] = host
        follow_only(it, "a")
        it.until(
            lambda: it.requests("delete web") and not old.alive, "it is deleted, and the old one has ended"
        )
        let_go()
        it.end()


def test_an_agent_with_a_new_address_is_not_commanded_by_both(monkeypatch: pytest.MonkeyPatch) -> None:
    # An agent with tasks keeps its address unless it is lost; the lease must do without that.
    monkeypatch.setattr(registry, "stays_put", lambda *_: False)
    holds(readdressed)
    breaks(readdressed, TWO, WAITS)


def messages(it: Script) -> Counter[str]:
    """Counts the messages between actors from now on, by class."""
    counted: Counter[str] = Counter()
    real = it.world.stage.on_send

    def on_send(sender: stage.Backstage | None, target: stage.Address, message: object) -> None:
        counted[type(message).__name__] += 1
        real(sender, target, message)

    it.world.stage.on_send = on_send
    return counted


def test_idle_it_costs_nothing_and_busy_a_few_messages() -> None:
    with script(dict.fromkeys("abcdef", 400), 1) as it:
        it.begin()
        counted = messages(it)
        tasks = it.schedule("queue", 12)
        until_runs_anywhere(it, *tasks)
        # Three flocks, each renews it now and then, however many state machines and tasks there are.
        assert counted["LeaseRequest"] <= 6, counted
        counted.clear()
        it.pass_seconds(120.0)
        assert counted["LeaseRequest"] == counted["LeaseGrant"] == 0, counted
        assert counted["Broadcast"] > 0


@pytest.mark.parametrize("kind", ["StateMachine", "Flock", "Shepherd", "Supervisor"])
def test_a_death_on_this_host_is_not_waited_for(kind: str) -> None:
    """Whoever was reaped here commands no more: its successor does as soon as it is there."""
    with script({"a": 400}, 1) as it:
        it.begin()
        until_runs_anywhere(it, *it.schedule("web"))
        it.kill(kind)
        killed_at = it.elapsed()
        it.ask(ScheduleJob(config=it.config("cache")))
        it.until(lambda: it.requests("put cache"), "the successor commands")
        assert it.elapsed() - killed_at < SUCCESSION_SECONDS - 3.0


def test_a_shepherd_that_hangs_only_pauses_commands() -> None:
    with script({"a": 400}, 1) as it:
        it.begin()
        (task,) = it.schedule("web")
        until_runs_anywhere(it, task)
        let_end = ends_when_told(it, "a", task)
        it.delete("web")
        until_stopped(it, "a", 1)
        flock, shepherd = it.actor("Flock"), it.actor("Shepherd")
        shepherd.held_until = it.world.clock.now + 20.0
        it.pass_seconds(LEASE_SECONDS + 1.0)
        let_end()
        it.pass_seconds(8.0)
        assert not it.requests("delete web"), "no lease, no commands"
        it.until(lambda: it.requests("delete web"), "commands go on")
        assert it.world.clock.now >= shepherd.held_until
        assert it.actor("Flock") is flock, "nothing was made anew"


def test_a_lease_that_was_meant_for_a_dead_actor_is_not_taken() -> None:
    """The port of a dead actor may be the next one's."""
    with script({"a": 400}, 1) as it:
        it.begin()
        flock, machine, shepherd = it.actor("Flock"), it.actor("StateMachine"), it.actor("Shepherd")
        now = it.world.clock.now
        send = it.world.stage.send
        send(shepherd.address, flock.address, LeaseGrant(holder="another life", asked_at=now))
        send(shepherd.address, machine.address, Commands(batch=NO_COMMANDS, lease_until=now + 5.0))
        it.pass_seconds(3.0)
        assert not flock.performer.lease.valid(now)
        assert not machine.performer.lease.valid(now)
