"""The pages by path: a handler for each method."""

from collections.abc import Mapping

from services.admin.console.page import Handler
from services.admin.console.pages import accounts, overview

PAGES: Mapping[str, Mapping[str, Handler]] = {
    **overview.PAGES,
    **accounts.PAGES,
}
