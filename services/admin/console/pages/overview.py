"""The overview: spend by account and model, beside the period before; what needs attention."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from htpy import Node, a, code, div, li, nav, ol, p

from services.admin import (
    accounts,
    keys,
    ledger_health,
    usage,
    usage_series,
    usage_sums,
)
from services.admin.console.duration_tiles import duration_tiles
from services.admin.console.elements import (
    MINUS,
    NOTHING,
    Column,
    badge,
    count_text,
    counted,
    facts,
    figure_tile,
    lasted,
    link,
    panel,
    proof_badge,
    rows_table,
    share,
    short_usd,
    usd,
)
from services.admin.console.page import ConsolePage, PageHandler, Shown, View, segment
from services.admin.console.pages import budgets
from services.admin.console.spend_chart import spend_chart
from services.admin.console.token_sums import input_tokens, output_tokens
from services.admin.console.verbs import Query
from services.admin.usage_views import GroupView, SumsView

_PERIODS: Mapping[str, tuple[str, int]] = {
    "1": ("today (UTC)", 1),
    "7": ("7 days", 7),
    "30": ("30 days", 30),
    "90": ("90 days", 90),
}
_TOP = 5
# Keys of the dearest account, the newest first; an older one is shown by its id.
_NAMED = 100
_SUM_COLUMNS = (Column("Cost", "number"), Column("Calls", "number"), Column("Share", "number"))


async def show_page(view: View) -> Shown:
    chosen = view.query.get("days", "7")
    name, days = _PERIODS.get(chosen, _PERIODS["7"])
    until = view.now.date() + timedelta(days=1)
    # Whoever has several accounts in scope looks at one of them.
    account = {"user_id": view.query.get("user_id")}
    period = {"since": until - timedelta(days=days), "until": until, **account}
    interval = "hour" if days == 1 else "day"
    by_model, of_accounts, series, durations, health = await asyncio.gather(
        view.api.call(
            usage_sums.show_summary,
            query={**period, "group_by": "model", "compare": "previous", "limit": _TOP},
        ),
        _accounts(view, period),
        view.api.call(usage_series.show_series, query={**period, "interval": interval}),
        duration_tiles(view, period, days),
        _ledger(view),
    )
    total = by_model.total
    before = total.previous or None
    return ConsolePage(
        name="Overview",
        content=[
            await _first_steps(view, total.calls + (before.calls if before else 0), account),
            _period_links(view, chosen),
            _tiles(total, before),
            durations,
            panel(f"Spent in {name}", spend_chart(series.total)),
            div(".columns")[
                panel("Models", _top("Model", by_model.data, total, _model)),
                *of_accounts,
                panel(budgets.NAME, budgets.later_part(view.query.get("user_id"))),
                health,
            ],
        ],
    )


def _period_links(view: View, chosen: str) -> Node:
    return nav(".pages", aria_label="Period")[
        (
            a(href=view.with_query(days=key), aria_current="true" if key == chosen else None)[name]
            for key, (name, _) in _PERIODS.items()
        )
    ]


def _tiles(total: SumsView, before: SumsView | None) -> Node:
    def tile(name: str, count_of: Callable[[SumsView], int], note: str = "") -> Node:
        was = "" if before is None else f"{count_text(count_of(before))} before"
        return figure_tile(
            name, count_text(count_of(total)), ", ".join(each for each in (note, was) if each)
        )

    def failed(sums: SumsView) -> int:
        return sums.statuses.get("upstream_error", 0)

    def refused(sums: SumsView) -> int:
        return sums.statuses.get("refused", 0)

    return div(".tiles")[
        figure_tile("Spent", usd(total.cost_usd), _change(total, before)),
        tile("Calls", lambda sums: sums.calls),
        tile("Tokens in", lambda sums: input_tokens(sums.tokens)),
        tile("Tokens out", lambda sums: output_tokens(sums.tokens)),
        tile("Failed", failed, share(failed(total), total.calls)),
        tile("Refused", refused, share(refused(total), total.calls)),
    ]


def _change(total: SumsView, before: SumsView | None) -> str | None:
    if before is None:
        return None
    if not before.cost_usd:
        return "nothing in the period before"
    change = (total.cost_usd - before.cost_usd) * 100 / before.cost_usd
    signed = f"{change:+.0f}".replace("-", MINUS)
    return f"{signed} % on {short_usd(before.cost_usd)} before"


def _top(
    name: str, rows: Sequence[GroupView], total: SumsView, label: Callable[[GroupView], Node]
) -> Node:
    table = [
        [label(row), usd(row.cost_usd), count_text(row.calls), share(row.cost_usd, total.cost_usd)]
        for row in rows
    ]
    empty = p["No call in this period."]
    return rows_table(name, (Column(name), *_SUM_COLUMNS), table, empty=empty)


async def _accounts(view: View, period: Query) -> list[Node]:
    """The dearest ones, and the keys of the dearest."""
    by_account = await view.api.call(
        usage_sums.show_summary, query={**period, "group_by": "account", "limit": _TOP}
    )
    accounts_panel = panel("Accounts", _top("Account", by_account.data, by_account.total, _account))
    if not by_account.data:
        return [accounts_panel]
    dearest = str(by_account.data[0].user_id)
    return [accounts_panel, await _keys(view, period, dearest, by_account.total)]


def _account(row: GroupView) -> Node:
    return link(f"/console/accounts/{segment(str(row.user_id))}", str(row.user_id))


def _model(row: GroupView) -> Node:
    name = row.model or NOTHING
    return link(f"/console/calls?{urlencode({'model': row.model})}", name) if row.model else name


async def _keys(view: View, period: Query, user_id: str, total: SumsView) -> Node:
    """Those of one account: a sum by key over all of them reads the rows of every key."""
    by_key, page = await asyncio.gather(
        view.api.call(
            usage_sums.show_summary,
            query={**period, "user_id": user_id, "group_by": "key", "limit": _TOP},
        ),
        view.api.call(
            keys.list_keys, query={"user_id": user_id, "sort": "-key_id", "limit": _NAMED}
        ),
    )
    names = {key.key_id: key.name for key in page.data}
    table = _top("Key", by_key.data, total, lambda row: _key(row, names))
    return panel(f"Keys of {user_id}", table)


def _key(row: GroupView, names: Mapping[str, str]) -> Node:
    key_id = row.key_id
    if not key_id:
        return "no key"
    return link(f"/console/keys/{segment(key_id)}", names.get(key_id) or code[key_id])


async def _ledger(view: View) -> Node:
    if not view.api.may(ledger_health.show_ledger_health):
        return None
    health = await view.api.call(ledger_health.show_ledger_health, query={"counts": "false"})
    letters, queue = health.dead_letters, health.queue
    queue_text: Node = "not known: Redis does not answer"
    if queue is not None:
        queue_text = "nothing"
        if queue.oldest_at is not None:
            jobs = counted(queue.jobs, "job", "jobs")
            queue_text = f"{jobs}, the oldest for {lasted(view.now - queue.oldest_at)}"
        if queue.shards_away:
            shards = counted(queue.shards_away, "shard", "shards")
            queue_text = f"{queue_text}; {shards} of Redis away"
    pairs: list[tuple[str, Node]] = [
        ("Books", proof_badge(health.proof.ok)),
        ("Waits to be posted", queue_text),
        (
            "Dead letters",
            badge(count_text(letters), "bad") if letters else "none: every delivery was posted",
        ),
    ]
    return panel("Ledger", facts(pairs), p[link("/console/ledger", "Look at the ledger")])


async def _first_steps(view: View, calls: int, account: Query) -> Node:
    """Until the first call: account, key, price, call. `calls` are those that are known of."""
    if calls:
        return None
    entries = await view.api.call(usage.list_usage, query={"limit": 1, **account})
    if entries.data:
        return None
    account_page = await view.api.call(accounts.list_accounts, query={"limit": 1})
    key_page = await view.api.call(keys.list_keys, query={"limit": 1, **account})
    steps = (
        (
            bool(account_page.data),
            _step(view, accounts.create_account, "/console/new/account", "Make an account"),
            "that a budget is of",
        ),
        (
            bool(key_page.data),
            _step(view, keys.create_key, "/console/new/key", "Make a key"),
            "of the account; its page has a command that works",
        ),
        (False, link("/console/prices", "Look up the price"), "of the model that will be called"),
        (False, "Call it", "and see the call here within a second"),
    )
    return panel(
        "First steps",
        ol[(li[step, f" {why}. ", done and badge("done", "good")] for done, step, why in steps)],
    )


def _step(view: View, handler: Callable[..., Any], to: str, name: str) -> Node:
    return link(to, name) if view.api.may(handler) else name


PAGES: Mapping[str, Mapping[str, PageHandler]] = {"/console": {"GET": show_page}}
