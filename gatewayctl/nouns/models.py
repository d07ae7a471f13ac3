"""`gatewayctl models`: routes, which are the names that clients call."""

from typing import Annotated

import typer

from gatewayctl.bodies import From, Set, body_of, edit
from gatewayctl.client import at
from gatewayctl.commands import DEFAULT_LIMIT, DryRun, Limit, Yes, noun, session_of, verb
from gatewayctl.errors import end_wrong
from gatewayctl.values import Row

app = noun("models", "Routes: the names that clients call, and what serves them.")
_COLUMNS = ("model", "deployments", "fallbacks", "max_attempts", "cooldown_s")
_RESULTS = ("deployment_id", "model", "ok", "status", "latency_ms", "cost_usd", "error")

Model = Annotated[str, typer.Argument(metavar="MODEL", help="The name that clients call.")]
Deployment = Annotated[
    list[str] | None,
    typer.Option(
        "--deployment", metavar="PROVIDER/MODEL", help="What serves it, such as openai/gpt-5-mini."
    ),
]
Fallback = Annotated[
    list[str] | None, typer.Option("--fallback", metavar="MODEL", help="Tried after it.")
]


@verb(app, "list")
def list_models(
    ctx: typer.Context,
    search: Annotated[str | None, typer.Option("--search", help="Part of the name.")] = None,
    limit: Limit = DEFAULT_LIMIT,
) -> None:
    """List routes."""
    session = session_of(ctx)
    rows = session.client.pages("/admin/models", {"q": search}, limit)
    if session.output.is_table:
        rows = ({**row, "deployments": [d["model"] for d in row["deployments"]]} for row in rows)
    session.output.rows(rows, _COLUMNS)


@verb(app, "show")
def show_model(ctx: typer.Context, model: Model) -> None:
    """Show a route."""
    session = session_of(ctx)
    session.output.one(session.client.get(at("/admin/models/{}", model)))


@verb(app, "create", writes=True)
def create_model(
    ctx: typer.Context,
    model: Model,
    *,
    deployments: Deployment = None,
    fallbacks: Fallback = None,
    source: From = None,
    assignments: Set = None,
) -> None:
    """Create a route."""
    session = session_of(ctx)
    body = body_of(
        session.terminal, source, assignments, model=model, **_fields(deployments, fallbacks)
    )
    session.output.one(session.client.post("/admin/models", body))


@verb(app, "change")
def change_model(
    ctx: typer.Context,
    model: Model,
    *,
    deployments: Deployment = None,
    fallbacks: Fallback = None,
    source: From = None,
    assignments: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Change a route; what is given replaces what was there."""
    session = session_of(ctx)
    patch = body_of(session.terminal, source, assignments, **_fields(deployments, fallbacks))
    edit(session, at("/admin/models/{}", model), patch, dry_run=dry_run)


@verb(app, "delete")
def delete_model(ctx: typer.Context, model: Model, yes: Yes = False) -> None:
    """Delete a route."""
    session = session_of(ctx)
    session.terminal.confirm(f"Delete the route {model}?", yes=yes)
    session.client.delete(at("/admin/models/{}", model))
    session.output.done(f"The route {model} was deleted.")


@verb(app, "test", writes=True)
def call_deployments(
    ctx: typer.Context,
    model: Model,
    deployment: Annotated[
        str | None, typer.Option("--deployment", metavar="ID", help="This one alone.")
    ] = None,
) -> None:
    """Call each deployment of a route once. Ends with 1 where one fails. It costs a few tokens."""
    session = session_of(ctx)
    body = {} if deployment is None else {"deployment_id": deployment}
    answer = session.client.post(at("/admin/models/{}/test", model), body)
    session.output.rows(answer["results"], _RESULTS)
    if not all(result["ok"] for result in answer["results"]):
        raise end_wrong()


def _fields(deployments: list[str] | None, fallbacks: list[str] | None) -> Row:
    """Deployments of the names alone; --from has all of what one can say."""
    rows = [{"model": name} for name in deployments or ()]
    return {"deployments": rows or None, "fallbacks": fallbacks or None}
