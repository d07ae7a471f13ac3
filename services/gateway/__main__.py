"""`python -m services.gateway`: settings from the environment, then uvicorn until SIGTERM."""

import os
import sys

from libs.common.logging import configure_logging
from libs.common.settings import SettingsError, load_or_exit
from libs.common.web.server import serve
from services.gateway.app import create_app
from services.gateway.refusals import refuse
from services.gateway.settings import Settings
from services.gateway.startup import check_start


def main() -> None:
    settings = load_or_exit(Settings, os.environ)
    configure_logging("gateway", settings.log_level, settings.log_format)
    try:
        check_start(settings)
    except SettingsError as error:
        sys.exit(f"services.gateway: {error}")
    serve(
        create_app(settings),
        refuse=refuse,
        host=settings.gateway_host,
        port=settings.gateway_port,
        grace_s=settings.shutdown_grace_s,
        send_timeout_s=settings.send_timeout_s,
    )


if __name__ == "__main__":
    main()
