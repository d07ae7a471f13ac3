"""Corrections: what each of them shares with its original, and what makes it one and the same."""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.corrections import (
    correction_entry,
    derived_id,
    late_event,
    net_nusd,
    one_of_each,
    priced_models,
    reprice_entry,
)
from libs.common.domain.entries import Unpostable
from libs.common.schemas.correction import CorrectionOrder
from libs.common.schemas.entry import Cost, CostLine, LedgerEntry
from libs.common.schemas.usage import TokenUsage
from tests.unit.builders import NOW, entry

CALL = "01a20cdc-235b-7e89-a9bf-74c5bd07aff3"
USAGE = TokenUsage(input_text=10)
ORIGINAL = entry(CALL, usage=USAGE, cost_nusd=1_000, latency_ms=5, held_nusd=7)


def order(**fields: object) -> CorrectionOrder:
    defaults = {
        "entry_id": "correction-1",
        "user_id": "acme",
        "kind": "refund",
        "cost_nusd": -400,
        "corrects": CALL,
        "reason": "too slow",
        "made_by": "jo",
        "at": NOW,
    }
    return msgspec.convert(defaults | fields, CorrectionOrder)


def corrected(original: LedgerEntry | None, **fields: object) -> LedgerEntry | Unpostable:
    return correction_entry(
        order(**fields), original, periods=("total", "now"), time_zone="UTC", posted_at=NOW
    )


@given(st.uuids(), st.text(), st.text())
def test_a_derived_id_is_deterministic_and_keeps_its_time(
    id_: UUID, purpose: str, other: str
) -> None:
    derived = derived_id(str(id_), purpose)
    assert derived == derived_id(str(id_), purpose)
    assert derived[:13] == str(id_)[:13]
    assert derived != str(id_)
    assert (derived == derived_id(str(id_), other)) == (purpose == other)


def test_a_correction_keeps_its_originals_fields_but_not_its_tokens() -> None:
    refund = corrected(ORIGINAL)
    assert isinstance(refund, LedgerEntry)
    assert (refund.kind, refund.corrects, refund.cost_nusd) == ("refund", CALL, -400)
    assert (refund.periods, refund.started_at) == (ORIGINAL.periods, ORIGINAL.started_at)
    assert (refund.key_id, refund.model) == (ORIGINAL.key_id, ORIGINAL.model)
    assert (refund.usage, refund.latency_ms, refund.held_nusd) == (None, None, 0)
    assert (refund.status, refund.price_id, refund.lines) == ("correction", None, ())


def test_a_credit_counts_in_its_own_periods() -> None:
    credit = corrected(None, kind="credit", corrects=None)
    assert isinstance(credit, LedgerEntry)
    assert (credit.periods, credit.corrects, credit.key_id) == (("total", "now"), None, "")


@pytest.mark.parametrize(
    ("original", "fields"),
    [
        (None, {}),
        (ORIGINAL, {"user_id": "other"}),
        (ORIGINAL, {"cost_nusd": 0}),
        (ORIGINAL, {"cost_nusd": 2**53}),
    ],
)
def test_an_invalid_order_is_unpostable(
    original: LedgerEntry | None, fields: dict[str, object]
) -> None:
    assert isinstance(corrected(original, **fields), Unpostable)


def test_the_event_of_an_abandoned_call_becomes_a_correction() -> None:
    given_up = entry(CALL, status="abandoned", periods=("total", "then"))
    late = late_event(ORIGINAL, given_up)
    assert late is not None
    assert (late.kind, late.corrects, late.status) == ("late_event", CALL, "ok")
    assert (late.usage, late.cost_nusd) == (USAGE, 1_000)
    assert late.periods == given_up.periods


