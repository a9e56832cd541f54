"""The actors of hung_peers_program.py; Thespian makes none that are defined in the main module."""

from __future__ import annotations

import os
from typing import Any

from thespian.actors import Actor

from actors.lifeline import tie_to_parent


class Peer(Actor):  # type: ignore[misc]  # Thespian has no types
    """Says its pid."""

    def __init__(self) -> None:
        super().__init__()
        tie_to_parent()

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802 - Thespian's name
        """Answer whoever asks."""
        if message == "who?":
            self.send(sender, os.getpid())


class Hub(Actor):  # type: ignore[misc]  # as above
    """Makes as many peers as it is told, and says their pids."""

    def __init__(self) -> None:
        super().__init__()
        tie_to_parent()
        self.peers: list[Any] = []
        self.pids: list[int] = []
        self.asked_by: Any = None

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802 - Thespian's name
        """A number from outside is how many; from a peer its pid."""
        if isinstance(message, int) and sender not in self.peers:
            self.asked_by = sender
            self.peers = [self.createActor(Peer) for _ in range(message)]
            for peer in self.peers:
                self.send(peer, "who?")
        elif isinstance(message, int):
            self.pids.append(message)
            if len(self.pids) == len(self.peers):
                self.send(self.asked_by, self.pids)
        elif message == "tell all":
            for peer in self.peers:
                self.send(peer, "something")
        elif message == "are you there?":
            self.send(sender, "yes")
