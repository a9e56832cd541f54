"""A fleet of simulated agents in one light process: `python -m simulation.fleet --agents N`.

Each agent speaks the real v0 agent API on a port of its own, and does nothing but answer: a scheduler
can't tell it from hosts that run tasks. So the size of a cluster can be tried before it is bought.
docs/fleet.md says how.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from simulation.fleet_agent import FleetAgent
from simulation.fleet_behaviour import BehaviourError, parse_delays, parse_failures
from simulation.fleet_control import Control, Metrics
from simulation.fleet_life import Host
from simulation.fleet_loop import Loop, Port
from simulation.fleet_world import World

MOST_AGENTS = 10_000
USER_ERROR = 1


class Fleet:
    """All agents of a fleet with their ports, and the control port."""

    def __init__(self, options: argparse.Namespace) -> None:
        delays = parse_delays(options.delay)
        self.world = World(delays, parse_failures(options.failures), options.seed)
        self.loop = Loop(self.world)
        host = Host(
            mem_mb=options.mem,
            cpu_cores=options.cpu,
            storage_bytes=options.storage,
            volumes=tuple(options.volume),
        )
        reply_delay = delays.reply if delays.reply.high > 0.0 else None
        digits = len(str(options.agents))
        self.agents: list[FleetAgent] = []
        self.addresses: dict[str, str] = {}
        try:
            for number in range(options.agents):
                agent = FleetAgent(f"sim-{number + 1:0{digits}}", host, self.world, options.batch)
                wanted = options.base_port + number if options.base_port else 0
                port = Port(self.loop, agent, options.listen, wanted, reply_delay)
                self.addresses[agent.name] = port.address
                self.agents.append(agent)
            self.metrics = Metrics(self.world, self.agents, options.metrics_slots)
            control = Control(self.world, self.agents, self.metrics)
            self.control = Port(self.loop, control, options.listen, options.control_port, None).address
        except OSError:
            self.loop.close()
            raise
        self.metrics.every(options.metrics_seconds)
        if self.world.failures.disconnect > 0.0:
            for agent in self.agents:
                self._disconnect_later(agent)

    def agents_file(self) -> str:
        """The agents as the scheduler's --agents-file wants them."""
        return "".join(f"{name} {address}\n" for name, address in self.addresses.items())

    def report(self) -> str:
        """Its counts and its CPU, on one line."""
        return msgspec.json.encode(self.world.stats()).decode()

    def _disconnect_later(self, agent: FleetAgent) -> None:
        seconds = self.world.seconds_to(self.world.failures.disconnect)
        self.world.after(seconds, self._disconnect, agent)

    def _disconnect(self, agent: FleetAgent) -> None:
        agent.hang_up_streams()
        self._disconnect_later(agent)


class _Signals:
    """Signals as events of the loop: TERM and INT end it, USR1 has it report."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, lambda *_: None)
        fleet.loop.own(self._reader.fileno(), self)

    def ready(self, _mask: int) -> None:
        """A signal has come."""
        for number in self._reader.recv(64):
            if number == signal.SIGUSR1:
                print(self._fleet.report(), file=sys.stderr, flush=True)
            else:
                self._fleet.loop.ending = True


class _Parent:
    """Ends the fleet with the process that started it."""

    def __init__(self, fleet: Fleet, pid: int) -> None:
        self._fleet = fleet
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            fleet.loop.ending = True
        else:
            fleet.loop.own(descriptor, self, select.EPOLLIN)

    def ready(self, _mask: int) -> None:
        """The parent has ended."""
        self._fleet.loop.ending = True


def main(arguments: list[str] | None = None) -> int:
    """Run a fleet until told to end; returns the exit code."""
    options = _options(arguments)
    _raise_limits()
    try:
        fleet = Fleet(options)
    except BehaviourError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(
            f"can't listen on {options.listen} with {options.agents} agents: {error.strerror}; "
            "choose another --listen or --base-port, or raise the limit of open files"
        )
    try:
        with _written(options.agents_file, fleet.agents_file()):
            _Signals(fleet)
            if options.parent:
                _Parent(fleet, options.parent)
            print(f"{len(fleet.agents)} agents, control http://{fleet.control}", flush=True)
            gc.freeze()
            fleet.loop.run()
    except OSError as error:
        return _fail(f"{options.agents_file} can't be written: {error.strerror}")
    finally:
        fleet.loop.close()
    if options.cpu_report:
        print(fleet.report(), flush=True)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulation.fleet", description=__doc__)
    add = parser.add_argument
    add("--agents", type=_between(1, MOST_AGENTS), required=True, metavar="N", help="how many")
    add("--listen", default="127.0.0.1", metavar="HOST", help="the address of all ports")
    add("--base-port", type=_between(0, 65535), default=0, metavar="P", help="first port; 0: kernel's choice")
    add("--agents-file", metavar="FILE", help="write the agents there, as the scheduler reads them")
    add("--control-port", type=_between(0, 65535), default=0, metavar="P", help="for /stats; 0: any")
    add("--delay", default="", metavar="create=1s..3s,…", help="how long things take")
    add("--failures", default="", metavar="start=0.01,…", help="how often they go wrong")
    add("--metrics-seconds", type=float, default=0.0, metavar="S", help="between samples of a task; 0: none")
    add(
        "--metrics-slots",
        type=_between(1, 1000),
        default=1,
        metavar="K",
        help="an agent's samples in K parts",
    )
    add("--batch", type=_between(0, 1000), default=0, metavar="N", help="take N items in one request; 0: no")
    add("--mem", type=_between(0, 2**40), default=262_144, metavar="MB", help="of each host")
    add("--cpu", type=float, default=64.0, metavar="CORES", help="of each host")
    add("--storage", type=_between(0, 2**60), default=322_122_547_200, metavar="BYTES", help="of each host")
    add("--volume", action="append", default=[], metavar="PATH", help="of each host; repeatable")
    add("--seed", type=int, default=1, metavar="N", help="of delays and failures")
    add("--parent", type=int, default=0, metavar="PID", help="end when this process ends")
    add("--cpu-report", action="store_true", help="print counts and CPU at the end")
    return parser.parse_args(arguments)


def _between(low: int, high: int) -> type[int]:
    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} must be from {low} to {high}")
        return value

    return parse  # type: ignore[return-value]  # argparse takes any callable


@contextmanager
def _written(name: str | None, text: str) -> Iterator[None]:
    """The agents file while the agents are there: written whole, and gone with them."""
    if name is None:
        yield
        return
    path = Path(name)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, "utf-8")
        beside.replace(path)
        yield
    finally:
        beside.unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _raise_limits() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _fail(message: str) -> int:
    print(f"simulation.fleet: {message}", file=sys.stderr)
    return USER_ERROR


if __name__ == "__main__":
    sys.exit(main())
