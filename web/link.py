"""The web worker's link to the actors: one thread follows the broadcasts, one sends mutations.

The follower keeps the worker's `ClusterState` up to date, by way of the event loop. The sender has one
batch under way at a time; what is submitted meanwhile makes up the next one, so the registry commits
what waits together. Each thread has its own actor address: sharing one mixes up the answers.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec

from actors.messages import (
    Acknowledge,
    Broadcast,
    Mutate,
    Mutated,
    RenewRegistrations,
    Subscribe,
    Topic,
)
from actors.supervisor import GLOBAL_NAME, Supervisor
from actors.system import NoActorSystemError, join_system
from config.bounds import MUTATIONS_A_BATCH
from config.bounds import WRITE_ANSWER_SECONDS as ANSWER_SECONDS
from config.bounds import WRITE_QUEUE_SECONDS as QUEUE_SECONDS
from config.bounds import WRITE_VISIBLE_SECONDS as VISIBLE_SECONDS
from scheduling.answer import Answer
from scheduling.packing import ActualReader
from scheduling.registry import Mutation
from scheduling.replica import Changes, Replica
from scheduling.roster import ActorStatus
from web.cluster import ClusterState, OutcomeUnknownError, UnavailableError

# Broadcasters send at least every 2 s, the supervisor every half: after this a worker is cut off.
SILENCE_SECONDS = 5.0
SUPERVISOR_SILENCE_SECONDS = 2.0
LISTEN_SECONDS = 0.5
REJOIN_SECONDS = 0.2

_log = logging.getLogger("harpoon.web.link")
_TOPICS: tuple[Topic, ...] = ("desired", "actual", "waiting")
_OWNERS: dict[Topic, str] = {"desired": "registry", "actual": "shepherd", "waiting": "scheduler"}


class _CutOffError(Exception):
    """The actors are not there (any more)."""


class _Pending(msgspec.Struct):
    """A mutation on its way, and who waits for its answer."""

    request_id: str
    mutation: Mutation
    future: asyncio.Future[Answer]
    give_up_at: float


class ActorCluster:
    """The cluster behind HTTP, as the actors hold it. Implements `web.cluster.Cluster`."""

    def __init__(self, admin_port: int) -> None:
        self.state = ClusterState()
        self._admin_port = admin_port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = threading.Event()
        self._registry: Any = None
        # Exchanged for an empty one as a whole: two threads share it.
        self._renewed: set[str] = set()
        self._queue: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()

    def start(self) -> None:
        """Start the threads; called in the worker's event loop, after the fork."""
        self._loop = asyncio.get_running_loop()
        for name, run in (("follower", self._follow), ("sender", self._send)):
            threading.Thread(target=run, name=name, daemon=True).start()

    def stop(self) -> None:
        """Let the threads end."""
        self._stop.set()
        self._queue.put(None)

    async def submit(self, mutation: Mutation, request_id: str) -> Answer:
        """See `Cluster.submit`."""
        if self._registry is None or not self.state.connected:
            raise UnavailableError("the registry can't be reached")
        with self.state.writing():
            future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            self._queue.put(_Pending(request_id, mutation, future, time.monotonic() + QUEUE_SECONDS))
            answer = await future
            if not await self.state.reached(answer.version, VISIBLE_SECONDS):
                raise OutcomeUnknownError("the change was made, but this worker does not see it yet")
        return answer

    def renew(self, agent: str) -> None:
        """See `Cluster.renew`."""
        self._renewed.add(agent)

    # --- in the event loop, from the threads ---

    def _in_loop(self, call: Callable[..., None], *arguments: Any) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *arguments)

    def _apply(self, topic: Topic, changes: Changes, epoch: str, version: int) -> None:
        self.state.apply(topic, changes, epoch, version)

    def _set_connected(self, connected: bool) -> None:
        self.state.set_connected(connected, time.time())

    # --- the follower's thread ---

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                system = join_system(self._admin_port)
                supervisor = system.createActor(Supervisor, globalName=GLOBAL_NAME)
                with system.private() as inbox:
                    _Follower(self, inbox, supervisor).run(self._stop)
            except (NoActorSystemError, _CutOffError) as error:
                _log.info("%s", error)
            except Exception:  # noqa: BLE001 - Thespian raises many kinds when a system ends under its feet
                _log.warning("lost the actors", exc_info=True)
            self._registry = None
            self._in_loop(self._set_connected, False)
            self._stop.wait(REJOIN_SECONDS)

    # --- the sender's thread ---

    def _send(self) -> None:
        while not self._stop.is_set():
            try:
                system = join_system(self._admin_port)
                with system.private() as inbox:
                    while self._exchange(inbox):
                        pass
            except Exception as error:  # noqa: BLE001 - as above; what waits is answered in any case
                _log.info("the sender joins anew: %s", error)
            self._fail_queued()
            self._stop.wait(REJOIN_SECONDS)

    def _exchange(self, inbox: Any) -> bool:
        """Send one batch and hand out its answers; False when the link is no good any more."""
        batch = self._next_batch()
        if not batch:
            return not self._stop.is_set()
        try:
            answer = self._ask(inbox, batch)
        except Exception:
            self._fail(batch, OutcomeUnknownError("the actors ended meanwhile"))
            raise
        if answer is None:
            # A late answer would be taken for the next one's: leave this address behind.
            self._fail(batch, OutcomeUnknownError("the registry has not answered"))
            return False
        if answer.error:
            self._fail(batch, UnavailableError(f"the registry could not store it: {answer.error}"))
            return True
        self._in_loop(_resolve, list(zip(batch, answer.answers, strict=True)))
        return True

    def _ask(self, inbox: Any, batch: list[_Pending]) -> Mutated | None:
        """The registry's answer, or None in time. If the registry is made anew meanwhile it is asked
        again: the request ids let it tell what its predecessor has done already."""
        message = Mutate(
            batch=uuid4().hex,
            mutations=tuple((pending.request_id, pending.mutation) for pending in batch),
        )
        give_up_at = time.monotonic() + ANSWER_SECONDS
        asked: Any = None
        while time.monotonic() < give_up_at and not self._stop.is_set():
            registry = self._registry
            if registry is not None and registry != asked:
                _post(inbox, registry, message)
                asked = registry
            answer = inbox.listen(timedelta(seconds=LISTEN_SECONDS))
            if isinstance(answer, Mutated) and answer.batch == message.batch:
                return answer
        return None

    def _next_batch(self) -> list[_Pending]:
        try:
            first = self._queue.get(timeout=1.0)
        except queue.Empty:
            return []
        batch = [first] if first is not None else []
        while len(batch) < MUTATIONS_A_BATCH and not self._queue.empty():
            pending = self._queue.get_nowait()
            if pending is not None:
                batch.append(pending)
        late = [pending for pending in batch if pending.give_up_at < time.monotonic()]
        self._fail(late, UnavailableError("the registry is too busy"))
        return [pending for pending in batch if pending not in late]

    def _fail_queued(self) -> None:
        waiting = []
        while not self._queue.empty():
            pending = self._queue.get_nowait()
            if pending is not None:
                waiting.append(pending)
        self._fail(waiting, UnavailableError("the registry can't be reached"))

    def _fail(self, batch: list[_Pending], error: Exception) -> None:
        if batch:
            self._in_loop(_reject, batch, error)


