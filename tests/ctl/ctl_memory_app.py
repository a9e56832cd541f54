"""The scheduler's own web, on a cluster in memory that runs what it is told at once.

Started as `gunicorn 'ctl_memory_app:app()'`, so that harpoonctl meets the real HTTP side.
"""

from __future__ import annotations

import asyncio
from typing import Any

from scheduling.job import task_id, task_prefix
from scheduling.registry import AgentSpec, Answer, Mutation
from web.app import create_app
from web.memory import InMemoryCluster

AGENT = "n1"


class Autopilot(InMemoryCluster):
    """A cluster that needs nobody to report: wanted tasks run a moment later, others are gone."""

    async def submit(self, mutation: Mutation, request_id: str) -> Answer:
        """As `Cluster.submit`."""
        answer = await super().submit(mutation, request_id)
        asyncio.get_running_loop().call_soon(self._catch_up)
        return answer

    def _catch_up(self) -> None:
        jobs = self.state.desired.jobs
        wanted = [task_id(prefix, n) for prefix, job in jobs.items() for n in range(job.config.scale)]
        for task in [task for task in self.state.desired.placements if task not in wanted]:
            self.remove_container(AGENT, task)
            self.write_copies(task)
        for task in wanted:
            if task not in self.state.desired.placements and task_prefix(task) in jobs:
                self.place(task, AGENT)
                self.run(task, AGENT)


def app() -> Any:
    """What gunicorn serves."""
    cluster = Autopilot()
    cluster.add_agents(AgentSpec(name=AGENT, endpoint="http://127.0.0.1:3333"))
    cluster.connect(AGENT)
    return create_app(cluster)
