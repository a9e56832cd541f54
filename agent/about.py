"""Who this agent is: what a scheduler may want to know of a host besides its resources."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from agent.settings import Settings
from config.version import version
from scheduling.canonical import GoStruct


class Attributes(GoStruct, frozen=True, kw_only=True):
    """What a host is, found out by the agent; `drivers` work here, `limits` are enforced here."""

    os: str
    arch: str
    kernel: str
    drivers: list[str]
    limits: list[str]


class About(GoStruct, frozen=True, kw_only=True):
    """An agent: `labels` are given by who runs it, `attributes` are found out."""

    name: str
    version: str
    labels: dict[str, str]
    attributes: Attributes


def about(settings: Settings, drivers: Sequence[str], limits: Sequence[str] = ()) -> About:
    """This agent on this host."""
    system = platform.uname()
    return About(
        name=settings.name,
        version=version(),
        labels=settings.labels,
        attributes=Attributes(
            os=system.system.lower(),
            arch=system.machine,
            kernel=system.release,
            drivers=list(drivers),
            limits=list(limits),
        ),
    )