class _Follower:
    """One stretch of following, until the actors are gone."""

    def __init__(self, cluster: ActorCluster, inbox: Any, supervisor: Any) -> None:
        self._cluster = cluster
        self._inbox = inbox
        self._addresses: dict[Topic, Any] = {"roster": supervisor}
        self._replicas: dict[Topic, Replica] = {}
        self._heard_at: dict[Topic, float] = {}
        self._discovery: Any = None
        self._subscribe("roster")

    def run(self, stop: threading.Event) -> None:
        """Take in broadcasts until told to stop. Raises _CutOffError when the supervisor is silent."""
        while not stop.is_set():
            message = self._inbox.listen(timedelta(seconds=LISTEN_SECONDS))
            now = time.monotonic()
            if isinstance(message, Broadcast) and message.topic in self._addresses:
                self._take(message)
            self._tell_discovery()
            if now - self._heard_at["roster"] > SUPERVISOR_SILENCE_SECONDS:
                raise _CutOffError("the supervisor is silent")
            for topic in list(self._addresses):
                if now - self._heard_at[topic] > SILENCE_SECONDS:
                    self._subscribe(topic)

    def _tell_discovery(self) -> None:
        """Who has renewed a registration; what is lost on the way is renewed again soon."""
        if self._discovery is None or not self._cluster._renewed:
            return
        renewed, self._cluster._renewed = self._cluster._renewed, set()
        _post(self._inbox, self._discovery, RenewRegistrations(agents=tuple(sorted(renewed))))

    def _take(self, message: Broadcast) -> None:
        topic, update = message.topic, message.update
        changes = self._replicas[topic].receive(update)
        if changes is None:
            self._subscribe(topic)
            return
        self._heard_at[topic] = time.monotonic()
        stamp = Acknowledge(topic=topic, epoch=update.epoch, version=update.version)
        _post(self._inbox, self._addresses[topic], stamp)
        self._cluster._in_loop(self._cluster._apply, topic, changes, update.epoch, update.version)
        if topic == "roster":
            self._rewire(changes)

    def _rewire(self, changes: Changes) -> None:
        """Follow broadcasters to their new addresses; writes go to the registry's."""
        actors = {key[1]: status for key, status in changes.items()}
        for topic in _TOPICS:
            status = actors.get(_OWNERS[topic])
            if isinstance(status, ActorStatus) and status.up and status.pid:
                self._addresses[topic] = status.address
                self._subscribe(topic)
        discovery = actors.get("discovery")
        if isinstance(discovery, ActorStatus):
            self._discovery = discovery.address if discovery.up and discovery.pid else None
        registry = actors.get("registry")
        if isinstance(registry, ActorStatus):
            ready = registry.up and registry.pid != 0
            self._cluster._registry = registry.address if ready else None
            self._cluster._in_loop(self._cluster._set_connected, ready)

    def _subscribe(self, topic: Topic) -> None:
        if topic not in self._replicas:
            self._replicas[topic] = ActualReader() if topic == "actual" else Replica()
        self._heard_at[topic] = time.monotonic()
        _post(self._inbox, self._addresses[topic], Subscribe(topic=topic))


def _post(inbox: Any, address: Any, message: Any) -> None:
    """Send without waiting until the other side has taken it: `tell` would wait a minute for one that
    hangs, and nobody else would be heard meanwhile. The next `listen` carries it out."""
    inbox._systemBase._tx_to_actor(address, message)


def _resolve(answered: list[tuple[_Pending, Answer]]) -> None:
    """Hand out a batch's answers: with a call for each, the loop would be woken as often."""
    for pending, answer in answered:
        if not pending.future.done():
            pending.future.set_result(answer)


def _reject(batch: list[_Pending], error: Exception) -> None:
    for pending in batch:
        if not pending.future.done():
            pending.future.set_exception(error)
