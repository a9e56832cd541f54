"""Between a state machine and its agent: a mailbox, an event stream and requests, over a network with faults.

These stand for the classes of the same names in `actors.agent_link`, `agent_stream` and `agent_requests`, and
behave as those do over TCP: one stream keeps its order, requests on different connections overtake each
other, what was sent before a break may still arrive later, and a request on a kept-alive connection may be
sent twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from actors import agent_questions, agent_requests, agent_stream
from actors.agent_link import Broken, Happening, Probed, Replied, Saw
from config.bounds import LONGEST_RECONNECT_SECONDS
from scheduling.container import StateEvent
from scheduling.executor import Request
from scheduling.lifecycle import Input
from simulation.agent import Agent, Journey
from simulation.stage import Backstage, Stage

# The design assumes that a request that was not answered reaches the agent within this time or never
# (unless the agent itself hangs): less than scheduling.executor.DOUBT_SECONDS.
LATEST_ARRIVAL_SECONDS = 25.0
KEEP_ALIVE_SECONDS = 11.0
_VERBS = {Input.PUT: 201, Input.START: 202, Input.STOP: 202, Input.DELETE: 200}


class Network:
    """The way between state machines and agents."""

    def __init__(self, stage: Stage, agents: dict[str, Agent]) -> None:
        self.stage, self.clock, self.rng, self.trace = stage, stage.clock, stage.rng, stage.trace
        self.agents = {agent.endpoint: agent for agent in agents.values()}
        self.cut_until: dict[str, float] = {}
        self.flaky_until: dict[str, float] = {}
        self.streams: dict[str, list[EventStream]] = {}
        self.requests = 0
        # Agents to which the next request travels long, while its sender dies.
        self.last_words: set[str] = set()
        self.on_request: Callable[[Agent, Backstage], None] = lambda _agent, _machine: None

    def delay(self) -> float:
        """How long something takes from here to there."""
        slow = self.rng.random() < 0.03
        return self.rng.expovariate(1.0 / 0.004) + (self.rng.random() * 2.0 if slow else 0.0)

    def cut(self, agent: Agent) -> float:
        """Until when nothing gets through to this agent; 0 if it does."""
        until = self.cut_until.get(agent.name, 0.0)
        return until if until > self.clock.now else 0.0

    def flaky(self, agent: Agent) -> bool:
        """Whether connections to this agent break all the time now."""
        return self.flaky_until.get(agent.name, 0.0) > self.clock.now

    def break_streams(self, agent: Agent, error: str) -> None:
        """All connections to this agent are reset."""
        for stream in list(self.streams.get(agent.name, ())):
            stream.fail(error)

    def mailbox(self) -> Mailbox:
        """Stands for `Mailbox`."""
        if self.stage.acting is None:
            raise AssertionError("only actors make mailboxes")
        return Mailbox(self.stage.acting)

    def stream(self, endpoint: str, mailbox: Mailbox, rng: Random) -> EventStream:
        """Stands for `EventStream`."""
        return EventStream(self, self.agents[endpoint], mailbox, rng)

    def senders(self, endpoint: str, mailbox: Mailbox, _most: int) -> RequestSenders:
        """Stands for `RequestSenders`."""
        return RequestSenders(self, self.agents[endpoint], mailbox)


class Mailbox:
    """What the network tells a state machine."""

    def __init__(self, owner: Backstage) -> None:
        self.owner = owner
        self._happenings: list[Happening] = []

    def fileno(self) -> int:
        """A descriptor that nobody reads."""
        return 0

    def put(self, happening: Happening) -> None:
        """Wake the state machine, if it lives."""
        self._happenings.append(happening)
        self.owner.wake(0)

    def drain(self, _wait_seconds: float = 0.0) -> list[Happening]:
        """All that has happened; while an actor acts no time passes, so nothing is waited for."""
        happenings, self._happenings = self._happenings, []
        return happenings

    def due_within(self) -> float | None:
        """Never: what waits here waits on the simulated clock."""
        return None


class EventStream:
    """One agent's stream as one state machine reads it: connected, broken, connected again, for ever."""

    def __init__(self, network: Network, agent: Agent, mailbox: Mailbox, rng: Random) -> None:
        self._network, self._agent, self._mailbox, self._rng = network, agent, mailbox, rng
        self._failures = 0
        self._connection = 0
        self._open = False
        self._last_at = 0.0
        self._got_state = False
        # When the last byte came; the state machine looks at it.
        self.heard_at = network.clock.now
        network.streams.setdefault(agent.name, []).append(self)
        network.clock.after(network.delay(), self._connect)

    def reconnect(self) -> None:
        """Break it on purpose."""
        if self._open:
            self._network.clock.after(0.001, partial(self.fail, "asked to", self._connection))

    def fail(self, error: str, connection: int | None = None) -> None:
        """The connection breaks, if it is still the one meant."""
        if not self._mailbox.owner.alive or (connection is not None and connection != self._connection):
            return
        if connection is None and not self._open:
            return
        self._connection += 1
        self._open = False
        self._failures += 1
        self._mailbox.put(Broken(error))
        self._network.trace.note(
            self._network.clock.now, self._agent.name, f"its stream breaks: {error}", self._agent.name
        )
        longest = agent_stream.FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, 10)
        pause = min(LONGEST_RECONNECT_SECONDS, longest) * self._rng.uniform(0.5, 1.0)
        self._network.clock.after(pause, self._connect)

    def _connect(self) -> None:
        network, agent, clock = self._network, self._agent, self._network.clock
        if not self._mailbox.owner.alive:
            network.streams[agent.name].remove(self)
            return
        self._connection += 1
        self._open, self._got_state, self._last_at = True, False, clock.now
        connection = self._connection
        fail = partial(self.fail, connection=connection)
        if network.cut(agent):
            clock.after(agent_stream.CONNECT_SECONDS, lambda: fail("timed out"))
        elif not agent.up:
            clock.after(network.delay(), lambda: fail("connection refused"))
        elif agent.in_mood("errors") and network.rng.random() < 0.5:
            clock.after(network.delay(), lambda: fail("the agent answered 500 to the event stream"))
        elif agent.in_mood("rubbish"):
            clock.after(network.delay(), lambda: fail("the agent sent an event that is none"))
        else:
            clock.after(network.delay(), lambda: agent.when_awake(partial(self._attach, connection)))
            clock.after(
                agent_stream.FIRST_EVENT_SECONDS, lambda: None if self._got_state else fail("timed out")
            )
            if network.flaky(agent):
                clock.after(network.rng.uniform(0.01, 3.0), lambda: fail("connection reset"))

    def _attach(self, connection: int) -> None:
        """The agent has accepted the connection: all it has, then what changes."""
        if connection != self._connection or not self._agent.up:
            return
        deliver = partial(self._deliver, connection)
        self._agent.streams.append(deliver)
        deliver(self._agent.everything(), True)

    def _deliver(self, connection: int, event: StateEvent, first: bool) -> None:
        """From the agent: the event travels, in order; while the way is cut it waits, or breaks."""
        network, clock = self._network, self._network.clock
        if connection != self._connection or not self._mailbox.owner.alive:
            return
        at = clock.now + network.delay()
        cut = network.cut(self._agent)
        if cut:
            if cut > clock.now + KEEP_ALIVE_SECONDS:
                return
            at = cut + network.delay()
        self._last_at = at = max(at, self._last_at + 1e-6)
        clock.at(at, partial(self._arrive, connection, event, first))

    def _arrive(self, connection: int, event: StateEvent, first: bool) -> None:
        if connection != self._connection or not self._mailbox.owner.alive:
            return
        self._got_state, self._failures = True, 0
        self.heard_at = self._network.clock.now
        self._mailbox.put(Saw(event, first))


