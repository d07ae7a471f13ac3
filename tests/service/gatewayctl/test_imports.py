"""`gatewayctl import`: dry by default, done once, gone on with where it stopped."""

from collections import Counter
from pathlib import Path

import pytest

from gatewayctl.client import ApiClient
from gatewayctl.errors import Failed
from libs.common.domain.ids import secret_hash
from libs.common.storage.mongo.driver import Database
from tests.support.command_line import CommandLine, CommandResult

SECRET = "sk-made-by-something-else"
KEYS = f"user_id,secret,name,team\nteam-a,{SECRET},ci,x\nteam-b,{SECRET}-2,cd,\n"
CONFIG = """
model_list:
  - {model_name: smart, litellm_params: {model: openai/gpt-4.1}}
  - {model_name: fast, litellm_params: {model: openai/gpt-4.1-mini}}
  - {model_name: unpriced, litellm_params: {model: openai/unheard-of}}
router_settings: {fallbacks: [{smart: [fast]}, {fast: [smart]}]}
"""
TEAMS = "team_id,team_alias,max_budget\nresearch,Research,5\ntaken,Taken,\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "keys.csv").write_text(KEYS)
    (tmp_path / "config.yaml").write_text(CONFIG)
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "LiteLLM_TeamTable.csv").write_text(TEAMS)
    rows = [f"{secret_hash(f'sk-{team}')},{team}" for team in ("research", "taken")]
    (tables / "LiteLLM_VerificationToken.csv").write_text("token,team_id\n" + "\n".join(rows))
    return tmp_path


def actions(result: CommandResult) -> dict[str, str]:
    rows = [row for row in result.rows if row["action"]]
    return {f"{row['kind']} {row['name']}": row["action"] for row in rows}


async def test_a_list_of_keys_is_dry_by_default_and_done_once(
    ctl: CommandLine, source: Path, database: Database
) -> None:
    file = str(source / "keys.csv")
    dry = await ctl.run_ok("import", "csv", file)
    assert ("cannot", "key.team") in {(row["verdict"], row["field"]) for row in dry.rows}
    assert {"subject", "note"} <= dry.rows[0].keys()
    assert "--apply" in dry.err
    assert await database["accounts"].count_documents({}) == 0
    result = await ctl.run_ok(
        "import", "csv", file, "--apply", "--json", "verdict,action,kind,name"
    )
    assert Counter(actions(result).values()) == {"create": 4}
    again = await ctl.run_ok("import", "csv", file, "--apply")
    assert set(actions(again).values()) == {"same"}
    key = await database["keys"].find_one({"secret_hash": secret_hash(SECRET)})
    assert key is not None
    assert key["user_id"] == "team-a"
    assert SECRET not in result.out + result.err + dry.out


async def test_existing_objects_stay_and_are_reported(
    ctl: CommandLine, source: Path, database: Database
) -> None:
    await ctl.run_ok("accounts", "create", "taken", "--name", "Somebody else's")
    await ctl.run_ok(
        "models", "create", "smart", "--set", 'deployments=[{"model": "openai/gpt-4o"}]'
    )
    arguments = (
        "import", "litellm", "--config", str(source / "config.yaml"),
        "--export", str(source / "tables"), "--apply",
    )  # fmt: skip
    result = await ctl(*arguments)
    assert result.code == 1
    rows = {f"{row['kind']} {row['name']}": row for row in result.rows if row["action"]}
    assert rows["account research"]["action"] == "create"
    assert "is not the litellm team taken" in rows["account taken"]["note"]
    assert rows["key taken/"]["action"] == "wrong"
    assert rows["route smart"]["action"] == "keep"
    assert "deployments" in rows["route smart"]["note"]
    assert "has no price" in rows["route unpriced"]["note"]
    assert (await ctl.run_ok("accounts", "show", "taken")).row["name"] == "Somebody else's"
    document = await database["routes"].find_one({"_id": "smart"})
    assert document is not None
    assert document["fallbacks"] == []
    assert await database["keys"].count_documents({}) == 1


async def test_an_interrupted_import_is_resumed(
    ctl: CommandLine, source: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (
        "import", "litellm", "--config", str(source / "config.yaml"),
        "--export", str(source / "tables"), "--apply",
    )  # fmt: skip
    ask, left = ApiClient.ask, 0

    def breaking(self: ApiClient, method: str, *args: object, **kwargs: object) -> object:
        nonlocal left
        if method != "GET":
            left -= 1
            if left < 0:
                raise Failed("The connection broke.")
        return ask(self, method, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(ApiClient, "ask", breaking)
    codes = []
    for attempt in range(9):
        left = 1 + attempt % 3
        codes.append((await ctl(*arguments)).code)
    left = 1000
    last = await ctl(*arguments)
    assert 4 in codes
    assert {name: action for name, action in actions(last).items() if action != "same"} == {
        "route unpriced": "wrong"
    }
    routes = {row["_id"]: row["fallbacks"] async for row in database["routes"].find({})}
    assert routes == {"smart": ["fast"], "fast": ["smart"]}
    assert await database["keys"].count_documents({}) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("litellm",), "There is nothing to read"),
        (("litellm", "--database", "postgresql://u:pw@h/d"), "does not belong on the command"),
        (("litellm", "--database", "-", "--export", "x"), "not both"),
        (("litellm", "--export", "none.sql"), "none.sql"),
        (("otari", "--config", "none.yml"), "none.yml"),
        (("csv", "none.csv"), "none.csv"),
    ],
)
async def test_an_unreadable_source_is_reported(
    ctl: CommandLine, arguments: tuple[str, ...], said: str
) -> None:
    result = await ctl("import", *arguments)
    assert result.code == 2
    assert said in result.err
    assert "pw" not in result.err


async def test_a_terminal_is_shown_sums(ctl: CommandLine, source: Path) -> None:
    result = await ctl.run_ok(
        "import", "litellm", "--config", str(source / "config.yaml"), terminal=True
    )
    assert "carried  model_list.model_name  (3: smart, fast, unpriced)" in result.out
    assert "3 routes" in result.err
