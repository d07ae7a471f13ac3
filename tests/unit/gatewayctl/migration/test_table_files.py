"""Tables out of dumps and CSV files."""

from pathlib import Path

import pytest

from gatewayctl.errors import Misused
from gatewayctl.migration.columns import array_of, typed_row
from gatewayctl.migration.table_files import read_tables_of

CREATED = """
CREATE TABLE public."Keys" (
    token text NOT NULL,
    "Name" text DEFAULT 'a'::text,
    models text[],
    CONSTRAINT pk PRIMARY KEY (token)
);
"""
ROWS = [
    {"token": "t1", "Name": "it's; a\nb\\c", "models": "{a,b}"},
    {"token": "t2", "Name": None, "models": "{}"},
]


def read(tmp_path: Path, text: str) -> list[dict[str, str | None]]:
    dump = tmp_path / "dump.sql"
    dump.write_text(text)
    return read_tables_of(dump, {"Keys"}).rows.get("Keys", [])


@pytest.mark.parametrize(
    "text",
    [
        'COPY public."Keys" (token, "Name", models) FROM stdin;\n'
        "t1\tit's; a\\nb\\\\c\t{a,b}\nt2\t\\N\t{}\n\\.\n",
        CREATED + "INSERT INTO public.\"Keys\" VALUES ('t1', 'it''s; a\nb\\c', '{a,b}');\n"
        "INSERT INTO public.\"Keys\" VALUES ('t2', NULL, '{}');\n",
        'INSERT INTO public."Keys" (token, "Name", models) VALUES\n'
        "\t('t1', E'it''s; a\\nb\\\\c', '{a,b}'::text[]),\n\t('t2', NULL, '{}');\n",
    ],
    ids=["copy", "insert", "insert-with-columns"],
)
def test_all_forms_of_a_dump_are_the_same_rows(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == ROWS


def test_a_table_that_is_made_in_one_line_swallows_no_rows(tmp_path: Path) -> None:
    text = 'CREATE TABLE public."Keys" (a text);\nCOPY public."Keys" (a) FROM stdin;\nx\n\\.\n'
    assert read(tmp_path, text) == [{"a": "x"}]


def test_csv_files_of_a_directory_are_tables(tmp_path: Path) -> None:
    (tmp_path / "Keys.csv").write_text(
        'token,Name,models\r\nt1,"it\'s; a\nb\\c","{a,b}"\r\nt2,,{}\r\n', newline=""
    )
    (tmp_path / "Other.csv").write_text("a\n1\n")
    tables = read_tables_of(tmp_path, {"Keys"})
    assert tables.rows == {"Keys": ROWS}
    assert tables.others == {"Other"}


def test_tables_that_are_not_wanted_are_named(tmp_path: Path) -> None:
    (tmp_path / "dump.sql").write_text(
        "COPY public.logs (a) FROM stdin;\nx\n\\.\nCOPY public.none (a) FROM stdin;\n\\.\n"
        "INSERT INTO public.other VALUES ('x;\ny');\n" + CREATED
    )
    assert read_tables_of(tmp_path / "dump.sql", {"Keys"}).others == {"logs", "other"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no tables"),
        ('COPY public."Kyes" (a) FROM stdin;\nx\n\\.\n', "has none of the tables Keys"),
        ("PGDMP\x01\x02", "--format=plain"),
        ('COPY public."Keys" (a, b) FROM stdin;\nx\ty\n', ":2: ends within the rows"),
        ('COPY public."Keys" (a, b) FROM stdin;\nx\n\\.\n', ":2: has 1 values for 2 columns"),
        ("INSERT INTO public.\"Keys\" VALUES ('x'\n", "ends within a row"),
        ('CREATE TABLE public."Keys" (\n    a text,\n', ":2: ends within CREATE TABLE"),
        ("INSERT INTO public.\"Keys\" VALUES ('x');\n", ":1: Keys has no columns"),
        ("INSERT INTO public.\"Keys\" (a) VALUES ('x', 1);\n", "has 2 values for 1 columns"),
        ('INSERT INTO public."Keys" (a) SELECT 1;\n', ":1: has no VALUES"),
        ('INSERT INTO public."Keys" (a) VALUES (1 ! 2);\n', ":1: has a value that cannot be read"),
        ('INSERT INTO public."Keys" (a) VALUES (now());\n', ":1: is not a row of values"),
    ],
)
def test_a_dump_that_is_broken_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(Misused) as raised:
        read(tmp_path, text)
    assert said in raised.value.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1\n", ":2: has 1 values for 2 columns"),
        ("a,a\n1,2\n", ":1: names a column twice"),
        ('a\n"x\n', "is not CSV"),
    ],
)
def test_a_csv_file_that_is_broken_is_named_with_its_line(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "Keys.csv").write_text(text)
    with pytest.raises(Misused) as raised:
        read_tables_of(tmp_path, {"Keys"})
    assert said in raised.value.message


def test_a_missing_file_or_table_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.sql"):
        with pytest.raises(Misused):
            read_tables_of(path, {"Keys"})


def test_more_than_a_line_or_a_table_can_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatewayctl.migration.table_files._MAX_LINE_BYTES", 64)
    monkeypatch.setattr("gatewayctl.migration.table_files.MAX_ROWS", 2)
    head = 'COPY public."Keys" (a) FROM stdin;\n'
    assert len(read(tmp_path, head + "x\nx\n\\.\n")) == 2
    for text in (
        head + "x\nx\nx\n\\.\n",
        head + "x" * 65 + "\n\\.\n",
        'INSERT INTO public."Keys" VALUES (\'' + "x\n" * 60 + "');",
    ):
        with pytest.raises(Misused):
            read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("{}", []),
        ("{a,b}", ["a", "b"]),
        ('{"a,b","c \\"d\\" \\\\",NULL,""}', ["a,b", 'c "d" \\', "NULL", ""]),
        ("no array", "no array"),
        ('{"a}', '{"a}'),
    ],
)
def test_arrays(text: str, items: object) -> None:
    assert array_of(text) == items


def test_unreadable_values_stay_unchanged() -> None:
    kinds = {"a": "number", "b": "flag", "c": "time", "d": "json", "e": "list"}
    row = dict.fromkeys(kinds, "?!")
    assert typed_row(row, kinds) == row  # type: ignore[arg-type]
    assert typed_row(dict.fromkeys(kinds), kinds) == dict.fromkeys(kinds)  # type: ignore[arg-type]
