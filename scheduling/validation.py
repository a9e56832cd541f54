"""Which job configs are right: every problem with its field, its value and what would be right.

The order of the problems and the limits are those of the wire format (v0), which joins them with "; ".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec

from config.bounds import (
    LARGEST_PIDS,
    LARGEST_RESTART_LIMIT,
    LARGEST_SCALE,
    MOST_CONSTRAINTS,
    MOST_DEPENDENCIES,
    MOST_HEALTH_CHECKS,
    MOST_PORTS,
    SMALLEST_CPU_LIMIT,
)
from config.bounds import LARGEST_UNHEALTHY_AFTER as _LARGEST_UNHEALTHY_AFTER
from config.bounds import LONGEST_VALUE_SHOWN as _SHOWN
from scheduling.constraints import parse as parse_constraint
from scheduling.durations import Duration
from scheduling.job import DRIVERS, LIVENESS, READINESS, ContainerConfig, HealthCheck, JobConfig
from scheduling.update import STRATEGIES, Update, contradictions

LARGEST_COUNT = 2**53  # whole numbers stay exact in every JSON reader up to here
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_PORT_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile("[\x00-\x1f]")
_URL_SCHEMES = ("http://", "https://", "file://")


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong with a config: the dotted field, its value, and what would be right."""

    field: str
    value: Any
    expected: str

    def __str__(self) -> str:
        shown = repr(self.value)
        return f"{self.field} is {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '…'}; {self.expected}"


def problems(config: JobConfig) -> list[Problem]:
    """Everything wrong with a job config, in the order of the wire format; empty when it is right."""
    found = []
    if isinstance(config.scale, int) and not 1 <= config.scale <= LARGEST_SCALE:
        found.append(Problem("scale", config.scale, f'it must be from 1 to {LARGEST_SCALE}, or "all"'))
    found += container_problems(config)
    found += _placing(config)
    if config.on_lost is not None:
        found += _within("on_lost.after", config.on_lost.after, "1s", "24h")
    if config.update is not None:
        found += update_problems(config.update) or [
            Problem(*wrong) for wrong in contradictions(config.update)
        ]
    if config.everywhere:
        found += _everywhere(config)
    return found + list(_depends_on(config))


def update_problems(update: Update) -> list[Problem]:
    """Everything wrong with an update policy by itself; whether it can work depends on the scales."""
    numbers = (
        ("max_parallel", update.max_parallel, 1),
        ("floor", update.floor, 0),
        ("surge", update.surge, 0),
        ("canary", update.canary, 1),
    )
    return [
        *_one_of("update.strategy", update.strategy, STRATEGIES),
        *(
            Problem(f"update.{name}", value, f"it must be from {least} to {LARGEST_SCALE}")
            for name, value, least in numbers
            if value is not None and not least <= value <= LARGEST_SCALE
        ),
        *_within("update.min_healthy_time", update.min_healthy_time, "0s", "1h"),
        *_within("update.progress_deadline", update.progress_deadline, "1s", "24h"),
    ]


def _everywhere(config: JobConfig) -> Iterator[Problem]:
    """What means nothing for a job with one task on each agent."""
    right = "with scale all there is one task on each agent that fits, however many these are; leave it out"
    for name in ("spread", "distinct_hosts"):
        if getattr(config, name):
            yield Problem(name, getattr(config, name), right)
    if config.update is not None and config.update.floor is not None:
        yield Problem("update.floor", config.update.floor, f"{right} and say max_parallel")


def _placing(config: JobConfig) -> Iterator[Problem]:
    constraints = config.constraints or []
    if len(constraints) > MOST_CONSTRAINTS:
        right = f"at most {MOST_CONSTRAINTS} are possible"
        yield Problem("constraints", f"{len(constraints)} constraints", right)
        return
    for position, text in enumerate(constraints):
        try:
            parse_constraint(text)
        except ValueError as error:
            yield Problem(f"constraints[{position}]", text, str(error))
    if config.spread and not _NAME.fullmatch(config.spread):
        yield Problem("spread", config.spread, 'it must be the name of a label, like "zone"')


