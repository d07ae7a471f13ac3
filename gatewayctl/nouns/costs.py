"""`gatewayctl costs`: prices, imports of price maps, and what a usage costs."""

from decimal import Decimal
from typing import Annotated, Any

import typer

from gatewayctl.amounts import amount, time_of
from gatewayctl.bodies import From, Set, body_of, object_of, read_values, show_changes
from gatewayctl.client import at
from gatewayctl.commands import (
    DEFAULT_LIMIT,
    CommandSession,
    DryRun,
    Limit,
    Yes,
    noun,
    session_of,
    verb,
)
from gatewayctl.errors import Misused, end_wrong
from gatewayctl.filters import Provider
from gatewayctl.nouns import price_imports
from gatewayctl.state.differences import equal
from gatewayctl.state.fields import PRICE
from gatewayctl.values import Row

app = noun("costs", "Prices of models, in USD per million tokens.")
_COLUMNS = (
    "model", "provider", "input=input_cost_per_million", "output=output_cost_per_million",
    "cached=cached_read_cost_per_million", "source", "in force=in_force", "effective_from",
    "price id=price_id",
)  # fmt: skip
_MAX_IN_FORCE = 200
_OF_THE_MAP = "litellm:"
# Omitted terms are taken from the price in force.
_INHERIT = "inherit"

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Such as gpt-5-mini.")]
PriceId = Annotated[str, typer.Argument(metavar="PRICE_ID", help="As lists show it.")]
At = Annotated[str | None, typer.Option("--at", metavar="TIME", help="At that time.")]


@verb(app, "list")
def list_costs(
    ctx: typer.Context,
    *,
    model: Annotated[str | None, typer.Option(help="Of this model.")] = None,
    pattern: Annotated[str | None, typer.Option(help="Of models such as gpt-*.")] = None,
    provider: Provider = None,
    source: Annotated[str | None, typer.Option(help="admin or litellm, as imported.")] = None,
    bundled: Annotated[
        bool | None, typer.Option("--bundled/--stored", help="LiteLLM's map, or stored ones.")
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="Past and coming ones too.")] = False,
    when: At = None,
    limit: Limit = DEFAULT_LIMIT,
) -> None:
    """List prices."""
    session = session_of(ctx)
    query = {
        "model": model, "pattern": pattern, "provider": provider, "source": source,
        "bundled": bundled, "history": history or None, "at": time_of(when, session.terminal.now()),
    }  # fmt: skip
    session.output.rows(session.client.pages("/admin/costs", query, limit), _COLUMNS)


@verb(app, "show")
def show_cost(ctx: typer.Context, price_id: PriceId) -> None:
    """Show a price with all of its terms."""
    session = session_of(ctx)
    session.output.one(session.client.get(at("/admin/costs/{}", price_id)))


