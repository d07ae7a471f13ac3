"""`/admin/settings`: this service's settings. Of secrets it shows only that they are set."""

from typing import Any

import msgspec
from msgspec import NODEFAULT
from starlette.requests import Request

from libs.common.settings import Secret
from services.admin.endpoints import Answer
from services.admin.settings import Settings
from services.admin.state import State

_MASK = "(a secret, set)"


class SettingView(msgspec.Struct, frozen=True, kw_only=True):
    """`value` as the variable would have it; null where it is unset."""

    name: str
    value: str | None
    is_default: bool


class SettingsView(msgspec.Struct, frozen=True, kw_only=True):
    data: tuple[SettingView, ...]


def settings_view(settings: Settings) -> SettingsView:
    rows = [
        SettingView(
            name=field.name.upper(),
            value=_shown_value(getattr(settings, field.name)),
            is_default=field.default is not NODEFAULT
            and getattr(settings, field.name) == field.default,
        )
        for field in msgspec.structs.fields(settings)
    ]
    return SettingsView(data=tuple(rows))


def _shown_value(value: Any) -> str | None:
    if isinstance(value, Secret):
        return _MASK
    return None if value is None else str(value)


async def show_settings(request: Request[State]) -> Answer[SettingsView]:
    return Answer(settings_view(request.state["settings"]))
