"""Structured logs on stdout: JSON for machines, or a console format for people.

An event is named `noun.verb`, as `spool.drained`; what varies goes into fields. Pass an error as it
is, `log.warning("queue.unavailable", error=error)`: `describe_error` alone prints errors.
"""

import logging
import re
import sys
import traceback
from typing import Literal

from libs.common.hidden_packages import hidden

with hidden("rich"):
    import structlog

LogFormat = Literal["json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]
_MAX_DESCRIPTION = 300
_MAX_CHAIN = 8
_TRACEBACK = "Traceback (most recent call last):\n"
# Fields of records that modules without structlog write.
_EXTRA_FIELDS = ("address", "cause")
# redis-py quotes the whole command before this.
_QUOTED_COMMAND = re.compile(r"Command # .* of pipeline caused error: ", re.DOTALL)
# Redis quotes arguments after "with args", and MongoDB a command or a document in braces.
_QUOTED_REST = re.compile(r",? with args beginning with.*|,? full error: .*|\{.*", re.DOTALL)


def describe_error(error: BaseException) -> str:
    """An error's type and message, bounded, without the command or document that it quotes."""
    message = _QUOTED_REST.sub("", _QUOTED_COMMAND.sub("", str(error))).strip(" :,")
    name = type(error).__name__
    described = f"{name}: {message}" if message else name
    if len(described) > _MAX_DESCRIPTION:
        return described[:_MAX_DESCRIPTION] + "…"
    return described


def describe_with_traceback(error: BaseException) -> str:
    """As Python prints a traceback, but each error by `describe_error`; causes come first."""
    chain: list[BaseException] = []
    pending = [error]
    while pending and len(chain) < _MAX_CHAIN:
        each = pending.pop()
        if each in chain:
            continue
        chain.append(each)
        if isinstance(each, BaseExceptionGroup):
            pending.extend(each.exceptions)
        cause = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
        if cause is not None:
            pending.append(cause)
    return "\n\n".join(
        f"{_TRACEBACK}{''.join(traceback.format_tb(each.__traceback__))}{describe_error(each)}"
        for each in reversed(chain)
    )


def _describe_errors(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    for name, value in event.items():
        if isinstance(value, BaseException) and name != "exc_info":
            event[name] = describe_error(value)
    return event


def _render_exc_info(exc_info: structlog.typing.ExcInfo) -> str:
    return describe_with_traceback(exc_info[1])


def _describe_arguments(record: logging.LogRecord) -> bool:
    """For libraries, as arq, that format an error into their message."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            describe_error(value) if isinstance(value, BaseException) else value
            for value in record.args
        )
    return True


def configure_logging(service: str, level: LogLevel, log_format: LogFormat) -> None:
    """Routes structlog and the standard library's loggers through one handler."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.stdlib.ExtraAdder(allow=_EXTRA_FIELDS),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stdout.isatty(),
            # Any other one warns of exceptions that are formatted before.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(_describe_arguments)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _describe_errors,
                structlog.processors.ExceptionRenderer(_render_exc_info),
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # One line per request or per job repeats the ledger, and pymongo's hold commands.
    for chatty in ("arq", "uvicorn.access", "httpx", "LiteLLM", "pymongo"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(service=service)
