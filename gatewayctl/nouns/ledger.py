"""`gatewayctl ledger`: the proof, an entry explained, corrections, dead letters."""

from decimal import Decimal
from typing import Annotated

import typer

from gatewayctl.amounts import Since, Until, amount
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
from gatewayctl.filters import Account, Model, Where, query_of
from gatewayctl.nouns import dead_letters
from gatewayctl.progress import progress
from gatewayctl.values import Row

app = noun("ledger", "The books: their proof, entries, corrections and dead letters.")
app.add_typer(dead_letters.app)
_DIFFERENCES = (
    "entry_id", "user_id", "provider", "model", "provider usd=provider_cost_usd",
    "lines usd=lines_usd", "difference usd=difference_usd", "started_at",
)  # fmt: skip

UserId = Annotated[str, typer.Argument(metavar="USER_ID", help="The account.")]
EntryId = Annotated[str, typer.Argument(metavar="ENTRY_ID", help="As `usage show` prints it.")]
Amount = Annotated[Decimal, typer.Argument(parser=amount, metavar="USD", help="How much, above 0.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the entry.")]
OfEntry = Annotated[
    str | None, typer.Option("--entry", metavar="ENTRY_ID", help="The entry that it corrects.")
]


@verb(app, "verify")
def verify(
    ctx: typer.Context,
    account: Account = None,
    full: Annotated[
        bool, typer.Option("--full", help="Read every entry again, also those proved before.")
    ] = False,
) -> None:
    """Prove that entries, spend and sums agree. Ends with 1 where they do not."""
    session = session_of(ctx)
    query = {"user_id": account, "full": full or None}
    total: Row = {"ok": True, "accounts": 0, "entries": 0, "drifting_accounts": 0}
    accounts = _accounts(session) if account is None and session.terminal.stderr.isatty() else None
    with progress(session.terminal, "Proving", accounts) as show:
        for page in session.client.answers("GET", "/admin/ledger/verify", query):
            total = _together(total, page)
            show(total["accounts"], f"{total['accounts']:,} accounts, {total['entries']:,} entries")
    session.output.one(total)
    if not total["ok"]:
        raise end_wrong()


def _accounts(session: CommandSession) -> int | None:
    """How many there are is known once they are few; otherwise the bar has no end."""
    page = session.client.get("/admin/accounts", {"limit": 200})
    return len(page["data"]) if page["next_cursor"] is None else None


def _together(total: Row, page: Row) -> Row:
    usd = Decimal(total.get("entries_total_usd", 0)) + Decimal(page["entries_total_usd"])
    return {
        "ok": total["ok"] and page["ok"],
        "accounts": total["accounts"] + page["accounts"],
        "entries": total["entries"] + page["entries"],
        "entries_total_usd": usd,
        "drifting_accounts": total["drifting_accounts"] + page["drifting_accounts"],
        "first_difference": total.get("first_difference") or page["first_difference"],
        "full": page["full"],
        "checked_at": page["checked_at"],
    }


@verb(app, "health")
def show_health(ctx: typer.Context) -> None:
    """Show how far posting is behind, what waits, and when the books were proved last."""
    session = session_of(ctx)
    session.output.one(session.client.get("/admin/ledger/health"))


@verb(app, "entry")
def show_entry(ctx: typer.Context, entry_id: EntryId) -> None:
    """Explain an entry: its tokens, its price, its corrections."""
    session = session_of(ctx)
    entry = session.client.get(at("/admin/ledger/entries/{}", entry_id))
    fields = (
        "entry_id", "kind", "user_id", "key_id", "started_at", "requested_model", "provider",
        "model", "status", "error_code", "usage", "usage_source", "lines", "cost_usd",
        "net_cost_usd", "price_id", "latency_ms", "corrections", "recorded",
    )  # fmt: skip
    session.output.one(entry, fields)


