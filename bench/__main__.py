"""`python -m bench`: measures the scheduler on simulated fleets, and says how it compares."""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from types import FrameType
from typing import NoReturn

import msgspec
import psutil

from bench import report as reports
from bench.agent import measure_agent
from bench.client import ClientError
from bench.http_load import measure_http
from bench.idle import measure_idle
from bench.jobs import LARGEST_SCALE
from bench.latency import measure_latency
from bench.load import LoadError
from bench.members import AGENTS, MEMBERS, TASKS, measure_members
from bench.placement import measure_placement
from bench.plot import plot
from bench.programs import BenchError
from bench.quick import judge
from bench.sizes import SIZES, measure_size
from config.bounds import AGENT_BATCH_ITEMS, MOST_AGENTS, MOST_MEMBERS

_PREFIX = "harpoon-bench-"
PARTS = ("sizes", "batch", "placement", "http", "latency", "idle", "agent", "members")
TOO_LONG_FOR_QUICK = ("members",)
FAILED, USER_ERROR = 2, 1


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, save; returns the exit code: 0, 1 for a mistake of the user, 2 when it is too slow."""
    options = _options(arguments)
    try:
        earlier = reports.read_report(options.compare) if options.compare else None
    except (OSError, msgspec.MsgspecError) as error:
        print(f"bench: {options.compare} can't be read as a saved run: {error}", file=sys.stderr)
        return USER_ERROR
    signal.signal(signal.SIGTERM, _end)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    report = reports.new_report()
    problems: list[str] = []
    with _directory(options.directory) as directory:
        for name, part in _parts(options).items():
            if name not in options.only:
                continue
            print(f"{name} …", file=sys.stderr, flush=True)
            try:
                part(report, directory)
            except (BenchError, ClientError, LoadError, HTTPException, OSError) as error:
                problems.append(f"{name}: {error}")
            finally:
                _save(report, options)
    print(reports.text(report))
    if earlier is not None:
        table, worse = reports.compare(report, earlier)
        print("", table, sep="\n")
        problems += worse
    if options.quick:
        problems += judge(report)
    for problem in problems:
        print(f"bench: {problem}", file=sys.stderr)
    return FAILED if problems else 0


def _parts(options: argparse.Namespace) -> dict[str, Callable[[reports.Report, Path], None]]:
    quick = options.quick
    agents, tasks = options.sizes[-1]

    def sizes(report: reports.Report, directory: Path) -> None:
        for agents, tasks in options.sizes:
            report.sizes.append(measure_size(agents, tasks, options.runs, directory / f"{agents}x{tasks}"))
            _save(report, options)

    def batch(report: reports.Report, directory: Path) -> None:
        option = ("--batch", str(AGENT_BATCH_ITEMS))
        for agents, tasks in options.sizes[-1:] if quick else options.sizes:
            place = directory / f"batch-{agents}x{tasks}"
            report.batch.append(measure_size(agents, tasks, options.runs, place, *option))
            _save(report, options)

    def placement(report: reports.Report, _directory: Path) -> None:
        many = (200, 2000) if quick else (5000, 50_000)
        report.placement = measure_placement(*many, runs=2 if quick else options.runs)

    def http(report: reports.Report, directory: Path) -> None:
        size = (5, 100, 20) if quick else (100, 5000, 1000)
        seconds, runs = (0.3, 1) if quick else (options.seconds, options.runs)
        report.http = measure_http(*size, seconds, runs, directory / "http")

    def latency(report: reports.Report, directory: Path) -> None:
        size = (5, 20, 10) if quick else (100, 1000, 100)
        report.latency = measure_latency(*size, directory / "latency")

    def idle(report: reports.Report, directory: Path) -> None:
        seconds = 1.0 if quick else options.idle_seconds
        report.idle = measure_idle(agents, tasks, seconds, 3.0, 0.05, directory / "idle")

    def agent(report: reports.Report, directory: Path) -> None:
        report.agent = measure_agent(*((50, 5, 1.0) if quick else (1000, 50, 10.0)), directory / "agent")

    def members(report: reports.Report, directory: Path) -> None:
        size = (options.members, options.agents, options.tasks)
        report.members = measure_members(*size, directory / "members")

    parts = (sizes, batch, placement, http, latency, idle, agent, members)
    return dict(zip(PARTS, parts, strict=True))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = parser.add_argument
    add("--only", nargs="+", choices=PARTS, help="these parts")
    add("--sizes", nargs="+", type=_size, metavar="AGENTS,TASKS", help="of the table; idle takes the last")
    add("--runs", type=int, default=0, metavar="N", help="of each; medians are shown (5)")
    add("--seconds", type=float, default=3.0, help="of each kind of HTTP request")
    add("--idle-seconds", type=float, default=60.0, help="of each idle state")
    add("--members", type=_count(MOST_MEMBERS), default=MEMBERS, metavar="N", help="hosts beside the leader")
    add(
        "--agents",
        type=_count(MOST_AGENTS),
        default=AGENTS,
        metavar="N",
        help="of leader and members together",
    )
    add("--tasks", type=_count(LARGEST_SCALE), default=TASKS, metavar="N", help="of their job")
    add("--json", type=Path, metavar="FILE", help="save the run there")
    add("--plot", type=Path, metavar="FILE.svg", help="draw the table")
    add("--compare", type=Path, metavar="FILE", help="with a saved run; exit code 2 when it got worse")
    add("--directory", type=Path, metavar="DIR", help="for the data directories; removed afterwards")
    add("--quick", action="store_true", help="a small part within a minute, judged by ratios only")
    options = parser.parse_args(arguments)
    options.sizes = options.sizes or ([(1, 1), (10, 100)] if options.quick else list(SIZES))
    usual = [part for part in PARTS if not (options.quick and part in TOO_LONG_FOR_QUICK)]
    options.only = options.only or usual
    options.runs = options.runs or (3 if options.quick else 5)
    return options


def _count(most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdigit() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f'"{text}" must be from 1 to {most}')
        return int(text)

    return parse


def _size(text: str) -> tuple[int, int]:
    agents, _, tasks = text.partition(",")
    if not (agents.isdigit() and tasks.isdigit() and int(agents) and int(tasks)):
        raise argparse.ArgumentTypeError(f'"{text}" is no size; write AGENTS,TASKS like 100,1000')
    return int(agents), int(tasks)


def _save(report: reports.Report, options: argparse.Namespace) -> None:
    """After each part: a run that is broken off has lost nothing."""
    if options.json:
        reports.write_report(report, options.json)
    if options.plot and report.sizes:
        options.plot.write_text(plot(report.sizes), "utf-8")


@contextmanager
def _directory(beside: Path | None) -> Iterator[Path]:
    """A directory of our own; it is gone afterwards."""
    _sweep(beside or Path(tempfile.gettempdir()))
    path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=beside))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _sweep(directory: Path) -> None:
    """Remove what a run has left that was killed: nothing else can outlive it."""
    for path in directory.glob(f"{_PREFIX}*"):
        pid = path.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    """SIGTERM takes the same road as Ctrl-C: everything that was started is ended."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
