"""Prices: a model's price, its start, and quotes for a usage."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

import msgspec
from htpy import Node, a, div, p

from libs.common.decode_errors import UNREADABLE
from libs.common.errors import AppError, Conflict, InvalidRequest, NotFound, ValidationFailed
from services.admin import costs, quotes
from services.admin.console.cost_lines import lines_table, rate_text
from services.admin.console.elements import (
    NOTHING,
    Column,
    badge,
    facts,
    link,
    mono,
    panel,
    rows_table,
    usd,
    when,
)
from services.admin.console.filters import filters
from services.admin.console.form_fields import FormField, form_body
from services.admin.console.forms import confirm_form, error_status, form_of
from services.admin.console.page import (
    ConsolePage,
    PageHandler,
    Shown,
    View,
    form_for,
    go_to,
    segment,
)
from services.admin.console.price_terms import term_lines, term_name, term_text
from services.admin.cost_views import BundledView, CostView, ReplacedView
from services.admin.quotes import QuoteView

_COLUMNS = (
    Column("Model"), Column("Provider"), Column("Source"), Column("In, per million", "number"),
    Column("Out, per million", "number"), Column("From"), Column("Until"),
)  # fmt: skip
_RATE = "_cost_per_million"
_NEW = (
    FormField(
        path="model", label="Model", required=True,
        help="As its provider names it; * stands for any text.",
    ),
    FormField(path="provider", label="Provider", help="Empty: whatever serves the model."),
    FormField(
        path="inherit", label="Keep what I leave empty as it is now", kind="flag",
        help="Otherwise an empty rate means no rate, and LiteLLM's is dropped.",
    ),
    FormField(path=f"input{_RATE}", label="Input, USD per million tokens", kind="amount"),
    FormField(path=f"output{_RATE}", label="Output, USD per million tokens", kind="amount"),
    FormField(path=f"cached_read{_RATE}", label="Cached input, USD per million", kind="amount"),
    FormField(path=f"cache_write{_RATE}", label="Cache write, USD per million", kind="amount"),
    FormField(path="web_search_cost", label="A web search, USD", kind="amount"),
    FormField(
        path="effective_from", label="In force from", kind="time", help="Empty: from now on."
    ),
)  # fmt: skip
_QUOTE = (
    FormField(path="model", label="Model or route", required=True),
    FormField(
        path="usage", label="Usage", kind="long", required=True,
        help="The usage object of a provider's answer, pasted as it is.",
    ),
    FormField(path="user_id", label="Account", help="With its multiplier."),
    FormField(path="at", label="At", kind="time", help="Empty: now."),
)  # fmt: skip


async def list_page(view: View) -> Shown:
    query = dict(view.query)
    defaults = {"bundled": "true"} if not query.get("history") else {}
    page = await view.api.call(costs.list_costs, query={**defaults, **query})
    may = view.api.may(costs.create_cost)
    rows = [_row(view, price) for price in page.data]
    empty = p["No price matches. A model without a price is refused, so that no call is free."]
    actions = [
        may and a(".button.primary", href="/console/new/price")["Set a price"], " ",
        may and a(".button", href="/console/prices/import")["Import"], " ",
        a(".button", href="/console/prices/quote")["What would it cost?"],
    ]  # fmt: skip
    return ConsolePage(
        name="Prices",
        content=panel(
            "In force now",
            filters(view, {"model": "Model", "provider": "Provider"}),
            rows_table("Prices", _COLUMNS, rows, empty=empty),
            view.pager(page),
            actions=div[actions],
        ),
    )


def _row(view: View, price: CostView) -> list[Node]:
    return [
        link(f"/console/prices/{segment(price.price_id)}", price.model),
        price.provider,
        price.source,
        rate_text(price.input_cost_per_million),
        rate_text(price.output_cost_per_million),
        _start(view, price),
        when(price.effective_until, view.zone) if price.effective_until else NOTHING,
    ]


def _is_bundled(price: CostView) -> bool:
    return bool(price.price_id.startswith("litellm:"))


def _start(view: View, price: CostView) -> Node:
    """A bundled price has no start of its own: it has 1970."""
    return NOTHING if _is_bundled(price) else when(price.effective_from, view.zone)


async def show_page(view: View) -> Shown:
    price = await view.api.call(costs.show_cost, price_id=view.request.path_params["price_id"])
    rates = [
        (term_name(name), rate_text(value))
        for name, value in msgspec.structs.asdict(price).items()
        if name.endswith(_RATE) and value is not None
    ]
    end = confirm_form(
        f"/console/prices/{segment(price.price_id)}/end", view.session.csrf,
        submit="End this price now",
        asks="Calls from now on cost what they would without it; entries stay as they are.",
    )  # fmt: skip
    stored = price.effective_until is None and not _is_bundled(price)
    history = f"/console/prices?{urlencode({'model': price.model, 'history': 'true'})}"
    return ConsolePage(
        name=price.model,
        content=[
            div(".columns")[
                panel(
                    "Version",
                    facts(
                        [
                            ("Id", mono(price.price_id)),
                            ("Provider", price.provider),
                            ("In force", badge("now", "good") if price.in_force else "not now"),
                            ("From", _start(view, price)),
                            ("Until", when(price.effective_until, view.zone)),
                            ("Source", price.source),
                            ("Made by", price.made_by or NOTHING),
                        ]
                    ),
                    actions=link(history, "All versions"),
                ),
                panel("Rates, USD per million tokens", facts(rates)),
            ],
            None if price.bundled is None else _bundled_panel(price.bundled),
            stored and view.api.may(costs.end_cost) and panel("End", end),
        ],
    )


def _bundled_panel(bundled: BundledView) -> Node:
    """The terms in which LiteLLM's map differs."""
    columns = (Column("Term"), Column("In the map"), Column("Here"))
    rows = [
        [term_name(name), term_lines(change.before), term_lines(change.after)]
        for name, change in bundled.differences.items()
    ]
    table = rows_table("Differences", columns, rows, empty=p["Nothing differs."])
    return panel("Beside LiteLLM's map", table)


