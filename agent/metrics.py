"""CPU time and memory of all running tasks, by one pass over /proc."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from agent.procfs import Stat
from scheduling.container import Metrics


def sample(shims: Mapping[str, int], stats: Iterable[Stat]) -> dict[str, Metrics]:
    """Container id → metrics of everything below its shim (container id → pid); `memory_limit` is 0.

    The shim itself is the agent's cost, not the task's.
    """
    by_pid = {stat.pid: stat for stat in stats}
    children: dict[int, list[int]] = defaultdict(list)
    for stat in by_pid.values():
        children[stat.parent].append(stat.pid)
        # A child whose parent died belongs to init, but is still in the task's session.
        if stat.parent not in by_pid or by_pid[stat.parent].session != stat.session != stat.pid:
            children[stat.session].append(stat.pid)
    return {container: _sum(pid, by_pid, children) for container, pid in shims.items()}


def _sum(shim: int, by_pid: Mapping[int, Stat], children: Mapping[int, list[int]]) -> Metrics:
    seen: set[int] = set()
    todo = list(children.get(shim, ()))
    cpu_nanoseconds = memory_bytes = 0
    while todo:
        pid = todo.pop()
        if pid in seen or pid == shim:
            continue
        seen.add(pid)
        cpu_nanoseconds += by_pid[pid].cpu_nanoseconds
        memory_bytes += by_pid[pid].memory_bytes
        todo += children.get(pid, ())
    return Metrics(cpu_time=cpu_nanoseconds, memory_usage=memory_bytes)
