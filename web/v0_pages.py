"""The two big v0 replies as bytes: the registry, and the proxy view of all agents.

`/api/v0/proxy` of 5,000 tasks is some 3 MB and polled by old clients every 250 ms, so each container is
encoded once, its sample (which changes every 3 s) is put in by cutting, and only the agents that a
change touches are joined anew.
"""

from __future__ import annotations

import msgspec

from scheduling.actual import ContainerReport
from scheduling.canonical import go_json, go_text
from scheduling.container import DELETED, ContainerInstance, HostResources, Metrics
from scheduling.lifecycle import Phase
from web.cluster import ClusterState
from web.pages import Page, digest
from web.problems import V0_TYPE
from web.touched import Touched

_NO_SAMPLE = go_json(Metrics())
_END = b"}}"
_NOTHING = go_json(HostResources())


class V0Pages:
    """Listens to the state; made once per worker."""

    def __init__(self, state: ClusterState) -> None:
        self._state = state
        self._jobs: dict[str, tuple[str, int, bytes]] = {}
        self._registry: Page | None = None
        self._hosts: dict[str, _Host] = {}
        self._touched: set[str] = set(state.desired.agents)
        self._proxy: Page | None = None
        self._unsubscribe = state.listen(self._on_change)

    def close(self) -> None:
        """Listen no longer."""
        self._unsubscribe()

    def registry(self) -> Page:
        """`{HASH:JobConfig,…}` and a newline: exactly what the old registry file holds."""
        if self._registry is None:
            jobs = self._state.desired.jobs
            for prefix in [prefix for prefix in self._jobs if prefix not in jobs]:
                del self._jobs[prefix]
            for prefix, job in jobs.items():
                if prefix not in self._jobs or self._jobs[prefix][:2] != (job.hash, len(job.members)):
                    # Who speaks v0 knows no scale but a number: with scale `all` how many there are now.
                    config = msgspec.structs.replace(job.config, scale=len(job.members))
                    member = _member(job.hash, config.canonical())
                    self._jobs[prefix] = (job.hash, len(job.members), member)
            ordered = sorted(self._jobs.values(), key=lambda each: each[0].encode())
            self._registry = Page(_object([member for _, _, member in ordered]), V0_TYPE)
        return self._registry

    def proxy(self) -> Page:
        """`{"http://HOST:PORT":StateEvent,…}` and a newline, one entry per known agent."""
        if self._touched:
            for name in self._touched:
                self._renew(name)
            self._touched = set()
            self._proxy = None
        if self._proxy is None:
            by_endpoint = {host.endpoint: host for _, host in sorted(self._hosts.items(), reverse=True)}
            hosts = [by_endpoint[endpoint] for endpoint in sorted(by_endpoint, key=str.encode)]
            self._proxy = Page(
                _object([host.member for host in hosts]),
                V0_TYPE,
                digest(b"".join([host.digest for host in hosts])),
            )
        return self._proxy

    def _renew(self, name: str) -> None:
        agent = self._state.desired.agents.get(name)
        if agent is None:
            self._hosts.pop(name, None)
            return
        host = self._hosts.get(name)
        if host is None or host.endpoint != agent.endpoint:
            host = self._hosts[name] = _Host(agent.endpoint)
        status = self._state.actual.agents.get(name)
        host.renew(
            status.resources if status else None,
            self._state.actual.containers.get(name, {}),
            self._state.actual.metrics.get(name, {}),
        )

    def _on_change(self, touched: Touched) -> None:
        self._touched |= touched.hosts
        if touched.jobs and "desired" in touched.topics:
            self._registry = None


def _object(members: list[bytes]) -> bytes:
    """An object of these members and a newline; the braces go along, since each `+` would copy megabytes."""
    if not members:
        return b"{}\n"
    members[0] = b"{" + members[0]
    members[-1] += b"}\n"
    return b",".join(members)


def _member(name: str, value: bytes) -> bytes:
    return go_text(name).encode() + b":" + value


class _Host:
    """One agent's entry in the proxy view."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.member = b""
        self.digest = b""
        self._containers: dict[str, _Container] = {}

    def renew(
        self,
        resources: HostResources | None,
        reports: dict[str, ContainerReport],
        samples: dict[str, Metrics],
    ) -> None:
        """Encode what is not encoded yet, and join."""
        kept: dict[str, _Container] = {}
        for task, report in reports.items():
            instance = report.instance
            if instance is None or report.phase == Phase.ABSENT or instance.status == DELETED:
                continue
            container = self._containers.get(task)
            if container is None or container.instance is not instance:
                container = _Container(task, instance)
            container.take(samples.get(task))
            kept[task] = container
        self._containers = kept
        containers = b",".join([kept[task].member for task in sorted(kept, key=str.encode)])
        about = go_json(resources) if resources else _NOTHING
        self.member = _member(self.endpoint, b'{"resources":%s,"containers":{%s}}' % (about, containers))
        self.digest = digest(self.member)


class _Container:
    """One container's entry; the sample is the last value in it, so another one is put in by cutting."""

    def __init__(self, task: str, instance: ContainerInstance) -> None:
        self.instance = instance
        encoded = go_json(instance.without_metrics())
        self._head = _member(task, encoded[: -len(_NO_SAMPLE + _END)])
        self._sample: Metrics | None = None
        self._own = instance.process_state.container_metrics
        self.member = self._head + go_json(self._own) + _END

    def take(self, sample: Metrics | None) -> None:
        """Show this sample; without one, what the instance itself says."""
        if sample is not self._sample:
            self._sample = sample
            self.member = self._head + go_json(sample or self._own) + _END


if not go_json(ContainerInstance()).endswith(_NO_SAMPLE + _END):
    raise AssertionError("the sample is not the last value of a container any more")
