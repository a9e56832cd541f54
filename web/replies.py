"""What v1 answers to a change that was taken: the registry's words, and the version at which they hold."""

from __future__ import annotations

import falcon.asgi
import msgspec

from scheduling.answer import Answer
from web.encoded import JSON
from web.problems import STATUSES, refused
from web.requests_in import INDEX
from web.shapes import ChangeReply


def send_answer(resp: falcon.asgi.Response, answer: Answer, status: int | None = None) -> None:
    """Reply with an accepted answer, under its own status unless told. Raises HttpProblem for a refusal."""
    if not answer.accepted:
        raise refused(answer)
    resp.set_header(INDEX, str(answer.version))
    resp.status = STATUSES[answer.result] if status is None else status
    resp.content_type = JSON
    reply = ChangeReply(
        result=answer.result,  # type: ignore[arg-type] # the refusals have been raised
        message=answer.message,
        hash=answer.hash,
        version=answer.version,
        migration=answer.migration,
    )
    resp.data = msgspec.json.encode(reply)
