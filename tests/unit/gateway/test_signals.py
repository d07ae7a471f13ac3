"""Statuses and headers by which clients retry, wait or stop."""

import pytest

from libs.common.errors import QuotaExhausted, Unavailable, UpstreamRefused
from libs.common.schemas.usage import ClientFormat
from services.gateway.calls.headers import Header
from services.gateway.formats import FORMATS
from services.gateway.upstream.answer import WholeAnswer
from services.gateway.upstream.signals import error_with_signals, with_signals

NOW_S = 1_764_000_000.0
STOP: Header = (b"x-should-retry", b"false")


def answer(
    status: int, *headers: Header, body: bytes = b'{"error":{"message":"m"}}'
) -> WholeAnswer:
    return WholeAnswer(status=status, headers=list(headers), body=body)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        # Without a time, some clients stop at once.
        ([], [(b"retry-after", b"5")]),
        ([(b"retry-after", b"3")], [(b"retry-after", b"3")]),
        ([(b"retry-after", b"0.2")], [(b"retry-after", b"1")]),
        ([(b"retry-after-ms", b"1500")], [(b"retry-after", b"2")]),
        ([(b"retry-after", b"60")], [(b"retry-after", b"60")]),
        # Of hours, some would wait.
        ([(b"retry-after", b"61")], [STOP]),
        (
            [(b"retry-after", b"soon"), (b"x-kept", b"1")],
            [(b"x-kept", b"1"), (b"retry-after", b"5")],
        ),
    ],
)
@pytest.mark.parametrize("client_format", ["chat", "responses", "messages"])
def test_a_provider_can_ask_for_a_wait(
    client_format: ClientFormat, given: list[Header], told: list[Header]
) -> None:
    assert with_signals(answer(429, *given), FORMATS[client_format], NOW_S) == answer(429, *told)


@pytest.mark.parametrize("client_format", ["chat", "responses", "messages"])
def test_no_time_cures_an_exhausted_quota(client_format: ClientFormat) -> None:
    body = b'{"error":{"code":"insufficient_quota","message":"m"}}'
    signalled_answer = with_signals(
        answer(429, (b"retry-after", b"1"), body=body), FORMATS[client_format], NOW_S
    )
    assert signalled_answer == answer(429, STOP, body=body)


@pytest.mark.parametrize("client_format", ["chat", "responses", "embeddings"])
def test_openai_s_clients_know_no_402(client_format: ClientFormat) -> None:
    with pytest.raises(QuotaExhausted, match=r"^m$"):
        with_signals(answer(402), FORMATS[client_format], NOW_S)


def test_anthropics_clients_get_the_header_to_stop() -> None:
    assert with_signals(answer(402), FORMATS["messages"], NOW_S) == answer(402, STOP)


@pytest.mark.parametrize("status", [413, 422])
def test_openais_clients_repeat_a_prompt_over_some_statuses(status: int) -> None:
    assert with_signals(answer(status), FORMATS["responses"], NOW_S) == answer(400)
    assert with_signals(answer(status), FORMATS["messages"], NOW_S) == answer(status)


@pytest.mark.parametrize("status", [200, 400, 404, 500, 529])
def test_other_answers_pass_as_they_are(status: int) -> None:
    original = answer(status, (b"retry-after", b"900"))
    assert with_signals(original, FORMATS["chat"], NOW_S) is original


def refusal(status: int, retry_after_s: int | None) -> UpstreamRefused:
    return UpstreamRefused("m", status=status, code=None, retry_after_s=retry_after_s)


@pytest.mark.parametrize(
    ("status", "asked_s", "told_s", "should_retry"),
    [(429, None, 5, None), (429, 7, 7, None), (429, 61, None, False), (500, None, None, None)],
)
def test_the_same_holds_for_translated_errors(
    status: int, asked_s: int | None, told_s: int | None, should_retry: bool | None
) -> None:
    error = error_with_signals(refusal(status, asked_s), FORMATS["chat"])
    assert (error.retry_after_s, error.should_retry) == (told_s, should_retry)


def test_an_exhausted_quota_and_the_gateway_s_own_errors_stay_as_they_are() -> None:
    quota = error_with_signals(QuotaExhausted("m"), FORMATS["chat"])
    assert (quota.retry_after_s, quota.should_retry) == (None, False)
    away = Unavailable("m")
    assert error_with_signals(away, FORMATS["chat"]) is away


@pytest.mark.parametrize("status", [413, 422])
def test_a_translated_413_stops_retries(status: int) -> None:
    assert error_with_signals(refusal(status, None), FORMATS["chat"]).status == 400
    assert error_with_signals(refusal(status, None), FORMATS["messages"]).status == status


def test_a_translated_402_is_an_exhausted_quota() -> None:
    error = error_with_signals(refusal(402, None), FORMATS["chat"])
    assert isinstance(error, QuotaExhausted)
    assert error.message == refusal(402, None).message
    assert error_with_signals(refusal(402, None), FORMATS["messages"]).status == 402
