"""Into which rollup, and which of its cells, an entry counts."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest

from libs.common.domain.corrections import late_event
from libs.common.domain.tags import rolled_up_names
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.usage import ModelRun, TokenUsage
from libs.common.storage.mongo.rollup_rows import OTHER, day_sums
from libs.common.storage.mongo.rollup_updates import rollup_updates, rollups_of
from tests.unit.builders import entry

CALL_ID = "0194f5d2-8f6a-7000-8000-000000000001"
KEY = "acme|2026-11-24|key-1|gpt-4o|openai"


def rows(
    entries: Sequence[LedgerEntry], tags: Sequence[str] = (), other: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """By id: what is added, and what is set on insert."""
    rows_by_id = {}
    tallies = day_sums(entries, tags, lambda _day, _name, value: value not in other)
    for day, tally in tallies.items():
        table = tally.table()
        for update in rollup_updates(table, rollups_of(table, day)):
            document = cast("dict[str, dict[str, Any]]", update._doc)
            rows_by_id[update._filter["_id"]] = document["$inc"] | document["$setOnInsert"]
    return rows_by_id


def entry_at(hour: int, minute: int = 0, **fields: Any) -> LedgerEntry:
    return entry(started_at=datetime(2026, 11, 24, hour, minute, tzinfo=UTC), **fields)


def test_the_plain_call_is_in_the_row_of_its_model() -> None:
    usage = TokenUsage(input_text=5, runs=(ModelRun(role="advisor", input_text=2),))
    assert rows(
        [entry_at(9, 59, usage=usage), entry_at(9, status="client_closed"), entry_at(10)]
    ) == {
        KEY: {
            "user_id": "acme",
            "day": "2026-11-24",
            "key_id": "key-1",
            "model": "gpt-4o",
            "provider": "openai",
            "requested_model": "gpt-4o",
            "v": 2,
            "revision": 3,
            "cost_nusd": 3_000,
            "calls": 3,
            "status.ok": 2,
            "status.client_closed": 1,
            "tokens.input_text": 7,
            "cells.2026-11-24T09:00 ok.cost_nusd": 1_000,
            "cells.2026-11-24T09:00 ok.calls": 1,
            "cells.2026-11-24T09:00 ok.tokens.input_text": 7,
            "cells.2026-11-24T09:00 client_closed.cost_nusd": 1_000,
            "cells.2026-11-24T09:00 client_closed.calls": 1,
            "cells.2026-11-24T10:00 ok.cost_nusd": 1_000,
            "cells.2026-11-24T10:00 ok.calls": 1,
        }
    }


@pytest.mark.parametrize(
    ("zone", "hour"),
    [("Asia/Kolkata", "08:30"), ("America/New_York", "09:00"), ("Mars/Olympus", "09:00")],
)
def test_an_hour_is_one_of_the_account_s_clock(zone: str, hour: str) -> None:
    (row,) = rows([entry_at(9, 29, time_zone=zone)]).values()
    assert f"cells.2026-11-24T{hour} ok.calls" in row


def test_both_hours_that_the_clock_shows_twice_are_apart() -> None:
    twice = [datetime(2026, 10, 25, hour, 30, tzinfo=UTC) for hour in (0, 1)]
    (row,) = rows([entry(started_at=t, time_zone="Europe/Berlin") for t in twice]).values()
    assert [row[f"cells.2026-10-25T0{hour}:00 ok.calls"] for hour in (0, 1)] == [1, 1]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"requested_model": "house/best"}, {"requested_model": "house/best"}),
        ({"requested_model": None, "model": None, "provider": None}, {"requested_model": ""}),
        ({"client_user": "$where"}, {"client_user": "$where"}),
        ({"client_user": "u" * 999}, {"client_user": "u" * 256}),
        ({"tags": ("team:a.b", "env:x")}, {"tags.team": "team:a.b"}),
        ({"tags": ("env:x",)}, {}),
        ({"client_user": "many", "tags": ("team",)}, {"client_user": OTHER, "tags.team": "team"}),
    ],
)
def test_a_row_carries_the_dimensions_of_its_entry(
    fields: dict[str, Any], named: dict[str, str]
) -> None:
    ((row_id, row),) = rows([entry(**fields)], ["team"], ["many"]).items()
    names = ("requested_model", "client_user", "tags.team", "tags.env")
    assert {name: row[name] for name in names if name in row} == {
        "requested_model": "gpt-4o"
    } | named
    is_plain = not named or named == {"requested_model": ""}
    assert is_plain == (
        row_id == "|".join(["acme", "2026-11-24", "key-1", row["model"], row["provider"]])
    )


def test_calls_of_other_users_share_a_row_and_own_ones_do_not() -> None:
    users = [entry(str(n), client_user=name) for n, name in enumerate(["a", "b", "x", "y", "a"])]
    rows_by_id = rows(users, other=["x", "y"])
    assert sorted((row["client_user"], row["calls"]) for row in rows_by_id.values()) == [
        (OTHER, 2),
        ("a", 2),
        ("b", 1),
    ]


def test_corrections_count_beside_their_call_and_late_events_take_its_place() -> None:
    refund = msgspec.structs.replace(
        entry_at(9, tags=("team:a",)), kind="refund", status="correction", cost_nusd=-400
    )
    given_up = entry_at(9, entry_id=CALL_ID, status="abandoned", cost_nusd=0)
    late = late_event(entry_at(9, entry_id=CALL_ID), given_up)
    assert late is not None
    (row,) = rows([entry_at(9, tags=("team:a",)), refund], ["team"]).values()
    assert (row["cost_nusd"], row["calls"], row["corrections"]) == (600, 1, 1)
    assert row["cells.2026-11-24T09:00 correction.cost_nusd"] == -400
    assert row["cells.2026-11-24T09:00 correction.corrections"] == 1
    (row,) = rows([given_up, late]).values()
    assert (row["calls"], row["corrections"], row["revision"]) == (1, 1, 2)
    assert row["status.ok"] == 1
    assert row["cells.2026-11-24T09:00 abandoned.calls"] == 0
    assert row["cells.2026-11-24T09:00 ok.calls"] == 1


@pytest.mark.parametrize(
    ("text", "names"), [("", ()), (" team, env,,team ", ("team", "env")), ("A-1_b", ("A-1_b",))]
)
def test_names_of_tags_that_are_summed(text: str, names: tuple[str, ...]) -> None:
    assert rolled_up_names(text) == names


@pytest.mark.parametrize("text", ["a,b,c,d,e", "$where", "a.b", "team:x", "two words", "a" * 65])
def test_wrong_names_of_tags_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="it "):
        rolled_up_names(text)


def test_counts_of_zero_add_no_field() -> None:
    usage = TokenUsage(input_text=7, cache_read=0, reasoning=0)
    (row,) = rows([entry_at(9, usage=usage)]).values()
    names = [name for name in row if "tokens." in name]
    assert names == ["tokens.input_text", "cells.2026-11-24T09:00 ok.tokens.input_text"]


def test_more_tokens_than_add_up_are_refused() -> None:
    with pytest.raises(OverflowError, match="tokens"):
        rows([entry_at(9, usage=TokenUsage(input_text=1 << 50))])
