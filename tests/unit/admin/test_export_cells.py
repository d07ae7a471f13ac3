"""How an export writes what a row may have, and which format a request gets."""

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.money import nusd_to_usd
from libs.common.errors import NotAcceptable
from libs.common.schemas.usage import ModelRun, TokenUsage
from services.admin.exports.columns import COLUMNS, NAMES, row_of
from services.admin.exports.encoders import CsvEncoder, NdjsonEncoder, csv_cell, harmless
from services.admin.exports.formats import CSV, NDJSON, PARQUET, ExportFormat, chosen_format
from services.admin.exports.parquet import ParquetEncoder
from tests.unit.builders import NOW, entry

OFFERED = (CSV, NDJSON, PARQUET)
# Any text that MongoDB and JSON can hold.
TEXTS = st.text(st.characters(codec="utf-8"))


def shown(**fields: Any) -> dict[str, Any]:
    return dict(zip(NAMES, row_of(entry(**fields), None), strict=True))


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, ""),
        (True, "true"),
        (-3, "-3"),
        (Decimal("-0.25"), "-0.25"),
        (Decimal("1E-9"), "0.000000001"),
        (Decimal("1E+3"), "1000"),
        ((), ""),
        (("team:a", 'says "hi"'), '["team:a","says \\"hi\\""]'),
        (datetime(2026, 11, 24, 12, tzinfo=UTC), "2026-11-24T12:00:00.000+00:00"),
    ],
)
def test_a_cell_of_csv(cell: Any, text: str) -> None:
    assert csv_cell(cell) == text


@pytest.mark.parametrize(
    "formula",
    [
        "=1+1",
        "+1",
        "-1",
        "@A1",
        "\t=1",
        "\r=1",
        "\n=1",
        "  =1",
        "\uff1d1",
        "\uff0b1",
        "\uff201",
    ],
)
def test_a_formula_is_a_text(formula: str) -> None:
    assert harmless(formula) == f"'{formula}"
    assert shown(client_user=formula)["client_user"] == formula, "other formats keep it"


@given(TEXTS)
def test_a_text_cell_is_never_a_formula_and_keeps_its_text(text: str) -> None:
    line = CsvEncoder(["a", "b"]).rows([[text, Decimal("-1")]])
    ((cell, number),) = csv.reader(io.StringIO(line.decode(), newline=""))
    assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert cell in (text, f"'{text}")
    assert number == "-1"


@given(st.integers(-(2**53), 2**53))
def test_an_amount_is_exact_in_every_format(nusd: int) -> None:
    usd = nusd_to_usd(nusd)
    assert "e" not in csv_cell(usd).lower()
    assert Decimal(csv_cell(usd)) * 10**9 == nusd
    line = NdjsonEncoder(["cost_usd"]).rows([[usd]])
    assert b"E" not in line
    row = msgspec.json.decode(line, type=dict[str, Decimal])
    assert row["cost_usd"] * 10**9 == nusd


def test_a_line_of_json_is_one_line_with_all_columns() -> None:
    line = NdjsonEncoder(NAMES).rows([row_of(entry(client_user="two\nlines"), None)])
    assert line.count(b"\n") == 1
    assert list(msgspec.json.decode(line)) == list(NAMES)


def test_times_are_in_the_zone_that_the_entry_counts_in() -> None:
    noon = datetime(2026, 11, 24, 12, tzinfo=UTC)
    row = shown(started_at=noon, posted_at=noon, time_zone="Asia/Kolkata")
    assert csv_cell(row["started_at"]) == "2026-11-24T17:30:00.000+05:30"
    paris = row_of(entry(started_at=noon, time_zone="Asia/Kolkata"), ZoneInfo("Europe/Paris"))
    assert csv_cell(paris[NAMES.index("started_at")]) == "2026-11-24T13:00:00.000+01:00"
    assert csv_cell(shown(started_at=noon, time_zone="Not/AZone")["started_at"]).endswith("+00:00")


