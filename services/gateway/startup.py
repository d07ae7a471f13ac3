"""What is checked before the gateway listens, so that a wrong start is one line."""

from pathlib import Path

from libs.common.settings import SettingsError
from libs.common.storage.price_map import open_price_map
from services.gateway.settings import Settings
from services.gateway.spool import Spool


def check_start(settings: Settings) -> None:
    """Raises SettingsError. Databases and providers may be away: calls cope with that."""
    open_price_map(settings.price_map_path)
    spool = Spool(Path(settings.spool_dir), max_bytes=settings.spool_max_bytes)
    try:
        spool.open()
    except OSError as error:
        raise SettingsError(f"SPOOL_DIR cannot be written: {error}") from None
    spool.close()
