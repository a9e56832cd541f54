"""The part of the table of operations that is about hosts: agents, the brake, rebalances."""

from __future__ import annotations

from web.operation import WAIT, WRITE, Operation

_IF = (("If-Match", "The agent's version, as `version` or an ETag gave it, or *."),)
_IF_NEW = ("If-None-Match", "*: there must be no such agent yet.")
_BEARER = ("Authorization", "Bearer, and the token that `harpoon-scheduler register-token` made.")

HOST_OPERATIONS = (
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
        headers=(*WRITE, *_IF, _IF_NEW),
        errors=(400, 409, 412, 413, 503),
    ),
    Operation(
        method="delete",
        path="/api/v1/agents/{name}",
        text="Take out an agent that was added so; it leaves once it is empty; its tasks stay.",
        status=202,
        reply="ChangeReply",
        headers=(*WRITE, *_IF),
        errors=(404, 409, 412, 503),
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
                headers=(*WRITE, *_IF),
                errors=(400, 404, 412, 503),
            ),
            Operation(
                method="delete",
                path=f"/api/v1/agents/{{name}}/{action}",
                text="Let it have tasks again.",
                reply="ChangeReply",
                headers=(*WRITE, *_IF),
                errors=(404, 412, 503),
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
        headers=(*WRITE, *_IF),
        errors=(404, 409, 412, 503),
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
)