async def new_page(view: View, error: AppError | None = None) -> Shown:
    typed = view.typed or {"model": view.query.get("model", ""), "inherit": "yes"}
    form = form_of(
        "/console/new/price", view.session.csrf, _NEW, submit="Set the price", typed=typed,
        error=error, hidden=view.once(error),
    )  # fmt: skip
    return ConsolePage(
        name="Set a price", content=panel("New version", form), status=error_status(error)
    )


async def create(view: View) -> Shown:
    try:
        price = await view.api.call(
            costs.create_cost, body=form_body(_NEW, view.typed), headers=view.once_headers()
        )
    except (ValidationFailed, Conflict, NotFound) as error:
        return await new_page(view, error)
    at = f"/console/prices/{segment(price.price_id)}"
    losses = [each for each in price.replaces if each.takes_away]
    return _losses(at, losses) if losses else go_to(at)


def _losses(at: str, losses: Sequence[ReplacedView]) -> ConsolePage:
    """The warning of an override: terms of the earlier price that this one lacks."""
    columns = (Column("Price before"), Column("Of"), Column("What is lost"))
    rows: list[list[Node]] = [
        [
            mono(each.price_id),
            f"{each.source}, for {', '.join(each.providers)}",
            [div[f"{term_name(name)}: {term_text(value)}"]
             for name, value in each.takes_away.items()],
        ]
        for each in losses
    ]  # fmt: skip
    return ConsolePage(
        name="The price is set",
        notice="The new price lacks terms that the earlier one had. Calls that use them are now "
        "charged by the remaining terms.",
        content=panel(
            "Terms that it lacks",
            rows_table("Lost terms", columns, rows, empty=None),
            p["To keep them, set the price again and tick “Keep what I leave empty”."],
            p[link(at, "Go on to the price")],
        ),
    )


async def end(view: View) -> Shown:
    price_id = view.request.path_params["price_id"]
    await view.api.call(costs.end_cost, price_id=price_id)
    return go_to(f"/console/prices/{segment(price_id)}")


async def quote_page(
    view: View, error: AppError | None = None, answer: QuoteView | None = None
) -> Shown:
    form = form_of(
        "/console/prices/quote", view.session.csrf, _QUOTE, submit="What does it cost?",
        typed=view.typed, error=error,
    )  # fmt: skip
    return ConsolePage(
        name="What would it cost?",
        content=[None if answer is None else _quote_panel(answer), panel("Usage", form)],
        status=error_status(error),
    )


async def quote(view: View) -> Shown:
    body = form_body(_QUOTE, view.typed)
    try:
        body["usage"] = msgspec.Raw(body.get("usage", "{}").encode())
        msgspec.json.decode(body["usage"], type=dict[str, msgspec.Raw])
    except UNREADABLE as error:
        return await quote_page(
            view, InvalidRequest(f"It is not a JSON object: {error}", param="usage")
        )
    try:
        answer = await view.api.call(quotes.quote, body=body)
    except (ValidationFailed, NotFound, InvalidRequest) as error:
        return await quote_page(view, error)
    return await quote_page(view, answer=answer)


def _quote_panel(answer: QuoteView) -> Node:
    return panel(
        "It costs",
        p[usd(answer.cost_usd), f" by {answer.provider}/{answer.model}"],
        lines_table(answer.lines),
    )


PAGES: Mapping[str, Mapping[str, PageHandler]] = {
    "/console/prices": {"GET": list_page},
    "/console/new/price": form_for(costs.create_cost, new_page, create),
    "/console/prices/quote": {"GET": quote_page, "POST": quote},
    "/console/prices/{price_id:path}/end": {"POST": end},
    "/console/prices/{price_id:path}": {"GET": show_page},
}