class RequestSenders:
    """Sends requests to one agent, each on a connection of its own."""

    def __init__(self, network: Network, agent: Agent, mailbox: Mailbox) -> None:
        self._network, self._agent, self._mailbox = network, agent, mailbox
        # The state machine says so many; agents here take none.
        self.batch_items = 0

    def send(self, requests: list[Request], _lease_until: float) -> None:
        """Let the requests travel; what becomes of them comes to the mailbox."""
        for request in requests:
            self._send(request)

    def _send(self, request: Request) -> None:
        network, clock, rng = self._network, self._network.clock, self._network.rng
        network.requests += 1
        network.on_request(self._agent, self._mailbox.owner)
        exchange = _Exchange(self, request)
        clock.after(agent_requests.REQUEST_SECONDS, lambda: exchange.ends("unanswered", "timed out"))
        if self._agent.name in network.last_words:
            network.last_words.discard(self._agent.name)
            clock.after(rng.uniform(1.0, LATEST_ARRIVAL_SECONDS - 1.0), exchange.arrives)
            clock.after(0.0, lambda: network.stage.kill(self._mailbox.owner, "killed while it sends"))
            return
        cut = network.cut(self._agent)
        if cut:
            # The kernel sends it again and again, also after the sender has given up.
            late = cut + network.delay() * 10.0
            if late - clock.now < LATEST_ARRIVAL_SECONDS and rng.random() < 0.7:
                clock.at(late, exchange.arrives)
            return
        if network.flaky(self._agent) and rng.random() < 0.4:
            clock.after(network.delay(), lambda: exchange.ends("unanswered", "connection reset"))
            if rng.random() < 0.5:
                clock.after(rng.random() * LATEST_ARRIVAL_SECONDS, exchange.arrives)
            return
        clock.after(network.delay(), exchange.arrives)
        if rng.random() < (0.2 if network.flaky(self._agent) else 0.002):
            clock.after(network.delay() * 3.0, exchange.arrives)  # a kept-alive connection broke: sent twice

    def probe(self) -> None:
        """Ask the agent whether it is there."""
        network, clock, agent = self._network, self._network.clock, self._agent
        asked = _Question(self._mailbox)
        clock.after(agent_requests.PROBE_SECONDS, lambda: asked.ends("timed out"))
        if network.cut(agent):
            return
        if not agent.up:
            clock.after(network.delay(), lambda: asked.ends("connection refused"))
            return
        answer = partial(clock.after, network.delay(), lambda: asked.ends(""))
        clock.after(network.delay(), lambda: agent.when_awake(answer))

    def answer(self, request: Request, outcome: Any, error: str) -> None:
        """Tell the state machine."""
        self._mailbox.put(Replied(request.task, request.step, outcome, error))


