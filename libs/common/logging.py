"""Structured logs on stdout: JSON for machines, or a console format for people."""

import logging
import sys
from typing import Literal

import structlog

LogFormat = Literal["json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]
_MAX_WORDS = 300
# Before this, redis-py quotes the whole command: payloads that belong into no log.
_AFTER_THE_COMMAND = " of pipeline caused error: "


def words_of(error: BaseException) -> str:
    """What an error says, without what it was given and never at length."""
    words = str(error)
    if _AFTER_THE_COMMAND in words:
        words = words.rpartition(_AFTER_THE_COMMAND)[2]
    return words if len(words) <= _MAX_WORDS else words[:_MAX_WORDS] + "…"


def configure_logging(service: str, level: LogLevel, log_format: LogFormat) -> None:
    """Routes structlog and the standard library's loggers through one handler."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if log_format == "json"
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(),
                # The default one shows local variables, and with them secrets.
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # One line per request or per job would say again what the ledger already says.
    for chatty in ("arq", "uvicorn.access", "httpx", "LiteLLM"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(service=service)
