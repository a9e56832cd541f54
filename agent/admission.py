"""What this host has, what it has promised, and which containers it has no room for."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterable

from agent.drivers import Drivers
from agent.settings import Settings
from config.bounds import LONGEST_LABEL
from scheduling.container import Amount, Cores, HostResources
from scheduling.job import ContainerConfig

# Sums of fractional cores are not exact; a task must not be refused for the last digit.
_CORE_DIGITS = 6


def host_resources(settings: Settings, configs: Iterable[ContainerConfig], drivers: Drivers) -> HostResources:
    """Totals of the host, what all registered containers reserve, running or not, and what runs them."""
    configs = list(configs)
    disk = os.statvfs(settings.data)
    return HostResources(
        mem=Amount(total=settings.memory_mb, reserved=sum(config.resources.mem for config in configs)),
        cpus=Cores(
            total=settings.cpu_cores,
            reserved=round(math.fsum(config.resources.cpu for config in configs), _CORE_DIGITS),
        ),
        storage=Amount(total=disk.f_blocks * disk.f_frsize, reserved=sum(map(_tmp_bytes, configs))),
        volumes=list(settings.volumes),
        attributes=host_attributes(settings),
        drivers=drivers.names,
        limits=drivers.limits,
    )


def host_attributes(settings: Settings) -> dict[str, str]:
    """What constraints of jobs can name: what the host is, and above that the labels it was given."""
    system = platform.uname()
    found = {"os": system.system.lower(), "arch": system.machine, "kernel": system.release}
    return {name: value[:LONGEST_LABEL] for name, value in {**found, **settings.labels}.items()}


def _tmp_bytes(config: ContainerConfig) -> int:
    return sum(size for size in (config.storage.tmp or {}).values() if size > 0)


def lack_of_room(config: ContainerConfig, host: HostResources) -> str:
    """Why the host can't take one more such container; empty if it can."""
    wanted = config.resources
    free_mb = host.mem.total - host.mem.reserved
    if wanted.mem > free_mb:
        return f"no room: {wanted.mem} MB of memory wanted, {max(free_mb, 0)} of {host.mem.total} MB free"
    free_cores = round(host.cpus.total - host.cpus.reserved, _CORE_DIGITS)
    if wanted.cpu > free_cores:
        return f"no room: {wanted.cpu:g} cores wanted, {max(free_cores, 0):g} of {host.cpus.total:g} free"
    wanted_bytes = _tmp_bytes(config)
    free_bytes = host.storage.total - host.storage.reserved
    if wanted_bytes > free_bytes:
        return f"no room: {wanted_bytes} bytes of storage wanted, {max(free_bytes, 0)} promised to nobody"
    for path, host_path in (config.storage.volumes or {}).items():
        if host_path not in (host.volumes or ()):
            return f"no volume {host_path} (for {path}) on this host"
        if not os.path.lexists(host_path):
            return f"volume {host_path} (for {path}) is offered, but not there"
    return ""
