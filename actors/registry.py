"""Registry: keeps the desired state, durably, and broadcasts it. The only actor with anything on disk."""

from __future__ import annotations

from typing import Any, ClassVar

from actors.base import CannotStartError, HarpoonActor
from actors.messages import Mutate, Mutated, Topic
from actors.store import Store, StoreError
from scheduling.desired import Desired
from scheduling.registry import Answer, fingerprint, judge, reused
from scheduling.replica import Changes


class Registry(HarpoonActor):
    """Answers mutations after they are committed; those of one message are committed together."""

    topic: ClassVar[Topic] = "desired"

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
        version = self.publisher.version + 1
        changes: Changes = {}
        answers: list[Answer] = []
        fresh: dict[str, tuple[str, Answer]] = {}
        for request_id, mutation in message.mutations:
            asked = fingerprint(mutation) if request_id else ""
            known = (fresh.get(request_id) or self.store.answer(request_id)) if request_id else None
            if known is not None:
                answers.append(known[1] if known[0] == asked else reused(request_id))
                continue
            answer, brought = judge(self.desired, mutation, version, version if changes else version - 1)
            self.desired.apply(brought)
            changes.update(brought)
            answers.append(answer)
            if request_id:
                fresh[request_id] = (asked, answer)
        try:
            if changes or fresh:
                self.store.commit(version if changes else version - 1, changes, fresh)
        except StoreError as error:
            self.log.error("%s", error)  # noqa: TRY400 - the disk, not a bug
            self.desired.apply({key: self.publisher.state.get(key) for key in changes})
            self.send(sender, Mutated(batch=message.batch, answers=(), error=str(error)))
            return
        if changes:
            self.publisher.publish(changes, version)
        self.send(sender, Mutated(batch=message.batch, answers=tuple(answers)))
