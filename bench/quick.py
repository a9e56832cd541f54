"""Judges a quick run, as in CI: by ratios within the run only, with room for a busy machine."""

from __future__ import annotations

import itertools

from bench.report import Report

# CPU does not depend on what else the machine does; time does, so it is not judged.
MOST_TIMES_THE_FLOOR = 40.0
UNSCHEDULE_TO_SCHEDULE = 3.0
GROWTH_A_TASK = 3.0
MOST_AGENT_MB = 100.0


def judge(report: Report) -> list[str]:
    """What is out of proportion; empty when nothing is."""
    problems = []
    for size in report.sizes:
        where = f"{size.agents} agents, {size.tasks} tasks"
        if size.tasks < 100:
            continue  # too short to say anything
        there, back = size.schedule, size.unschedule
        for name, way in (("schedule", there), ("unschedule", back)):
            times = way.scheduler_us / max(way.floor_us, 1.0)
            if times > MOST_TIMES_THE_FLOOR:
                problems.append(
                    f"{where}: {name} takes {times:.0f} times the CPU of the floor, "
                    f"at most {MOST_TIMES_THE_FLOOR:.0f} are right"
                )
        if back.scheduler_us > UNSCHEDULE_TO_SCHEDULE * there.scheduler_us:
            problems.append(
                f"{where}: unschedule takes {back.scheduler_us / there.scheduler_us:.1f} times the CPU of "
                f"schedule, at most {UNSCHEDULE_TO_SCHEDULE:g} are right"
            )
    judged = [size for size in report.sizes if size.tasks >= 100]
    for small, large in itertools.pairwise(judged):
        growth = large.schedule.scheduler_us / small.schedule.scheduler_us
        if growth > GROWTH_A_TASK:
            problems.append(
                f"a task takes {growth:.1f} times the CPU at {large.tasks} tasks that it takes at "
                f"{small.tasks}; at most {GROWTH_A_TASK:g} are right"
            )
    problems += [
        f"placement {one.algorithm}, {one.variant}: other results with the same seed"
        for one in report.placement
        if not one.repeatable
    ]
    if report.latency is not None and report.latency.missed:
        problems.append(f"a watcher has missed {report.latency.missed} changes")
    if report.agent is not None and report.agent.agent_mb > MOST_AGENT_MB:
        problems.append(f"an agent takes {report.agent.agent_mb:.0f} MB, not up to {MOST_AGENT_MB:.0f}")
    return problems
