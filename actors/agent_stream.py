"""One agent's event stream, for ever: connect, first event, changes; after a break again."""

from __future__ import annotations

import time
from random import Random

import msgspec

from actors.agent_link import NEVER, Broken, Mailbox, Saw
from actors.agent_replies import BadReplyError, ReplyParser
from actors.agent_wire import Address, Wire, said
from config.bounds import AGENT_BATCH_ITEMS
from config.bounds import LONGEST_RECONNECT_SECONDS as LONGEST_PAUSE_SECONDS
from scheduling.container import read_event
from scheduling.sse import EventParser, EventTooLargeError

CONNECT_SECONDS = 5.0
FIRST_EVENT_SECONDS = 15.0
FIRST_PAUSE_SECONDS = 0.2


class EventStream:
    """Tells the mailbox what the agent's stream says, and when it breaks."""

    def __init__(self, endpoint: str, mailbox: Mailbox, rng: Random) -> None:
        self._mailbox = mailbox
        self._rng = rng
        self._failures = 0
        self._got_state = False
        self._reply = ReplyParser()
        self._parser = EventParser()
        self._pausing = False
        # When the last byte came, in monotonic seconds; keep-alive comments count too.
        self.heard_at = time.monotonic()
        self.due_at = NEVER
        address = Address(endpoint, mailbox)
        self._wire = Wire(address, mailbox, self)
        self._request = (
            f"GET /api/v0/containers HTTP/1.1\r\nHost: {address.header}\r\n"
            "Accept-Encoding: identity\r\nAccept: text/event-stream\r\n\r\n"
        ).encode()
        mailbox.time(self)
        self._connect()

    def reconnect(self) -> None:
        """Break the stream on purpose: the new one begins with the agent's full state."""
        self._wire.end()

    def due(self) -> None:
        """A pause is over, or what had to come has not."""
        if self._pausing:
            self._connect()
        else:
            self._breaks("timed out")

    def connected(self) -> None:
        """Ask for the stream."""
        self.due_at = time.monotonic() + FIRST_EVENT_SECONDS
        self._wire.send(self._request)

    def received(self, data: bytes) -> None:
        """Take in a piece of it, whatever it is: the worst that an agent can do is not to be connected."""
        self.heard_at = time.monotonic()
        try:
            self._take(data)
        except (BadReplyError, EventTooLargeError) as problem:
            self._breaks(f"{type(problem).__name__}: {problem}")
        except msgspec.MsgspecError as problem:
            self._breaks(f"the agent sent an event that is none: {problem}")
        except RecursionError:
            self._breaks("the agent sent an event that is nested too deep")
        except Exception as problem:  # noqa: BLE001 - see above
            self._breaks(f"{type(problem).__name__}: {problem}")

    def lost(self, error: OSError | None) -> None:
        """It has broken, or could not be connected."""
        self._breaks("the agent has ended its event stream" if error is None else said(error))

    def _connect(self) -> None:
        self._pausing, self._got_state = False, False
        self._reply, self._parser = ReplyParser(), EventParser()
        self.due_at = time.monotonic() + CONNECT_SECONDS
        self._wire.open()

    def _take(self, data: bytes) -> None:
        body = self._reply.feed(data)
        if self._reply.status not in (0, 200):
            self._breaks(f"the agent answered {self._reply.status} to the event stream")
            return
        for event in self._parser.feed(body):
            seen = read_event(event.data)
            self._mailbox.put(Saw(seen, not self._got_state, min(self._reply.batch_items, AGENT_BATCH_ITEMS)))
            self._got_state, self._failures = True, 0
        # Once its state is there silence is legitimate: an idle agent has nothing to say.
        self.due_at = NEVER if self._got_state else self.heard_at + FIRST_EVENT_SECONDS
        if self._reply.done:
            self._breaks("the agent has ended its event stream")

    def _breaks(self, error: str) -> None:
        self._wire.close()
        self._mailbox.put(Broken(error))
        self._failures += 1
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, 10))
        self._pausing = True
        self.due_at = time.monotonic() + longest * self._rng.uniform(0.5, 1.0)