def test_tokens_are_those_of_all_models_that_ran() -> None:
    runs = (ModelRun(role="advisor", model="m2", input_text=5),)
    row = shown(usage=TokenUsage(input_text=10, output_text=0, runs=runs))
    assert (row["input_text_tokens"], row["output_text_tokens"]) == (15, 0)
    assert row["cache_read_tokens"] is None


def test_a_credit_has_no_key() -> None:
    assert shown(key_id="", kind="credit", cost_nusd=-1)["key_id"] is None


def test_every_column_is_documented() -> None:
    documented = (Path(__file__).parents[3] / "docs/operations.md").read_text()
    assert [
        name for name in NAMES if not name.endswith("_tokens") and f"`{name}`" not in documented
    ] == []


def test_names_are_unique_and_rows_fit_them() -> None:
    assert len(set(NAMES)) == len(NAMES) == len(COLUMNS) == len(row_of(entry(), None))


@pytest.mark.parametrize(
    ("name", "accept", "chosen"),
    [
        (None, "", CSV),
        (None, "*/*", CSV),
        (None, "text/html, */*;q=0.1", CSV),
        (None, "application/x-ndjson", NDJSON),
        (None, "text/csv;q=0.2, APPLICATION/X-NDJSON ; q=0.9", NDJSON),
        (None, "application/*", NDJSON),
        (None, "*/*, text/csv;q=0", NDJSON),
        (None, "text/csv;q=x, application/x-ndjson;q=0.1", NDJSON),
        # The name wins, whatever is accepted.
        ("ndjson", "text/csv", NDJSON),
        ("csv", "image/png", CSV),
    ],
)
def test_the_format_is_that_of_the_name_or_of_accept(
    name: str | None, accept: str, chosen: ExportFormat
) -> None:
    assert chosen_format(name, accept, OFFERED) is chosen


@pytest.mark.parametrize("accept", ["image/png", "text/csv;q=0", "text/csv;q=nan", "nonsense", ","])
def test_an_unknown_format_is_refused(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="text/csv"):
        chosen_format(None, accept, OFFERED)


def test_a_format_whose_package_is_missing_is_refused_by_its_name() -> None:
    missing = msgspec.structs.replace(PARQUET, needs="no_such_package_is_installed")
    offered = (CSV, NDJSON, missing)
    with pytest.raises(NotAcceptable, match="extra"):
        chosen_format("parquet", "", offered)
    with pytest.raises(NotAcceptable, match="extra"):
        chosen_format(None, missing.media_type, offered)
    assert chosen_format(None, f"{missing.media_type}, text/csv;q=0.1", offered) is CSV


def test_parquet_keeps_types_and_amounts() -> None:
    rows = [
        row_of(
            entry(f"call-{n}", cost_nusd=(-1) ** n * (10**15 + n), tags=("a", "b:c")[: n % 3]),
            ZoneInfo("Asia/Kolkata"),
        )
        for n in range(25)
    ]
    encoder = ParquetEncoder(COLUMNS, group_rows=10)
    parts = [encoder.begin(), *(encoder.rows(rows[n : n + 5]) for n in range(0, 25, 5))]
    whole = b"".join([*parts, encoder.end()])
    table = pq.read_table(io.BytesIO(whole))
    assert pq.ParquetFile(io.BytesIO(whole)).num_row_groups == 3
    assert table.column_names == list(NAMES)
    assert str(table.schema.field("cost_usd").type) == "decimal128(38, 9)"
    rows_read = table.to_pylist()
    assert [row["cost_usd"] for row in rows_read] == [row[NAMES.index("cost_usd")] for row in rows]
    assert [tuple(row["tags"]) for row in rows_read] == [row[NAMES.index("tags")] for row in rows]
    assert {row["started_at"] for row in rows_read} == {NOW}
    with pytest.raises(Exception, match=r"(?i)parquet|footer|magic"):
        pq.read_table(io.BytesIO(b"".join(parts)))