class _Question:
    """Whether an agent is there: the first answer counts."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._over = False

    def ends(self, error: str) -> None:
        """It has answered, or not in time."""
        if not self._over:
            self._over = True
            self._mailbox.put(Probed(error))


class _Exchange:
    """One request on its way, and its reply on the way back."""

    def __init__(self, senders: RequestSenders, request: Request) -> None:
        self._senders, self._request = senders, request
        self._asked_at = senders._network.clock.now
        self._over = False

    def arrives(self) -> None:
        """At the agent's door."""
        agent, network = self._senders._agent, self._senders._network
        if not agent.up:
            network.clock.after(network.delay(), lambda: self.ends("unanswered", "connection refused"))
            return
        agent.when_awake(self._handled)

    def _handled(self) -> None:
        agent, network, request = self._senders._agent, self._senders._network, self._request
        owner = self._senders._mailbox.owner
        # For those that are not cut off it is the same as dead.
        cut_off = any(each.cut_off for each in (owner, owner.parent) if each is not None)
        dead = not owner.alive or cut_off
        journey = Journey(asked_at=self._asked_at, of_dead=dead, tardy=self._over)
        status, text = agent.handle(request.step, request.task, request.body, journey)
        network.trace.note(
            network.clock.now, agent.name, f"{request.step} {request.task}: {status} {text}",
            agent.name, request.task,
        )  # fmt: skip
        if network.cut(agent) or (network.flaky(agent) and network.rng.random() < 0.3):
            return  # the reply is lost
        if agent.in_mood("rubbish") and network.rng.random() < 0.5:
            network.clock.after(network.delay(), lambda: self.ends("unanswered", "BadStatusLine"))
            return
        right = _VERBS[request.step]
        outcome, error = agent_questions.judge(
            status, right, f"{request.step}: the agent answered {status} {text}"
        )
        late = network.rng.uniform(3.0, 20.0) if agent.slow_until > network.clock.now else 0.0
        network.clock.after(network.delay() + late, lambda: self.ends(outcome, error))

    def ends(self, outcome: str, error: str) -> None:
        """The first end counts: a reply, a break, or that none came in time."""
        if self._over:
            return
        self._over = True
        self._senders.answer(self._request, outcome, error)
