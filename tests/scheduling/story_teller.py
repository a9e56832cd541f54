"""Tells a scenario: what happens, and below each happening what the rules make of it.

A scenario file has comments (`#`), happenings (`> …`), and the lines that must follow from them. The real
rules take part: the registry's judgement, the scheduler, the transformer, and an executor for each agent;
time stands still but for `> wait`. What can happen is the list of `_HAPPENINGS` below.

    python tests/scheduling/story_teller.py FILE    prints the file with what follows now
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from migrations_told import MigrationsTold
from rules_made import agent, instance, job_config, resources, status

from scheduling.actual import AGENT as ACTUAL_AGENT
from scheduling.actual import AgentStatus, ContainerReport
from scheduling.answer import Answer
from scheduling.commands import Command, Goal
from scheduling.container import HostResources
from scheduling.desired import AGENT, PLACEMENT, Copy, Desired
from scheduling.executor import Executor, Outcome, Request
from scheduling.job import JobConfig, task_index, task_prefix
from scheduling.jobs import ScheduleJob, UnscheduleJob
from scheduling.lifecycle import Input
from scheduling.migrating import PutJob
from scheduling.placement import least_used
from scheduling.presence import MarkLost
from scheduling.registry import Mutation, WritePlacement, judge
from scheduling.replica import Changes, Key
from scheduling.room import CPU_TOLERANCE
from scheduling.scheduler import Scheduler
from scheduling.transformer import Transformer

_PROOF = {Input.PUT: "created", Input.START: "running", Input.STOP: "finished", Input.DELETE: "deleted"}
_ROUNDS = 100
LONG_SECONDS = 3600.0


class Story(MigrationsTold):
    """A whole cluster of rules, without anything between them that could be late or lost."""

    def __init__(self) -> None:
        self.now = 0.0
        self.version = 0
        self.desired: dict[Key, Any] = {}
        self.actual: dict[Key, Any] = {}
        self.registry = Desired()
        self.scheduler = Scheduler(least_used, Random(1))
        self.transformer = Transformer()
        self.machines: dict[str, Executor] = {}
        self.in_flight: dict[tuple[str, str], Request] = {}
        self.jobs: dict[str, JobConfig] = {}
        self.prefixes: dict[str, str] = {}
        self.sizes: dict[str, HostResources] = {}
        self.deaf: set[str] = set()
        self.woken = False
        self.lines: list[str] = []
        self.told_of: tuple[str, ...] = ("",)

    # --- what happens ---

    def agent(self, name: str, mem: str = "256", cpu: str = "4") -> None:
        """Discovery finds an agent; its size is what it will say once it answers."""
        self.desire({(AGENT, name): agent(name)})
        self.sizes[name] = resources(int(mem), float(cpu))
        self.machine_made_anew(name)
        # Its state machine has been at work for long: no request of a predecessor can be on its way.
        self.machines[name].saw({}, everything=True, now=self.now - LONG_SECONDS)
        self.machines[name].tick(self.now)

    def schedule(
        self, job: str, scale: str = "1", mem: str = "64", port: str = "0", adopt: str = "", needs: str = ""
    ) -> None:
        """A user schedules a job; with adopt=yes it comes from an old registry file."""
        depends_on = needs.split(",") if needs else None
        config = job_config(job, int(scale), int(mem), ports={"P": int(port)}, depends_on=depends_on)
        self.jobs[job], self.prefixes[job] = config, config.hash()
        self.ask(ScheduleJob(config=config, adopt=bool(adopt)))

    def rescale(self, job: str, scale: str) -> None:
        """A user changes the scale of a job."""
        self.jobs[job] = msgspec.structs.replace(self.jobs[job], scale=int(scale))
        self.ask(PutJob(config=self.jobs[job]))

    def unschedule(self, job: str) -> None:
        """A user unschedules a job."""
        self.ask(UnscheduleJob(hash=self.prefixes[job]))

    def writes(self, task: str, *copies: str) -> None:
        """Somebody else writes a placement, `AGENT:INTENT` each, at the generation it has now."""
        task = self.full(task)
        row = self.registry.placements.get(task)
        written = tuple(
            Copy(name, "run" if intent == "run" else "stop")
            for name, intent in (copy.split(":") for copy in copies)
        )
        self.ask(WritePlacement(task=task, expected=row.generation if row else 0, copies=written))

    def marked(self, name: str, what: str) -> None:
        """An agent is marked `lost`, `found`, `drained` or `open`."""
        changes: dict[str, dict[str, Any]] = {
            "lost": {"lost_since": self.now},
            "found": {"lost_since": None},
            "drained": {"drained": True},
            "open": {"drained": False},
        }
        self.desire({(AGENT, name): msgspec.structs.replace(self.desired[AGENT, name], **changes[what])})

    def answers(self, name: str, *containers: str) -> None:
        """An agent's stream begins with its full state: `TASK` or `TASK=STATUS` each."""
        self.look(name, containers, everything=True)
        self.link(name, status(name, has=self.sizes[name]))

    def says(self, name: str, *containers: str) -> None:
        """An agent's stream goes on with these containers."""
        self.look(name, containers, everything=False)

    def silent(self, name: str) -> None:
        """The stream of an agent breaks."""
        old = self.actual[ACTUAL_AGENT, name]
        self.link(name, msgspec.structs.replace(old, link="stale" if old.answered else "connecting"))

    def replies(self, name: str, task: str, outcome: Outcome, *error: str) -> None:
        """An agent replies to the request in flight for a task, or (`unanswered`) does not."""
        request = self.in_flight.pop((name, self.full(task)))
        self.machines[name].replied(request.task, request.step, outcome, " ".join(error), self.now)

    def works(self, name: str, fails: str = "") -> None:
        """An agent does all that is asked of it, and shows it, until nothing is asked any more; but the tasks
        of the version `fails` can't be started. `all`: each agent that is heard."""
        for _ in range(_ROUNDS):
            mine = [key for key in self.in_flight if name in ("all", key[0])]
            if not mine:
                return
            for key in mine:
                request = self.in_flight.pop(key)
                self.machines[key[0]].replied(request.task, request.step, "accepted", "", self.now)
                task = self.short(request.task)
                failed = request.step is Input.START and task_prefix(task) == fails
                says = "failed" if failed else _PROOF[request.step]
                self.look(key[0], (f"{task}={says}",), everything=False)
            self.settle()
        raise AssertionError(f"{name} is never done")

    def late(self, name: str, goal: Goal, task: str, generation: str) -> None:
        """A command from an earlier time reaches a state machine."""
        prefix = self.prefixes[task_prefix(task)]
        command = Command(
            task=self.full(task),
            generation=int(generation[1:]),
            goal=goal,
            prefix=prefix if goal == "run" else "",
        )
        self.machines[name].command([command], {prefix: b"an old config"})

    def tell_of(self, *kinds: str) -> None:
        """From now on only the lines that begin with one of these words are told."""
        self.told_of = kinds

    def commands_lost(self, name: str) -> None:
        """From now on commands to this agent are lost on their way."""
        self.deaf.add(name)

    def commands_arrive(self, name: str) -> None:
        """Commands to this agent arrive again."""
        self.deaf.discard(name)

    def wait(self, seconds: str) -> None:
        """Time passes."""
        self.now += float(seconds)
        for machine in self.machines.values():
            machine.tick(self.now)
        self.transformer.resend(self.now)
        self.scheduler.wake(self.now)
        self.woken = True

    def machine_made_anew(self, name: str) -> None:
        """The state machine of an agent is made anew: it knows nothing until the agent answers."""
        self.machines[name] = Executor(name, Random(1), in_flight_limit=4)
        for key in [key for key in self.in_flight if key[0] == name]:
            del self.in_flight[key]
        self.link(name, status(name, "connecting", answered=False))

    def scheduler_made_anew(self) -> None:
        """The scheduler and the transformer are made anew, and get both states as snapshots."""
        self.scheduler, self.transformer = Scheduler(least_used, Random(2)), Transformer()
        for rule in (self.scheduler, self.transformer):
            rule.desired_changed(self.desired)
            rule.actual_changed(self.actual)

    # --- what follows ---

    def settle(self) -> None:
        """Let the rules act until nothing follows any more."""
        for _ in range(_ROUNDS):
            if not any([self.decide(), self.command(), self.carry_out()]):
                return
        raise AssertionError("it never comes to rest")

    def decide(self) -> bool:
        if not self.scheduler.has_work and not self.woken:
            return False
        self.woken = False
        decisions = self.scheduler.decide(self.now)
        for write in decisions.writes:
            self.ask(write)
        for prefix, waiting in decisions.waiting.items():
            what = f"{waiting.tasks} of {self.short(prefix)}: {waiting.reason}" if waiting else None
            self.tell(f"waiting: {what}" if what else f"waiting: no longer {self.short(prefix)}")
        return True

    def command(self) -> bool:
        if not self.transformer.has_work:
            self.transformer.forget()  # it is quiet now
        if not self.transformer.has_work:
            return False
        batch = self.transformer.decide(self.now)
        for name, commands in sorted(batch.commands.items()):
            for command in commands:
                self.tell(f"command to {name}: {command.goal} {command.task} #{command.generation}")
            if name not in self.deaf:
                self.machines[name].command(commands, batch.configs)
        return True

    def carry_out(self) -> bool:
        changes: Changes = {}
        sent = []
        for name, machine in self.machines.items():
            if self.actual[ACTUAL_AGENT, name].link == "connected":
                for request in machine.requests(self.now):
                    sent.append(f"request to {name}: {request.step} {self.short(request.task)}")
                    self.in_flight[name, request.task] = request
                if machine.contradicted:
                    machine.contradicted = False
                    sent.append(f"{name} is asked for its full state")
            changes |= machine.reports()
        real = {key: value for key, value in changes.items() if self.actual.get(key) != value}
        for key, value in real.items():
            self.tell(f"{key[1]}: {self.short(key[2])} {_words(value)}")
        self.lines += sent
        self.report(real)
        return bool(real or sent)

    def ask(self, mutation: Mutation) -> Answer:
        answer, changes = judge(self.registry, mutation, self.version + 1, now=self.now)
        if not answer.accepted:
            self.tell(f"registry refuses: {answer.message}")
            if isinstance(mutation, WritePlacement):
                self.scheduler.refused([mutation])
            return answer
        self.version = answer.version
        if isinstance(mutation, MarkLost):
            self.tell(f"registry: {mutation.agent} is {'back' if mutation.since is None else 'lost'}")
        for key, value in changes.items():
            if key[0] == PLACEMENT:
                copies = (
                    ", ".join(f"{copy.intent} on {copy.agent}" for copy in value.copies) if value else "gone"
                )
                self.tell(f"registry #{self.version}: {self.short(key[1])} {copies}")
        self.desire(changes)
        self.tell_migrations(changes)
        return answer

    def desire(self, changes: Changes) -> None:
        self.registry.apply(changes)
        _merge(self.desired, changes)
        self.scheduler.desired_changed(changes)
        self.transformer.desired_changed(changes)

    def report(self, changes: Changes) -> None:
        _merge(self.actual, changes)
        self.scheduler.actual_changed(changes)
        self.transformer.actual_changed(changes)

    def link(self, name: str, now: AgentStatus) -> None:
        """A link changes together with what the agent has just said, as in the state machine."""
        changes: Changes = self.machines[name].reports()
        real = {key: value for key, value in changes.items() if self.actual.get(key) != value}
        for key, value in real.items():
            self.tell(f"{key[1]}: {self.short(key[2])} {_words(value)}")
        old = self.actual.get((ACTUAL_AGENT, name))
        since = old.since if old is not None and old.link == now.link else self.now
        self.report(real | {(ACTUAL_AGENT, name): msgspec.structs.replace(now, since=since)})

    def look(self, name: str, containers: tuple[str, ...], *, everything: bool) -> None:
        seen = {}
        for text in containers:
            short, _, says = text.partition("=")
            config = self.jobs.get(task_prefix(short), job_config("foreign", mem=64)).container()
            seen[self.full(short)] = instance(self.full(short), says or "running", config)
        self.machines[name].saw(seen, everything=everything, now=self.now)

    # --- names: web-0 is short for web-1a2b3c4-0 ---

    def full(self, task: str) -> str:
        prefix = self.prefixes.get(task_prefix(task))
        return f"{prefix}-{task_index(task)}" if prefix else task

    def short(self, text: str) -> str:
        for job, prefix in self.prefixes.items():
            text = text.replace(prefix, job)
        return text

    def tell(self, line: str) -> None:
        self.lines.append(self.short(line))

    def check(self) -> None:
        """What must hold after every happening, whatever the story."""
        for task, row in self.registry.placements.items():
            assert sum(copy.intent == "run" for copy in row.copies) <= 1, task
        for room in self.scheduler.rooms.open():
            ours = [
                job
                for job in self.jobs.values()
                for task in room.ports.values()
                if task.startswith(job.hash())
            ]
            assert room.mem_used <= room.mem_total or not ours, room
            assert room.cpu_used <= room.cpu_total + CPU_TOLERANCE or not ours, room