@verb(app, "set", writes=True)
def set_cost(
    ctx: typer.Context,
    model: Model,
    *,
    provider: Annotated[str | None, typer.Option("--provider", help="Of this provider.")] = None,
    input_usd: Annotated[
        Decimal | None,
        typer.Option("--input", parser=amount, metavar="USD", help="A million input tokens."),
    ] = None,
    output_usd: Annotated[
        Decimal | None,
        typer.Option("--output", parser=amount, metavar="USD", help="A million output tokens."),
    ] = None,
    cached_usd: Annotated[
        Decimal | None,
        typer.Option("--cached", parser=amount, metavar="USD", help="A million read from a cache."),
    ] = None,
    effective: Annotated[
        str | None, typer.Option("--from-time", metavar="TIME", help="From then on; now.")
    ] = None,
    source: From = None,
    assignments: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Set a price: a new version, from now or a time on. The entries before keep theirs."""
    session = session_of(ctx)
    body = body_of(
        session.terminal, source, assignments,
        model=model, provider=provider, input_cost_per_million=input_usd,
        output_cost_per_million=output_usd, cached_read_cost_per_million=cached_usd,
        effective_from=time_of(effective, session.terminal.now()),
    )  # fmt: skip
    if dry_run:
        _show_change(session, body)
    else:
        session.output.one(session.client.post("/admin/costs", body))


def _show_change(session: CommandSession, body: Row) -> None:
    """Beside what it takes over from, whose other terms are named."""
    before = _price_in_force(session, body)
    rows = [
        {"field": name, "before": before.get(name), "after": value}
        for name, value in body.items()
        if before.get(name) != value and name != _INHERIT
    ]
    session.output.rows(rows, ("field", "before", "after"), empty="Nothing would change.")
    dropped = [
        name
        for name, default in PRICE.own.items()
        if name not in body and before.get(name) is not None and not equal(before[name], default)
    ]
    dropped = [name for name in dropped if name not in ("model", "provider")]
    if dropped and not body.get(_INHERIT):
        session.terminal.say(
            f"gatewayctl: the price in force says more, which the new one will not: "
            f"{', '.join(dropped)} (--set inherit=true keeps it)."
        )


def _price_in_force(session: CommandSession, body: Row) -> Row:
    """The price in force for the same provider, else for all; of LiteLLM's map any provider's."""
    provider = body.get("provider") or "*"
    prices = [
        row
        for row in session.client.pages("/admin/costs", {"model": body["model"]}, _MAX_IN_FORCE)
        if row["in_force"]
        and (
            row["provider"] in (provider, "*")
            or (provider == "*" and row["price_id"].startswith(_OF_THE_MAP))
        )
    ]
    return min(prices, key=lambda row: bool(row["provider"] != provider), default={})


@verb(app, "end")
def end_cost(
    ctx: typer.Context,
    price_id: PriceId,
    *,
    when: At = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """End a price: calls of its model are refused then, unless another one holds."""
    session = session_of(ctx)
    until = time_of(when, session.terminal.now())
    path = at("/admin/costs/{}", price_id)
    if dry_run:
        show_changes(session, session.client.get(path), {"effective_until": until or "now"})
        return
    session.terminal.confirm(f"End the price {price_id}?", yes=yes)
    session.output.one(session.client.delete(path, {"at": until}))


@verb(app, "diff")
def diff_costs(
    ctx: typer.Context,
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="genai-prices' data.json; LiteLLM's map without."),
    ] = None,
    *,
    provider: Provider = None,
    pattern: Annotated[str | None, typer.Option(help="Models such as gpt-*.")] = None,
    when: At = None,
) -> None:
    """Compare the prices in force with another list. Ends with 1 where they differ."""
    session = session_of(ctx)
    body: Row = {
        "provider": provider, "pattern": pattern, "limit": 200,
        "at": time_of(when, session.terminal.now()),
    }  # fmt: skip
    body = {name: value for name, value in body.items() if value is not None}
    if file is not None:
        body["genai_prices"] = _list_of(session, file)
    rows: list[Row] = []
    page: Row = {}
    for page in session.client.answers("POST", "/admin/costs/compare", body):
        rows += page["data"]
    columns = ("model", "provider", "source", "other", "differences")
    session.output.rows(rows, columns, empty="They agree.")
    session.output.done(f"{page['models']} models compared, {page['differing']} differ.")
    if rows:
        raise end_wrong()


def _list_of(session: CommandSession, file: str) -> list[Any]:
    values = read_values(session.terminal, file)
    if not isinstance(values, list):
        raise Misused(f"{file} is not a list, as genai-prices' data.json is.")
    return values


@verb(app, "quote")
def quote(
    ctx: typer.Context,
    model: Model,
    *,
    usage: Annotated[
        str | None,
        typer.Option("--usage", metavar="FILE", help="A provider's usage object; - reads stdin."),
    ] = None,
    input_tokens: Annotated[int | None, typer.Option("--input", min=0, metavar="TOKENS")] = None,
    output_tokens: Annotated[int | None, typer.Option("--output", min=0, metavar="TOKENS")] = None,
    provider: Provider = None,
    account: Annotated[
        str | None, typer.Option("--account", metavar="USER_ID", help="With its multiplier.")
    ] = None,
    when: At = None,
) -> None:
    """Show what a usage costs, line by line."""
    session = session_of(ctx)
    counts: Row = {} if usage is None else object_of(session.terminal, usage)
    for name, tokens in (("input_text", input_tokens), ("output_text", output_tokens)):
        if tokens is not None:
            counts[name] = tokens
    if not counts:
        raise Misused("How much is used?", way_out="give --input and --output, or --usage FILE")
    body = body_of(
        session.terminal, model=model, usage=counts, provider=provider, user_id=account,
        at=time_of(when, session.terminal.now()),
    )  # fmt: skip
    answer = session.client.post("/admin/costs/quote", body)
    fields = ("model", "provider", "cost_usd", "lines", "multiplier", "surcharges", "notes")
    session.output.one(answer, fields)


price_imports.add_to(app)
