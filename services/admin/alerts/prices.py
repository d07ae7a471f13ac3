"""Alerts of prices that were set, ended, imported or undone."""

import structlog

from libs.common.schemas.alert import Alert, PriceChanged
from libs.common.schemas.price import PriceImport, PriceVersion
from libs.common.storage.mongo.driver import PyMongoError
from services.admin.state import State

log = structlog.get_logger(__name__)


async def tell_price(state: State, version: PriceVersion, *, ended: bool = False) -> None:
    await _tell(
        state,
        f"{version.price_id}|{version.effective_until}",
        PriceChanged(
            change="ended" if ended else "set",
            price_id=version.price_id,
            import_id=None,
            model=version.model,
            provider=version.provider,
            versions=1,
            effective_from=version.effective_from,
            effective_until=version.effective_until,
            made_by=version.made_by,
        ),
    )


async def tell_import(
    state: State, origin: PriceVersion | PriceImport, versions: int, *, undone: bool = False
) -> None:
    """`origin` is the import, or one of its `versions`."""
    await _tell(
        state,
        f"{origin.import_id}|{undone}",
        PriceChanged(
            change="import_undone" if undone else "imported",
            price_id=None,
            import_id=origin.import_id,
            model=None,
            provider=None,
            versions=versions,
            effective_from=origin.effective_from,
            effective_until=None,
            made_by=origin.made_by,
        ),
    )


async def _tell(state: State, name: str, data: PriceChanged) -> None:
    """Called after the change, which stands even if the alert cannot be written."""
    alert = Alert(kind="price.changed", name=name, user_id=None, at=state["now"](), data=data)
    try:
        await state["outbox"].add([alert])
    except PyMongoError as error:
        log.error("alert.not_written", kind=alert.kind, name=name, error=error)