def _depends_on(config: JobConfig) -> Iterator[Problem]:
    names = config.depends_on or []
    if len(names) > MOST_DEPENDENCIES:
        yield Problem("depends_on", f"{len(names)} jobs", f"at most {MOST_DEPENDENCIES} are possible")
        return
    for position, name in enumerate(names):
        parts = name.split("/")
        if len(parts) not in (1, 3) or not all(_NAME.fullmatch(part) for part in parts):
            right = 'it must be a job, like "db", or product/environment/job'
            yield Problem(f"depends_on[{position}]", name, right)


def container_problems(config: ContainerConfig) -> list[Problem]:
    """Everything wrong with a container config, the part that agents check too."""
    return [
        *_names(config),
        *_health_checks(config.health_checks or []),
        *_unhealthy_after(config.unhealthy_after),
        *_artifact_url(config.artifact_url),
        *_artifact_sha256(config),
        *_ports(config.ports or {}),
        *_env(config.env or {}),
        *_command(config),
        *_resources(config),
        *_storage(config),
        *_within("grace.startup", config.grace.startup, "250ms", "30s"),
        *_within("grace.shutdown", config.grace.shutdown, "250ms", "10s"),
        *_one_of("restart", config.restart, ("no", "on-failure", "always")),
        *(_one_of("driver", config.driver, DRIVERS) if config.driver else ()),
        *_limits(config),
        *_restart_limit(config.restart_limit),
    ]


def _names(config: ContainerConfig) -> Iterator[Problem]:
    for field in ("product", "environment", "job"):
        value = getattr(config, field)
        if not _NAME.fullmatch(value):
            yield Problem(
                field,
                value,
                "it must be 1 to 100 letters, digits, '_', '.' or '-', and not begin with '.' or '-'",
            )


def _one_of(field: str, value: str, choices: tuple[str, ...]) -> Iterator[Problem]:
    if value not in choices:
        yield Problem(field, value, f"it must be one of {', '.join(choices)}")


def _within(field: str, value: Duration, low: str, high: str) -> Iterator[Problem]:
    if not Duration.parse(low) <= value <= Duration.parse(high):
        yield Problem(field, str(value), f"it must be from {low} to {high}")


def _unhealthy_after(failures: int) -> Iterator[Problem]:
    if not 0 <= failures <= _LARGEST_UNHEALTHY_AFTER:
        right = f"it must be from 1 to {_LARGEST_UNHEALTHY_AFTER} failures in a row, or 0 for the default"
        yield Problem("unhealthy_after", failures, right)


def _health_checks(checks: list[HealthCheck]) -> Iterator[Problem]:
    if len(checks) > MOST_HEALTH_CHECKS:
        yield Problem("health_checks", f"{len(checks)} checks", f"at most {MOST_HEALTH_CHECKS} are possible")
        return
    for position, check in enumerate(checks):
        at = f"health_checks[{position}]."
        yield from _one_of(at + "protocol", check.protocol, ("HTTP", "TCP"))
        if check.kind:
            yield from _one_of(at + "kind", check.kind, (READINESS, LIVENESS))
        if not check.port:
            yield Problem(at + "port", check.port, 'it must name a port, like "PORT_HTTP"')
        yield from _within(at + "initial_delay", check.initial_delay, "0s", "30s")
        yield from _within(at + "timeout", check.timeout, "0s", "3s")
        yield from _within(at + "interval", check.interval, "0s", "30s")
        if check.protocol == "HTTP":
            if not check.http_path:
                yield Problem(at + "http_path", check.http_path, 'an HTTP check needs a path, like "/health"')
            if not check.http_acceptable_responses:
                yield Problem(
                    at + "http_acceptable_responses",
                    check.http_acceptable_responses,
                    "an HTTP check needs the statuses it accepts, like [200]",
                )


def _artifact_url(url: str) -> Iterator[Problem]:
    if url and (not url.startswith(_URL_SCHEMES) or _unprintable(url) or " " in url):
        yield Problem("artifact_url", url, "it must be empty or begin with http://, https:// or file://")
    elif not _names_host(url):
        yield Problem("artifact_url", url, "it must name a host, and a port only from 0 to 65535")


def _names_host(url: str) -> bool:
    """Whether a URL by HTTP names a host; others need none."""
    try:
        parts = urlsplit(url)
        return not url.startswith("http") or (bool(parts.hostname) and (parts.port or 0) >= 0)
    except ValueError:
        return False


