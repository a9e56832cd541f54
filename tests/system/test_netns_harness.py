"""The hosts of their own are what they are said to be, and nothing is left of them, however a run ends."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import netns_harness
import psutil
import pytest
from netns_harness import BRIDGES, NAMESPACES, Host, NetworkError, clear_leftovers, network
from system_harness import REPOSITORY, wait_until

# A run of the tests that has made hosts, runs something there, and waits to be killed.
_RUN = """
import subprocess, sys
from netns_harness import network
with network(2) as hosts:
    command = [*hosts[0].within, "sh", "-c", "echo there; exec sleep 1000"]
    task = subprocess.Popen(command, stdout=subprocess.PIPE)
    task.stdout.readline()  # before, it may not be in its namespace yet
    print(hosts[0].name, task.pid, flush=True)
    sys.stdin.read()
"""


def _connects(host: Host, port: int, begin: Host) -> bool:
    try:
        with begin.reach():
            socket.create_connection((host.ip, port), timeout=0.5).close()
    except TimeoutError:
        return False
    return True


def _own_network() -> str:
    return str(Path("/proc/thread-self/ns/net").readlink())


def test_a_host_is_reached_from_another_until_it_is_cut_off_and_again_when_it_is_healed() -> None:
    outside = _own_network()
    with network(2) as (first, second):
        with second.reach(), socket.create_server((second.ip, 0)) as server:
            port = server.getsockname()[1]
            assert _connects(second, port, first)
            second.cut()
            assert not _connects(second, port, first), "silence, no reset"
            assert _connects(second, port, second), "it still reaches itself"
            second.heal()
            wait_until(lambda: _connects(second, port, first), "it is there again")
        assert _own_network() == outside
        names = [first.name, second.name]
    assert not any((NAMESPACES / name).exists() for name in names)


def test_a_partition_and_two_hosts_that_do_not_see_each_other() -> None:
    with (
        network(3) as (first, second, third),
        second.reach(),
        socket.create_server((second.ip, 0)) as server,
    ):
        port = server.getsockname()[1]
        first.lose(second)
        assert [_connects(second, port, begin) for begin in (first, third)] == [False, True]
        first.find(second)
        wait_until(lambda: _connects(second, port, first), "they see each other again")
        for host in (second, third):
            host.move(BRIDGES[1])
        assert [_connects(second, port, begin) for begin in (first, third)] == [False, True]
        for host in (second, third):
            host.move(BRIDGES[0])
        wait_until(lambda: _connects(second, port, first), "one network again")


def test_what_a_killed_run_has_left_is_cleared_and_what_a_living_one_has_is_not() -> None:
    command = [sys.executable, "-c", _RUN]
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{Path(__file__).parent}"}
    with (
        network(1) as (mine,),
        subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as run,
    ):
        assert run.stdout is not None
        name, pid = run.stdout.readline().split()
        task = psutil.Process(int(pid))
        clear_leftovers()
        assert (NAMESPACES / name).exists(), "it lives"

        run.kill()
        run.wait()
        clear_leftovers()

        assert not list(NAMESPACES.glob(f"{name.rpartition('-')[0]}-*"))
        wait_until(lambda: not task.is_running() or task.status() == psutil.STATUS_ZOMBIE, "its task ended")
        assert (NAMESPACES / mine.name).exists()


def test_where_there_can_be_no_hosts_the_test_is_skipped_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: str) -> None:
        raise NetworkError("ip netns add x: Operation not permitted")

    monkeypatch.setattr(netns_harness, "_ip", refuse)
    with pytest.raises(pytest.skip.Exception, match=r"no hosts of their own here.*not permitted"), network(1):
        pass
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(pytest.skip.Exception, match="iproute2"), network(1):
        pass
