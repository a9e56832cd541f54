"""The containers of simulated agents, encoded as wire format v0 demands, with as little work as possible.

The tasks of a job share one config: it is decoded, judged and encoded once, and every container and
event is put together from those bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from scheduling.canonical import go_json, go_text
from scheduling.job import CONTAINER_CONFIG_DECODER, ContainerConfig
from scheduling.validation import container_problems

_TEMPLATES_REMEMBERED = 4096
_MB = 1024 * 1024

NOT_STARTED, STOPPED, DIED = b"{}", b'{"signaled":true,"signal":15}', b'{"exited":true,"exit_status":1}'


class Template(NamedTuple):
    """What containers with the same config share; `config` as Go writes it."""

    decoded: ContainerConfig
    config: bytes
    mem_mb: int
    cpu_cores: float
    tmp_bytes: int
    restarts: bool
    wants_ports: bool
    fixed_ports: frozenset[int]

    def with_ports(self, ports: dict[str, int]) -> bytes:
        """The config with the ports really used."""
        return go_json(msgspec.structs.replace(self.decoded, ports=ports))


def template_of(body: bytes) -> Template | str:
    """The template for the body of a PUT, or what is wrong with it."""
    found = _templates.get(body)
    if found is None:
        found = _read(body)
        if len(_templates) >= _TEMPLATES_REMEMBERED:
            _templates.clear()
        _templates[body] = found
    return found


_templates: dict[bytes, Template | str] = {}


def _read(body: bytes) -> Template | str:
    try:
        config = CONTAINER_CONFIG_DECODER.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return f"not a ContainerConfig: {error}"
    if problems := container_problems(config):
        return "; ".join(map(str, problems))
    ports = config.ports or {}
    return Template(
        config,
        go_json(config),
        config.resources.mem,
        config.resources.cpu,
        sum(size for size in (config.storage.tmp or {}).values() if size > 0),
        config.restart in ("always", "on-failure"),
        0 in ports.values(),
        frozenset(ports.values()) - {0},
    )


class Container:
    """One container of a simulated agent. `turn` counts its changes: a timer of an earlier one is void."""

    __slots__ = (
        "config",
        "created",
        "ended",
        "error",
        "name",
        "ports",
        "restarts",
        "started_at",
        "status",
        "stopping",
        "template",
        "turn",
        "up",
        "wanted_up",
    )

    def __init__(self, name: bytes, template: Template, config: bytes, ports: tuple[int, ...]) -> None:
        self.name = name
        self.template = template
        self.config = config
        self.ports = ports
        self.status = b"created"
        self.created = False
        self.wanted_up = False
        self.stopping = False
        self.up = False
        self.ended = NOT_STARTED
        self.error = b""
        self.restarts = 0
        self.started_at = 0.0
        self.turn = 0

    @property
    def restarting(self) -> bool:
        """Whether it is between a death and the next start."""
        return self.status == b"running" and not self.up

    def member(self, now: float, status: bytes = b"") -> bytes:
        """`"ID":ContainerInstance`, with a sample that grows with the time it has run."""
        up = self.up
        ran = now - self.started_at if up else 0.0
        return (
            b'"%b":{"container_id":"%b","status":"%b","config":%b,"process_state":{"up":%b,"restarting":%b,%b'
            b'"container_exit_status":%b,"restarts":%d,"ooms":0,"container_metrics":'
            b'{"cpu_time":%d,"memory_usage":%d,"memory_limit":%d}}}'
        ) % (
            self.name,
            self.name,
            status or self.status,
            self.config,
            b"true" if up else b"false",
            b"true" if self.restarting else b"false",
            self.error,
            self.ended,
            self.restarts,
            int(ran * self.template.cpu_cores * 1e9 / 2),
            (self.template.mem_mb * _MB >> 1) + int(ran) * 4096 % _MB if up else 0,
            self.template.mem_mb * _MB if up else 0,
        )

    def failed(self, text: str) -> None:
        """Note why it could not be started."""
        self.error = b'"err":%b,' % go_text(text).encode()
