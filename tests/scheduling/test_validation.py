"""Every rule of a job config, the order of the problems, and what each message says."""

from __future__ import annotations

from typing import Any

import pytest
from rules_made import job_config

from scheduling.durations import Duration
from scheduling.job import Command, Grace, HealthCheck, JobConfig, Limits, OnLost, Resources, Storage
from scheduling.update import Update
from scheduling.validation import Problem, container_problems, problems

HTTP = HealthCheck(
    protocol="HTTP",
    port="PORT_HTTP",
    timeout=Duration.parse("1s"),
    http_path="/health",
    http_acceptable_responses=[200],
)


def length(text: str) -> Duration:
    return Duration.parse(text)


def with_check(**changes: Any) -> JobConfig:
    fields = {name: getattr(HTTP, name) for name in HTTP.__struct_fields__}
    return job_config(health_checks=[HealthCheck(**(fields | changes))])


def with_grace(startup: str = "1s", shutdown: str = "1s") -> JobConfig:
    return job_config(grace=Grace(startup=length(startup), shutdown=length(shutdown)))


def with_update(**policy: Any) -> JobConfig:
    return job_config(update=Update(**policy))


def with_resources(mem: int = 1, cpu: float = 1.0, fd: int = 1) -> JobConfig:
    return job_config(resources=Resources(mem=mem, cpu=cpu, fd=fd))


RIGHT = {
    "smallest scale": job_config(scale=1),
    "largest scale": job_config(scale=1000),
    "all characters of a name": job_config(job="_a.B-9"),
    "a name of 100": job_config(job="x" * 100),
    "no memory": with_resources(mem=0),
    "a little of a core": with_resources(cpu=1e-9),
    "no file": with_resources(fd=0),
    "the shortest grace": with_grace("250ms", "250ms"),
    "the longest grace": with_grace("30s", "10s"),
    "an HTTP check": with_check(),
    "a TCP check": with_check(protocol="TCP", http_path="", http_acceptable_responses=None),
    "the longest check": with_check(
        initial_delay=length("30s"), timeout=length("3s"), interval=length("30s")
    ),
    "limits of its own": job_config(driver="bubblewrap", limits=Limits(mem=64, cpu=0.01, pids=1)),
    "no limits": job_config(limits=Limits()),
    "an artifact on disk": job_config(artifact_url="file:///a.tar"),
    "an artifact on the web": job_config(artifact_url="https://host/a.tar"),
    "an artifact with a checksum": job_config(
        artifact_url="https://host/a.tar", artifact_sha256="0af" + "1" * 61
    ),
    "a port the agent chooses": job_config(ports={"HTTP": 0, "x_1": 65535}),
    "odd variables": job_config(env={"a b": "", "é": "\n"}),
    "unlimited tmp": job_config(storage=Storage(tmp={"/tmp": -1}, volumes={"/data": "/mnt/x y"})),
    "restart no": job_config(restart="no"),
    "restart always": job_config(restart="always"),
    "the smallest update": with_update(
        strategy="canary", max_parallel=1, floor=0, surge=0, canary=1, min_healthy_time=length("0s")
    ),
    "the largest update": with_update(
        strategy="canary",
        max_parallel=1000,
        floor=1000,
        surge=1000,
        canary=1000,
        min_healthy_time=length("1h"),
        progress_deadline=length("24h"),
    ),
    "dependencies": job_config(depends_on=["db", "ads/test/db", "_.-x"]),
    "no dependency": job_config(depends_on=[]),
}


@pytest.mark.parametrize("config", RIGHT.values(), ids=RIGHT.keys())
def test_what_is_right_has_no_problem(config: JobConfig) -> None:
    assert problems(config) == []


