"""What the tests of stories share: a story holds, and breaks in the expected way without a protection."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from scheduling.lifecycle import Phase
from simulation.mutations import protection
from simulation.scripted import Script, told
from simulation.switches import Mutation

Story = Callable[[int], None]


def off(owner: Any, name: str, stand_in: Any) -> Mutation:
    """A switch for one protection."""
    return Mutation(name=name, patches=((owner, name, stand_in),))


def holds(story: Story) -> None:
    """It ends as expected, for each seed."""
    ends = told(story)
    assert not any(ends), ends


def breaks(story: Story, how: str, *off: Mutation | str) -> None:
    """With these protections off it ends in this way, for each seed; never by a crash of the switch."""
    switches = tuple(each if isinstance(each, Mutation) else protection(each) for each in off)
    ends = told(story, switches)
    assert all(re.search(how, end) for end in ends), ends


def until_runs(it: Script, task: str, agent: str) -> None:
    """Wait until a task runs on this agent and nowhere else."""
    it.until(lambda: it.runs_on(task) == [agent], f"{task} runs on {agent} only")


def until_runs_anywhere(it: Script, *tasks: str) -> list[str]:
    """Wait until all of these run, and the scheduler knows; returns where, in their order."""

    def known(task: str) -> bool:
        return any(
            report is not None and report.phase is Phase.RUNNING
            for report in (it.actual.report(name, task) for name in it.runs_on(task))
        )

    it.until(lambda: all(map(known, tasks)), f"{', '.join(tasks)} run")
    return [it.runs_on(task)[0] for task in tasks]
