"""Keys: the list, one with its limits, budgets and spend, and its end."""

from collections.abc import Mapping, Sequence

from htpy import Node, a, code, p

from services.admin import keys, usage_series
from services.admin.console.elements import (
    Column,
    facts,
    link,
    mono,
    panel,
    rows_table,
    status_badge,
    usd,
    when,
)
from services.admin.console.filters import filters
from services.admin.console.forms import confirm_form
from services.admin.console.page import ConsolePage, PageHandler, Shown, View, go_to, segment
from services.admin.console.spend_chart import CHART_DAYS, last_days, spend_chart
from services.admin.key_bodies import KeyView, ShownStatus

_FILTERS = {"q": "Search", "user_id": "Account", "prefix": "Secret begins with"}
_COLUMNS = (
    Column("Key"), Column("Name"), Column("Account"), Column("Status"), Column("Expires"),
    Column("Made"),
)  # fmt: skip


def keys_table(view: View, views: Sequence[KeyView]) -> Node:
    rows = [
        [
            link(f"/console/keys/{segment(key.key_id)}", code[f"{key.prefix}..."]),
            key.name,
            link(f"/console/accounts/{segment(key.user_id)}", key.user_id),
            status_badge(key.status),
            when(key.expires_at, view.zone) if key.expires_at else "never",
            when(key.created_at, view.zone),
        ]
        for key in views
    ]
    return rows_table("Keys", _COLUMNS, rows, empty=p["No key yet: nobody can call with it."])


async def list_page(view: View) -> Shown:
    page = await view.api.call(keys.list_keys, query=view.query)
    new = view.api.may(keys.create_key) and a(".button.primary", href="/console/new/key")["New key"]
    return ConsolePage(
        name="Keys",
        content=panel(
            "All keys",
            filters(view, _FILTERS, {"status": ("Status", ShownStatus)}),
            keys_table(view, page.data),
            view.pager(page),
            actions=new,
        ),
    )


async def show_page(view: View) -> Shown:
    key = await _key(view)
    query = {"key_id": key.key_id, "user_id": key.user_id, **last_days(view.now)}
    series = await view.api.call(usage_series.show_series, query=query)
    at = f"/console/keys/{segment(key.key_id)}"
    may_change = view.api.may(keys.change_key) and key.status != "revoked"
    edit, rotate = f"/console/edit/key/{segment(key.key_id)}", f"{at}/rotate"
    links: list[Node] = [
        a(".button", href=edit)["Change"],
        a(".button", href=rotate)["Rotate"],
    ]
    revoke = confirm_form(
        f"{at}/revoke", view.session.csrf, submit="Revoke this key",
        asks="Calls with it are refused within a second. A revoked key stays revoked.",
    )  # fmt: skip
    return ConsolePage(
        name=key.name or "Key",
        content=[
            panel("Key", _facts(view, key), actions=links if may_change else None),
            panel("Budgets of its own", *_budgets(view, key)),
            panel(
                f"Spent in {CHART_DAYS} days",
                spend_chart(series.total),
                actions=link(f"/console/calls?key_id={segment(key.key_id)}", "All its calls"),
            ),
            may_change and panel("Revoke", revoke),
        ],
    )


def _facts(view: View, key: KeyView) -> Node:
    old = ", ".join(f"{each.prefix}..." for each in key.old_secrets)
    models = "all" if key.allowed_models is None else ", ".join(key.allowed_models)
    limits = [f"{value:,} {name}" for name, value in _limits(key).items() if value is not None]
    return facts(
        [
            ("Id", mono(key.key_id)),
            ("Begins with", mono(key.prefix)),
            ("Account", link(f"/console/accounts/{segment(key.user_id)}", key.user_id)),
            ("Status", status_badge(key.status)),
            ("Expires", when(key.expires_at, view.zone) if key.expires_at else "never"),
            ("Old secrets that still work", old or "none"),
            ("Models", models),
            ("Limits", ", ".join(limits) or "none of its own"),
            ("Made", when(key.created_at, view.zone)),
            ("Changed", when(key.updated_at, view.zone)),
        ]
    )


def _limits(key: KeyView) -> dict[str, int | None]:
    return {
        "requests a minute": key.limits.requests_per_minute,
        "tokens a minute": key.limits.tokens_per_minute,
        "calls at a time": key.limits.parallel_calls,
    }


def _budgets(view: View, key: KeyView) -> list[Node]:
    if not key.budgets:
        return [p(".empty")["None: its account's budgets alone bound it."]]
    return [
        p[usd(spend.spent_usd), " of ", usd(spend.limit_usd), f" {budget.period}, ",
          usd(spend.remaining_usd), " left"]
        for budget, spend in zip(key.budgets, key.spend.budgets, strict=True)
    ]  # fmt: skip


async def _key(view: View) -> KeyView:
    return await view.api.call(keys.show_key, api_key=view.request.path_params["key_id"])


async def revoke(view: View) -> Shown:
    key_id = view.request.path_params["key_id"]
    await view.api.call(keys.revoke_key, api_key=key_id)
    return go_to(f"/console/keys/{segment(key_id)}")


PAGES: Mapping[str, Mapping[str, PageHandler]] = {
    "/console/keys": {"GET": list_page},
    "/console/keys/{key_id}": {"GET": show_page},
    "/console/keys/{key_id}/revoke": {"POST": revoke},
}