# Config, the field, its value, and the words that say what would be right.
WRONG: list[tuple[JobConfig, str, object, str]] = [
    (job_config(scale=0), "scale", 0, "from 1 to 1000"),
    (job_config(scale=1001), "scale", 1001, "from 1 to 1000"),
    (job_config(scale=-1), "scale", -1, "from 1 to 1000"),
    (job_config(product=""), "product", "", "1 to 100 letters"),
    (job_config(environment="a/b"), "environment", "a/b", "1 to 100 letters"),
    (job_config(job="web/1"), "job", "web/1", "1 to 100 letters"),
    (job_config(job=".web"), "job", ".web", "not begin with '.' or '-'"),
    (job_config(job="-web"), "job", "-web", "not begin with '.' or '-'"),
    (job_config(job="web\n"), "job", "web\n", "1 to 100 letters"),
    (job_config(job="wéb"), "job", "wéb", "1 to 100 letters"),
    (job_config(job="x" * 101), "job", "x" * 101, "1 to 100 letters"),
    (with_check(protocol="http"), "health_checks[0].protocol", "http", "one of HTTP, TCP"),
    (with_check(port=""), "health_checks[0].port", "", "PORT_HTTP"),
    (with_check(initial_delay=length("31s")), "health_checks[0].initial_delay", "31s", "from 0s to 30s"),
    (with_check(timeout=length("3.1s")), "health_checks[0].timeout", "3.1s", "from 0s to 3s"),
    (with_check(timeout=length("-1s")), "health_checks[0].timeout", "-1s", "from 0s to 3s"),
    (with_check(interval=length("1m")), "health_checks[0].interval", "1m0s", "from 0s to 30s"),
    (with_check(http_path=""), "health_checks[0].http_path", "", "/health"),
    (
        with_check(http_acceptable_responses=None),
        "health_checks[0].http_acceptable_responses",
        None,
        "[200]",
    ),
    (job_config(artifact_url="ftp://x"), "artifact_url", "ftp://x", "http://, https:// or file://"),
    (
        job_config(artifact_url="http://a", artifact_sha256="A" * 64),
        "artifact_sha256",
        "A" * 64,
        "64 hexadecimal",
    ),
    (job_config(artifact_url="http://a", artifact_sha256="0"), "artifact_sha256", "0", "64 hexadecimal"),
    (job_config(artifact_sha256="0" * 64), "artifact_sha256", "0" * 64, "it needs an artifact_url"),
    (job_config(unhealthy_after=101), "unhealthy_after", 101, "from 1 to 100"),
    (job_config(artifact_url="http://a b"), "artifact_url", "http://a b", "http://, https:// or file://"),
    (job_config(artifact_url="http://["), "artifact_url", "http://[", "it must name a host"),
    (job_config(artifact_url="https://a:x/"), "artifact_url", "https://a:x/", "it must name a host"),
    (job_config(ports={"a-b": 1}), "ports.a-b", 1, "letters, digits or '_'"),
    (job_config(ports={"": 1}), "ports.", 1, "letters, digits or '_'"),
    (job_config(ports={"A": 65536}), "ports.A", 65536, "from 0 to 65535"),
    (job_config(ports={"A": -1}), "ports.A", -1, "from 0 to 65535"),
    (job_config(ports={f"P{n}": 0 for n in range(257)}), "ports", "257 ports", "at most 256"),
    (job_config(env={"": "x"}), "env.", "x", "must not be empty"),
    (job_config(env={"A=B": "x"}), "env.A=B", "x", "nor contain '=' or NUL"),
    (job_config(env={"A": "x\x00"}), "env.A", "x\x00", "must not contain NUL"),
    (job_config(command=Command(working_dir="", exec=["x"])), "command.working_dir", "", '"/"'),
    (job_config(command=Command(working_dir="/", exec=None)), "command.exec", None, "./server"),
    (job_config(command=Command(working_dir="/", exec=[])), "command.exec", [], "./server"),
    (job_config(command=Command(working_dir="/", exec=[""])), "command.exec", [""], "./server"),
    (job_config(command=Command(working_dir="/", exec=["a", "\x00"])), "command.exec", ["a", "\x00"], "NUL"),
    (with_resources(mem=-1), "resources.mem", -1, "in MB, 0 or more"),
    (with_resources(cpu=0.0), "resources.cpu", 0.0, "more than 0"),
    (with_resources(cpu=-1.0), "resources.cpu", -1.0, "more than 0"),
    (with_resources(cpu=float("inf")), "resources.cpu", float("inf"), "more than 0"),
    (with_resources(fd=-1), "resources.fd", -1, "0 or more"),
    (with_resources(mem=2**53 + 1), "resources.mem", 2**53 + 1, "in MB"),
    (job_config(storage=Storage(tmp={"tmp": -1})), "storage.tmp", "tmp", "absolute, like /tmp"),
    (job_config(storage=Storage(tmp={"/tmp": -2})), "storage.tmp./tmp", -2, "-1 for no limit"),
    (job_config(storage=Storage(volumes={"d": "/x"})), "storage.volumes.d", "/x", "absolute, like /data"),
    (job_config(storage=Storage(volumes={"/d": "x"})), "storage.volumes./d", "x", "absolute, like /data"),
    (job_config(storage=Storage(volumes={"/d": ""})), "storage.volumes./d", "", "absolute, like /data"),
    (with_grace(startup="249ms"), "grace.startup", "249ms", "from 250ms to 30s"),
    (with_grace(startup="30.1s"), "grace.startup", "30.1s", "from 250ms to 30s"),
    (with_grace(shutdown="0s"), "grace.shutdown", "0s", "from 250ms to 10s"),
    (with_grace(shutdown="11s"), "grace.shutdown", "11s", "from 250ms to 10s"),
    (job_config(restart="never"), "restart", "never", "one of no, on-failure, always"),
    (job_config(restart=""), "restart", "", "one of no, on-failure, always"),
    (job_config(driver="docker"), "driver", "docker", "one of process, bubblewrap, oci"),
    (job_config(mem=64, limits=Limits(mem=63)), "limits.mem", 63, "not less than resources.mem"),
    (job_config(limits=Limits(mem=-1)), "limits.mem", -1, "not less than resources.mem"),
    (job_config(limits=Limits(cpu=0.009)), "limits.cpu", 0.009, "at least 0.01"),
    (job_config(limits=Limits(cpu=float("inf"))), "limits.cpu", float("inf"), "at least 0.01"),
    (job_config(restart_limit=-1), "restart_limit", -1, "from 1 to 1000 restarts in a row"),
    (job_config(restart_limit=1001), "restart_limit", 1001, "from 1 to 1000 restarts in a row"),
    (job_config(limits=Limits(pids=-1)), "limits.pids", -1, "up to 4194304"),
    (with_update(strategy="Rolling"), "update.strategy", "Rolling", "one of rolling, blue_green, canary, in"),
    (with_update(max_parallel=0), "update.max_parallel", 0, "from 1 to 1000"),
    (with_update(max_parallel=1001), "update.max_parallel", 1001, "from 1 to 1000"),
    (with_update(floor=-1), "update.floor", -1, "from 0 to 1000"),
    (with_update(surge=-1), "update.surge", -1, "from 0 to 1000"),
    (with_update(surge=1001), "update.surge", 1001, "from 0 to 1000"),
    (with_update(canary=0), "update.canary", 0, "from 1 to 1000"),
    (with_update(strategy="in_place", surge=1), "update.surge", 1, "in_place stops a task before"),
    (with_update(strategy="blue_green", surge=0), "update.surge", 0, "blue_green starts the whole"),
    (with_update(min_healthy_time=length("5m")), "update.progress_deadline", "5m0s", "must be longer"),
    (with_update(min_healthy_time=length("-1s")), "update.min_healthy_time", "-1s", "from 0s to 1h"),
    (with_update(progress_deadline=length("0s")), "update.progress_deadline", "0s", "from 1s to 24h"),
    (job_config(depends_on=["db", ""]), "depends_on[1]", "", 'a job, like "db", or product/environment/job'),
    (job_config(depends_on=["test/db"]), "depends_on[0]", "test/db", "product/environment/job"),
    (job_config(depends_on=["a//db"]), "depends_on[0]", "a//db", "product/environment/job"),
    (job_config(depends_on=["x y"]), "depends_on[0]", "x y", "product/environment/job"),
    (job_config(depends_on=["x"] * 33), "depends_on", "33 jobs", "at most 32"),
]


