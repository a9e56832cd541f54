"""The diagram in docs/lifecycle.md, generated from the tables of `scheduling.lifecycle`.

`python -m scheduling.diagram > docs/lifecycle.md` writes it anew; a test says when that is due.
"""

from __future__ import annotations

import sys

from scheduling.lifecycle import NEXT, REQUESTS, STEPS, Input, Phase

_HEAD = """\
# The life of a container

Generated from the tables in `scheduling/lifecycle.py` by `python -m scheduling.diagram`; don't edit it.

Requests (put, start, stop, delete) only lead to a phase that waits; only what the agent's event stream
shows, a refusal or a deadline leads out of it. An input that leaves a container in its phase is not drawn.
"""
_STEPS_HEAD = """\
Which request a phase calls for, so that a container gets where it should be:

| phase | to run | to stop |
| --- | --- | --- |
"""


def mermaid() -> str:
    """The transitions as a mermaid state diagram: one arrow for each pair of phases, with all its inputs."""
    labels: dict[tuple[Phase, Phase], list[Input]] = {}
    for phase in Phase:
        for said in Input:
            after = NEXT[phase, said]
            if after is not None and after is not phase:
                labels.setdefault((phase, after), []).append(said)
    arrows = [f"    {phase} --> {after}: {', '.join(inputs)}" for (phase, after), inputs in labels.items()]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {Phase.ABSENT}", *arrows])


def page() -> str:
    """docs/lifecycle.md as a whole."""
    rows = [f"| {phase} | {STEPS[phase, 'run'] or '–'} | {STEPS[phase, 'stop'] or '–'} |" for phase in Phase]
    allowed = [
        f"- {request}: while {', '.join(phase for phase in Phase if NEXT[phase, request] is not None)}"
        for request in REQUESTS
    ]
    return "\n".join(
        [
            _HEAD,
            f"```mermaid\n{mermaid()}\n```\n",
            _STEPS_HEAD + "\n".join(rows) + "\n",
            "When a request is possible at all; at any other time it is a bug, and refused:\n",
            *allowed,
            "",
        ]
    )


if __name__ == "__main__":
    sys.stdout.write(page())
