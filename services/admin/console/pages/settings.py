"""The admin service's settings, read-only."""

from collections.abc import Mapping

from htpy import code, p

from services.admin import shown_settings
from services.admin.console.elements import NOTHING, Column, panel, rows_table
from services.admin.console.page import ConsolePage, PageHandler, Shown, View


async def show_page(view: View) -> Shown:
    settings = await view.api.call(shown_settings.show_settings)
    columns = (Column("Variable"), Column("Value"), Column("From"))
    rows = [
        [
            code[each.name],
            code[each.value] if each.value else NOTHING,
            "the default" if each.is_default else "the environment",
        ]
        for each in settings.data
    ]
    return ConsolePage(
        name="Settings",
        content=panel(
            "Admin service",
            p["They are read from the environment at the start; change them there and restart."],
            rows_table("Settings", columns, rows, empty=None),
        ),
    )


PAGES: Mapping[str, Mapping[str, PageHandler]] = {"/console/settings": {"GET": show_page}}
