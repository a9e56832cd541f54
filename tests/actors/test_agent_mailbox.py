"""The mailbox of a state machine: the actor is woken, nothing is lost, and it holds only so much."""

from __future__ import annotations

import select
import threading

from actors.agent_link import Broken, Mailbox
from config.bounds import MAILBOX_HAPPENINGS

PATIENCE_SECONDS = 10.0


def readable(mailbox: Mailbox) -> bool:
    return bool(select.select([mailbox.fileno()], [], [], 0)[0])


def test_what_is_put_is_drained_in_order_and_wakes_once() -> None:
    mailbox = Mailbox()
    assert not readable(mailbox)
    for number in range(3):
        mailbox.put(Broken(str(number)))
    assert readable(mailbox)
    assert mailbox.drain() == [Broken("0"), Broken("1"), Broken("2")]
    assert not readable(mailbox)


def test_whoever_tells_more_than_is_taken_in_waits() -> None:
    mailbox = Mailbox()

    def tell() -> None:
        for number in range(MAILBOX_HAPPENINGS + 10):
            mailbox.put(Broken(str(number)))

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    seen: list[object] = []
    while len(seen) < MAILBOX_HAPPENINGS + 10:
        assert select.select([mailbox.fileno()], [], [], PATIENCE_SECONDS)[0], "woken for each rest"
        drained = mailbox.drain()
        assert len(drained) <= MAILBOX_HAPPENINGS
        seen += drained
    teller.join(PATIENCE_SECONDS)
    assert seen == [Broken(str(number)) for number in range(MAILBOX_HAPPENINGS + 10)]


def test_it_holds_only_so_much() -> None:
    mailbox = Mailbox()
    for number in range(MAILBOX_HAPPENINGS):
        mailbox.put(Broken(str(number)))
    one_more = threading.Thread(target=lambda: mailbox.put(Broken("late")), daemon=True)
    one_more.start()
    one_more.join(0.05)
    assert one_more.is_alive(), "it waits for room"
    assert len(mailbox.drain()) == MAILBOX_HAPPENINGS
    one_more.join(PATIENCE_SECONDS)
    assert mailbox.drain() == [Broken("late")]
