"""The pages by path: a handler for each method."""

from collections.abc import Mapping

from services.admin.console.page import PageHandler
from services.admin.console.pages import (
    account_forms,
    accounts,
    alerts,
    audit,
    budgets,
    calls,
    corrections,
    key_forms,
    keys,
    ledger,
    models,
    overview,
    people,
    price_imports,
    prices,
    receivers,
    route_forms,
    settings,
    statements,
)

PAGES: Mapping[str, Mapping[str, PageHandler]] = {
    **overview.PAGES,
    **budgets.PAGES,
    **accounts.PAGES,
    **account_forms.PAGES,
    **statements.PAGES,
    **keys.PAGES,
    **key_forms.PAGES,
    **calls.PAGES,
    **corrections.PAGES,
    # Before the prices, whose ids may be anything.
    **price_imports.PAGES,
    **prices.PAGES,
    **models.PAGES,
    **route_forms.PAGES,
    **ledger.PAGES,
    **audit.PAGES,
    **alerts.PAGES,
    **receivers.PAGES,
    **people.PAGES,
    **settings.PAGES,
}
