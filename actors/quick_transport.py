"""Thespian's TCP transport with a loop of our own: one turn for each end of a message.

As shipped, a message takes five turns of the loop at its two ends: both read its size in one and the rest in
the next, and another one passes between sending it and waiting for what acknowledges it. And each turn makes
some 20 Python calls for each connection that is open, of which a flock has one a state machine. How messages
are sent and acknowledged, and when they are given up, stays Thespian's.

A transport is used by one thread only: nobody has to be woken up because another one sends.
Imported by `actors.transport.secure` only, which first sets the environment that Thespian reads.
"""

from __future__ import annotations

import math
import select
import time
from typing import Any

from thespian.actors import WatchMessage
from thespian.system.timing import currentTime
from thespian.system.transport import (
    ReceiveEnvelope,
    SendStatus,
    Thespian__Run_Expired,
    Thespian__Run_HandlerResult,
    Thespian__Run_Terminated,
    Thespian__UpdateWork,
    TransmitIntent,
    TransmitOnly,
)
from thespian.system.transport.IPBase import RoutedTCPv4ActorAddress
from thespian.system.transport.TCPTransport import (
    ExternalTransportCopy,
    TCPIncomingPersistent,
    TCPTransport,
    opsKey,
)

from actors.stack_room import with_stack_room

# How often we look for messages and connections whose time is over.
HOUSEKEEPING_SECONDS = 1.0


