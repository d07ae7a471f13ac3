"""`gatewayctl apply`, `diff` and `export`."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from gatewayctl.client import ApiClient
from gatewayctl.errors import Failed
from libs.common.storage.mongo.driver import Database
from tests.support.command_line import CommandLine, CommandResult

HASH = hashlib.sha256(b"sk-made-elsewhere").hexdigest()
DECLARED = f"""
version: 1
accounts:
  - user_id: team-a
    name: Team Ä
    budgets:
      - {{limit_usd: 100.000000001, period: monthly}}
    limits: {{requests_per_minute: 60}}
    metadata: {{cost-center: "17"}}
  - {{user_id: team-b, status: suspended}}
prices:
  - model: house-large
    provider: hosted_vllm
    input_cost_per_million: 0.1
    output_cost_per_million: 0.25
routes:
  # Each names the other.
  - model: smart
    deployments:
      - model: hosted_vllm/house-large
        api_base: http://10.0.0.7:8000/v1
        weight: 3
      - {{model: hosted_vllm/house-large, api_base: "http://10.0.0.8:8000/v1"}}
    fallbacks: [fast]
  - model: fast
    deployments: [{{model: openai/gpt-4.1-mini}}]
    fallbacks: [smart]
keys:
  - user_id: team-a
    name: ci
    key_sha256: {HASH}
    allowed_models: [smart]
    expires_at: 2027-03-01T00:00:00+01:00
receivers:
  - {{name: pager, url: "https://example.com/hook", kinds: [budget.exhausted]}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(DECLARED)
    return path


def actions(result: CommandResult) -> dict[str, str]:
    return {f"{row['kind']} {row['name']}": row["action"] for row in result.rows}


def edit(file: Path, *pairs: tuple[str, str]) -> None:
    text = file.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)


async def test_a_file_is_applied_once_and_is_then_the_same(
    ctl: CommandLine, file: Path, database: Database
) -> None:
    before = await ctl("diff", "-f", str(file))
    assert (before.code, set(actions(before).values())) == (1, {"create"})
    dry = await ctl.run_ok("apply", "-f", str(file), "--dry-run")
    assert actions(dry) == actions(before)
    assert await database["accounts"].count_documents({}) == 0
    applied = await ctl.run_ok("apply", "-f", str(file))
    assert actions(applied) == actions(before)
    assert len(actions(applied)) == 7
    # The order of what names what.
    assert [row["kind"] for row in applied.rows] == sorted(
        (row["kind"] for row in applied.rows),
        key=["account", "price", "route", "key", "receiver"].index,
    )
    for command in ("diff", "apply"):
        again = await ctl.run_ok(command, "-f", str(file))
        assert set(actions(again).values()) == {"same"}, again.out
    document = await database["keys"].find_one({"secret_hash": HASH})
    assert document is not None
    assert document["user_id"] == "team-a"
    assert HASH not in applied.out + applied.err


async def test_an_export_equals_the_applied_file(
    ctl: CommandLine, file: Path, tmp_path: Path
) -> None:
    await ctl.run_ok("apply", "-f", str(file))
    path = tmp_path / "exported.yaml"
    await ctl.run_ok("export", "-o", str(path))
    same = await ctl.run_ok("diff", "-f", str(path), "--prune")
    assert set(actions(same).values()) == {"same"}
    text = path.read_text()
    assert "limit_usd: 100.000000001" in text
    assert "Team Ä" in text
    assert HASH not in text
    prices = await ctl.run_ok("export", "--only", "prices")
    assert "house-large" in prices.out
    assert "routes" not in prices.out
    assert (await ctl("export", "--only", "nothing")).code == 2


