"""Which signals may be sent to a task, by the names people know them by."""

from __future__ import annotations

import signal

import msgspec

from agent.lifecycle import Refusal, RefusedError

# What a program may take as a word to it, or what ends it; not those by which the kernel tells of mistakes.
_WORDS = ["HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "TERM", "WINCH"]
_NAMES = [*_WORDS, "ABRT", "KILL", "CONT", "STOP", "TSTP", "TTIN", "TTOU"]
SIGNALS = {name: signal.Signals[f"SIG{name}"] for name in _NAMES}


class SignalBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`{"signal": "HUP"}`; "SIGHUP" is the same."""

    signal: str


_DECODER = msgspec.json.Decoder(SignalBody)


def read_signal(body: bytes) -> signal.Signals:
    """The signal that a request names. Raises RefusedError (400) that says which there are."""
    try:
        name = _DECODER.decode(body).signal
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(Refusal(400, f'not a signal like {{"signal": "HUP"}}: {error}')) from error
    number = SIGNALS.get(name.removeprefix("SIG"))
    if number is None:
        raise RefusedError(Refusal(400, f"signal is {name[:20]!r}; it must be one of {', '.join(SIGNALS)}"))
    return number