# What can happen: the words, and what they call with the words in capitals.
_HAPPENINGS: list[tuple[str, Callable[..., None]]] = [
    (r"agent (\S+)( .*)?", Story.agent),
    (r"schedule (\S+)( .*)?", Story.schedule),
    (r"rescale (\S+) to (\d+)", Story.rescale),
    (r"unschedule (\S+)", Story.unschedule),
    (r"somebody writes (\S+) as (.*)", Story.writes),
    (r"(\S+) is marked (lost|found|drained|open)", Story.marked),
    (r"(\S+) answers with( .*)", Story.answers),
    (r"(\S+) says( .*)", Story.says),
    (r"the stream of (\S+) breaks", Story.silent),
    (r"(\S+) replies to (\S+): (\w+)( .*)?", Story.replies),
    (r"(\S+) works?", Story.works),
    (r"(\S+) works?, but (\S+) fails", Story.works),
    (r"migrate (\S+) to (\S+)( .*)?", Story.migrate),
    (r"restart (\S+) as (\S+)( .*)?", Story.restart),
    (r"its operator says (pause|resume|abort|promote)", Story.operator_says),
    (r"wait (\S+)s", Story.wait),
    (r"a late command to (\S+): (run|stop|forget) (\S+) (#\d+)", Story.late),
    (r"tell only of (.*)", Story.tell_of),
    (r"commands to (\S+) are lost", Story.commands_lost),
    (r"commands to (\S+) arrive again", Story.commands_arrive),
    (r"the state machine of (\S+) is made anew", Story.machine_made_anew),
    (r"the scheduler is made anew", Story.scheduler_made_anew),
]


