"""What is read out of a database is what a dump of it says."""

from pathlib import Path
from urllib.parse import quote

import pytest

from tests.migration.conftest import DUMP, PASSWORD, Postgres
from tests.support.command_line import CommandResult, run


def lines_of(result: CommandResult) -> list[str]:
    assert result.code == 0, result.err
    return sorted(result.out.splitlines())


def imported(
    *arguments: str, stdin: str = "", environ: dict[str, str] | None = None
) -> CommandResult:
    return run("import", "litellm", *arguments, stdin=stdin, environ=environ or {})


def rows_of(postgres: Postgres) -> list[str]:
    """Without the key of each dump, which is random."""
    lines = postgres.run("pg_dump", "--data-only", "litellm").splitlines()
    return [line for line in lines if "restrict" not in line]


@pytest.fixture(scope="session")
def expected() -> list[str]:
    return lines_of(imported("--export", str(DUMP)))


def test_a_database_says_what_its_dump_does(postgres: Postgres, expected: list[str]) -> None:
    before = rows_of(postgres)
    url = postgres.url(quote(PASSWORD, safe=""))
    assert lines_of(imported("--database", "-", stdin=url)) == expected
    result = imported("--database", postgres.url(), environ={"PGPASSWORD": PASSWORD})
    assert lines_of(result) == expected
    assert len(expected) > 100
    assert rows_of(postgres) == before


@pytest.mark.parametrize(
    "form", [[], ["--inserts"], ["--column-inserts", "--data-only"], ["--rows-per-insert=3"]]
)
def test_every_form_of_a_dump_says_the_same(
    postgres: Postgres, expected: list[str], form: list[str], tmp_path: Path
) -> None:
    dump = tmp_path / "dump.sql"
    dump.write_text(postgres.run("pg_dump", *form, "litellm"))
    assert lines_of(imported("--export", str(dump))) == expected


def test_tables_as_csv_say_the_same(
    postgres: Postgres, expected: list[str], tmp_path: Path
) -> None:
    listed = postgres.run("psql", "-At", "-c", "SELECT relname FROM pg_stat_user_tables", "litellm")
    for table in listed.split():
        command = f'COPY "{table}" TO STDOUT (FORMAT csv, HEADER)'
        content = postgres.run("psql", "-q", "-c", command, "litellm")
        if content.count("\n") > 1:
            (tmp_path / f"{table}.csv").write_text(content)
    assert lines_of(imported("--export", str(tmp_path))) == expected


def test_an_unreadable_database_is_reported(postgres: Postgres) -> None:
    for url, reason in (
        (postgres.url("wrong"), "password authentication failed"),
        (postgres.url("wrong").replace(str(postgres.port), "1"), "cannot be read"),
        ("mysql://owner@localhost/x", "must be postgresql://"),
        ("postgresql://owner@localhost:port/x", "cannot be read"),
    ):
        result = imported("--database", "-", stdin=url)
        assert result.code in (2, 4)
        assert reason in result.err
        assert "wrong" not in result.err
    result = imported(
        "--database", postgres.url(database="postgres"), environ={"PGPASSWORD": PASSWORD}
    )
    assert "has none of the tables" in result.err
    result = imported("--database", postgres.url("secret"))
    assert result.code == 2
    assert "secret" not in result.err
