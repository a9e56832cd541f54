"""The jobs that the benchmarks schedule: tasks that any simulated agent can take."""

from __future__ import annotations

import msgspec

from scheduling.canonical import go_json
from scheduling.durations import Duration
from scheduling.job import Command, Grace, HealthCheck, JobConfig, Resources, Storage

LARGEST_SCALE = 1000


def config(name: str, scale: int, *, restart: str = "no", cpu_cores: float = 0.1) -> JobConfig:
    """A job of a usual size on the wire (some 600 bytes a task)."""
    check = HealthCheck(
        protocol="HTTP",
        port="PORT_HTTP",
        initial_delay=Duration.parse("1s"),
        timeout=Duration.parse("1s"),
        interval=Duration.parse("5s"),
        http_path="/-/health",
        http_acceptable_responses=[200, 204],
    )
    return JobConfig(
        scale=scale,
        product="bench",
        environment="test",
        job=name,
        health_checks=[check],
        artifact_url="http://asset-host.test/busybox.tar.gz",
        ports={},
        env={"A": "a<b>&c", "B": "2"},
        command=Command(working_dir="/", exec=["./web", "-listen=$PORT_HTTP"]),
        resources=Resources(mem=64, cpu=cpu_cores, fd=32768),
        storage=Storage(tmp={"/tmp": -1}, volumes={}),
        grace=Grace(startup=Duration.parse("3s"), shutdown=Duration.parse("1.5s")),
        restart=restart,
    )


def split(name: str, tasks: int, *, restart: str = "no") -> list[JobConfig]:
    """As few jobs as hold this many tasks, of nearly the same scale."""
    jobs = -(-tasks // LARGEST_SCALE)
    scales = [tasks // jobs + (number < tasks % jobs) for number in range(jobs)]
    return [config(f"{name}{number}", scale, restart=restart) for number, scale in enumerate(scales)]


def body(job: JobConfig) -> bytes:
    """What is PUT to the scheduler."""
    return job.canonical() + b"\n"


def container_body(job: JobConfig) -> bytes:
    """What is PUT to an agent."""
    return go_json(job.container()) + b"\n"


def counts(jobs_page: bytes) -> tuple[int, int]:
    """(running, jobs) of a reply to GET /api/v1/jobs."""
    page = _PAGE.decode(jobs_page)
    return sum(job.counts.running for job in page.jobs), len(page.jobs)


class _Counts(msgspec.Struct):
    running: int


class _Job(msgspec.Struct):
    counts: _Counts


class _Page(msgspec.Struct):
    jobs: list[_Job]


_PAGE = msgspec.json.Decoder(_Page)