@pytest.mark.parametrize(
    ("config", "field", "value", "right"),
    WRONG,
    ids=[f"{field}={value!r:.20}" for _, field, value, _ in WRONG],
)
def test_each_problem_names_the_field_the_value_and_what_would_be_right(
    config: JobConfig, field: str, value: object, right: str
) -> None:
    (problem,) = problems(config)
    assert problem.field == field
    assert problem.value == value
    assert right in problem.expected
    text = str(problem)
    assert text.startswith(f"{field} is {value!r}"[:60])
    assert text.endswith(f"; {problem.expected}")
    assert "\n" not in text


def test_a_number_that_is_none_is_no_number_of_cores() -> None:
    (problem,) = problems(with_resources(cpu=float("nan")))
    assert problem.field == "resources.cpu"


def test_problems_come_in_the_order_of_the_wire_format() -> None:
    nothing_right = JobConfig(
        scale=0,
        health_checks=[HealthCheck(protocol="HTTP", port="P"), HealthCheck(protocol="x", port="P")],
        artifact_url="x",
        ports={"A": -1},
        env={"": ""},
        storage=Storage(tmp={"x": 0}, volumes={"y": "z"}),
    )
    assert [problem.field for problem in problems(nothing_right)] == [
        "scale",
        "product",
        "environment",
        "job",
        "health_checks[0].http_path",
        "health_checks[0].http_acceptable_responses",
        "health_checks[1].protocol",
        "artifact_url",
        "ports.A",
        "env.",
        "command.working_dir",
        "command.exec",
        "resources.cpu",
        "storage.tmp",
        "storage.volumes.y",
        "grace.startup",
        "grace.shutdown",
        "restart",
    ]
    assert container_problems(nothing_right) == problems(nothing_right)[1:]


def test_policy_comes_last_and_agents_know_nothing_of_it() -> None:
    config = job_config(
        restart="never",
        on_lost=OnLost(after=length("0s")),
        update=Update(strategy="x", canary=0),
        depends_on=["/"],
    )
    assert [problem.field for problem in problems(config)] == [
        "restart",
        "on_lost.after",
        "update.strategy",
        "update.canary",
        "depends_on[0]",
    ]
    assert [problem.field for problem in container_problems(config)] == ["restart"]


def test_a_long_value_is_cut_in_the_message() -> None:
    assert str(Problem("f", "x" * 1000, "it must be short")) == f"f is '{'x' * 79}…; it must be short"
