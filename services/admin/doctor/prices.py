"""Prices: whether there are any, and how old they are."""

from datetime import datetime, timedelta

from libs.common.schemas.price import PriceImport
from services.admin.doctor.findings import Area, Finding

AREA = Area("prices")
_OLD = timedelta(days=90)


def price_findings(
    rows: int, changed_at: datetime | None, last: PriceImport | None, now: datetime
) -> list[Finding]:
    """`rows` are the bundled map's, `changed_at` is its file's time, `last` the newest import."""
    mend = "update the services, whose release brings the map, or gatewayctl costs import FILE"
    if not rows:
        bundled = AREA.warn(
            "bundled map", "there is none: models need prices of their own", "set PRICE_MAP_PATH"
        )
    else:
        bundled = _aged("bundled map", f"{rows:,} models", changed_at, now, mend)
    if last is None:
        return [bundled, AREA.ok("imports", "none: the bundled map applies as it is")]
    return [bundled, _aged("imports", f"{last.versions:,} prices", last.created_at, now, mend)]


def _aged(check: str, what: str, at: datetime | None, now: datetime, mend: str) -> Finding:
    if at is None:
        return AREA.unknown(check, f"{what}, of an unknown age")
    text = f"{what}, {max(0, (now - at).days)} days old"
    return AREA.warn(check, text, mend) if now - at > _OLD else AREA.ok(check, text)
