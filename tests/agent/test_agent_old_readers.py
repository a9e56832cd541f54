"""What our agents say beyond wire format v0 is ignored by those who know only that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import old_readers
import pytest
from agent_harness import Agent, Watch, config, running_agent, shell, wait_until
from old_readers import additions, read_event

from scheduling import container, job
from scheduling.canonical import go_json
from scheduling.container import STATE_EVENT_DECODER

OURS = {
    *("resources.attributes", "resources.drivers", "resources.limits", "resources.disks"),
    *("container.last_lines", "container.health", "state.next_start_at", "check.kind"),
    *("config.unhealthy_after", "config.artifact_sha256", "config.driver"),
    *("config.limits", "config.restart_limit"),
}
THEIRS_AND_OURS: dict[str, tuple[type[msgspec.Struct], type[msgspec.Struct]]] = {
    "event": (old_readers.StateEvent, container.StateEvent),
    "resources": (old_readers.HostResources, container.HostResources),
    "amount": (old_readers.Amount, container.Amount),
    "cores": (old_readers.Cores, container.Cores),
    "container": (old_readers.ContainerInstance, container.ContainerInstance),
    "state": (old_readers.ProcessState, container.ProcessState),
    "exit": (old_readers.ExitStatus, container.ExitStatus),
    "metrics": (old_readers.Metrics, container.Metrics),
    "config": (old_readers.ContainerConfig, job.ContainerConfig),
    "check": (old_readers.HealthCheck, job.HealthCheck),
    "command": (old_readers.Command, job.Command),
    "wanted": (old_readers.Wanted, job.Resources),
    "storage": (old_readers.Storage, job.Storage),
    "grace": (old_readers.Grace, job.Grace),
}


def test_all_that_we_have_added_is_looked_at_here() -> None:
    added = {
        f"{place}.{name}"
        for place, (theirs, ours) in THEIRS_AND_OURS.items()
        for name in set(ours.__struct_fields__) - set(theirs.__struct_fields__)
    }
    assert added == OURS
    for theirs, ours in THEIRS_AND_OURS.values():
        assert set(theirs.__struct_fields__) <= set(ours.__struct_fields__)


def checked(**changes: Any) -> dict[str, Any]:
    """A task with a check and all else that is ours."""
    check = {
        **{"protocol": "TCP", "port": "PORT_HTTP", "initial_delay": "0s", "timeout": "1s", "interval": "1s"},
        "kind": "readiness",
    }
    return config(health_checks=[check], ports={"HTTP": 0}, unhealthy_after=2, **changes)


def test_a_stream_with_everything_that_is_ours(tmp_path: Path) -> None:
    with running_agent(tmp_path / "data", "--metrics-seconds", "0.1", "--label", "zone=a") as agent:
        watch = agent.watch()
        agent.run("checked-0", checked(restart_limit=3))
        agent.run("loops-0", shell("echo last words; exit 3", restart="on-failure", driver="process"))
        agent.run("killed-0", shell("kill -SEGV ${D}${D}", env={"D": "$"}))
        agent.run("failed-0", config("/no/such", limits={"pids": 50}))
        # Its archive is not there: that is told in an event, too.
        unfetched = config(artifact_url="file:///no/such/archive", artifact_sha256="0" * 64)
        assert agent.call("PUT", "/containers/unfetched-0", unfetched).status == 201
        wait_until(lambda: _additions(watch) >= OURS, f"all of {OURS}")
        wait_until(lambda: any(_metrics(event) for event in list(watch.events)), "a sample of metrics")
        agent.stop("checked-0")
        agent.wait_for("checked-0", "finished")
        agent.call("DELETE", "/containers/checked-0")
        wait_until(lambda: watch.statuses("checked-0")[-1:] == ["deleted"])
        raw = [line.removeprefix(b"data: ") for line in watch.raw.split(b"\n") if line.startswith(b"data: ")]
        for content in raw:
            read_event(content)
        whole = read_event(b'{"resources":%s,"containers":%s}' % tuple(_bodies(agent)))
    assert whole.containers["killed-0"].process_state.container_exit_status.signal == 11
    assert whole.containers["failed-0"].process_state.err
    assert set(whole.containers) == {"loops-0", "killed-0", "failed-0"}


def _additions(watch: Watch) -> set[str]:
    return {name for event in list(watch.events) for name in additions(json.dumps(event).encode())}


def _metrics(event: Any) -> bool:
    return any(
        each["process_state"]["container_metrics"]["memory_usage"] for each in event["containers"].values()
    )


def _bodies(agent: Agent) -> list[bytes]:
    return [agent.call("GET", path).body for path in ("/resources", "/containers")]


GOLDEN = (
    b'{"resources":{"mem":{"total":262144,"reserved":128},"cpus":{"total":64,"reserved":0.2},"storage":{"total":'
    b'322122547200,"reserved":0},"volumes":["/data/mysql000"]%s},"containers":{"min-aad7b17-0":{"container_id":'
    b'"min-aad7b17-0","status":"running","config":{"product":"p","environment":"e","job":"min","health_checks":null,'
    b'"artifact_url":"","ports":null,"env":null,"command":{"working_dir":"/","exec":["true"]},"resources":{"mem":0,'
    b'"cpu":1,"fd":0},"storage":{"tmp":null,"volumes":null},"grace":{"startup":"1s","shutdown":"1s"},"restart":"no"%s}'
    b',"process_state":{"up":true,"restarting":false,"container_exit_status":{},"restarts":0,"ooms":0,'
    b'"container_metrics":{"cpu_time":0,"memory_usage":0,"memory_limit":0}%s}%s}}}'
)
PLAIN = GOLDEN % (b"", b"", b"", b"")
WITH_OURS = GOLDEN % (
    b',"attributes":{"os":"linux"},"drivers":["process","oci"],"limits":["mem"],"disks":{"/":{"total":2,"free":1}}',
    b',"unhealthy_after":2,"artifact_sha256":"00","driver":"oci","limits":{"mem":5},"restart_limit":3',
    b',"next_start_at":1700.5',
    b',"last_lines":["a"],"health":{"state":"healthy","since":1.5}',
)


@pytest.mark.parametrize("content", [PLAIN, WITH_OURS])
def test_what_was_captured_and_the_same_with_ours_is_one_to_them(content: bytes) -> None:
    assert go_json(STATE_EVENT_DECODER.decode(content)) == content
    assert msgspec.to_builtins(read_event(content)) == msgspec.to_builtins(read_event(PLAIN))


@pytest.mark.parametrize(
    "broken",
    [
        PLAIN.replace(b'"reserved":128', b'"reserved":-1'),
        PLAIN.replace(b'"restarts":0', b'"restarts":0.5'),
        PLAIN.replace(b'"status":"running"', b'"status":"restarting"'),
        PLAIN.replace(b'"status"', b'"Status":"x","status"'),
        PLAIN.replace(b'"restarts"', b'"ours":1,"restarts"'),
    ],
)
def test_the_old_readers_here_are_as_strict_as_those_were(broken: bytes) -> None:
    with pytest.raises((msgspec.ValidationError, AssertionError)):
        read_event(broken)
