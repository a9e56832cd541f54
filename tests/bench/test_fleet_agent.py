"""A simulated agent speaks the v0 agent API: statuses, texts, bodies, events."""

from __future__ import annotations

import msgspec
import pytest
from fleet_made import BODY, Bench

from bench import jobs
from scheduling.batch_wire import REPLY_DECODER, encode_batch
from scheduling.canonical import go_json
from scheduling.container import INSTANCE_DECODER, RESOURCES_DECODER
from scheduling.durations import Duration
from scheduling.job import Grace
from simulation.fleet_wire import Request


def test_the_whole_life_answers_and_says_what_the_wire_format_demands() -> None:
    bench = Bench()
    bench.follow()
    assert bench.ask("PUT", "containers/web-1-0", BODY) == (201, b"created OK")
    assert bench.ask("PUT", "containers/web-1-0", BODY) == (409, b"already exists\n")
    assert bench.ask("POST", "containers/web-1-0/stop") == (409, b"already stopped\n")
    assert bench.ask("POST", "containers/web-1-0/start") == (202, b"start accepted")
    assert bench.ask("POST", "containers/web-1-0/start") == (409, b"already running\n")
    assert bench.ask("DELETE", "containers/web-1-0") == (
        500,
        b"can't destroy container in status running\n",
    )
    assert bench.ask("POST", "containers/web-1-0/stop") == (202, b"stop accepted")
    assert bench.ask("DELETE", "containers/web-1-0") == (200, b"destroy OK")
    assert bench.ask("DELETE", "containers/web-1-0") == (404, b"not found\n")
    assert bench.statuses() == ["created", "running", "finished", "deleted"]
    assert bench.world.stats()["starts"] == 1


@pytest.mark.parametrize(
    "path", ["containers/x", "containers/x/start", "containers/x/log", "nothing", "containers/x/y/z"]
)
def test_what_is_not_there_is_404(path: str) -> None:
    method = "POST" if path.endswith("start") else "GET"
    assert Bench().ask(method, path) == (404, b"not found\n")


def test_instances_decode_and_encode_to_the_same_bytes() -> None:
    bench = Bench()
    bench.ask("PUT", "containers/web-1-0", BODY)
    bench.ask("POST", "containers/web-1-0/start")
    _, body = bench.ask("GET", "containers/web-1-0")
    instance = INSTANCE_DECODER.decode(body)
    assert go_json(instance) + b"\n" == body
    assert instance.config == jobs.config("web", 1).container()
    assert (instance.status, instance.process_state.up) == ("running", True)
    _, body = bench.ask("GET", "containers")


def test_resources_count_every_registered_container_until_it_is_deleted() -> None:
    bench = Bench(mem_mb=1000, cpu_cores=2.5, volumes=("/data/a",))
    for number in range(3):
        bench.ask("PUT", f"containers/web-1-{number}", BODY)
    _, body = bench.ask("GET", "resources")
    resources = RESOURCES_DECODER.decode(body)
    assert go_json(resources) + b"\n" == body
    assert (resources.mem.total, resources.mem.reserved) == (1000, 192)
    assert (resources.cpus.total, resources.cpus.reserved) == (2.5, 0.3)
    assert resources.volumes == ["/data/a"]
    for number in range(3):
        bench.ask("DELETE", f"containers/web-1-{number}")
    assert RESOURCES_DECODER.decode(bench.ask("GET", "resources")[1]).cpus.reserved == 0


def test_the_first_event_is_everything_and_nothing_in_it_comes_again() -> None:
    bench = Bench()
    bench.ask("PUT", "containers/web-1-0", BODY)
    bench.follow()
    bench.ask("PUT", "containers/web-1-1", BODY)
    assert [sorted(event.containers) for event in bench.events()] == [["web-1-0"], ["web-1-1"]]


def test_a_port_0_becomes_one_that_is_free_and_a_deleted_one_is_free_again() -> None:
    config = msgspec.structs.replace(jobs.config("web", 1), ports={"A": 0, "B": 30001, "C": 0})
    body = jobs.container_body(config)
    bench = Bench()
    assert bench.ask("PUT", "containers/web-1-0", body)[0] == 201
    ports = INSTANCE_DECODER.decode(bench.ask("GET", "containers/web-1-0")[1]).config.ports
    assert ports is not None
    assert ports["B"] == 30001
    assert len(set(ports.values())) == 3
    bench.ask("DELETE", "containers/web-1-0")
    assert not bench.agent._ports