def _artifact_sha256(config: ContainerConfig) -> Iterator[Problem]:
    checksum = config.artifact_sha256
    if checksum and not _SHA256.fullmatch(checksum):
        yield Problem("artifact_sha256", checksum, "it must be 64 hexadecimal digits, 0-9 and a-f")
    elif checksum and not config.artifact_url:
        yield Problem("artifact_sha256", checksum, "it needs an artifact_url")


def _ports(ports: dict[str, int]) -> Iterator[Problem]:
    if len(ports) > MOST_PORTS:
        yield Problem("ports", f"{len(ports)} ports", f"at most {MOST_PORTS} are possible")
        return
    for name, port in ports.items():
        if not _PORT_NAME.fullmatch(name):
            yield Problem(f"ports.{name}", port, "a port's name must be 1 to 64 letters, digits or '_'")
        if not 0 <= port <= 65535:
            yield Problem(f"ports.{name}", port, "it must be from 0 to 65535, 0 for one the agent chooses")


def _env(env: dict[str, str]) -> Iterator[Problem]:
    for name, value in env.items():
        if not name or "=" in name or "\x00" in name:
            yield Problem(f"env.{name}", value, "a variable's name must not be empty nor contain '=' or NUL")
        if "\x00" in value:
            yield Problem(f"env.{name}", value, "a variable's value must not contain NUL")


def _command(config: ContainerConfig) -> Iterator[Problem]:
    command = config.command
    if not command.working_dir or "\x00" in command.working_dir:
        yield Problem(
            "command.working_dir", command.working_dir, 'it must not be empty; "/" is the artifact\'s top'
        )
    if not command.exec or not command.exec[0]:
        yield Problem("command.exec", command.exec, 'it must name a program, like ["./server", "-v"]')
    elif any("\x00" in word for word in command.exec):
        yield Problem("command.exec", command.exec, "its words must not contain NUL")


def _resources(config: ContainerConfig) -> Iterator[Problem]:
    resources = config.resources
    if not 0 <= resources.mem <= LARGEST_COUNT:
        yield Problem("resources.mem", resources.mem, "it must be the memory in MB, 0 or more")
    if not 0 < resources.cpu < float("inf"):
        yield Problem("resources.cpu", resources.cpu, "it must be the cores a task needs, more than 0")
    if not 0 <= resources.fd <= LARGEST_COUNT:
        yield Problem("resources.fd", resources.fd, "it must be the number of open files, 0 or more")


def _restart_limit(restarts: int) -> Iterator[Problem]:
    if not 0 <= restarts <= LARGEST_RESTART_LIMIT:
        expected = f"it must be from 1 to {LARGEST_RESTART_LIMIT} restarts in a row, or 0 for no limit"
        yield Problem("restart_limit", restarts, expected)


def _limits(config: ContainerConfig) -> Iterator[Problem]:
    limits = config.limits
    if limits is None:
        return
    if limits.mem and not max(config.resources.mem, 1) <= limits.mem <= LARGEST_COUNT:
        yield Problem("limits.mem", limits.mem, "it must be MB, and not less than resources.mem; 0 for that")
    if limits.cpu and not SMALLEST_CPU_LIMIT <= limits.cpu <= LARGEST_COUNT:
        expected = f"it must be cores, at least {SMALLEST_CPU_LIMIT:g}; 0 for no limit"
        yield Problem("limits.cpu", limits.cpu, expected)
    if not 0 <= limits.pids <= LARGEST_PIDS:
        expected = f"it must be the number of processes and threads, up to {LARGEST_PIDS}; 0 for the agent's"
        yield Problem("limits.pids", limits.pids, expected)


def _storage(config: ContainerConfig) -> Iterator[Problem]:
    for path, size in (config.storage.tmp or {}).items():
        if not _absolute(path):
            yield Problem("storage.tmp", path, "its paths must be absolute, like /tmp")
        if not -1 <= size <= LARGEST_COUNT:
            yield Problem(f"storage.tmp.{path}", size, "it must be the size in bytes, or -1 for no limit")
    for path, host_path in (config.storage.volumes or {}).items():
        if not _absolute(path) or not _absolute(host_path):
            yield Problem(f"storage.volumes.{path}", host_path, "both paths must be absolute, like /data")


def _absolute(path: str) -> bool:
    return path.startswith("/") and not _unprintable(path)


def _unprintable(text: str) -> bool:
    return _CONTROL.search(text) is not None
