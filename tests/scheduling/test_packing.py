"""Reports as bytes: what is read is what was written, and whoever passes them on need not look inside."""

from __future__ import annotations

import pytest
from rules_made import job_config, report, status

from scheduling.actual import AGENT, CONTAINER, METRICS, ContainerReport
from scheduling.container import ContainerInstance, ExitStatus, Metrics, ProcessState, TaskHealth
from scheduling.durations import Duration
from scheduling.job import ContainerConfig, Grace
from scheduling.lifecycle import Phase
from scheduling.packing import ActualReader, pack, packed, unpack
from scheduling.replica import Publisher

INSTANCE = ContainerInstance(
    container_id="web-0",
    status="finished",
    config=ContainerConfig(
        job="web",
        ports={"PORT": 31000},
        env={"A": "ä\n"},
        grace=Grace(startup=Duration.parse("1.5s"), shutdown=Duration.parse("1h")),
    ),
    process_state=ProcessState(
        err="none", restarts=3, container_exit_status=ExitStatus(exited=True, exit_status=7)
    ),
    last_lines=["one", "two"],
    health=TaskHealth(state="unhealthy", since=1.0, failures=2, last="refused"),
)
REPORTS = [
    ContainerReport(agent="a", task="web-0", phase=Phase.ABSENT),
    ContainerReport(
        agent="a",
        task="web-0",
        phase=Phase.ENDED,
        goal="run",
        generation=7,
        instance=INSTANCE,
        error="it has ended",
        refusals=2,
    ),
    ContainerReport(
        agent="a",
        task="web-0",
        phase=Phase.RUNNING,
        instance=ContainerInstance(config=job_config().container()),
    ),
]


@pytest.mark.parametrize("written", REPORTS)
def test_what_is_read_is_what_was_written(written: ContainerReport) -> None:
    assert unpack(pack(written)) == written


def test_each_field_is_written() -> None:
    """A field that is added to a report or a container must be added here, too."""
    assert {each for each in ContainerReport.__struct_fields__ if getattr(REPORTS[1], each)} == set(
        ContainerReport.__struct_fields__
    )
    assert {each for each in ContainerInstance.__struct_fields__ if getattr(INSTANCE, each)} == set(
        ContainerInstance.__struct_fields__
    )


def test_a_config_is_read_once_for_all_tasks_of_a_version() -> None:
    first, second = (unpack(pack(REPORTS[1])) for _ in range(2))
    assert first.instance is not None
    assert second.instance is not None
    assert first.instance.config is second.instance.config


def test_a_reader_sees_reports_and_everything_else_as_it_was() -> None:
    publisher, reader = Publisher("one"), ActualReader()
    publisher.subscribe("reader", 0.0)
    changes = {(AGENT, "a"): status("a"), (CONTAINER, "a", "web-0"): report("a", "web-0", Phase.RUNNING)}
    publisher.publish(packed(changes))
    assert isinstance(publisher.state[CONTAINER, "a", "web-0"], bytes)
    ((_, update),) = publisher.due(0.0)
    assert reader.receive(update) == changes
    assert reader.state == changes
    publisher.acknowledge("reader", "one", update.version, 1.0)
    publisher.publish({(CONTAINER, "a", "web-0"): None})
    ((_, update),) = publisher.due(1.0)
    assert reader.receive(update) == {(CONTAINER, "a", "web-0"): None}
    assert reader.state == {(AGENT, "a"): status("a")}


def test_samples_are_bytes_on_their_way_too() -> None:
    publisher, reader = Publisher("one"), ActualReader()
    publisher.subscribe("reader", 0.0)
    samples = {"web-0": Metrics(cpu_time=1, memory_usage=2, memory_limit=3), "web-1": Metrics()}
    publisher.publish(packed({(METRICS, "a"): samples, (METRICS, "b"): {}}))
    assert all(isinstance(value, bytes) for value in publisher.state.values())
    ((_, update),) = publisher.due(0.0)
    assert reader.receive(update) == {(METRICS, "a"): samples, (METRICS, "b"): {}}
    publisher.acknowledge("reader", "one", update.version, 1.0)
    publisher.publish(packed({(METRICS, "a"): None}))
    ((_, update),) = publisher.due(9.0)
    assert reader.receive(update) == {(METRICS, "a"): None}