def test_a_wrong_config_is_400_with_all_that_is_wrong() -> None:
    config = msgspec.structs.replace(
        jobs.config("web", 1), restart="sometimes", grace=Grace(startup=Duration(0), shutdown=Duration(0))
    )
    status, text = Bench().ask("PUT", "containers/web-1-0", jobs.container_body(config))
    assert status == 400
    assert b"restart" in text
    assert b"grace.startup" in text
    assert Bench().ask("PUT", "containers/web-1-0", b"{")[0] == 400
    assert Bench().ask("PUT", "containers/web 1", BODY)[0] == 400


def test_delays_hold_events_back_and_not_answers() -> None:
    bench = Bench(delay="create=10s,start=5s,stop=2s,delete=1s")
    bench.follow()
    bench.ask("PUT", "containers/web-1-0", BODY)
    assert bench.ask("POST", "containers/web-1-0/start") == (202, b"start accepted")
    bench.after(9)
    assert bench.statuses() == []
    bench.after(1.1)
    assert bench.statuses() == ["created"]
    bench.after(5.1)
    assert bench.statuses() == ["created", "running"]
    bench.ask("POST", "containers/web-1-0/stop")
    bench.after(2.1)
    bench.ask("DELETE", "containers/web-1-0")
    assert bench.statuses()[-1] == "finished"
    bench.after(1.1)
    assert bench.statuses()[-1] == "deleted"


def test_a_task_that_dies_follows_its_policy() -> None:
    for restart, statuses in (("no", ["finished"]), ("always", ["running", "running"])):
        bench = Bench()
        body = jobs.container_body(jobs.config("web", 1, restart=restart))
        bench.ask("PUT", "containers/web-1-0", body)
        bench.ask("POST", "containers/web-1-0/start")
        bench.follow()
        bench.agent.die(bench.agent.containers[b"web-1-0"])
        bench.after(1.1)
        assert bench.statuses() == statuses
        last = bench.events()[-1].containers["web-1-0"].process_state
        assert last.restarts == (restart == "always")
        assert last.container_exit_status.exited == (restart == "no")


@pytest.mark.parametrize(
    ("failures", "statuses"), [("create=1", ["deleted"]), ("start=1", ["created", "failed"])]
)
def test_failures_are_told_as_agents_tell_them(failures: str, statuses: list[str]) -> None:
    bench = Bench(failures=failures)
    bench.follow()
    bench.ask("PUT", "containers/web-1-0", BODY)
    bench.ask("POST", "containers/web-1-0/start")
    assert bench.statuses() == statuses
    assert bench.events()[-1].containers["web-1-0"].process_state.err


def test_refused_and_unanswered_requests_change_nothing() -> None:
    for failures, status in (("refuse=1", 500), ("hang_up=1", 0)):
        bench = Bench(failures=failures)
        assert bench.ask("PUT", "containers/web-1-0", BODY)[0] == status
        assert not bench.agent.containers


def test_samples_come_for_running_tasks_only_and_in_the_slots_asked_for() -> None:
    bench = Bench()
    for number in range(4):
        bench.ask("PUT", f"containers/web-1-{number}", BODY)
        if number:
            bench.ask("POST", f"containers/web-1-{number}/start")
    bench.follow()
    for slot in range(2):
        bench.agent.say_metrics(slot, 2)
    bench.agent.flush()
    names = [name for event in bench.events()[1:] for name in event.containers]
    assert sorted(names) == ["web-1-1", "web-1-2", "web-1-3"]
    assert bench.events()[-1].containers[names[-1]].process_state.container_metrics.memory_usage > 0


def test_a_fleet_may_take_batches_and_says_so() -> None:
    bench = Bench()
    assert bench.batch(b"{}")[0] == 404, "unless it is told to"
    bench.agent.batch_items = 3
    answer = bench.agent.handle(
        Request(b"GET", b"/api/v0/containers", b"", events=True, close=False), bench.listener
    )
    assert answer is not None
    assert b"\r\nHarpoon-Batch: 3\r\n\r\n" in answer
    asked = [("web-1-0", "put", BODY), ("web-1-1", "put", b"[]"), ("web-1-2", "start", b"")]
    status, body = bench.batch(encode_batch(asked))  # type: ignore[arg-type]
    results = REPLY_DECODER.decode(body).results
    assert (status, [result.status for result in results]) == (200, [201, 400, 404])
    assert results[0].text == "created OK"
    assert bench.batch(encode_batch([("web-1-0", "start", b"")] * 4))[0] == 413
    assert bench.batch(b"?")[0] == 400