async def test_a_change_keeps_what_the_file_does_not_give(
    ctl: CommandLine, file: Path, database: Database
) -> None:
    await ctl.run_ok("apply", "-f", str(file))
    await ctl.run_ok("accounts", "change", "team-a", "--time-zone", "Europe/Berlin")
    route = await database["routes"].find_one({"_id": "smart"})
    edit(
        file,
        ("requests_per_minute: 60", "tokens_per_minute: 1000"),
        ('cost-center: "17"', 'owner: "x"'),
        ("weight: 3", "weight: 5"),
        ("input_cost_per_million: 0.1", "input_cost_per_million: 0.2"),
        ("fallbacks: [fast]", "fallbacks: [fast, newer]"),
        ("keys:\n", "  - {model: newer, deployments: [{model: openai/gpt-4.1}]}\nkeys:\n"),
    )
    result = await ctl.run_ok("apply", "-f", str(file))
    changed = {name: action for name, action in actions(result).items() if action != "same"}
    assert changed == {
        "account team-a": "change",
        "price hosted_vllm/house-large": "change",
        "route smart": "change",
        "route newer": "create",
    }
    assert (await ctl.run_ok("diff", "-f", str(file))).code == 0
    account = (await ctl.run_ok("accounts", "show", "team-a")).row
    assert account["time_zone"] == "Europe/Berlin"
    assert account["limits"]["requests_per_minute"] == 60
    assert account["metadata"] == {"cost-center": "17", "owner": "x"}
    after = await database["routes"].find_one({"_id": "smart"})
    assert route is not None
    assert after is not None
    ids = [each["deployment_id"] for each in route["deployments"]]
    assert [each["deployment_id"] for each in after["deployments"]] == ids
    assert after["fallbacks"] == ["fast", "newer"]


async def test_only_prune_takes_away_and_only_of_the_files_sections(
    ctl: CommandLine, file: Path, database: Database
) -> None:
    await ctl.run_ok("apply", "-f", str(file))
    less = file.with_name("less.yaml")
    less.write_text("accounts:\n  - {user_id: team-a}\nkeys: []\nroutes: []\n")
    assert set(actions(await ctl.run_ok("apply", "-f", str(less))).values()) == {"same"}
    refused = await ctl("apply", "-f", str(less), "--prune")
    assert refused.code == 2
    assert "Take away 4" in refused.err
    pruned = await ctl.run_ok("apply", "-f", str(less), "--prune", "--yes")
    assert {n: a for n, a in actions(pruned).items() if a != "same"} == {
        "key team-a/ci": "revoke",
        "route smart": "delete",
        "route fast": "delete",
        "account team-b": "archive",
    }
    assert await database["routes"].count_documents({}) == 0
    assert await database["alert_receivers"].count_documents({}) == 1
    again = await ctl("apply", "-f", str(file))
    assert again.code == 1
    assert actions(again)["key team-a/ci"] == "wrong"


async def test_a_refused_object_stops_no_other(ctl: CommandLine, file: Path) -> None:
    edit(
        file,
        ("http://10.0.0.8:8000/v1", "no address"),
        ("https://example.com/hook", "http://127.0.0.1/"),
    )
    result = await ctl("apply", "-f", str(file))
    assert result.code == 1
    wrong = {row["name"]: row["note"] for row in result.rows if row["action"] == "wrong"}
    assert "deployments[1].api_base" in wrong["smart"]
    # Its fallback is not there.
    assert "fallbacks[0]" in wrong["fast"]
    assert "url" in wrong["pager"]
    assert "key team-a/ci" in actions(result)


async def test_keys_without_a_hash_are_found_by_their_names(ctl: CommandLine, file: Path) -> None:
    edit(file, (f"    key_sha256: {HASH}\n", ""))
    result = await ctl("apply", "-f", str(file))
    assert result.code == 1
    (key,) = [row for row in result.rows if row["kind"] == "key"]
    assert "a file has no secrets" in key["note"]


