"""Why an attempt failed: what the entry keeps, and what it leaves out."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from libs.common.errors import AppError, UpstreamFailed, UpstreamTimeout
from services.gateway.metrics import ATTEMPTS_FAILED
from services.gateway.upstream.answer import WholeAnswer
from services.gateway.upstream.failed_attempts import redacted
from tests.unit.gateway.test_dispatch import Stage, answer, target

OVERLOADED = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'


def count(cause: str) -> float:
    return float(ATTEMPTS_FAILED.labels("openai", cause)._value.get())


async def test_a_call_that_succeeds_at_last_keeps_why_it_did_not_at_first() -> None:
    stage = Stage()
    stage.script("a", answer(529, OVERLOADED))
    stage.script("b", UpstreamTimeout("The provider did not answer within 5 s."))
    before = count("status_5xx"), count(UpstreamTimeout.code)
    with capture_logs() as logs:
        await stage.call([target("a"), target("b"), target("c")])
    first, second = stage.failed
    assert (first.deployment, first.status, first.code, first.message) == (
        "a", 529, "overloaded_error", "Overloaded",
    )  # fmt: skip
    assert first.after_ms is not None
    assert second.after_ms is not None
    assert first.after_ms <= second.after_ms
    assert (second.deployment, second.status, second.code) == ("b", None, UpstreamTimeout.code)
    assert (count("status_5xx"), count(UpstreamTimeout.code)) == (before[0] + 1, before[1] + 1)
    events = [line for line in logs if line["event"] == "upstream.attempt_failed"]
    assert [(line["deployment"], line["cause"]) for line in events] == [
        ("a", "status_5xx"), ("b", UpstreamTimeout.code),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (307, "status_3xx"), (400, "request"), (401, "misconfigured"), (429, "status_429"),
        (451, "status_4xx"), (503, "status_5xx"),
    ],
)  # fmt: skip
async def test_a_failure_counts_under_what_its_status_says(status: int, cause: str) -> None:
    stage = Stage()
    stage.script("a", answer(status, OVERLOADED))
    before = count(cause)
    await stage.call([target("a"), target("b")])
    assert count(cause) == before + 1


async def test_a_call_that_succeeds_at_once_keeps_nothing() -> None:
    stage = Stage()
    await stage.call([target("a")])
    assert stage.failed == ()


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (
            b'{"error":{"message":"No","code":"model_not_found","type":"x"}}',
            "model_not_found",
            "No",
        ),
        (b'{"error":{"message":"No","code":404,"status":"NOT_FOUND"}}', "404", "No"),
        (b'{"error":"model is loading"}', "", "model is loading"),
        (b'{"message":"No","type":"BadRequestError","code":40}', "40", "No"),
        (b"<html>\n  502 Bad\tGateway", "", "<html> 502 Bad Gateway"),
        (b'{"error":[1]}', "", '{"error":[1]}'),
        (b"\xff\xfe", "", "\ufffd\ufffd"),
        (b"", "", ""),
    ],
)
async def test_words_are_found_wherever_providers_put_them(
    body: bytes, code: str, message: str
) -> None:
    stage = Stage()
    stage.script("a", answer(404, body))
    await stage.call([target("a")])
    (attempt,) = stage.failed
    assert (attempt.code, attempt.message) == (code, message)


async def test_an_answer_that_could_not_be_read_says_why() -> None:
    stage = Stage()
    error: AppError = UpstreamFailed("The provider's answer cannot be read.")
    error.__cause__ = msgspec.ValidationError("Expected `int`, got `str` - at `$.usage`")
    stage.script("a", error)
    await stage.refusal([target("a")], max_attempts=1)
    (attempt,) = stage.failed
    assert "Expected `int`, got `str` - at `$.usage`" in attempt.message


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        (
            "Incorrect API key provided: sk-proj-a1B2c3D4e5F6g7H8i9J0.",
            "Incorrect API key provided: ...",
        ),
        ("Bad header Bearer abcdefghij0123456789xyz here", "Bad header ... here"),
        (f"Invalid value: '{'the secret of the client ' * 3}'.", "Invalid value: '...'."),
        ("Rate limit reached for gpt-4.1-mini on tokens per min", None),
        ("The model `gpt-4.1-mini` does not exist", None),
    ],
)
def test_secrets_and_long_quotes_are_left_out(message: str, kept: str | None) -> None:
    assert redacted(message) == (message if kept is None else kept)


@given(st.text(max_size=2000))
def test_a_message_is_one_bounded_line(message: str) -> None:
    short = redacted(message)
    assert len(short) <= 300
    assert not any(character in short for character in "\n\r\t")


async def test_the_entry_keeps_a_bounded_number() -> None:
    stage = Stage()
    stage.script("a", WholeAnswer(status=500, headers=[], body=b"x" * 100_000))
    await stage.call([target("a")], max_attempts=10)
    assert len(stage.failed) == 10
    assert max(len(attempt.message) for attempt in stage.failed) <= 300
