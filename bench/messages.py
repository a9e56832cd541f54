"""How many messages the actors of a host have sent, as Thespian counts them in each actor.

Thespian answers for an actor when it is asked for its status, as `harpoon-scheduler join` asks the leader.
Who follows whom at which port is in the titles of the processes. So nothing in the product is there for it,
and nothing is asked while a time is taken.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from actors.leader_line import LeaderLine, RefusedError, UnreachableError
from bench.programs import BenchError, descendants

# A busy machine may leave an actor waiting for its turn.
ANSWER_SECONDS = 30.0
# An answer takes some 20 ms, most of them waiting for what acknowledges.
_ASKED_AT_ONCE = 16
_SENT = "Actor.Message Send.Transmit Started"
# As Thespian titles its processes: "Flock ActorAddr-(T|:41234)". Its logger is none that can be asked.
_TITLE = re.compile(r"(?!logger )\w+ ActorAddr-\(T\|[^)]*:(\d+)\)")


class Sent:
    """Counts what the hosts' actors have sent: name → (address of its actors, process)."""

    def __init__(self, hosts: Mapping[str, tuple[str, int]], secret: bytes) -> None:
        self._hosts, self._secret = hosts, secret
        # By actor, how many of its messages were answers to us.
        self._answers: dict[tuple[str, int], int] = {}

    def by_host(self) -> dict[str, int]:
        """So far, without what was answered here. Raises BenchError."""
        found = {}
        with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
            for host, (address, pid) in self._hosts.items():
                found[host] = sum(pool.map(partial(self._of_actor, address), _ports(pid)))
        return found

    def _of_actor(self, address: str, port: int) -> int:
        line = LeaderLine((address, port), (address, 0), self._secret)
        give_up_at = time.monotonic() + ANSWER_SECONDS
        # Each question may have been answered, even one whose answer came too late.
        asked = self._answers.get((address, port), 0)
        while True:
            try:
                counts = line.status().miscKeyVals
            except (UnreachableError, RefusedError) as error:
                # What it says to another that had our port before is refused, and comes once only.
                asked += 1
                if time.monotonic() > give_up_at:
                    raise BenchError(f"an actor does not say how much it has sent: {error}") from None
            else:
                self._answers[address, port] = asked + 1
                return max(int(counts.get(_SENT, 0)) - asked, 0)


def _ports(pid: int) -> list[int]:
    """The ports of the actors below a process, its admin's too."""
    found = []
    for process in descendants(pid):
        try:
            title = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        match = _TITLE.match(title)
        if match:
            found.append(int(match[1]))
    return found
