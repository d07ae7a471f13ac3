"""The overview."""

from collections.abc import Mapping

from htpy import p

from services.admin.console.elements import panel
from services.admin.console.page import Handler, Page, Shown, View


async def show_page(view: View) -> Shown:
    return Page(name="Overview", content=panel("Overview", p["…"]))


PAGES: Mapping[str, Mapping[str, Handler]] = {"/console": {"GET": show_page}}
