"""What the tests of web share: configs, a cluster that runs something, and the client."""

from __future__ import annotations

import json
from typing import Any

from falcon.testing import TestClient

from scheduling.job import JOB_CONFIG_DECODER, JobConfig
from scheduling.jobs import ScheduleJob
from scheduling.registry import AgentSpec
from web.app import create_app
from web.memory import InMemoryCluster

# The example of the wire format, whose hash is given there.
MIN_HASH = "min-aad7b17"
MIN = (
    b'{"scale":1,"product":"p","environment":"e","job":"min","health_checks":null,"artifact_url":"",'
    b'"ports":null,"env":null,"command":{"working_dir":"/","exec":["true"]},"resources":{"mem":0,"cpu":1,'
    b'"fd":0},"storage":{"tmp":null,"volumes":null},"grace":{"startup":"1s","shutdown":"1s"},"restart":"no"}'
)
ENDPOINT = "http://h1.test:3333"


def raw(**changes: Any) -> dict[str, Any]:
    """The example as a dictionary, with changes at the top."""
    return {**json.loads(MIN), **changes}


def config(**changes: Any) -> JobConfig:
    """The example as a config, with changes at the top."""
    return JOB_CONFIG_DECODER.decode(json.dumps(raw(**changes)))


def cluster_with(*agents: str) -> InMemoryCluster:
    """A cluster that knows these agents, at hN.test:3333."""
    cluster = InMemoryCluster()
    cluster.add_agents(
        *(
            AgentSpec(name=name, endpoint=f"http://h{number}.test:3333")
            for number, name in enumerate(agents, 1)
        )
    )
    return cluster


def running_cluster() -> InMemoryCluster:
    """One agent that runs the example's only task."""
    cluster = cluster_with("n1")
    cluster.connect("n1")
    cluster.judge(ScheduleJob(config=config()))
    cluster.place(f"{MIN_HASH}-0", "n1")
    cluster.run(f"{MIN_HASH}-0", "n1")
    return cluster


def client_of(cluster: InMemoryCluster) -> TestClient:
    """A client of an app on this cluster."""
    return TestClient(create_app(cluster))
