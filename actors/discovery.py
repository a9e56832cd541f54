"""Discovery: says which agents exist, from a static list and a watched file, and which of those that have
registered themselves are gone; writes it to the registry."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import msgspec

from actors.base import CannotStartError, HarpoonActor
from actors.messages import Mutate, Mutated, RenewRegistrations, Topic, Wire
from config.agents_file import OWN_AGENT, AgentsFileError, read_agents_file, spec
from scheduling.answer import Answer
from scheduling.desired import AGENT
from scheduling.draining import REGISTERED
from scheduling.registration import DeregisterAgent, Renewals
from scheduling.registry import AgentSpec, SyncAgents

ANSWER_SECONDS = 10.0
ASK_AGAIN_SECONDS = 10.0
STATIC, FILE = "static", "file"


class Discovery(HarpoonActor):
    """Tells the registry again when a source has changed, or an actor was made anew.

    A bad file keeps the agents known so far. Agents register through web; here it is known which of them have
    renewed that, for a new Discovery all.
    """

    follows: ClassVar[dict[Topic, frozenset[str] | None]] = {"desired": frozenset({AGENT})}

    def begin(self) -> None:
        """Read the sources for the first time."""
        if self.settings is None:
            raise AssertionError("wired without settings")
        self._told: dict[str, tuple[AgentSpec, ...]] = {}
        named = (spec(text) for text in self.settings.agents)
        self._known = {
            STATIC: tuple(
                msgspec.structs.replace(agent, moves=True) if agent.name == OWN_AGENT else agent
                for agent in named
            ),
            FILE: (),
        }
        self._batch = ""
        self._sent_at = 0.0
        self._sending: dict[str, tuple[AgentSpec, ...]] = {}
        self._stamp: tuple[int, int, int] | None = None
        self._complaint = ""
        self._kept: dict[str, tuple[str, ...]] = {}
        self._ask_again_at = 0.0
        self._renewals = Renewals()
        try:
            self._read_file()
        except AgentsFileError as error:
            raise CannotStartError(str(error)) from None

    def receiveMsg_Wire(self, message: Wire, sender: Any) -> None:
        """Somebody was made anew. If it is the registry, it may have lost its file, and know of no agent."""
        super().receiveMsg_Wire(message, sender)
        if not self.failed:
            self._told, self._batch = {}, ""

    def receiveMsg_RenewRegistrations(self, message: RenewRegistrations, _sender: Any) -> None:
        """Web has heard of these agents."""
        if self.settings is not None:
            self._renewals.renew(message.agents, time.monotonic())

    def tick(self) -> None:
        """Look at the file again, and give up an answer that does not come, and agents that are gone."""
        self._take_out_the_gone()
        if time.monotonic() - self._sent_at > ANSWER_SECONDS:
            self._batch = ""
        try:
            self._read_file()
        except AgentsFileError as error:
            if str(error) != self._complaint:
                self.log.warning("%s; the agents known so far stay", error)
            self._complaint = str(error)
        else:
            self._complaint = ""

    def settle(self) -> None:
        """Tell the registry what it has not been told."""
        if self.settings is None or self._batch or time.monotonic() < self._ask_again_at:
            return
        self._sending = {
            source: agents for source, agents in self._known.items() if self._told.get(source) != agents
        }
        if self._sending:
            self._batch = uuid4().hex
            self._sent_at = time.monotonic()
            mutations = tuple(
                ("", SyncAgents(source=source, agents=agents)) for source, agents in self._sending.items()
            )
            self.send(self.peers["registry"], Mutate(batch=self._batch, mutations=mutations))

    def receiveMsg_Mutated(self, message: Mutated, _sender: Any) -> None:
        """The registry knows."""
        if message.batch != self._batch:
            return
        if message.error:
            self.log.warning("the registry can't take the agents: %s", message.error)
            return  # told again when the tick gives this one up
        self._batch = ""
        self._told.update(self._sending)
        for source, answer in zip(self._sending, message.answers, strict=True):
            self._keep(source, answer)

    def _take_out_the_gone(self) -> None:
        """Agents that have not renewed their registration for long leave, if they have no tasks."""
        if not self.followed["desired"].known:
            return
        agents = self.followed["desired"].replica.state.values()
        registered = [agent.name for agent in agents if REGISTERED in agent.sources]
        gone = self._renewals.overdue(registered, time.monotonic())
        if gone:
            mutations = tuple(("", DeregisterAgent(name=name)) for name in gone)
            self.send(self.peers["registry"], Mutate(batch=uuid4().hex, mutations=mutations))

    def _keep(self, source: str, answer: Answer) -> None:
        """Agents with tasks keep their addresses until they are empty: the registry is asked again."""
        if answer.kept:
            del self._told[source]
            self._ask_again_at = time.monotonic() + ASK_AGAIN_SECONDS
        if answer.kept != self._kept.get(source, ()):
            self._kept[source] = answer.kept
            if answer.kept:
                self.log.warning("%s", answer.message)

    def _read_file(self) -> None:
        if self.settings is None or not self.settings.agents_file:
            return
        path = Path(self.settings.agents_file)
        try:
            found = path.stat()
        except OSError as error:
            raise AgentsFileError(f"the agents file {path} can't be read: {error.strerror}") from None
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        if stamp != self._stamp:
            self._known[FILE] = read_agents_file(path)
            self._stamp = stamp
