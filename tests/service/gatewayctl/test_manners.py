"""What every command does alike: what it prints where, what it asks, how it ends."""

import json
import stat
from pathlib import Path

import pytest

from tests.service.admin.conftest import ADMIN_KEY
from tests.support.command_line import URL, CommandLine


async def test_a_table_on_a_terminal_and_lines_of_json_in_a_pipe(ctl: CommandLine) -> None:
    for name in ("alice", "bob"):
        await ctl.run_ok("accounts", "create", name, "--budget", "12.5", "--period", "monthly")
    piped = await ctl.run_ok("accounts", "list")
    assert [row["user_id"] for row in piped.rows] == ["alice", "bob"]
    assert '"limit_usd":12.5' in piped.out
    result = await ctl.run_ok(
        "accounts", "list", terminal=True, environ={**ctl.environ, "NO_COLOR": "1"}
    )
    header, first, second = result.out.splitlines()
    assert header.startswith("USER ID")
    assert "SPENT USD" in header
    assert first.startswith("alice")
    assert second.startswith("bob")


async def test_fields_and_queries_choose_what_is_printed(ctl: CommandLine) -> None:
    for name in ("alice", "bob"):
        await ctl.run_ok("accounts", "create", name, "--budget", "0.1", "--period", "total")
    result = await ctl.run_ok(
        "accounts", "list", "--json", "user_id,budget.limit_usd", terminal=True
    )
    assert result.out.splitlines()[0] == '{"user_id":"alice","budget.limit_usd":0.1}'
    result = await ctl.run_ok("accounts", "list", "--query", "[].user_id", terminal=True)
    assert result.out == "alice\nbob\n"
    # Exact: as floats it would be 0.2 and a bit.
    result = await ctl.run_ok("accounts", "list", "--query", "sum([].budget.limit_usd)")
    assert result.out == "0.2\n"
    result = await ctl("accounts", "list", "--json", "nope")
    assert (result.code, result.out) == (2, "")
    assert "there are: user_id" in result.err
    result = await ctl("accounts", "list", "--query", "[")
    assert result.code == 2
    assert "--query" in result.err


@pytest.mark.parametrize(
    "asked", [("--json", "api_key,nope"), ("--query", "sum(name)")], ids=["json", "query"]
)
async def test_a_result_is_printed_whole_if_its_selection_fails(
    ctl: CommandLine, asked: tuple[str, str]
) -> None:
    """The secret of a new key could not be had again."""
    await ctl.run_ok("accounts", "create", "alice")
    result = await ctl("keys", "create", "alice", *asked)
    assert result.code == 1
    assert result.row["api_key"].startswith("sk-gw-")
    assert f"It is done, and printed whole: {asked[0]}" in result.err


async def test_a_wrong_query_is_seen_before_anything_is_sent(ctl: CommandLine) -> None:
    result = await ctl("accounts", "create", "alice", "--query", "[")
    assert (result.code, result.out) == (2, "")
    assert (await ctl.run_ok("accounts", "list")).rows == []


async def test_a_computation_or_a_dry_run_has_done_nothing(ctl: CommandLine) -> None:
    await ctl.run_ok("costs", "set", "own", "--input", "1", "--output", "2")
    await ctl.run_ok("accounts", "create", "alice")
    for words in ("costs quote own --input 1", "accounts suspend alice --dry-run"):
        result = await ctl(*words.split(), "--json", "nope")
        assert (result.code, result.out) == (2, "")


async def test_an_account_that_does_not_exist_is_named(ctl: CommandLine) -> None:
    for name in ("alice", "bob"):
        await ctl.run_ok("accounts", "create", name)
    await ctl.run_ok("accounts", "suspend", "bob")
    result = await ctl("accounts", "suspend", "alice", "nobody", "bob")
    assert (result.code, result.rows) == (3, [{"user_id": "alice", "status": "suspended"}])
    assert "There is no account 'nobody'." in result.err
    assert (await ctl.run_ok("accounts", "suspend", "alice", "bob")).rows == []


@pytest.mark.parametrize("since", ["2h", "24h", "2026-11-24T12:00:00Z"])
async def test_sums_are_never_of_other_times_than_asked(ctl: CommandLine, since: str) -> None:
    """They are of whole days: `--since 2h` would be one from midnight on."""
    for verb in ("summary", "series"):
        result = await ctl("usage", verb, "--since", since)
        assert (result.code, result.out) == (2, "")
        assert "sums cover whole days.\n  -> write 2026-11-24, today, or 7d, 4w" in result.err


async def test_a_quote_names_the_model_that_has_no_price(ctl: CommandLine) -> None:
    result = await ctl("costs", "quote", "nope", "--input", "1")
    assert result.code == 3
    assert result.err.count("'nope' has no price at that time.") == 1


async def test_a_budget_of_a_key_keeps_no_period_that_was_not_asked_for(ctl: CommandLine) -> None:
    await ctl.run_ok("accounts", "create", "alice")
    created = await ctl.run_ok(
        "keys", "create", "alice", "--budget", "5", "--json", "key_id,budgets"
    )
    assert created.row["budgets"][0]["period"] == "monthly"
    key_id = created.row["key_id"]
    for half in (("--budget", "9"), ("--period", "daily")):
        result = await ctl("keys", "change", key_id, "--name", "ci", *half)
        assert (result.code, result.out) == (2, "")
        assert "--budget and --period belong together" in result.err
    assert (await ctl("keys", "create", "alice", "--period", "daily")).code == 2
    await ctl.run_ok("keys", "change", key_id, "--budget", "9", "--period", "daily")
    [budget] = (await ctl.run_ok("keys", "show", key_id)).row["budgets"]
    assert (budget["limit_usd"], budget["period"]) == (9, "daily")


