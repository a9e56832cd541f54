"""The fleet as a program: its ports, its control port, its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench import jobs
from bench.client import Client
from bench.floor import Floor
from bench.load import drive, request_bytes
from bench.programs import Fleet, fleet, wait_for
from config.agents_file import read_agents_file
from simulation.fleet import main


def test_its_agents_file_is_what_the_scheduler_reads_and_goes_with_it(tmp_path: Path) -> None:
    with fleet(12, tmp_path) as running:
        agents = read_agents_file(running.agents_file)
        assert [agent.name for agent in agents] == [f"sim-{number:02}" for number in range(1, 13)]
        for address in running.addresses():
            client = Client(address)
            assert client.get_json("/api/v0/containers") == {}
            client.close()
    assert not running.agents_file.exists()
    assert running.program.process.returncode == 0


def test_many_requests_in_flight_on_many_connections(tmp_path: Path) -> None:
    with fleet(1, tmp_path) as running:
        requests = iter([request_bytes("GET", "/api/v0/resources")] * 400)
        load = drive(running.addresses()[0], requests, 50, 30.0, 200)
        assert load.requests == 400
        assert running.stats()["requests"] == 400


def test_the_floor_takes_all_tasks_there_and_back(tmp_path: Path) -> None:
    with fleet(3, tmp_path) as running:
        floor = Floor(running.addresses(), 20, jobs.container_body(jobs.config("floor", 1)))
        try:
            floor.run("schedule")
            assert running.stats()["running"] == 20
            floor.run("unschedule")
            assert running.stats()["containers"] == 0
        finally:
            floor.end()


def test_the_control_port_counts_and_kills(tmp_path: Path) -> None:
    with fleet(2, tmp_path) as running:
        _run_one(running, "web-1-0")
        assert running.client.get_json("/starts") == {"web-1-0": 1}
        assert running.client.request("POST", "/die/web-1-1").status == 404
        assert b"monotonic_seconds" in running.client.expect(200, "POST", "/die/web-1-0")
        assert running.stats()["running"] == 0
        assert running.client.request("POST", "/metrics?seconds=-1").status == 400
        assert running.client.request("POST", "/metrics?seconds=0.05").status == 200
        assert running.client.request("GET", "/nothing").status == 404


def test_usr1_has_it_report(tmp_path: Path) -> None:
    with fleet(1, tmp_path) as running:
        os.kill(running.program.pid, signal.SIGUSR1)
        wait_for(lambda: running.program.said('{"requests":0'), "a report", 10.0)


def test_it_ends_with_the_process_it_was_told_to_follow(tmp_path: Path) -> None:
    with (
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as parent,
        fleet(1, tmp_path, "--parent", str(parent.pid)) as running,
    ):
        parent.kill()
        parent.wait()
        assert running.program.process.wait(10.0) == 0


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--delay", "create=soon"], "soon"),
        (["--failures", "start=2"], "start"),
        (["--listen", "192.0.2.1"], "--listen"),
        (["--agents-file", "/nowhere/at/all"], "/nowhere/at/all"),
    ],
)
def test_mistakes_are_told_on_one_line(
    flags: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--agents", "1", *flags]) == 1
    said = capsys.readouterr().err
    assert text in said
    assert said.count("\n") == 1


def _run_one(running: Fleet, task: str) -> None:
    client = Client(running.addresses()[0])
    body = jobs.container_body(jobs.config("web", 1))
    client.expect(201, "PUT", f"/api/v0/containers/{task}", body)
    client.expect(202, "POST", f"/api/v0/containers/{task}/start")
    client.close()
