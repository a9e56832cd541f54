"""What must be so in the end, once the faults have stopped; each function returns why it is not yet so."""

from __future__ import annotations

from collections.abc import Iterator

from scheduling.container import FINISHED, RUNNING
from scheduling.desired import PLACEMENT, Job
from scheduling.job import task_id, task_prefix
from scheduling.migration import State
from scheduling.room import need_of
from scheduling.update import Update
from scheduling.waiting import LEFT_OUT, WAITING
from simulation.agent import Container
from simulation.facts import Facts
from simulation.judge_everywhere import place_of, uncovered
from simulation.stage import Backstage, Stage
from simulation.users import Users


def unfinished(facts: Facts, users: Users, stage: Stage) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Everything that is not as it should be, in words, with the tasks and agents it is about."""
    if users.waiting:
        yield f"{users.waiting[0].request_id} is not answered", ()
    wanted = set(facts.wanted())
    yield from _wanted_run_once(facts, wanted, stage)
    yield from _unwanted_are_gone(facts, wanted, stage)
    yield from _nothing_is_kept(facts, stage)
    yield from _migrations_end(facts)
    yield from not_emptied(facts)
    yield from uncovered(facts)
    if facts.desired.under_way is not None:
        yield f"a rebalance is under way: {facts.desired.under_way.moves}", ()


def _migrations_end(facts: Facts) -> Iterator[tuple[str, tuple[str, ...]]]:
    """One that nobody holds ends; on its way back it may wait for room, or for an old version that fails."""
    for migration in facts.desired.migrations.values():
        held = migration.paused or migration.awaits_promotion or migration.state is State.FAILED
        if migration.over or held:
            continue
        old = [task_id(migration.old, index) for index in facts.desired.jobs[migration.old].members]
        if migration.state is State.REVERTING and not all(_runs(facts, task) for task in old):
            continue
        yield f"{migration.id} is {migration.state}: {migration.old} to {migration.new}", tuple(old)


def _runs(facts: Facts, task: str) -> bool:
    return any(
        task in agent.containers and agent.containers[task].status == RUNNING
        for agent in facts.agents.values()
        if not agent.gone
    )


def _wanted_run_once(facts: Facts, wanted: set[str], stage: Stage) -> Iterator[tuple[str, tuple[str, ...]]]:
    there = {name: agent for name, agent in facts.agents.items() if not agent.gone}
    for task in sorted(wanted):
        row = facts.row(task)
        holders = [name for name, agent in there.items() if task in agent.containers]
        if row is None or not any(copy.agent in there for copy in row.copies):
            if _pauses(stage, task):
                continue
            own = place_of(facts, task)
            fitting = [name for name in there if own in (None, name) and fits(facts, name, task)]
            if fitting or holders:
                yield (
                    f"{task} waits, though {fitting} have room and {holders} have it",
                    (task, *fitting, *holders),
                )
            continue
        if holders != [row.running]:
            yield f"{task} is on {holders}, and meant to be on {row.running}", (task, *holders)
            continue
        container = facts.agents[holders[0]].containers[task]
        if container.status != RUNNING and not is_done(container):
            yield f"{task} is {container.status or 'fetching'} on {holders[0]}", (task, *holders)


def is_done(container: Container) -> bool:
    """Whether a task has ended as its policy lets it."""
    failed = container.exit.signaled or container.exit.exit_status != 0
    policy = container.config.restart
    return container.status == FINISHED and (policy == "no" or (policy == "on-failure" and not failed))


def _pauses(stage: Stage, task: str) -> bool:
    """Whether a task has failed, and waits for its next try."""
    rules = [each.performer.rule for each in stage.of_kind("Scheduler") if hasattr(each.performer, "rule")]
    return any(rule._failures.pauses(task, stage.clock.now) for rule in rules)


def _unwanted_are_gone(facts: Facts, wanted: set[str], stage: Stage) -> Iterator[tuple[str, tuple[str, ...]]]:
    executors = [machine.performer.executor for machine in machines(stage)]
    forgotten = {executor.agent: executor._forgotten for executor in executors}
    for key in facts.disk.state:
        left = key[0] == PLACEMENT and key[1] not in wanted
        # What was on a host that is gone for good is never proven absent.
        if left and not all(facts.agents[copy.agent].gone for copy in facts.disk.state[key].copies):
            yield f"{key[1]} is not wanted and has a placement", (key[1],)
    for name, agent in facts.agents.items():
        for task, container in agent.containers.items() if not agent.gone else ():
            # Deaths within LATEST_ARRIVAL_SECONDS: who has seen it go, or come late, is dead, too.
            late = container.late_at is not None or container.tardy
            unknown = late and task not in forgotten.get(name, ())
            ours = (task, name) in facts.placed or (task, name) in facts.unheard
            left_alone = container.orphan or unknown or (task, name) in facts.abandoned
            if ours and not left_alone and task not in wanted:
                yield f"{task} is not wanted and is on {name}", (task, name)


def _nothing_is_kept(facts: Facts, stage: Stage) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What the actors remember is bounded by what there is."""
    for machine in machines(stage):
        executor = machine.performer.executor
        name = executor.agent
        if facts.agents[name].gone:
            continue
        there = set(facts.agents[name].containers)
        for task in executor._records:
            if task not in there and facts.copy(task, name) is None:
                yield f"the state machine of {name} still remembers {task}", (task, name)
    for scheduler in stage.of_kind("Scheduler"):
        for key in scheduler.performer.publisher.state:
            if key[0] in (WAITING, LEFT_OUT) and ("job", key[1]) not in facts.disk.state:
                yield f"{key[1]} is said to wait, and is not wanted", (key[1],)


