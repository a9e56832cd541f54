"""Reports on containers, and samples, as bytes: encoded once by the state machine, decoded by who reads them.

In between, flocks and the shepherd pass them on by key, and compare them, without a look inside. The config
in a report is packed by itself: a version has thousands of tasks, and a reader keeps their config once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import msgspec

from config.bounds import CONFIGS_UNPACKED
from scheduling.actual import METRICS, ActualReplica, ContainerReport
from scheduling.container import ContainerInstance, Metrics, ProcessState, TaskHealth
from scheduling.desired import Intent
from scheduling.durations import Duration
from scheduling.job import ContainerConfig
from scheduling.lifecycle import Phase
from scheduling.replica import Changes, Key, Update


class _Instance(msgspec.Struct, frozen=True, array_like=True):
    """A `ContainerInstance`; its config is packed."""

    container_id: str
    status: str
    config: bytes
    process_state: ProcessState
    last_lines: list[str]
    health: TaskHealth | None


class _Report(msgspec.Struct, frozen=True, array_like=True):
    """A `ContainerReport`."""

    agent: str
    task: str
    phase: Phase
    goal: Intent | Literal[""]
    generation: int
    instance: _Instance | None
    error: str
    refusals: int


def _pack_duration(value: Any) -> int:
    if isinstance(value, Duration):
        return value.nanoseconds
    raise NotImplementedError(f"{type(value).__name__} can't be packed")


def _unpack_duration(kind: type, value: Any) -> Any:
    if kind is Duration and isinstance(value, int):
        return Duration(value)
    raise ValueError(f"expected a packed {kind.__name__}, got {value!r}")


# A field that is added there and forgotten here would be lost on its way.
for _shape, _packed in ((ContainerInstance, _Instance), (ContainerReport, _Report)):
    assert _shape.__struct_fields__ == _packed.__struct_fields__, f"{_packed} packs every field"  # noqa: S101

_ENCODER = msgspec.msgpack.Encoder(enc_hook=_pack_duration)
_REPORTS = msgspec.msgpack.Decoder(_Report)
_SAMPLES = msgspec.msgpack.Decoder(dict[str, Metrics])
_CONFIGS = msgspec.msgpack.Decoder(ContainerConfig, dec_hook=_unpack_duration)


def pack(report: ContainerReport) -> bytes:
    """The report as bytes."""
    instance = report.instance
    packed = (
        _Instance(
            instance.container_id,
            instance.status,
            _ENCODER.encode(instance.config),
            instance.process_state,
            instance.last_lines,
            instance.health,
        )
        if instance is not None
        else None
    )
    return _ENCODER.encode(
        _Report(
            report.agent,
            report.task,
            report.phase,
            report.goal,
            report.generation,
            packed,
            report.error,
            report.refusals,
        )
    )


def unpack(data: bytes) -> ContainerReport:
    """The report in these bytes."""
    report = _REPORTS.decode(data)
    packed = report.instance
    instance = (
        ContainerInstance(
            container_id=packed.container_id,
            status=packed.status,
            config=_config(packed.config),
            process_state=packed.process_state,
            last_lines=packed.last_lines,
            health=packed.health,
        )
        if packed is not None
        else None
    )
    return ContainerReport(
        agent=report.agent,
        task=report.task,
        phase=report.phase,
        goal=report.goal,
        generation=report.generation,
        instance=instance,
        error=report.error,
        refusals=report.refusals,
    )


@lru_cache(CONFIGS_UNPACKED)
def _config(data: bytes) -> ContainerConfig:
    return _CONFIGS.decode(data)


def packed(changes: Changes) -> Changes:
    """The same changes with the reports and samples as bytes."""
    return {key: _pack_value(key, value) for key, value in changes.items()}


def _pack_value(key: Key, value: Any) -> Any:
    if isinstance(value, ContainerReport):
        return pack(value)
    return _ENCODER.encode(value) if key[0] == METRICS and value is not None else value


def unpack_value(key: Key, value: Any) -> Any:
    """What `packed` has made bytes, as it was."""
    if not isinstance(value, bytes):
        return value
    return _SAMPLES.decode(value) if key[0] == METRICS else unpack(value)


class ActualReader(ActualReplica):
    """A replica of the actual state for those who read what is in it."""

    def receive(self, update: Update) -> Changes | None:
        """As `ActualReplica.receive`, with the reports and samples unpacked."""
        changes = {key: unpack_value(key, value) for key, value in update.changes.items()}
        return super().receive(msgspec.structs.replace(update, changes=changes))
