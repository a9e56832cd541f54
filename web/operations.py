"""The table of what the scheduler understands: every method at every path, for /openapi.json and /docs."""

from __future__ import annotations

from web.migration_operations import MIGRATION_OPERATIONS
from web.operation import IF, JOB, WAIT, WRITE, Operation

_BEARER = ("Authorization", "Bearer, and the token that `harpoon-scheduler register-token` made.")
_V0 = "as programs of 2014 speak it"

OPERATIONS = (
    Operation(method="get", path="/api/v1/jobs", text="All jobs.", reply="JobView", key="jobs", query=WAIT),
    Operation(
        method="get",
        path=JOB,
        text="One job, with its tasks. The ETag is the job's version.",
        reply="JobView",
        query=WAIT,
        errors=(404,),
    ),
    Operation(
        method="put",
        path=JOB,
        text="Make this config the job's only version. Idempotent; 201 when it is new, 200 when only scale or"
        " policy changed, 202 when a migration has begun.",
        reply="ChangeReply",
        body="JobConfig",
        query=(("approve", "The token of a plan: do exactly what it says, or 412."),),
        headers=(*WRITE, *IF),
        errors=(400, 409, 412, 413, 503),
    ),
    Operation(
        method="delete",
        path=JOB,
        text="Stop all versions of a job.",
        status=202,
        reply="ChangeReply",
        headers=(*WRITE, *IF),
        errors=(404, 412, 503),
    ),
    Operation(
        method="get",
        path="/api/v1/tasks",
        text="All tasks, or those that fit.",
        reply="TaskView",
        key="tasks",
        query=(
            ("job", "A job's key, its name, a hash or a task prefix."),
            ("agent", "An agent's name."),
            ("status", "A status of tasks."),
            *WAIT,
        ),
    ),
    Operation(
        method="get",
        path="/api/v1/tasks/{task}",
        text="One task.",
        reply="TaskView",
        query=WAIT,
        errors=(404,),
    ),
    Operation(
        method="get",
        path="/api/v1/tasks/{task}/log",
        text="A task's output: a JSON array of lines; followed, events whose data are such arrays.",
        query=(
            ("history", "How many lines back, 10 without."),
            ("follow", "true: and those to come."),
            ("agent", "Of this agent, where the task was before."),
        ),
        errors=(400, 404, 502, 503, 504),
    ),
    Operation(
        method="post",
        path="/api/v1/tasks/{task}/signal",
        text='Send a signal to the program of a task that runs, once: `{"signal":"HUP"}`.',
        reply="SignalReply",
        body="SignalBody",
        errors=(400, 404, 409, 413, 502, 503, 504),
    ),
    Operation(
        method="get",
        path="/api/v1/tasks/{task}/exec",
        text="A WebSocket to a command that runs in a task; its messages: docs/http-api.md.",
        errors=(426,),
    ),
    Operation(
        method="get",
        path="/api/v1/agents",
        text="All agents.",
        reply="AgentView",
        key="agents",
        query=WAIT,
    ),
    Operation(
        method="get",
        path="/api/v1/agents/{name}",
        text="One agent.",
        reply="AgentView",
        query=WAIT,
        errors=(404,),
    ),
    Operation(
        method="put",
        path="/api/v1/agents/{name}",
        text="Add an agent, or change what is known of one that was added so.",
        reply="ChangeReply",
        body="AgentBody",
        headers=WRITE,
        errors=(400, 409, 413, 503),
    ),
    Operation(
        method="delete",
        path="/api/v1/agents/{name}",
        text="Take out an agent that was added so; it leaves once it is empty; its tasks stay.",
        status=202,
        reply="ChangeReply",
        headers=WRITE,
        errors=(404, 409, 503),
    ),
    *(
        operation
        for action, text in (
            ("drain", 'Move its tasks elsewhere, by {"deadline": "10m"} at the latest; no new ones.'),
            ("cordon", "Give it no new tasks; those it has stay."),
        )
        for operation in (
            Operation(
                method="post",
                path=f"/api/v1/agents/{{name}}/{action}",
                text=text,
                reply="ChangeReply",
                headers=WRITE,
                errors=(400, 404, 503),
            ),
            Operation(
                method="delete",
                path=f"/api/v1/agents/{{name}}/{action}",
                text="Let it have tasks again.",
                reply="ChangeReply",
                headers=WRITE,
                errors=(404, 503),
            ),
        )
    ),
    Operation(
        method="put",
        path="/api/v1/agents/{name}/registration",
        text="An agent announces itself, and does so again every renew_seconds; with the register token.",
        reply="RegistrationReply",
        body="RegistrationBody",
        headers=(*WRITE, _BEARER),
        errors=(400, 401, 403, 409, 503),
    ),
    Operation(
        method="delete",
        path="/api/v1/agents/{name}/registration",
        text="An agent ends: it leaves if it has no tasks.",
        reply="RegistrationReply",
        query=(("identity", "As it was registered with."),),
        headers=(*WRITE, _BEARER),
        errors=(401, 403, 409, 503),
    ),
    Operation(
        method="post",
        path="/api/v1/agents/{name}/lost",
        text="Declare an agent lost now, whatever its tolerance and the brake: its tasks are placed "
        "elsewhere. Idempotent; 409 while it is connected. When it answers again it is lost no longer.",
        reply="ChangeReply",
        headers=WRITE,
        errors=(404, 409, 503),
    ),
    Operation(
        method="get",
        path="/api/v1/members",
        text="The hosts of the convention, the leader first, and the flocks and agents of each.",
        reply="MemberView",
        key="members",
        query=WAIT,
        errors=(503,),
    ),
    Operation(
        method="get",
        path="/api/v1/brake",
        text="Whether so many agents are away that none is declared lost, and until when.",
        reply="BrakeView",
        query=WAIT,
        errors=(503,),
    ),
    Operation(
        method="post",
        path="/api/v1/brake/release",
        text="Release the brake until this outage is over: agents away for longer than is tolerated are "
        "lost. Idempotent; 409 when it does not hold.",
        reply="ChangeReply",
        headers=WRITE,
        errors=(409, 503),
    ),
    Operation(
        method="post",
        path="/api/v1/rebalance/plan",
        text="Which tasks would be moved so that agents are more evenly full, and why; nothing is moved.",
        reply="RebalancePlanView",
        errors=(503,),
    ),
    Operation(
        method="get",
        path="/api/v1/rebalance",
        text="The rebalance under way, or the last one: each move and how far it is.",
        reply="RebalanceView",
        query=WAIT,
        errors=(404, 503),
    ),
    Operation(
        method="post",
        path="/api/v1/rebalance",
        text="Move tasks so that agents are more evenly full, each job's floor kept; one at a time.",
        status=202,
        reply="ChangeReply",
        body="DeadlineBody",
        bodiless=True,
        query=(("approve", "The token of a plan: exactly that is done, or nothing (412)."),),
        headers=WRITE,
        errors=(400, 409, 412, 503),
    ),
    Operation(
        method="delete",
        path="/api/v1/rebalance",
        text="Move nothing more; what is on its way arrives.",
        reply="ChangeReply",
        headers=(*WRITE, ("If-Match", "The rebalance's version as its ETag gave it, or *.")),
        errors=(404, 412, 503),
    ),
    Operation(
        method="get",
        path="/api/v1/events",
        text="Server-sent events: snapshot, then job, task and agent, each with its shape, or with "
        '"gone": true. Newest value per key.',
        media="text/event-stream",
        headers=(("Last-Event-ID", "Go on from this event, if it is still known."),),
        errors=(503,),
    ),
    Operation(
        method="get",
        path="/api/v1/snapshot",
        text="All jobs and agents, to keep as a backup. The ETag is the version of the registry.",
        reply="Snapshot",
        query=WAIT,
        errors=(503,),
    ),
    Operation(
        method="put",
        path="/api/v1/snapshot",
        text="Make the jobs exactly those of a snapshot. What runs already is adopted, not started again.",
        reply="RestoreReply",
        body="Snapshot",
        headers=(*WRITE, ("If-Match", "The version of the registry as its ETag gave it, or *.")),
        errors=(400, 409, 412, 413, 503),
    ),
    Operation(method="get", path="/api/v1/version", text="Which version of the scheduler this is."),
    Operation(
        method="put", path="/api/v0/schedule", text=f"Run a config, {_V0}.", status=202, body="JobConfig"
    ),
    Operation(method="post", path="/api/v0/schedule", text="The same.", status=202, body="JobConfig"),
    Operation(
        method="put", path="/api/v0/unschedule", text=f"Stop a config, {_V0}.", status=202, body="JobConfig"
    ),
    Operation(method="post", path="/api/v0/unschedule", text="The same.", status=202, body="JobConfig"),
    Operation(method="put", path="/api/v0/unschedule/{name}", text=f"Stop a hash, {_V0}.", status=202),
    Operation(method="get", path="/api/v0/registry", text=f"Every job config by its hash, {_V0}."),
    Operation(method="get", path="/api/v0/proxy", text=f"Every agent's state by its endpoint, {_V0}."),
    Operation(method="get", path="/health/live", text="200 while this worker answers at all."),
    Operation(method="get", path="/health/ready", text="200 when it can do its work.", errors=(503,)),
    Operation(
        method="get", path="/metrics", text="Metrics for Prometheus.", media="text/plain; version=0.0.4"
    ),
    Operation(method="get", path="/openapi.json", text="This description."),
    Operation(method="get", path="/docs", text="The same to read.", media="text/html"),
    Operation(method="get", path="/", text="The dashboard.", media="text/html"),
    *MIGRATION_OPERATIONS,
)