@pytest.mark.parametrize(
    ("came", "posted"),
    [
        (ORIGINAL, ORIGINAL),
        (entry(CALL, status="abandoned"), entry(CALL, status="abandoned")),
        (entry(CALL, status="abandoned"), ORIGINAL),
        (ORIGINAL, entry(CALL, status="abandoned", user_id="other")),
        (entry(CALL, kind="refund"), entry(CALL, status="abandoned")),
    ],
)
def test_a_repeated_event_changes_nothing(came: LedgerEntry, posted: LedgerEntry) -> None:
    assert late_event(came, posted) is None


def test_of_several_entries_the_first_not_abandoned_counts() -> None:
    given_up = entry(CALL, status="abandoned")
    again = entry(CALL, cost_nusd=5)
    for rows in ([given_up, ORIGINAL, again], [ORIGINAL, given_up, again]):
        assert one_of_each(rows) == {CALL: ORIGINAL}
    assert one_of_each([given_up, given_up]) == {CALL: given_up}


def repriced(corrections: list[LedgerEntry], nusd: int, price_id: str = "p") -> LedgerEntry | None:
    return reprice_entry(
        ORIGINAL,
        corrections,
        (price_id, Cost(cost_nusd=nusd, lines=())),
        reason="new price",
        made_by="jo",
        posted_at=NOW + timedelta(days=1),
    )


@given(st.lists(st.integers(0, 10**12), max_size=8))
def test_after_any_chain_of_repricings_the_last_price_holds(
    costs: list[int],
) -> None:
    chain: list[LedgerEntry] = [entry("refund-1", kind="refund", cost_nusd=-7, seq=1)]
    for place, nusd in enumerate(costs):
        correction = repriced(chain, nusd, f"p{place}")
        assert correction is not None
        chain.append(msgspec.structs.replace(correction, seq=place + 2))
    last = costs[-1] if costs else ORIGINAL.cost_nusd
    assert net_nusd(ORIGINAL, chain) == last - 7
    assert len({row.entry_id for row in chain}) == len(chain)
    if costs:
        assert repriced(chain, last, f"p{len(costs) - 1}") is None


def test_concurrent_repricings_make_one_correction() -> None:
    one, other = repriced([], 5_000, "p"), repriced([], 6_000, "q")
    assert one is not None
    assert other is not None
    assert one.entry_id == other.entry_id


def test_a_repricing_lists_its_cost_lines() -> None:
    line = CostLine(item="input_text", quantity=10, rate=1, amount=1)  # type: ignore[arg-type]
    correction = reprice_entry(
        ORIGINAL,
        [],
        ("p", Cost(cost_nusd=1_500, lines=(line,))),
        reason="new price",
        made_by="jo",
        posted_at=NOW,
    )
    assert correction is not None
    assert (correction.cost_nusd, correction.lines, correction.price_id) == (500, (line,), "p")


@pytest.mark.parametrize(
    ("changes", "priced"),
    [
        ({}, True),
        ({"status": "unpriced"}, True),
        ({"status": "client_closed"}, True),
        ({"kind": "late_event"}, True),
        ({"kind": "refund"}, False),
        ({"status": "refused"}, False),
        ({"status": "abandoned"}, False),
        ({"usage": None}, False),
        ({"model": None}, False),
    ],
)
def test_calls_with_usage_have_a_price(changes: dict[str, object], priced: bool) -> None:
    changed = msgspec.structs.replace(ORIGINAL, **changes)
    assert priced_models(changed) == ([("openai", "gpt-4o")] if priced else [])


def test_a_repricing_uses_the_prices_multiplier_and_keeps_the_accounts() -> None:
    original = msgspec.structs.replace(
        ORIGINAL, multiplier=Decimal("0.55"), account_multiplier=Decimal("0.5")
    )
    correction = reprice_entry(
        original,
        [],
        ("p", Cost(cost_nusd=9, lines=(), multiplier=Decimal("0.6"))),
        reason="new price",
        made_by="jo",
        posted_at=NOW,
    )
    assert correction is not None
    assert correction.multiplier == Decimal("0.6")
    assert correction.account_multiplier == Decimal("0.5")
