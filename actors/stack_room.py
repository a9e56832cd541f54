"""Room on CPython's stack of Python frames, so that calls do not map and unmap memory.

CPython keeps the frames of Python functions in pieces of 16 KiB. A call whose frame does not fit maps another
piece, and its return unmaps it at once. An actor is a fork from deep within its parent's frames, so its loop
may come to stand right before the end of a piece: then nearly every call of the loop, and of all that it
calls, is two system calls and a page fault. Measured, a flock spent half of its CPU on that.

A piece is as large as the first frame in it needs, rounded up to a power of two: one large frame makes one
large piece, in which all that is called from there finds room. Only pages that are used take memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

# Values of 8 bytes. The piece is of 64 KiB, of which this leaves 31 KiB: some 200 frames.
_FRAME_VALUES = 4096


def with_stack_room(
    call: Callable[_Parameters, _Result], *args: _Parameters.args, **named: _Parameters.kwargs
) -> _Result:
    """Call it from a frame that is large enough for the frames below it to have a piece of their own."""
    return call(*args, **named)


with_stack_room.__code__ = with_stack_room.__code__.replace(co_stacksize=_FRAME_VALUES)
