"""What must be so in the end, once the faults have stopped; each function returns why it is not yet so."""

from __future__ import annotations

from collections.abc import Iterator

from scheduling.container import FAILED, FINISHED, RUNNING
from scheduling.desired import PLACEMENT
from scheduling.job import task_prefix
from scheduling.room import need_of
from simulation.facts import Facts
from simulation.stage import Backstage, Stage
from simulation.users import Users

# A task that has ended by itself is done, until the scheduler learns to place it again.
ENDED_IS_DONE = True


def unfinished(facts: Facts, users: Users, stage: Stage) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Everything that is not as it should be, in words, with the tasks and agents it is about."""
    if users.waiting:
        yield f"{users.waiting[0].request_id} is not answered", ()
    wanted = set(facts.wanted())
    yield from _wanted_run_once(facts, wanted)
    yield from _unwanted_are_gone(facts, wanted, stage)
    yield from _nothing_is_kept(facts, stage)


def _wanted_run_once(facts: Facts, wanted: set[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    ended = (FINISHED, FAILED) if ENDED_IS_DONE else ()
    for task in sorted(wanted):
        row = facts.row(task)
        holders = [name for name, agent in facts.agents.items() if task in agent.containers]
        if row is None:
            fitting = [name for name in facts.agents if _fits(facts, name, task)]
            if fitting or holders:
                yield (
                    f"{task} waits, though {fitting} have room and {holders} have it",
                    (task, *fitting, *holders),
                )
            continue
        if holders != [row.running]:
            yield f"{task} is on {holders}, and meant to be on {row.running}", (task, *holders)
            continue
        status = facts.agents[holders[0]].containers[task].status
        if status != RUNNING and status not in ended:
            yield f"{task} is {status or 'fetching'} on {holders[0]}", (task, *holders)


def _unwanted_are_gone(facts: Facts, wanted: set[str], stage: Stage) -> Iterator[tuple[str, tuple[str, ...]]]:
    executors = [machine.performer.executor for machine in machines(stage)]
    forgotten = {executor.agent: executor._forgotten for executor in executors}
    for key in facts.disk.state:
        if key[0] == PLACEMENT and key[1] not in wanted:
            yield f"{key[1]} is not wanted and has a placement", (key[1],)
    for name, agent in facts.agents.items():
        for task, container in agent.containers.items():
            # Two deaths within LATEST_ARRIVAL_SECONDS: who has seen it go is dead, too.
            unknown = container.late_at is not None and task not in forgotten.get(name, ())
            unwanted = (
                not container.orphan and not unknown and (task, name) in facts.placed and task not in wanted
            )
            if unwanted:
                yield f"{task} is not wanted and is on {name}", (task, name)


def _nothing_is_kept(facts: Facts, stage: Stage) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What the actors remember is bounded by what there is."""
    for machine in machines(stage):
        executor = machine.performer.executor
        name = executor.agent
        there = set(facts.agents[name].containers)
        for task in executor._records:
            if task not in there and facts.copy(task, name) is None:
                yield f"the state machine of {name} still remembers {task}", (task, name)
    for scheduler in stage.of_kind("Scheduler"):
        for key in scheduler.performer.publisher.state:
            if ("job", key[1]) not in facts.disk.state:
                yield f"{key[1]} is said to wait, and is not wanted", (key[1],)


def machines(stage: Stage) -> list[Backstage]:
    """The state machines that know their agent already."""
    return [machine for machine in stage.of_kind("StateMachine") if hasattr(machine.performer, "executor")]


def _fits(facts: Facts, name: str, task: str) -> bool:
    """Whether a task fits on an agent as it is."""
    agent = facts.agents[name]
    need = need_of(facts.configs[task_prefix(task)])
    there = [need_of(container.config) for container in agent.containers.values()]
    ports = {port for other in there for port in other.ports}
    return (
        sum(other.mem for other in there) + need.mem <= agent.mem
        and sum(other.cpu for other in there) + need.cpu <= agent.cpu
        and not ports & need.ports
    )