_WITH_OPTIONS = (Story.agent, Story.schedule, Story.migrate, Story.restart)


def tell(scenario: str) -> str:
    """The scenario with what follows from its happenings now."""
    story = Story()
    told = []
    for line in scenario.splitlines():
        if not line or line.startswith("#"):
            told.append(line)
        elif line.startswith("> "):
            told.append(line)
            story.lines = []
            _happen(story, line[2:])
            story.settle()
            story.check()
            told += [f"    {one}" for one in story.lines if one.startswith(story.told_of)]
    return "\n".join(told) + "\n"


def _happen(story: Story, text: str) -> None:
    for pattern, act in _HAPPENINGS:
        found = re.fullmatch(pattern, text)
        if found:
            words = [word for group in found.groups() for word in (group or "").split() if word != "nothing"]
            options = dict(word.split("=") for word in words if act in _WITH_OPTIONS and "=" in word)
            act(story, *[word for word in words if word.partition("=")[0] not in options], **options)
            return
    raise ValueError(f"nothing like this can happen in a story: {text}")


def _words(report: ContainerReport | None) -> str:
    if report is None:
        return "is not reported any more"
    goal = f", to {report.goal} #{report.generation}" if report.goal else ""
    return f"is {report.phase}{goal}{f' ({report.error})' if report.error else ''}"


def _merge(state: dict[Key, Any], changes: Mapping[Key, Any]) -> None:
    for key, value in changes.items():
        if value is None:
            state.pop(key, None)
        else:
            state[key] = value


if __name__ == "__main__":
    sys.stdout.write(tell(Path(sys.argv[1]).read_text("utf-8")))
