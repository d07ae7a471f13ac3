"""A line per posted call, for whom asks for it."""

from structlog.testing import capture_logs

from libs.common.schemas.usage import TokenUsage
from services.ledger_worker.call_log import log_calls
from tests.unit.builders import entry

CALL = "01a2278a-2cb4-794c-b783-170073f70ba4"


def test_a_call_is_a_line_with_what_it_cost() -> None:
    usage = TokenUsage(input_text=10, cache_read=4, output_text=3, reasoning=2)
    with capture_logs() as lines:
        log_calls([entry(CALL, cost_nusd=1_250_000_001, usage=usage, user_id="acme")])
    (line,) = lines
    assert line["event"] == "call.posted"
    assert line["call_id"] == CALL
    assert line["trace_id"] == CALL.replace("-", "")
    assert (line["user_id"], line["cost_usd"]) == ("acme", "1.250000001")
    assert (line["input_tokens"], line["output_tokens"]) == (14, 5)


def test_a_client_s_trace_is_named() -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    with capture_logs() as lines:
        log_calls([entry(CALL, traceparent=f"00-{trace}-00f067aa0ba902b7-01")])
    assert [line["trace_id"] for line in lines] == [trace]


def test_a_call_without_usage_and_a_correction() -> None:
    refused = entry(CALL, usage=None, cost_nusd=0, status="refused")
    credit = entry("credit", kind="credit", status="correction", usage=None, cost_nusd=-5)
    with capture_logs() as lines:
        log_calls([refused, credit])
    assert [(line["call_id"], line["input_tokens"]) for line in lines] == [(CALL, None)]
