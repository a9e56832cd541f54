"""What is shown of tasks and agents, for every way they can be."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from web_cases import ENDPOINT, MIN_HASH, client_of, cluster_with, config, running_cluster

from scheduling.actual import AgentStatus, ContainerReport
from scheduling.container import ContainerInstance, ExitStatus, HostResources, ProcessState, TaskHealth
from scheduling.desired import Copy
from scheduling.job import ContainerConfig
from scheduling.jobs import DeleteJob, ScheduleJob
from scheduling.lifecycle import Phase
from scheduling.migrating import PutJob
from web.memory import InMemoryCluster

TASK = f"{MIN_HASH}-0"


def shown(cluster: InMemoryCluster, task: str = TASK) -> dict[str, Any]:
    """One task as the API shows it; the list must show the same."""
    client = client_of(cluster)
    one: dict[str, Any] = client.simulate_get(f"/api/v1/tasks/{task}").json
    listed = client.simulate_get("/api/v1/tasks").json["tasks"]
    assert one in listed
    return one


def scheduled(**changes: Any) -> InMemoryCluster:
    """The example on a cluster of two connected agents, not placed."""
    cluster = cluster_with("n1", "n2")
    cluster.connect("n1")
    cluster.connect("n2")
    cluster.judge(ScheduleJob(config=config(**changes)))
    return cluster


def counts(cluster: InMemoryCluster) -> dict[str, int]:
    """The counts of the example that are not 0."""
    all_counts = client_of(cluster).simulate_get("/api/v1/jobs/p/e/min").json["counts"]
    return {name: number for name, number in all_counts.items() if number}


def test_a_task_without_a_placement_waits() -> None:
    cluster = scheduled()
    task = shown(cluster)
    assert task == {
        "id": TASK,
        "job": "p/e/min",
        "hash": MIN_HASH,
        "status": "waiting",
        "intent": "run",
        "agent": None,
        "endpoint": None,
        "ports": {},
        "exit": None,
        "error": "",
        "restarts": 0,
        "next_start_at": None,
        "stale": False,
        "foreign": False,
        "other_copies": [],
        "health": None,
    }
    assert counts(cluster) == {"wanted": 1, "waiting": 1}


def test_a_placed_task_is_absent_only_if_its_agent_has_answered() -> None:
    cluster = scheduled()
    cluster.place(TASK, "n1")
    assert (shown(cluster)["status"], shown(cluster)["agent"]) == ("absent", "n1")
    assert counts(cluster) == {"wanted": 1, "pending": 1}
    silent = AgentStatus(name="n1", endpoint=ENDPOINT, link="connecting", answered=False, since=1.0)
    cluster.report_agent(silent)
    assert (shown(cluster)["status"], shown(cluster)["stale"]) == ("unclear", True)
    assert counts(cluster) == {"wanted": 1, "pending": 1, "stale": 1}


@pytest.mark.parametrize("phase", list(Phase))
def test_a_copy_is_as_its_state_machine_says(phase: Phase) -> None:
    cluster = scheduled()
    cluster.place(TASK, "n1")
    cluster.report_container(ContainerReport(agent="n1", task=TASK, phase=phase, error="so it is"))
    assert shown(cluster)["status"] == phase.value
    assert shown(cluster)["error"] == "so it is"
    group = {
        Phase.RUNNING: "running",
        Phase.ENDED: "ended",
        Phase.STOPPING: "stopping",
        Phase.DELETING: "stopping",
    }.get(phase, "pending")
    assert counts(cluster) == {"wanted": 1, group: 1}


def test_ports_exit_and_restarts_are_those_of_the_container() -> None:
    cluster = scheduled()
    cluster.place(TASK, "n1")
    process = ProcessState(
        err="",
        restarts=3,
        next_start_at=1700.5,
        container_exit_status=ExitStatus(exited=True, exit_status=0, signal=0),
    )
    instance = ContainerInstance(
        container_id=TASK,
        status="finished",
        config=ContainerConfig(job="min", ports={"HTTP": 31000}),
        process_state=process,
    )
    cluster.report_container(ContainerReport(agent="n1", task=TASK, phase=Phase.ENDED, instance=instance))
    task = shown(cluster)
    assert (task["ports"], task["restarts"], task["endpoint"]) == ({"HTTP": 31000}, 3, ENDPOINT)
    assert task["next_start_at"] == 1700.5
    assert task["exit"] == {
        "exited": True,
        "exit_status": 0,
        "signaled": False,
        "signal": 0,
        "oomed": False,
    }


@pytest.mark.parametrize(("status", "health"), [("running", True), ("finished", False)])
def test_health_is_that_of_a_container_that_runs(status: str, health: bool) -> None:
    cluster = scheduled()
    cluster.place(TASK, "n1")
    ill = TaskHealth(state="unhealthy", since=5.0, failures=3, last="no")
    instance = ContainerInstance(container_id=TASK, status=status, health=ill)
    assert shown(cluster)["health"] is None
    cluster.report_container(ContainerReport(agent="n1", task=TASK, phase=Phase.RUNNING, instance=instance))
    told = {"state": "unhealthy", "since": 5.0, "failures": 3, "last": "no"}
    assert shown(cluster)["health"] == (told if health else None)


def test_a_stale_agent_s_task_is_shown_as_last_known() -> None:
    cluster = running_cluster()
    status = cluster.state.actual.agents["n1"]
    cluster.report_agent(msgspec.structs.replace(status, link="stale"))
    assert (shown(cluster)["status"], shown(cluster)["stale"]) == ("running", True)
    assert counts(cluster) == {"wanted": 1, "running": 1, "stale": 1}


def test_a_task_that_moves_shows_both_copies() -> None:
    cluster = scheduled()
    cluster.place(TASK, "n1")
    cluster.run(TASK, "n1")
    cluster.write_copies(TASK, Copy("n1", "stop"), Copy("n2", "run"))
    task = shown(cluster)
    assert (task["agent"], task["status"], task["intent"]) == ("n2", "absent", "run")
    assert task["other_copies"] == [{"agent": "n1", "intent": "stop", "status": "running"}]
    cluster.write_copies(TASK, Copy("n1", "stop"))
    task = shown(cluster)
    assert (task["agent"], task["status"], task["intent"]) == (None, "waiting", "run")
    assert task["other_copies"] == [{"agent": "n1", "intent": "stop", "status": "running"}]


def test_a_task_that_is_not_wanted_any_more_is_stopping_until_it_is_gone() -> None:
    cluster = running_cluster()
    cluster.judge(DeleteJob(key=config().key))
    cluster.write_copies(TASK, Copy("n1", "stop"))
    task = shown(cluster)
    assert (task["agent"], task["status"], task["intent"], task["foreign"]) == (
        "n1",
        "running",
        "stop",
        False,
    )
    assert task["job"] == "p/e/min"
    cluster.remove_container("n1", TASK)
    cluster.write_copies(TASK)
    client = client_of(cluster)
    gone = client.simulate_get(f"/api/v1/tasks/{TASK}")
    assert (gone.status_code, f"there is no task {TASK!r}" in gone.json["detail"]) == (404, True)
    assert client.simulate_get("/api/v1/tasks").json == {"tasks": []}


def test_scaling_down_counts_what_is_still_to_be_stopped() -> None:
    cluster = scheduled(scale=3)
    prefix = config(scale=3).hash()
    for index in range(3):
        cluster.place(f"{prefix}-{index}", "n1")
        cluster.run(f"{prefix}-{index}", "n1")
    assert counts(cluster) == {"wanted": 3, "running": 3}
    cluster.judge(PutJob(config=config(scale=1)))
    for index in (1, 2):
        cluster.place(f"{prefix}-{index}", "n1", "stop")
    assert counts(cluster) == {"wanted": 1, "running": 1, "stopping": 2}
    task = shown(cluster, f"{prefix}-2")
    assert (task["hash"], task["id"]) == (config(scale=1).hash(), f"{prefix}-2")


def test_a_container_without_a_placement_is_foreign() -> None:
    cluster = cluster_with("n1")
    cluster.connect("n1")
    cluster.run("stranger", "n1")
    task = shown(cluster, "stranger")
    assert (task["foreign"], task["intent"], task["agent"], task["job"]) == (True, "", "n1", "")
    agent = client_of(cluster).simulate_get("/api/v1/agents/n1").json
    assert (agent["tasks"], agent["foreign"]) == (0, 1)


def test_a_wanted_task_that_runs_without_a_row_waits_to_be_adopted() -> None:
    cluster = scheduled()
    cluster.run(TASK, "n1")
    task = shown(cluster)
    assert (task["status"], task["agent"], task["foreign"]) == ("waiting", None, False)
    assert task["other_copies"] == [{"agent": "n1", "intent": "", "status": "running"}]


def test_an_agent_is_shown_with_its_link() -> None:
    cluster = cluster_with("n1")
    client = client_of(cluster)
    unknown = client.simulate_get("/api/v1/agents/n1").json
    assert unknown == {
        "name": "n1",
        "endpoint": ENDPOINT,
        "link": "connecting",
        "answered": False,
        "since": 0.0,
        "error": "",
        "labels": {},
        "drained": False,
        "drain": None,
        "connected": False,
        "stale_since": None,
        "lost_since": None,
        "declared_lost": False,
        "braked_until": None,
        "why": "its tasks wait for it, until it is back or has been away for longer than is tolerated",
        "sources": ["memory"],
        "version": 1,
        "leaving": False,
        "resources": None,
        "tasks": 0,
        "foreign": 0,
    }
    cluster.report_agent(
        AgentStatus(
            name="n1",
            endpoint=ENDPOINT,
            link="stale",
            answered=True,
            since=5.5,
            error="silent for 12 s",
            resources=HostResources(volumes=["/v"]),
        )
    )
    agent = client.simulate_get("/api/v1/agents").json["agents"][0]
    assert (agent["link"], agent["since"], agent["error"]) == ("stale", 5.5, "silent for 12 s")
    assert agent["resources"]["volumes"] == ["/v"]


def test_an_agent_that_no_source_knows_leaves_when_it_is_empty() -> None:
    cluster = running_cluster()
    cluster.remove_agents()
    client = client_of(cluster)
    assert client.simulate_get("/api/v1/agents/n1").json["leaving"] is True
    missing = client.simulate_get("/api/v1/agents/n2")
    assert (missing.status_code, "no agent 'n2'" in missing.json["detail"]) == (404, True)


def test_tasks_are_listed_in_their_order_and_can_be_filtered() -> None:
    cluster = scheduled(scale=12)
    prefix = config(scale=12).hash()
    cluster.judge(ScheduleJob(config=config(job="other")))
    other = config(job="other").hash()
    cluster.place(f"{prefix}-2", "n1")
    cluster.run(f"{prefix}-2", "n1")
    cluster.place(f"{prefix}-10", "n2")
    client = client_of(cluster)

    def ids(**params: str) -> list[str]:
        reply = client.simulate_get("/api/v1/tasks", params=params)
        assert reply.status_code == 200
        return [task["id"] for task in reply.json["tasks"]]

    of_min = [f"{prefix}-{index}" for index in range(12)]
    assert ids() == [*of_min, f"{other}-0"]
    for name in ("p/e/min", "min", prefix):
        assert ids(job=name) == of_min
    assert ids(job="p/e/nothing") == []
    assert ids(agent="n1") == [f"{prefix}-2"]
    assert ids(status="running") == [f"{prefix}-2"]
    assert ids(status="absent", agent="n2", job="min") == [f"{prefix}-10"]
    wrong = client.simulate_get("/api/v1/tasks", params={"status": "happy"})
    assert wrong.status_code == 400
    assert "status is 'happy'; it must be one of waiting, absent" in wrong.json["detail"]