def machines(stage: Stage) -> list[Backstage]:
    """The state machines that know their agent already."""
    return [machine for machine in stage.of_kind("StateMachine") if hasattr(machine.performer, "executor")]


def not_emptied(facts: Facts) -> Iterator[tuple[str, tuple[str, ...]]]:
    """A drained agent keeps only what fits nowhere else, what its job's floor or migration holds, and what
    has ended for good; once its time is over, only that."""
    for agent in facts.desired.agents.values():
        if agent.drain is None or agent.lost_since is not None or facts.agents[agent.name].gone:
            continue
        overdue = agent.drain.deadline_at is not None
        for task, container in facts.agents[agent.name].containers.items():
            row, job = facts.row(task), facts.job_of(task)
            stays = row is not None and row.running == agent.name and not is_done(container)
            if job is None or not stays:
                continue
            if job.config.everywhere:
                # It has no other place; it stays for as long as there is anything else to watch over.
                if not facts.has_others(agent.name):
                    yield f"{task} stays on {agent.name}, which is drained", (task, agent.name)
                continue
            fitting = [name for name in facts.agents if fits(facts, name, task)]
            held = facts.desired.migration_of(job.prefix) is not None or _spare(facts, job) < 1
            if overdue or (fitting and not held):
                yield f"{task} stays on {agent.name}, which is drained", (task, agent.name, *fitting)


def _spare(facts: Facts, job: Job) -> int:
    """How many tasks of a version may be stopped now, floor and `max_parallel` kept."""
    tasks = [f"{job.prefix}-{index}" for index in facts.desired.indices(job)]
    done = sum(_is_done_anywhere(facts, task) for task in tasks)
    running = sum(_runs(facts, task) for task in tasks)
    update = job.config.update or Update()
    floor = update.floor if update.floor is not None else len(job.members) - update.max_parallel
    return min(running - max(0, floor - done), update.max_parallel - (len(tasks) - done - running))


def _is_done_anywhere(facts: Facts, task: str) -> bool:
    there = [agent.containers[task] for agent in facts.agents.values() if task in agent.containers]
    return any(map(is_done, there))


def fits(facts: Facts, name: str, task: str) -> bool:
    """Whether a task fits on an agent as it is, and may be placed there."""
    agent = facts.agents[name]
    known = facts.desired.agents.get(name)
    if agent.gone or known is None or known.drained or known.lost_since is not None:
        return False
    need = need_of(facts.configs[task_prefix(task)])
    there = [need_of(container.config) for container in agent.containers.values()]
    ports = {port for other in there for port in other.ports}
    return (
        sum(other.mem for other in there) + need.mem <= agent.mem
        and sum(other.cpu for other in there) + need.cpu <= agent.cpu
        and not ports & need.ports
    )
