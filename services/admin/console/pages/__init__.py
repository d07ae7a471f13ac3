"""The pages by path: a handler for each method."""

from collections.abc import Mapping

from services.admin.console.page import Handler
from services.admin.console.pages import (
    accounts,
    alerts,
    audit,
    calls,
    keys,
    ledger,
    models,
    overview,
    people,
    prices,
    settings,
)

PAGES: Mapping[str, Mapping[str, Handler]] = {
    **overview.PAGES,
    **accounts.PAGES,
    **keys.PAGES,
    **calls.PAGES,
    **prices.PAGES,
    **models.PAGES,
    **ledger.PAGES,
    **audit.PAGES,
    **alerts.PAGES,
    **people.PAGES,
    **settings.PAGES,
}
