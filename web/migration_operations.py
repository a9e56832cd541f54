"""The table of operations (operations.py), continued: plans, history and migrations of a job."""

from __future__ import annotations

from web.operation import IF, JOB, WAIT, WRITE, Operation

_MIGRATION = "/api/v1/migrations/{name}"
_IF_MIGRATION = (("If-Match", "The migration's version as its ETag gave it, or *."),)
MIGRATION_OPERATIONS = (
    Operation(
        method="post",
        path=JOB + "/plan",
        text="What a PUT of this config would do: fields, tasks, agents, and a token that approves it.",
        reply="PlanView",
        body="JobConfig",
        errors=(400, 409, 413, 503),
    ),
    Operation(
        method="get",
        path=JOB + "/history",
        text="The versions it has had, the newest first.",
        reply="PastView",
        key="versions",
        query=WAIT,
        errors=(404,),
    ),
    Operation(
        method="post",
        path=JOB + "/revert",
        text='Migrate it back to a version of its history: {"version": N, "update": {…}}, both optional.',
        reply="ChangeReply",
        body="RevertBody",
        bodiless=True,
        headers=(*WRITE, *IF),
        errors=(400, 404, 409, 412, 503),
    ),
    Operation(
        method="post",
        path=JOB + "/restart",
        text='Replace its tasks by new ones of the same config: {"update": {…}}, optional.',
        reply="ChangeReply",
        body="RestartBody",
        bodiless=True,
        headers=(*WRITE, *IF),
        errors=(400, 404, 409, 412, 503),
    ),
    Operation(
        method="post",
        path=JOB + "/stop",
        text="Stop its tasks without forgetting it.",
        reply="ChangeReply",
        headers=(*WRITE, *IF),
        errors=(404, 409, 412, 503),
    ),
    Operation(
        method="post",
        path=JOB + "/start",
        text="Start the tasks of a stopped job again.",
        reply="ChangeReply",
        headers=(*WRITE, *IF),
        errors=(404, 409, 412, 503),
    ),
    Operation(
        method="get",
        path="/api/v1/migrations",
        text="The migrations under way, and the last ones that are over.",
        reply="MigrationView",
        key="migrations",
        query=WAIT,
    ),
    Operation(
        method="post",
        path="/api/v1/migrations",
        text="Begin one; `update` overrides the job's own policy. 200 when the job is there already.",
        status=202,
        reply="ChangeReply",
        body="MigrateBody",
        headers=(*WRITE, *IF),
        errors=(400, 404, 409, 412, 413, 503),
    ),
    Operation(
        method="get",
        path=_MIGRATION,
        text="How far one is. The ETag is its version.",
        reply="MigrationView",
        query=WAIT,
        errors=(404,),
    ),
    *(
        Operation(
            method="post",
            path=f"{_MIGRATION}/{action}",
            text=text,
            reply="ChangeReply",
            headers=(*WRITE, *_IF_MIGRATION),
            errors=(404, 409, 412, 503),
        )
        for action, text in (
            ("pause", "Take no further step until it is resumed."),
            ("resume", "Go on; one that has failed tries again."),
            ("abort", "Bring back the old version."),
            ("promote", "The canaries are good: go on with the rest."),
        )
    ),
    Operation(
        method="post",
        path="/api/v0/migrate",
        text='Replace a version: {"old": HASH, "new": JobConfig, "update": {…}}.',
        status=202,
        body="MigrateBody",
    ),
    Operation(method="put", path="/api/v0/migrate", text="The same.", status=202, body="MigrateBody"),
)
