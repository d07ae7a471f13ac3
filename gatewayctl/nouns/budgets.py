"""`gatewayctl budgets`."""

from typing import Annotated

import typer

from gatewayctl.commands import DEFAULT_LIMIT, Limit, noun, session_of, verb
from gatewayctl.filters import Account

app = noun("budgets", "Budgets, and which of them are at risk.")
_COLUMNS = (
    "user id=user_id", "key id=key_id", "period", "spent usd=spent_usd", "limit usd=limit_usd",
    "left usd=remaining_usd", "outlook", "expected usd=expected_usd", "runs_out_at", "ends_at",
)  # fmt: skip


@verb(app, "list")
def list_budgets(
    ctx: typer.Context,
    account: Account = None,
    of: Annotated[str | None, typer.Option("--of", help="account or key.")] = None,
    at_risk: Annotated[
        bool, typer.Option("--at-risk", help="Those that are or will be exhausted.")
    ] = False,
    limit: Limit = DEFAULT_LIMIT,
) -> None:
    """List budgets of accounts and keys."""
    session = session_of(ctx)
    query = {"user_id": account, "of": of, "at_risk": at_risk or None}
    session.output.rows(session.client.pages("/admin/budgets", query, limit), _COLUMNS)
