"""What of an error goes into a log, and how events are named."""

import ast
import contextlib
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from libs.common.logging import configure_logging, describe_error
from libs.common.storage.redis.client import open_redis
from tests.unit.log_calls import log_calls, table, written_table

ROOT = Path(__file__).parents[2]
SECRET = "what was said"


def test_an_error_is_described_by_its_type_and_message() -> None:
    assert describe_error(RedisConnectionError("Connection refused.")) == (
        "ConnectionError: Connection refused."
    )
    assert describe_error(ValueError()) == "ValueError"


def test_a_description_is_bounded() -> None:
    assert len(describe_error(ValueError("x" * 10_000))) == len("x" * 300 + "…")


async def test_a_pipelines_error_does_not_show_the_command() -> None:
    """As redis-py says it, however long the command was."""
    error = ResponseError("OOM command not allowed")
    async with open_redis("redis://localhost") as redis:
        redis.pipeline().annotate_exception(error, 2, [b"SET", b"name", b"of pipeline " * 10_000])
    assert "Command # 2 (SET name" in str(error)
    assert describe_error(error) == "ResponseError: ('OOM command not allowed',)"


@pytest.mark.parametrize(
    ("error", "description"),
    [
        (
            ResponseError(f"Command # 1 (SET a of pipeline caused error: {SECRET}\n) of pipeline "
            "caused error: OOM"),
            "ResponseError: OOM",
        ),
        (
            ResponseError(f"unknown command 'X', with args beginning with: '{SECRET}'"),
            "ResponseError: unknown command 'X'",
        ),
        (
            OperationFailure(f"not authorized on db to execute command {{ insert: '{SECRET}' }}"),
            "OperationFailure: not authorized on db to execute command",
        ),
        (
            OperationFailure("Document failed validation", 121, {"errInfo": SECRET}),
            "OperationFailure: Document failed validation",
        ),
        (
            BulkWriteError({"writeErrors": [{"op": {"text": SECRET}}]}),
            "BulkWriteError: batch op errors occurred",
        ),
        (
            DuplicateKeyError(f"E11000 duplicate key error dup key: {{ _id: '{SECRET}' }}"),
            "DuplicateKeyError: E11000 duplicate key error dup key",
        ),
    ],
)  # fmt: skip
def test_a_description_leaves_out_what_the_error_quotes(error: Exception, description: str) -> None:
    assert describe_error(error) == description


class LogCapture:
    def __init__(self) -> None:
        self.out = io.StringIO()

    def line(self) -> dict[str, object]:
        [line] = self.out.getvalue().splitlines()
        fields: dict[str, object] = json.loads(line)
        return fields


@pytest.fixture
def capture() -> Iterator[LogCapture]:
    captured = LogCapture()
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    with contextlib.redirect_stdout(captured.out):
        configure_logging("gateway", "debug", "json")
    yield captured
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_an_error_in_any_field_is_described(capture: LogCapture) -> None:
    error = OperationFailure("refused", 1, {"document": SECRET})
    structlog.get_logger("tests").error("mongo.failed", error=error, other=error)
    line = capture.line()
    assert line["error"] == line["other"] == "OperationFailure: refused"
    assert (line["event"], line["logger"], line["service"]) == ("mongo.failed", "tests", "gateway")


def test_a_traceback_describes_every_error_of_the_chain(capture: LogCapture) -> None:
    cause = OperationFailure("refused", 1, {"document": SECRET})
    in_group = OperationFailure("again", 1, {"document": SECRET})
    try:
        raise ExceptionGroup("tasks", [in_group]) from cause
    except ExceptionGroup:
        structlog.get_logger("tests").exception("call.crashed")
    text = str(capture.line()["exception"])
    assert SECRET not in text
    assert [line for line in text.splitlines() if line[:1].isalpha()] == [
        "Traceback (most recent call last):",
        "OperationFailure: again",
        "Traceback (most recent call last):",
        "OperationFailure: refused",
        "Traceback (most recent call last):",
        "ExceptionGroup: tasks (1 sub-exception)",
    ]
    assert "test_logging.py" in text


def test_a_circular_chain_ends(capture: LogCapture) -> None:
    error = ValueError("one")
    error.__cause__ = KeyError("two")
    error.__cause__.__cause__ = error
    structlog.get_logger("tests").error("call.crashed", exc_info=error)
    assert str(capture.line()["exception"]).count("Traceback") == 2


def test_an_error_that_a_library_formats_is_described(capture: LogCapture) -> None:
    error = OperationFailure("refused", 1, {"document": SECRET})
    logging.getLogger("arq.worker").warning("job failed: %s", error)
    assert capture.line()["event"] == "job failed: OperationFailure: refused"


@pytest.mark.usefixtures("capture")
def test_pymongo_does_not_log_commands() -> None:
    assert not logging.getLogger("pymongo.command").isEnabledFor(logging.DEBUG)


def test_a_module_without_structlog_gives_fields_too(capture: LogCapture) -> None:
    logging.getLogger("tests").warning("redis.master_changed", extra={"address": "host:1"})
    line = capture.line()
    assert (line["event"], line["address"]) == ("redis.master_changed", "host:1")


def _faults(call: ast.Call) -> Iterator[str]:
    """An event is a literal `noun.verb`, and no field is an error that is made a text here."""
    if isinstance(call.func, ast.Attribute) and call.func.attr == "get_logger":
        if ast.unparse(call) != "structlog.get_logger(__name__)":
            yield "structlog.get_logger(__name__) names a logger by its module"
        return
    match call.args:
        case [ast.Constant(value=str(event))]:
            if re.fullmatch(r"[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*", event) is None:
                yield f"{event!r} is not noun.verb"
        case _:
            yield "the event is a literal and the only argument by position"
    for field in call.keywords:
        source = ast.unparse(field.value)
        if isinstance(field.value, ast.JoinedStr) or re.match(r"(str|repr|describe)\(err", source):
            yield f"{field.arg}={source} formats an error; pass the error"


def test_the_docs_have_every_event() -> None:
    """`python -m tests.unit.log_calls` writes the table anew."""
    assert written_table() == table()


def test_log_calls_speak_one_dialect() -> None:
    calls = log_calls()
    assert len(calls) > 80
    assert [f"{place}: {fault}" for place, call in calls for fault in _faults(call)] == []


@pytest.mark.parametrize(
    "line",
    [
        'log.info("put off")',
        "log.info(EVENT)",
        'log.info("chore.%s", name)',
        'log.info("chore.failed", error=str(error))',
        'log.info("chore.failed", error=f"{error}")',
        'log.info("chore.failed", error=str(error)[:300])',
        'structlog.get_logger("name")',
    ],
)
def test_another_dialect_is_found(line: str) -> None:
    [node] = ast.parse(line).body
    assert isinstance(node, ast.Expr)
    assert isinstance(node.value, ast.Call)
    assert list(_faults(node.value))


def test_every_logger_has_the_one_name() -> None:
    for folder in ("libs", "services"):
        for path in (ROOT / folder).rglob("*.py"):
            for name in re.findall(
                r"^(\w+) = .*\bget_?[lL]ogger\(", path.read_text(), re.MULTILINE
            ):
                assert name == "log", path
