"""What this host can run tasks with, and which limits it enforces: found out at the start, by trying."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from agent.bubblewrap import BubblewrapDriver
from agent.cgroup import Cgroups
from agent.driver import Driver
from agent.hierarchies import of_this_host
from agent.oci import OciDriver
from agent.process import ProcessDriver
from agent.settings import Settings
from agent.user import User, find_user
from scheduling.job import DRIVERS, ContainerConfig
from scheduling.room import limits_of

_LOG = logging.getLogger(__name__)


class Drivers:
    """The drivers of one data directory, and the cgroups that they put tasks in.

    `names` are those that work here. The others are there all the same: they find and end what an earlier
    agent started.
    """

    def __init__(
        self, made: Iterable[Driver], cgroups: Cgroups, names: Iterable[str], user: User | None = None
    ) -> None:
        self._made = {driver.name: driver for driver in made}
        self._cgroups = cgroups
        self.names = [name for name in DRIVERS if name in set(names)]
        self.limits = cgroups.limits
        self.user = user

    def of(self, config: ContainerConfig) -> Driver:
        """The driver that a config names, or the one for those that name none."""
        # One of a newer agent that this one has never heard of has a shim, as all have.
        return self._made.get(config.driver) or self._made[DRIVERS[0]]

    def lack(self, config: ContainerConfig) -> str:
        """Why a config can't be run here as it asks; empty if it can."""
        name = config.driver or DRIVERS[0]
        if name not in self.names:
            return f"driver {name} does not work on this host, only {', '.join(self.names)}"
        missing = [limit for limit in limits_of(config) if limit not in self.limits]
        return f"a limit of {', '.join(missing)} is not enforced on this host" if missing else ""

    def left(self) -> set[str]:
        """The tasks that have cgroups."""
        return self._cgroups.tasks()

    def sweep(self, tasks: Iterable[str]) -> None:
        """End what is in the cgroups of these tasks, and remove them. May take a moment."""
        self._cgroups.remove_all(tasks)

    def tidy(self) -> None:
        """Remove cgroups that were not empty before."""
        self._cgroups.tidy()


def drivers_here(settings: Settings) -> Drivers:
    """The drivers of this host; says on the log what does not hold."""
    cgroups = Cgroups(settings.data, of_this_host() if settings.limits else (), settings.cgroup)
    if settings.limits and (missing := {"mem", "cpu", "pids", "tree"} - set(cgroups.limits)):
        why = f" ({'; '.join(dict.fromkeys(cgroups.problems))})" if cgroups.problems else ""
        _LOG.warning("not enforced here: %s%s", ", ".join(map(_WORDS.__getitem__, sorted(missing))), why)
    user = find_user(settings.task_user)
    others = (BubblewrapDriver(settings.data, cgroups, user), OciDriver(settings.data, cgroups, user))
    names = [ProcessDriver.name]
    for driver in others:
        problem = driver.problem()
        if problem:
            _LOG.warning("driver %s does not work here: %s", driver.name, problem)
        elif problem is not None:
            names.append(driver.name)
    return Drivers([ProcessDriver(cgroups, user), *others], cgroups, names, user)


_WORDS = {
    "mem": "limits of memory",
    "cpu": "shares and limits of CPU",
    "pids": "limits of processes",
    "tree": "the end of processes that leave their task",
}
