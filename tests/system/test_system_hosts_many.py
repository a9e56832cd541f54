"""Sixty agents on three hosts, one of which is cut off: what ran there runs elsewhere, and then once.

The agents are simulated (docs/fleet.md), their hosts and the network between are real.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from netns_fleet import HASTY, LOST_SECONDS, Fleet, fleets_on, scheduler_on
from netns_harness import network
from system_harness import Scheduler, job, wait_until

AGENTS_A_HOST = 20
TASKS = 60


def _links(scheduler: Scheduler) -> Counter[str]:
    return Counter(each["link"] for each in scheduler.get("/api/v1/agents").json()["agents"])


def _running(fleets: Sequence[Fleet]) -> int:
    return sum(fleet.stats()["running"] for fleet in fleets)


def test_a_host_with_a_third_of_sixty_agents_is_cut_off_and_comes_back(tmp_path: Path) -> None:
    with network(4) as hosts, fleets_on(hosts[1:], tmp_path, AGENTS_A_HOST) as fleets:
        away, *others = fleets
        flags = ["--agents-file", str(tmp_path / "agents")]
        with scheduler_on(hosts[0], tmp_path / "scheduler", flags, HASTY) as scheduler:
            wait_until(lambda: _links(scheduler) == {"connected": 60}, "all connected", 30)
            scheduler.schedule(job("web", TASKS))
            scheduler.wait_running("web", TASKS)
            hit = away.starts()
            assert (hit.total(), len(hit)) == (20, 20), "least_used: one on each agent"

            hosts[1].cut()
            wait_until(lambda: _running(others) == TASKS, "all run elsewhere", LOST_SECONDS)
            assert _running([away]) == 20, "where nobody can reach them they run on"
            hosts[1].heal()

            wait_until(lambda: _links(scheduler) == {"connected": 60}, "all connected again", 30)
            wait_until(lambda: away.stats()["containers"] == 0, "the copies that nobody wants are stopped")
            scheduler.wait_running("web", TASKS)
            assert away.starts() == hit
            elsewhere = sum((fleet.starts() for fleet in others), Counter[str]())
            assert (len(elsewhere), elsewhere.total()) == (TASKS, TASKS), "each was started once elsewhere"
