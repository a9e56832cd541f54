"""Registry: keeps the desired state, durably, and broadcasts it. The only actor with anything on disk."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from actors.base import CannotStartError, HarpoonActor
from actors.messages import Mutate, Mutated, Topic, Troubled
from actors.store import Store, StoreError
from scheduling.answer import Answer
from scheduling.desired import Desired
from scheduling.registry import fingerprint, judge, reused, version_after
from scheduling.replica import Changes


class Registry(HarpoonActor):
    """Answers mutations after they are committed; those of one message are committed together."""

    topic: ClassVar[Topic] = "desired"
    # Why nothing can be written; empty while it can.
    trouble = ""

    def begin(self) -> None:
        """Open the store, and take up the state from there."""
        if self.settings is None:
            raise AssertionError("wired without settings")
        try:
            self.store = Store(self.settings.data_path)
            version, state = self.store.load()
        except StoreError as error:
            raise CannotStartError(str(error)) from None
        self.desired = Desired()
        self.desired.apply(state)
        self.publisher.restore(version, state)

    def receiveMsg_Mutate(self, message: Mutate, sender: Any) -> None:
        """Judge the mutations in order, commit what they change, then answer and broadcast."""
        before = self.publisher.version
        version = version_after(before, (mutation for _, mutation in message.mutations))
        changes: Changes = {}
        answers: list[Answer] = []
        fresh: dict[str, tuple[str, Answer]] = {}
        for request_id, mutation in message.mutations:
            asked = fingerprint(mutation) if request_id else ""
            known = (fresh.get(request_id) or self.store.answer(request_id)) if request_id else None
            if known is not None:
                answers.append(known[1] if known[0] == asked else reused(request_id))
                continue
            at = version if changes else before
            answer, brought = judge(self.desired, mutation, version, at, time.time())
            self.desired.apply(brought)
            changes.update(brought)
            answers.append(answer)
            if request_id:
                fresh[request_id] = (asked, answer)
        try:
            if changes or fresh:
                self.store.commit(version if changes else before, changes, fresh)
                self._tell_trouble("")
        except StoreError as error:
            self.log.error("%s", error)  # noqa: TRY400 - the disk, not a bug
            self._tell_trouble(str(error))
            self.desired.apply({key: self.publisher.state.get(key) for key in changes})
            self.send(sender, Mutated(batch=message.batch, answers=(), error=str(error)))
            return
        if changes:
            self.publisher.publish(changes, version)
        self.send(sender, Mutated(batch=message.batch, answers=tuple(answers)))

    def tick(self) -> None:
        """Nobody may want to write for long: see whether it is possible again."""
        if self.trouble:
            try:
                self.store.commit(self.publisher.version, {}, {})
            except StoreError as error:
                self._tell_trouble(str(error))
            else:
                self.log.warning("the registry file can be written again")
                self._tell_trouble("")

    def _tell_trouble(self, trouble: str) -> None:
        """Have the roster, and so health and metrics, say that nothing can be written, or can again."""
        if trouble != self.trouble:
            self.trouble = trouble
            self.send(self.peers["supervisor"], Troubled(name=self.name, error=trouble))