@verb(app, "refund", writes=True)
def refund(
    ctx: typer.Context,
    entry_id: EntryId,
    usd: Annotated[
        Decimal | None,
        typer.Argument(parser=amount, metavar="[USD]", help="How much; all that it cost without."),
    ] = None,
    *,
    reason: Reason,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Refund an entry, or a part of it."""
    session = session_of(ctx)
    entry = session.client.get(at("/admin/ledger/entries/{}", entry_id))
    value = Decimal(entry["net_cost_usd"]) if usd is None else usd
    if value <= 0:
        raise Misused(f"There is nothing to refund: {value:f} USD.")
    body = {"user_id": entry["user_id"], "kind": "refund", "amount_usd": -value}
    body |= {"entry_id": entry_id, "reason": reason}
    _correct(session, body, dry_run=dry_run, yes=yes)


@verb(app, "credit", writes=True)
def credit(
    ctx: typer.Context,
    user_id: UserId,
    usd: Amount,
    *,
    reason: Reason,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Give an account a credit, which lowers what it has spent."""
    session = session_of(ctx)
    if usd <= 0:
        raise Misused("A credit is above 0.", way_out="`ledger adjust` takes either sign")
    body = {"user_id": user_id, "kind": "credit", "amount_usd": -usd, "reason": reason}
    _correct(session, body, dry_run=dry_run, yes=yes)


@verb(app, "adjust", writes=True)
def adjust(
    ctx: typer.Context,
    user_id: UserId,
    usd: Annotated[
        str, typer.Option("--by", metavar="USD", help="Added to what was spent; -1 lowers it.")
    ],
    *,
    entry_id: OfEntry = None,
    reason: Reason,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Correct what an account has spent, up or down."""
    session = session_of(ctx)
    body = {"user_id": user_id, "kind": "adjustment", "amount_usd": amount(usd), "reason": reason}
    if entry_id is not None:
        body["entry_id"] = entry_id
    _correct(session, body, dry_run=dry_run, yes=yes)


def _correct(session: CommandSession, body: Row, *, dry_run: bool, yes: bool) -> None:
    """The correction's own idempotency key is the command's, so that it is posted once."""
    value = body["amount_usd"]
    account = session.client.get(at("/admin/accounts/{}", body["user_id"]))
    before = Decimal(account["spend"]["total_usd"])
    if dry_run:
        row = {**body, "spent_usd_before": before, "spent_usd_after": before + value}
        session.output.one(row)
        return
    session.terminal.confirm(f"Change what {body['user_id']} spent by {value:f} USD?", yes=yes)
    body = {**body, "idempotency_key": session.client.idempotency_key}
    answer = session.client.post("/admin/ledger/corrections", body)
    session.output.one(answer, [name for name in _CORRECTION if name in answer])


_CORRECTION = ("entry_id", "status", "kind", "user_id", "cost_usd", "reason", "made_by")


@verb(app, "reprice", writes=True)
def reprice(
    ctx: typer.Context,
    *,
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="Calls from then on.")],
    until: Until = None,
    account: Account = None,
    model: Model = None,
    where: Where = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Kept with the entries.")] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Price entries again by the prices of their time, as corrections. Shows them, then asks."""
    session = session_of(ctx)
    until = until or session.terminal.now().isoformat()
    selector = query_of(session, where, since=since, until=until, user_id=account, model=model)
    body: Row = {"selector": selector}
    if reason is not None:
        body["reason"] = reason
    preview = _repriced(session, {**body, "dry_run": True})
    if dry_run or not preview["entries_changed"]:
        session.output.one(preview)
        return
    question = f"Change {preview['entries_changed']} entries by {preview['difference_usd']:f} USD?"
    session.terminal.confirm(question, yes=yes)
    session.output.one(_repriced(session, {**body, "dry_run": False}))


def _repriced(session: CommandSession, body: Row) -> Row:
    total: Row = {"entries_selected": 0, "entries_changed": 0, "difference_usd": Decimal(0)}
    with progress(session.terminal, "Pricing") as show:
        for page in session.client.answers("POST", "/admin/ledger/reprice", body):
            for name in total:
                total[name] += page[name]
            show(total["entries_selected"], f"{total['entries_selected']:,} entries")
    return {"dry_run": body["dry_run"], **total}


@verb(app, "provider-costs")
def provider_costs(
    ctx: typer.Context,
    *,
    since: Since = None,
    until: Until = None,
    account: Account = None,
    model: Model = None,
    where: Where = None,
    limit: Limit = DEFAULT_LIMIT,
) -> None:
    """List calls that cost other than their provider says."""
    session = session_of(ctx)
    query = query_of(session, where, since=since, until=until, user_id=account, model=model)
    rows = session.client.pages("/admin/ledger/provider-costs", query, limit)
    session.output.rows(rows, _DIFFERENCES)
