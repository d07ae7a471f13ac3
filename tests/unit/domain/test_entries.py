"""An event becomes an entry by rule, or is unpostable; nothing in between."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.entries import (
    MAX_COUNT,
    MAX_ID_CHARS,
    MAX_TEXT_CHARS,
    Prices,
    Unpostable,
    accept,
    billed_models,
    entry_of,
)
from libs.common.domain.money import MAX_NUSD
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.price import PriceVersion, Rates
from libs.common.schemas.usage import ModelRun, TokenCounts, TokenUsage, UsageEvent

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
CALL_ID = "019b0000-0000-7000-8000-000000000001"
PRICE = PriceVersion(
    price_id="price-1",
    model="stand-in-1",
    effective_from=datetime(2026, 1, 1, tzinfo=UTC),
    rates=Rates(input=Decimal("3"), output=Decimal("15")),
    created_at=NOW,
)


def make_event(**changes: Any) -> UsageEvent:
    fields: dict[str, Any] = {
        "call_id": CALL_ID,
        "user_id": "alice",
        "key_id": "key-1",
        "started_at": NOW,
        "format": "messages",
        "requested_model": "stand-in-1",
        "provider": "anthropic",
        "model": "stand-in-1",
        "status": "ok",
        "http_status": 200,
        "usage": TokenUsage(input_text=1000, output_text=100),
        "usage_source": "provider",
    }
    return UsageEvent(**(fields | changes))


def accepted(event: UsageEvent) -> UsageEvent:
    result = accept(event, NOW)
    assert isinstance(result, UsageEvent)
    return result


def priced(price: PriceVersion | None = PRICE) -> Prices:
    return {} if price is None else {("anthropic", "stand-in-1"): price}


def posted(event: UsageEvent, price: PriceVersion | None = PRICE) -> LedgerEntry:
    entry = entry_of(accepted(event), priced(price), NOW)
    assert isinstance(entry, LedgerEntry)
    return entry


def test_an_entry_keeps_every_field_of_its_event() -> None:
    event = make_event(
        error_code="x", held_nusd=7, latency_ms=8, first_byte_ms=9, client_user="c", stream=True
    )
    entry = posted(event)
    for name in set(UsageEvent.__struct_fields__) - {"v", "call_id"}:
        assert getattr(entry, name) == getattr(event, name), name
    assert entry.entry_id == CALL_ID
    assert entry.cost_nusd == 4_500_000
    assert [line.item for line in entry.lines] == ["input_text", "output_text"]
    assert entry.price_id == "price-1"
    assert entry.periods == ("total", "2026-11", "2026-W48", "2026-11-24")
    assert entry.posted_at == NOW


@pytest.mark.parametrize("status", ["ok", "client_closed", "upstream_error"])
def test_usage_is_charged_whatever_the_outcome(status: str) -> None:
    entry = posted(make_event(status=status))
    assert (entry.status, entry.cost_nusd) == (status, 4_500_000)


@pytest.mark.parametrize("status", ["refused", "abandoned"])
def test_an_unserved_call_costs_nothing(status: str) -> None:
    event = make_event(status=status)
    assert billed_models(event) == []
    entry = posted(event)
    assert (entry.status, entry.cost_nusd, entry.lines, entry.price_id) == (status, 0, (), None)


def test_no_usage_costs_nothing_and_needs_no_price() -> None:
    event = make_event(usage=None)
    assert billed_models(event) == []
    for price in (PRICE, None):
        entry = posted(event, price)
        assert (entry.status, entry.cost_nusd, entry.price_id) == ("ok", 0, None)


def test_usage_without_a_price_is_unpriced() -> None:
    entry = posted(make_event(), None)
    assert (entry.status, entry.cost_nusd, entry.price_id) == ("unpriced", 0, None)
    assert [
        (line.item, line.quantity, int(line.amount), line.unpriced) for line in entry.lines
    ] == [
        ("input_text", 1000, 0, True),
        ("output_text", 100, 0, True),
    ]


@pytest.mark.parametrize("missing", ["provider", "model"])
def test_usage_of_no_model_is_unpriced(missing: str) -> None:
    event = make_event(**{missing: None})
    assert billed_models(event) == []
    assert posted(event, None).status == "unpriced"


def test_an_entry_pins_its_multipliers() -> None:
    price = msgspec.structs.replace(PRICE, multiplier=Decimal("1.10"))
    entry = posted(make_event(account_multiplier=Decimal("0.5")), price)
    assert (entry.multiplier, entry.account_multiplier) == (Decimal("0.55"), Decimal("0.5"))
    assert entry.cost_nusd == 4_500_000 * Decimal("0.55")
    assert sum(line.amount for line in entry.lines) == Decimal("0.0045")
    # Without a price it is kept for the day on which there is one.
    unpriced = posted(make_event(account_multiplier=Decimal("0.5")), None)
    assert (unpriced.multiplier, unpriced.account_multiplier) == (Decimal(1), Decimal("0.5"))


def test_a_price_of_zero_is_a_price() -> None:
    free = PriceVersion(
        price_id="free",
        model="stand-in-1",
        effective_from=NOW,
        rates=Rates(input=Decimal(0), output=Decimal(0)),
        created_at=NOW,
    )
    entry = posted(make_event(), free)
    assert (entry.status, entry.cost_nusd, entry.price_id) == ("ok", 0, "free")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"v": 3}, "version 3 is unknown"),
        ({"call_id": ""}, "call_id"),
        ({"call_id": "not-a-uuid"}, "call_id"),
        ({"call_id": CALL_ID.upper()}, "call_id"),
        ({"call_id": CALL_ID.replace("-", "")}, "call_id"),
        ({"call_id": f"{CALL_ID}\n"}, "call_id"),
        ({"call_id": "{" + CALL_ID + "}"}, "call_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": "u" * (MAX_ID_CHARS + 1)}, "user_id"),
        ({"key_id": ""}, "key_id"),
        ({"provider": "p" * (MAX_ID_CHARS + 1)}, "provider"),
        ({"model": ""}, "model"),
        ({"started_at": NOW.replace(tzinfo=None)}, "time zone"),
        (
            {"started_at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))},
            "started_at is out of range",
        ),
        ({"http_status": 2**63}, "http_status"),
        ({"latency_ms": 2**63}, "latency_ms"),
        ({"first_byte_ms": -(2**60)}, "first_byte_ms"),
        ({"account_multiplier": Decimal(-1)}, "account_multiplier must be between"),
        ({"account_multiplier": Decimal(1001)}, "account_multiplier must be between"),
        ({"account_multiplier": Decimal("NaN")}, "account_multiplier must be a finite"),
        ({"account_multiplier": Decimal("1e-7")}, "account_multiplier must have"),
        ({"held_nusd": -1}, "held_nusd"),
        ({"held_nusd": MAX_NUSD + 1}, "held_nusd"),
        ({"usage": TokenUsage(input_text=-1)}, "usage.input_text"),
        ({"usage": TokenUsage(output_image=MAX_COUNT + 1)}, "usage.output_image"),
        ({"usage": TokenUsage(web_searches=-1)}, "usage.web_searches"),
        ({"usage": TokenUsage(service_tier="t" * (MAX_ID_CHARS + 1))}, "usage.service_tier"),
        ({"usage": TokenUsage(speed="s" * (MAX_ID_CHARS + 1))}, "usage.speed"),
        ({"usage": TokenUsage(inference_geo="g" * (MAX_ID_CHARS + 1))}, "usage.inference_geo"),
    ],
)
def test_an_event_that_breaks_the_contract_is_unpostable(
    changes: dict[str, Any], reason: str
) -> None:
    result = accept(make_event(**changes), NOW)
    assert isinstance(result, Unpostable)
    assert reason in result.reason


def test_a_cost_that_overflows_the_sums_is_unpostable() -> None:
    result = entry_of(accepted(make_event(usage=TokenUsage(input_text=MAX_COUNT))), priced(), NOW)
    assert isinstance(result, Unpostable)
    assert "out of range" in result.reason


def test_a_price_that_would_have_to_be_rounded_is_unpostable() -> None:
    endless = PriceVersion(
        price_id="endless",
        model="stand-in-1",
        effective_from=NOW,
        rates=Rates(input=Decimal("1." + "1" * 90), output=Decimal(0)),
        created_at=NOW,
    )
    result = entry_of(accepted(make_event()), priced(endless), NOW)
    assert result == Unpostable("price endless cannot be applied exactly")


def test_times_are_kept_as_whole_milliseconds_of_utc() -> None:
    local = NOW.astimezone(timezone(timedelta(hours=2))) + timedelta(microseconds=1999)
    event = accepted(make_event(started_at=local))
    assert event.started_at == NOW + timedelta(milliseconds=1)
    assert event.started_at.tzinfo is UTC
    entry = entry_of(event, priced(), NOW + timedelta(microseconds=2999))
    assert isinstance(entry, LedgerEntry)
    assert entry.posted_at == NOW + timedelta(milliseconds=2)


@pytest.mark.parametrize(
    ("ahead", "kept"),
    [
        (timedelta(0), timedelta(0)),
        (timedelta(hours=1), timedelta(hours=1)),
        (timedelta(hours=1, milliseconds=1), timedelta(0)),
        (timedelta(days=10_000), timedelta(0)),
        (timedelta(days=-10_000), timedelta(days=-10_000)),
    ],
)
def test_a_time_far_ahead_is_clamped(ahead: timedelta, kept: timedelta) -> None:
    assert accepted(make_event(started_at=NOW + ahead)).started_at == NOW + kept


@pytest.mark.parametrize(
    "name", ["requested_model", "error_code", "provider_request_id", "client_user"]
)
def test_long_texts_are_cut(name: str) -> None:
    event = accepted(make_event(**{name: "x" * 30_000_000}))
    text = getattr(event, name)
    assert len(text) == MAX_TEXT_CHARS
    assert text.endswith("…")
    whole = "x" * MAX_TEXT_CHARS
    assert getattr(accepted(make_event(**{name: whole})), name) == whole


_whole = st.integers(min_value=-(2**70), max_value=2**70)
_counts = st.none() | st.integers(0, 2**40) | _whole
_classes: dict[str, Any] = dict.fromkeys(TokenCounts.__struct_fields__, _counts)
_usages = st.builds(
    TokenUsage,
    **_classes,
    web_searches=_counts,
    tool_uses=st.dictionaries(st.text(max_size=3), _whole, max_size=2),
    runs=st.lists(st.builds(ModelRun, role=st.just("other"), **_classes), max_size=2).map(tuple),
    provider_cost_usd=st.none() | st.decimals(),
)
_events = st.builds(
    make_event,
    call_id=st.uuids().map(str) | st.text(max_size=40),
    started_at=st.datetimes() | st.datetimes(timezones=st.just(UTC)),
    http_status=_whole,
    held_nusd=_whole | st.integers(0, 10),
    model=st.none() | st.text(max_size=5),
    usage=st.none() | _usages,
)


@given(_events)
def test_any_event_is_either_posted_within_bounds_or_unpostable(event: UsageEvent) -> None:
    result = accept(event, NOW)
    if isinstance(result, Unpostable):
        assert result.reason
        return
    assert accept(result, NOW) == result
    for price in (PRICE, None):
        entry = entry_of(result, priced(price), NOW)
        if isinstance(entry, LedgerEntry):
            assert 0 <= entry.cost_nusd <= MAX_NUSD
            assert len(entry.periods) == 4
            assert (entry.price_id is None) <= (entry.cost_nusd == 0)