class QuickTransport(TCPTransport):  # type: ignore[misc]  # Thespian has no types
    """Names and states are Thespian's: an intent is a message to send, an incoming one a message that is
    being read, and an open socket one on which nothing is under way."""

    _housekeeping_at = 0.0
    _finished_intents: list[tuple[Any, Any]]
    _watches: list[int]

    def external_transport_clone(self) -> QuickTransport:
        """A transport for another thread, as TCPTransport makes it."""
        routed = isinstance(self.myAddress.addressDetails, RoutedTCPv4ActorAddress)
        return QuickTransport(ExternalTransportCopy(), self._adminAddr, self.txOnly, routed)

    # --- the loop ---

    def run(self, handler: Any, longest: Any = None) -> Any:
        """As TCPTransport: exchange messages, and hand over each that has come."""
        return with_stack_room(super().run, handler, longest)

    def _runWithExpiry(self, handler: Any) -> Any:
        """Exchange messages until the handler says that it is enough, or the time (`run_time`) is over."""
        sending_only = handler is TransmitOnly or isinstance(handler, TransmitOnly)
        self.__dict__.pop("_aborting_run", None)
        while not self._is_to_end():
            if self.run_time.view().expired():
                break
            if sending_only and not self._left_to_send():
                return 0
            enough = None if sending_only else self._deliver(handler)
            if enough is not None:
                return enough
            before = self._left_to_send()
            happened = self._turn(listening=not sending_only)
            if not happened and self.run_time.view().expired():
                return Thespian__Run_Expired()
            if sending_only:
                left = self._left_to_send()
                if happened and (left == 0 or left < before):
                    return left
                continue
            enough = self._deliver(handler)
            if enough is not None:
                return enough
        return Thespian__Run_Terminated() if hasattr(self, "_aborting_run") else Thespian__Run_Expired()

    def _is_to_end(self) -> bool:
        """Whether we are to end; to drain means to send first what is left."""
        if not hasattr(self, "_aborting_run"):
            return False
        return not self._aborting_run or not self._left_to_send()

    def _left_to_send(self) -> int:
        return len(self._transmitIntents) + len(self._waitingTransmits)

    def _deliver(self, handler: Any) -> Any:
        """Hand over what has come; not None: what the run ends with."""
        while self._incomingEnvelopes:
            envelope = self._incomingEnvelopes.pop(0)
            if handler is None:
                return envelope
            result = Thespian__Run_HandlerResult(handler(envelope))
            if not result:
                return result
        return None

    def _turn(self, *, listening: bool) -> bool:
        """Wait once, and do what can be done; returns whether anything could be."""
        idle = {each.socket.fileno(): each for each in self._openSockets.values()}
        ready = self._wait(idle, listening=listening)
        while not self._exclusively_processing():
            time.sleep(0.00001)
        try:
            for descriptor, mask in ready:
                self._serve(descriptor, mask, idle)
            now = currentTime()
            if not ready or now >= self._housekeeping_at:
                self._housekeeping_at = now + HOUSEKEEPING_SECONDS
                self._give_up_what_is_late()
        finally:
            self._not_processing()
        done, self._finished_intents = self._finished_intents, []
        for intent, status in done:
            intent.tx_done(status)
        return bool(ready)

    def _wait(self, idle: dict[int, Any], *, listening: bool) -> list[tuple[int, int]]:
        """What is ready, until it is time for something: (descriptor, mask of `select.poll`)."""
        poll = select.poll()
        register = poll.register
        paused = []
        for descriptor, intent in self._transmitIntents.items():
            if intent.backoffPause():
                paused.append(intent)
            else:
                waits = intent.stage == self._XMITStepWaitForAck
                register(descriptor, select.POLLIN if waits else select.POLLOUT)
        for descriptor, incoming in self._incomingSockets.items():
            if incoming.backoffPause():
                paused.append(incoming)
            else:
                register(descriptor, select.POLLIN)
        for descriptor in idle:
            register(descriptor, select.POLLIN)
        if listening:
            register(self.socket.fileno(), select.POLLIN)
        for descriptor in self._watches:
            register(descriptor, select.POLLIN)
        wait_seconds = self._wait_seconds(paused)
        return poll.poll(None if wait_seconds is None else math.ceil(max(wait_seconds, 0.0) * 1000))

    def _wait_seconds(self, paused: list[Any]) -> float | None:
        """For how long there is nothing to do; None: for ever."""
        left: float | None = self.run_time.view().remainingSeconds()
        if not (self._transmitIntents or self._incomingSockets or self._waitingTransmits):
            return left
        within: list[float] = [each.delay().total_seconds() for each in (*paused, *self._waitingTransmits)]
        return min(HOUSEKEEPING_SECONDS, *within, HOUSEKEEPING_SECONDS if left is None else left)

    def _serve(self, descriptor: int, mask: int, idle: dict[int, Any]) -> None:
        """Do what this descriptor is ready for."""
        if descriptor in self._watches:
            if mask & select.POLLNVAL:
                self._watches = [each for each in self._watches if each != descriptor]
            else:
                self._incomingEnvelopes.append(ReceiveEnvelope(self.myAddress, WatchMessage([descriptor])))
        elif mask & select.POLLNVAL:
            self._cancel_fd_ops(descriptor)
        elif descriptor in self._incomingSockets:
            self._read(self._incomingSockets.pop(descriptor), descriptor)
        elif descriptor in idle:
            known = idle[descriptor]
            key = opsKey(known.rmtaddr)
            if self._openSockets.get(key) is known:  # another one that came meanwhile has taken its place
                del self._openSockets[key]
                self._read(TCPIncomingPersistent(known.rmtaddr, known.socket), descriptor)
        elif descriptor == self.socket.fileno():
            self._acceptNewIncoming()
        else:
            self._processIntents(descriptor)

    def _read(self, incoming: Any, descriptor: int) -> None:
        going_on = self._handlePossibleIncoming(incoming, descriptor, has_exclusive_flag=True)
        if going_on:
            self._incomingSockets[going_on.socket.fileno()] = going_on

    def _give_up_what_is_late(self) -> None:
        self._processIntentTimeouts()
        for descriptor, incoming in list(self._incomingSockets.items()):
            del self._incomingSockets[descriptor]
            self._read(incoming, -1)
        for key, idle in list(self._openSockets.items()):
            if idle.expired():
                idle.close()
                del self._openSockets[key]

    # --- sending ---

    def _schedulePreparedIntent(self, intent: Any, has_exclusive_flag: bool = False) -> None:
        """Send at once what has nothing before it."""
        special = not intent.serMsg or isinstance(intent.message, Thespian__UpdateWork)
        if special or self._aTB_queuedPendingTransmits or self._aTB_sending or not self._canSendNow():
            super()._schedulePreparedIntent(intent, has_exclusive_flag)
        else:
            self._submitTransmit(intent, has_exclusive_flag)

    def _runQueued(self, has_exclusive_flag: bool = False) -> bool:
        return bool(self._aTB_queuedPendingTransmits) and super()._runQueued(has_exclusive_flag)

    def _next_XMIT_1(self, intent: Any) -> Any:
        """Begin to send, but not beside another one for the same address, over a second connection: it might
        come earlier."""
        if self._is_sending_to(intent.targetAddr):
            intent.awaitingTXSlot()
            return True
        return super()._next_XMIT_1(intent)

    def _next_XMIT_2(self, intent: Any) -> Any:
        """What was sent whole waits for what acknowledges it, without a turn in between."""
        going_on = super()._next_XMIT_2(intent)
        if going_on and intent.stage == self._XMITStepShutdownWrite:
            return self._next_XMIT_3(intent)
        return going_on

    def _finishIntent(self, intent: Any, status: Any = SendStatus.Sent) -> Any:
        result = super()._finishIntent(intent, status)
        self._start_next(intent.targetAddr)
        return result

    def _finishIncoming(self, incoming: Any, sender: Any) -> Any:
        result = super()._finishIncoming(incoming, sender)
        self._start_next(incoming.fromAddress)
        return result

    def _start_next(self, address: Any) -> None:
        """A connection may be free now: send what has waited for it."""
        if not self._waitingTransmits or self._is_sending_to(address):
            return
        for position, intent in enumerate(self._waitingTransmits):
            if intent.targetAddr == address and intent.timeToRetry(opsKey(address) in self._openSockets):
                del self._waitingTransmits[position]
                if self._nextTransmitStep(intent):
                    if hasattr(intent, "socket"):
                        self._transmitIntents[intent.socket.fileno()] = intent
                    else:
                        self._waitingTransmits.append(intent)
                return

    def _is_sending_to(self, address: Any) -> bool:
        # Addresses that are on their way are real ones, and comparing them as such costs 20 times as much.
        where = address.addressDetails.sockname
        return any(
            where == each.targetAddr.addressDetails.sockname for each in self._transmitIntents.values()
        )


def _identify(self: Any) -> str:
    return f"{type(self).__name__} of {type(self.message).__name__}"


# Thespian makes a text of each message, several times, for a log that is off.
TransmitIntent.identify = ReceiveEnvelope.identify = _identify