async def test_a_dry_run_of_a_price_names_the_terms_that_it_would_lose(ctl: CommandLine) -> None:
    set_price = ("costs", "set", "own", "--input", "1", "--output", "2")
    await ctl.run_ok(*set_price, "--cached", "0.5", "--set", "multiplier=2")
    await ctl.run_ok(*set_price, "--provider", "openai")
    result = await ctl.run_ok("costs", "set", "own", "--input", "1", "--output", "3", "--dry-run")
    assert result.rows == [{"field": "output_cost_per_million", "before": 2, "after": 3}]
    assert "will not: cached_read_cost_per_million, multiplier (--set inherit" in result.err
    result = await ctl.run_ok(*set_price, "--set", "inherit=true", "--dry-run")
    assert (result.rows, result.err) == ([], "")


@pytest.mark.parametrize("words", ["export", "usage export", "audit export"])
async def test_an_export_is_whole(ctl: CommandLine, words: str) -> None:
    for options in (("--json", "entry_id"), ("--query", "[0]")):
        result = await ctl(*words.split(), *options)
        assert (result.code, result.out) == (2, "")
        assert "--json and --query choose nothing here" in result.err


@pytest.mark.parametrize("words", ["export", "usage export", "audit export"])
async def test_an_export_replaces_a_file_where_asked_to(
    ctl: CommandLine, tmp_path: Path, words: str
) -> None:
    target = tmp_path / "out"
    target.write_text("before")
    result = await ctl(*words.split(), "-o", str(target))
    assert (result.code, result.out) == (2, "")
    assert f"{target} exists already.\n  -> add --force" in result.err
    assert target.read_text() == "before"
    await ctl.run_ok(*words.split(), "-o", str(target), "--force")
    assert target.read_text() != "before"


async def test_lists_say_where_they_stop(ctl: CommandLine) -> None:
    for name in ("alice", "bob", "carol"):
        await ctl.run_ok("accounts", "create", name)
    result = await ctl.run_ok("accounts", "list", "--limit", "2")
    assert len(result.rows) == 2
    assert "there are more" in result.err
    assert "more" not in (await ctl.run_ok("accounts", "list", "--limit", "3")).err


async def test_a_refusal_names_fields_and_the_way_out(ctl: CommandLine) -> None:
    result = await ctl("accounts", "create", "alice", "--set", "limits.parallel_calls=-1")
    assert result.code == 2
    assert "limits.parallel_calls: " in result.err
    await ctl.run_ok("accounts", "create", "alice")
    result = await ctl("accounts", "create", "alice")
    assert (result.code, result.out) == (3, "")
    assert "409 conflict" in result.err
    assert "\n  -> Read the object" in result.err
    assert (await ctl("accounts", "show", "nobody")).code == 3


async def test_a_change_names_the_revision_that_it_saw(ctl: CommandLine) -> None:
    await ctl.run_ok("accounts", "create", "alice", "--budget", "1", "--period", "monthly")
    result = await ctl.run_ok("accounts", "change", "alice", "--budget", "2", "--dry-run")
    assert result.row == {"field": "budget.limit_usd", "before": 1, "after": 2}
    assert (await ctl.run_ok("accounts", "show", "alice")).row["budget"]["limit_usd"] == 1
    await ctl.run_ok("accounts", "change", "alice", "--budget", "2")
    request = ctl.transport.requests[-1]  # type: ignore[attr-defined]
    assert request.method == "PATCH"
    assert request.headers["if-match"].startswith('"')


async def test_a_key_is_kept_for_its_owner_alone(ctl: CommandLine, tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    path = tmp_path / ".config/gatewayctl/profiles.json"
    result = await ctl("whoami", environ=environ)
    assert result.code == 3
    assert "gatewayctl login" in result.err
    result = await ctl("login", "--url", URL, "-", stdin="a-wrong-key-for-tests\n", environ=environ)
    assert result.code == 3
    assert not path.exists()
    result = await ctl("login", "--url", URL + "/", "-", stdin=ADMIN_KEY + "\n", environ=environ)
    assert result.code == 0
    assert ADMIN_KEY not in result.err + result.out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (await ctl.run_ok("whoami", environ=environ)).row["url"] == URL
    assert ADMIN_KEY not in (await ctl.run_ok("profiles", environ=environ)).out
    path.chmod(0o644)
    result = await ctl("whoami", environ=environ)
    assert result.code == 3
    assert f"chmod 600 {path}" in result.err
    path.chmod(0o600)
    await ctl.run_ok("logout", environ=environ)
    assert json.loads(path.read_text())["profiles"] == {}


async def test_a_key_cannot_be_an_argument(ctl: CommandLine) -> None:
    result = await ctl("login", "--url", URL, ADMIN_KEY)
    assert result.code == 2
    assert ADMIN_KEY not in result.err


async def test_questions_are_asked_on_a_terminal_alone(ctl: CommandLine) -> None:
    await ctl.run_ok("accounts", "create", "alice")
    result = await ctl("accounts", "archive", "alice")
    assert result.code == 2
    assert "--yes" in result.err
    result = await ctl("accounts", "archive", "alice", terminal=True, stdin="n\n")
    assert result.code == 2
    assert "Nothing was done" in result.err
    await ctl.run_ok("accounts", "archive", "alice", terminal=True, stdin="y\n")
    assert (await ctl.run_ok("accounts", "show", "alice")).row["status"] == "archived"
    await ctl.run_ok("accounts", "resume", "alice", "--dry-run")
    assert (await ctl.run_ok("accounts", "show", "alice")).row["status"] == "archived"