async def test_a_change_that_came_meanwhile_is_not_overwritten(
    ctl: CommandLine, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ctl.run_ok("apply", "-f", str(file))
    edit(file, ("name: Team Ä", "name: Team B"))
    change = ApiClient.change

    def late(self: ApiClient, path: str, patch: dict[str, Any], *, etag: str | None = None) -> Any:
        change(self, path, {"name": "somebody else's"})
        return change(self, path, patch, etag=etag)

    monkeypatch.setattr(ApiClient, "change", late)
    result = await ctl("apply", "-f", str(file))
    assert result.code == 1
    (wrong,) = [row for row in result.rows if row["action"] == "wrong"]
    assert "changed since" in wrong["note"]
    monkeypatch.undo()
    assert (await ctl.run_ok("accounts", "show", "team-a")).row["name"] == "somebody else's"


async def test_a_terminal_is_shown_the_changes_alone(ctl: CommandLine, file: Path) -> None:
    await ctl.run_ok("apply", "-f", str(file))
    result = await ctl.run_ok("diff", "-f", str(file), terminal=True)
    assert "Nothing to change" in result.err + result.out
    edit(file, ("name: Team Ä", "name: Team B"))
    result = await ctl("diff", "-f", str(file), terminal=True)
    assert result.code == 1
    assert "Team B" in result.out
    assert "team-b" not in result.out


async def test_an_unnamed_object_is_exported_by_its_id(ctl: CommandLine, tmp_path: Path) -> None:
    await ctl.run_ok("accounts", "create", "a")
    for name in ("same", "same", "own", ""):
        await ctl.run_ok("keys", "create", "a", *(("--name", name) if name else ()))
    file = tmp_path / "exported.yaml"
    await ctl.run_ok("export", "--only", "keys", "-o", str(file))
    assert file.read_text().count("key_id:") == 3
    same = await ctl.run_ok("diff", "-f", str(file), "--prune")
    assert [row["action"] for row in same.rows] == ["same"] * 4
    edit(file, ("name: own", "name: own\n  limits: {parallel_calls: 2}"))
    changed = await ctl.run_ok("apply", "-f", str(file))
    assert sorted(row["action"] for row in changed.rows) == ["change", "same", "same", "same"]
    file.write_text("keys: [{user_id: a, key_id: key_nobodys}, {user_id: a, name: same}]")
    result = await ctl("apply", "-f", str(file))
    messages = [row["note"] for row in result.rows]
    assert "there is no key with this key_id" in messages[0]
    assert "2 have the name 'same'" in messages[1]


async def test_an_account_that_is_declared_again_is_active_again(
    ctl: CommandLine, tmp_path: Path
) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("accounts: [{user_id: a}]")
    await ctl.run_ok("apply", "-f", str(file))
    file.write_text("accounts: []")
    await ctl.run_ok("apply", "-f", str(file), "--prune", "--yes")
    file.write_text("accounts: [{user_id: a}]")
    await ctl.run_ok("apply", "-f", str(file))
    assert (await ctl.run_ok("accounts", "show", "a")).row["status"] == "active"


async def test_an_interrupted_apply_has_shown_its_progress(
    ctl: CommandLine, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    post, posts = ApiClient.post, 0

    def breaking(self: ApiClient, path: str, body: Any = None) -> Any:
        nonlocal posts
        posts += 1
        if posts > 3:
            raise Failed("The connection broke.")
        return post(self, path, body)

    monkeypatch.setattr(ApiClient, "post", breaking)
    result = await ctl("apply", "-f", str(file))
    assert result.code == 4
    assert [row["name"] for row in result.rows] == ["team-a", "team-b", "hosted_vllm/house-large"]
    monkeypatch.undo()
    again = await ctl.run_ok("apply", "-f", str(file))
    assert [row["action"] for row in again.rows] == ["same"] * 3 + ["create"] * 4


async def test_a_query_is_of_all_rows(ctl: CommandLine, file: Path) -> None:
    result = await ctl("diff", "-f", str(file), "--query", "length([?action=='create'])")
    assert (result.code, result.out) == (1, "7\n")
