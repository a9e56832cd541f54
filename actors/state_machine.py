"""StateMachine: one actor per remote agent; event stream in, HTTP commands out."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import msgspec
from thespian.actors import ThespianWatch, WatchMessage

from actors.agent_link import Broken, Happening, Mailbox, Probed, Replied, Saw
from actors.agent_requests import RequestSenders
from actors.agent_stream import EventStream
from actors.base import HarpoonActor
from actors.hosts import boot_seconds
from actors.messages import Acknowledge, Commands, Follow, LeaseRequest, Topic
from config.bounds import LONGEST_ROUND_SECONDS, REQUESTS_IN_FLIGHT
from scheduling.actual import AGENT, METRICS, AgentStatus
from scheduling.container import HostResources, totals
from scheduling.executor import Executor
from scheduling.lease import ASK_AGAIN_SECONDS, Lease
from scheduling.pace import Pace
from scheduling.packing import packed
from scheduling.replica import Changes

# How often at most the agent's full state is asked for because it contradicted its stream.
RESYNC_SECONDS = 2.0
# An agent without containers may be silent for so many times `silence_seconds`: nothing is at stake there but
# what is placed next, dead hosts the kernel notices anyway, and a wake of each of a thousand processes costs.
IDLE_SILENCE_TIMES = 6
# It is asked up to this part of its silence later.
SILENCE_JITTER = 0.25
# An agent that lives answers a probe within this, as a rule; waited for at once.
PROMPT_ANSWER_SECONDS = 0.02


class StateMachine(HarpoonActor):
    """Follows one agent and brings its containers to the goals commanded; broadcasts to its flock."""

    topic: ClassVar[Topic] = "actual"
    tick_seconds: ClassVar[float | None] = None
    heartbeat_seconds: ClassVar[float | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.mailbox: Mailbox | None = None
        self.flock: Any = None
        # Requests are sent only while it is valid; the event stream and probes are reads, and need none.
        self.lease = Lease()

    def receiveMsg_Follow(self, message: Follow, sender: Any) -> None:
        """Learn which agent is ours; the first thing a state machine hears, and only once."""
        if self.mailbox is not None:
            return  # meant for a dead state machine whose port is ours now
        ((agent, endpoint),) = message.agents.items()
        self.settings, self.flock = message.settings, sender
        self.publisher.epoch = message.epoch
        self.name = f"state_machine {agent}"
        self.mailbox = Mailbox()
        self.executor = Executor(agent, self.random)
        self.status = AgentStatus(
            name=agent,
            endpoint=endpoint,
            link="connecting",
            answered=False,
            since=time.time(),
            life=self.publisher.epoch,
        )
        self.stream = EventStream(endpoint, self.mailbox, self.random)
        self.senders = RequestSenders(endpoint, self.mailbox, REQUESTS_IN_FLIGHT)
        self._resources: HostResources | None = None
        self._resync_after = 0.0
        self._metrics_after = 0.0
        self._probing = False
        self._answered_at = 0.0
        self._jitter = self.random.uniform(0.0, SILENCE_JITTER)
        # A break that was asked for is no news.
        self._resyncing = False
        self._pace = Pace()
        self.broadcast_to(sender)
        self.publisher.publish({(AGENT, agent): self.status})

    def receiveMsg_Commands(self, message: Commands, sender: Any) -> None:
        """Take in commands for us, if what we know of the agent is fresh; they are sent again otherwise."""
        self._take_lease(message.lease_until, sender)
        batch, agent = message.batch, self.status.name
        if self.status.link == "connected" and batch.is_for(agent, self.status.life):
            self.executor.command(batch.commands.get(agent, ()), batch.configs)

    def receiveMsg_Acknowledge(self, message: Acknowledge, sender: Any) -> None:
        """The flock is ready for the next update; who is busy gets its lease renewed by that."""
        super().receiveMsg_Acknowledge(message, sender)
        self._take_lease(message.lease_until, sender)

    def _take_lease(self, until: float, sender: Any) -> None:
        if sender == self.flock:  # not one that means a dead state machine whose port is ours now
            self.lease.extend(until)

    def receiveMsg_WatchMessage(self, _message: WatchMessage, _sender: Any) -> None:
        """The stream or a reply has something."""
        if self.mailbox is not None:
            self._take_in(self.mailbox.drain())

    def _take_in(self, happenings: list[Happening]) -> None:
        now = time.time()
        for happening in happenings:
            if isinstance(happening, Saw):
                self._saw(happening, now)
            elif isinstance(happening, Broken):
                self._set_link("stale" if self.status.answered else "connecting", happening.error)
            elif isinstance(happening, Replied):
                self.executor.replied(happening.task, happening.step, happening.outcome, happening.error, now)
            elif isinstance(happening, Probed):
                self._probed(happening)

    def tick(self) -> None:
        """An idle stream is legitimately silent, and a pulled cable resets nothing: ask now and then."""
        if self.mailbox is None or self.settings is None:
            return
        self._take_in(self.mailbox.drain())
        if self.status.link == "connected" and not self._probing and self._silence_left() <= 0.0:
            self._probing = True
            self.senders.probe()
            # Most answer at once: then it costs this process one wake, not three.
            self._take_in(self.mailbox.drain(PROMPT_ANSWER_SECONDS))

    def _silence_seconds(self) -> float:
        """How long the agent may say nothing before it is asked."""
        seconds = self.settings.silence_seconds if self.settings is not None else 0.0
        return seconds * IDLE_SILENCE_TIMES if self.executor.idle else seconds

    def _silence_left(self) -> float:
        """So many of those seconds are left."""
        heard_at = max(self.stream.heard_at, self._answered_at)
        return self._silence_seconds() - (time.monotonic() - heard_at)

    def _wake_for_silence(self) -> None:
        """Wake when the silence is too long, a little later: fleets are not asked all at once."""
        waits = self.status.link == "connected" and not self._probing
        left_seconds = max(self._silence_left(), 0.0) if waits else self._silence_seconds()
        self.wake_within(left_seconds + self._silence_seconds() * self._jitter)

    def _probed(self, probed: Probed) -> None:
        self._probing = False
        self._answered_at = time.monotonic()
        if probed.error and self.status.link == "connected":
            self._set_link("stale", f"it is silent, and does not answer: {probed.error}")
            self.stream.reconnect()

    def settle(self) -> None:
        """Send the requests that are due, take in what comes of them at once, and publish what changed."""
        if self.mailbox is None:
            return
        next_at = self._act(time.time())
        if self.executor.busy and self.status.link == "connected":
            next_at = self._go_on(self.mailbox)
        now = time.time()
        changes = self.executor.reports()
        self._sample_metrics(changes, now)
        if changes or self._has_other_totals():
            # Reservations change with every container: not worth a broadcast, but they ride along.
            self.status = msgspec.structs.replace(self.status, resources=self._resources)
        if self.publisher.state.get((AGENT, self.status.name)) != self.status:
            changes[AGENT, self.status.name] = self.status
        if changes:
            self.publisher.publish(packed(changes))
        if next_at is not None:
            self.wake_within(max(next_at - now, 0.01))
        self._wake_for_silence()
        due_within = self.mailbox.due_within()
        if due_within is not None:
            self.wake_within(due_within)

    def _go_on(self, mailbox: Mailbox) -> float | None:
        """Send and take in as long as the agent keeps us busy, so that all of it is one report.

        Returns when to look again, None for not by itself.
        """
        began_at = now = time.monotonic()
        self._pace.heard(now, busy=True)
        next_at: float | None = None
        happenings: list[Happening] | None = None
        while self.executor.busy and happenings != [] and now - began_at < LONGEST_ROUND_SECONDS:
            happenings = mailbox.drain(self._pace.pause_seconds)
            self._take_in(happenings)
            next_at = self._act(time.time())
            now = time.monotonic()
            if happenings:
                self._pace.heard(now, busy=self.executor.busy)
        return next_at

    def _act(self, now: float) -> float | None:
        """Send the requests that are due; returns when to look again, None for not by itself."""
        next_at = self.executor.tick(now)
        if self.status.link == "connected":
            self._send_requests(now)
            self._resync_if_contradicted(now)
        return next_at

    def _send_requests(self, now: float) -> None:
        """Send what is due while we may; else ask our flock, and send it once it has answered."""
        at = boot_seconds()
        if self.lease.valid(at):
            self.senders.send(self.executor.requests(now), self.lease.until)
        elif self.executor.has_requests(now):
            if self.lease.asks(at):
                self.send(self.flock, LeaseRequest(holder=self.publisher.epoch, asked_at=at))
            self.wake_within(ASK_AGAIN_SECONDS)

    def watch(self) -> Any:
        """Watch the mailbox."""
        return ThespianWatch([self.mailbox.fileno()]) if self.mailbox is not None else None

    def _saw(self, saw: Saw, now: float) -> None:
        self.executor.saw(saw.event.containers, everything=saw.first, now=now)
        asked_for = self._resyncing and now - self.status.since < RESYNC_SECONDS
        if saw.first and self.status.link == "stale" and not asked_for:
            self.executor.was_away()
        self._resources = saw.event.resources
        if saw.first:
            self.executor.in_flight_limit = max(REQUESTS_IN_FLIGHT, saw.batch_items)
            self.senders.batch_items = saw.batch_items
            self._set_link("connected", "")

    def _has_other_totals(self) -> bool:
        old, new = self.status.resources, self._resources
        return new is not None and new is not old and (old is None or totals(old) != totals(new))

    def _set_link(self, link: str, error: str) -> None:
        if link == "stale" and self.status.link == "connected" and not self._resyncing:
            self.log.warning("stale: %s", error)
        elif link == "connected" and self.status.link == "stale" and not self._resyncing:
            self.log.warning("connected again")
        self._resyncing = self._resyncing and link != "connected"
        since = self.status.since if link == self.status.link else time.time()
        answered = self.status.answered or link == "connected"
        self.status = msgspec.structs.replace(
            self.status, link=link, error=error, since=since, answered=answered
        )

    def _resync_if_contradicted(self, now: float) -> None:
        if not self.executor.contradicted:
            return
        if now >= self._resync_after:
            self.executor.contradicted = False
            self._resync_after = now + RESYNC_SECONDS
            self._resyncing = True
            self.stream.reconnect()
        else:
            self.wake_within(self._resync_after - now)

    def _sample_metrics(self, changes: Changes, now: float) -> None:
        """Metrics are not state: they are sampled at most this often, and only while something happens."""
        if self.settings is not None and now >= self._metrics_after:
            self._metrics_after = now + self.settings.metrics_seconds * self.random.uniform(0.9, 1.1)
            changes[METRICS, self.status.name] = self.executor.metrics()
