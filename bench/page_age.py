"""How old the page of all agents is that a reader gets, while tasks die and others read it all the time."""

from __future__ import annotations

import itertools
import multiprocessing
import statistics
import time

import msgspec

from bench.client import Client
from bench.load import drive, request_bytes
from bench.running import Cluster

_PATH = "/api/v0/proxy"
_SEEN_SECONDS = 10.0
_PAUSE_SECONDS = 0.2
# More bytes than one container of the benchmarks takes in the page.
_LARGEST_CONTAINER = 8192


class PageAge(msgspec.Struct, frozen=True, kw_only=True):
    """A page that does not show a change yet is as old, when it has come, as the change is then.

    Seconds; 0 where the first page that was asked for after the change showed it already.
    """

    samples: int
    missed: int
    median_seconds: float
    slowest_seconds: float

    def line(self) -> str:
        """As a sentence."""
        median, slowest = self.median_seconds * 1e3, self.slowest_seconds * 1e3
        return (
            f"GET {_PATH} meanwhile, {self.samples} deaths looked for: the last page without the death came "
            f"{median:.0f} ms after it (median), {slowest:.0f} ms at most ({self.missed} missed)."
        )


def measure_page_age(running: Cluster, connections: int, samples: int) -> PageAge:
    """Look for single deaths in the page, while so many connections ask for it again and again."""
    address = running.scheduler.client.address
    seconds = samples * (_PAUSE_SECONDS + 0.5)
    arguments = (address, itertools.repeat(request_bytes("GET", _PATH)), connections, seconds, 200)
    load = multiprocessing.get_context("fork").Process(target=drive, args=arguments, daemon=True)
    load.start()
    reader = Client(address)
    try:
        found = [_age(running, reader, number * len(running.tasks) // samples) for number in range(samples)]
    finally:
        reader.close()
        load.kill()
        load.join()
    ages = [age for age in found if age is not None]
    return PageAge(
        samples=len(ages),
        missed=samples - len(ages),
        median_seconds=statistics.median(ages) if ages else -1.0,
        slowest_seconds=max(ages, default=-1.0),
    )


def _age(running: Cluster, reader: Client, number: int) -> float | None:
    """Of the last page that does not show that this task has died; None if none has shown it in time."""
    while True:
        task = running.tasks[number % len(running.tasks)].encode()
        before = _shown(reader.expect(200, "GET", _PATH), task)
        reply = running.fleet.client.request("POST", f"/die/{task.decode()}")
        if reply.status == 200:
            break
        number += 1  # this one has died just now, and is not up again
    died_at = msgspec.json.decode(reply.body)["monotonic_seconds"]
    age = 0.0
    while age < _SEEN_SECONDS:
        page = reader.expect(200, "GET", _PATH)
        came_at = time.monotonic()
        if _shown(page, task) != before:
            time.sleep(_PAUSE_SECONDS)
            return age
        age = came_at - died_at
    return None


def _shown(page: bytes, task: bytes) -> bytes:
    """What the page says of a task: up to the next one."""
    _, _, rest = page.partition(b'"container_id":"' + task + b'"')
    return rest[:_LARGEST_CONTAINER].partition(b'"container_id"')[0]
