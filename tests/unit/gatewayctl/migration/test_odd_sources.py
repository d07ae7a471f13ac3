"""Whatever stands in a source is told or refused; nothing of it stops a reader."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayctl.documents import YamlDocument, parse_document
from gatewayctl.errors import Misused
from gatewayctl.migration.litellm_columns import KINDS, TABLES
from gatewayctl.migration.litellm_config import LiteLLMConfig, read_config
from gatewayctl.migration.litellm_tables import read_tables
from gatewayctl.migration.otari import TABLES as OTARI_TABLES
from gatewayctl.migration.otari import read_otari
from gatewayctl.state.declaration import read_declaration

CONFIG = (Path(__file__).parents[3] / "support/litellm/config.yaml").read_bytes()
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HASH = "5" * 64
# What a rule could take for what it expects.
ATOMS: st.SearchStrategy[Any] = st.sampled_from(
    [
        None, True, 0, -1, 10**30, Decimal("0.5"), Decimal("1E+400"), "", "x", "openai/x", "*",
        "openai/*", "os.environ/X", "a" * 3000, "\x00\u202e", "{a,b}", "{", "nan", "1e999", "[[[",
        "0001-01-01 00:00:00+14", "9999-12-31T23:59:59-14:00", "0d", "99999999mo", "30d", HASH,
    ]
)  # fmt: skip
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["model", "a", "model_name"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def some_columns(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, VALUES))


def some(*names: str) -> st.SearchStrategy[Any]:
    return some_columns(*names) | VALUES


PARAMS = some(
    "model", "api_key", "api_base", "base_url", "rpm", "weight", "order", "timeout", "drop_params",
    "stream_timeout", "max_parallel_requests", "custom_llm_provider", "input_cost_per_token",
    "output_cost_per_token", "litellm_credential_name",
)  # fmt: skip
INFO = some("mode", "base_model", "access_groups", "input_cost_per_token")
SETTINGS = some(
    "fallbacks", "context_window_fallbacks", "default_fallbacks", "num_retries", "allowed_fails",
    "cooldown_time", "request_timeout", "drop_params", "model_group_alias", "timezone",
)  # fmt: skip
MODELS = st.lists(
    st.fixed_dictionaries({"model_name": ATOMS, "litellm_params": PARAMS, "model_info": INFO}),
    max_size=3,
)
# Drawing what may stand in a source takes longer than reading it.
few = settings(max_examples=max(8, settings().max_examples // 2))


def rows_of(table: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    names = {*KINDS[table], "team_id", "user_id", "budget_id", "organization_id", "key_alias"}
    columns = dict.fromkeys(sorted(names), VALUES)
    return st.lists(
        st.fixed_dictionaries({"token": st.just(HASH) | ATOMS}, optional=columns), max_size=2
    )


OTARI_ROWS = st.lists(
    some_columns(
        "user_id", "alias", "spend", "budget_id", "max_budget", "budget_duration_sec", "key_hash",
        "reset_alignment", "allowed_models", "expires_at", "is_active", "model_key", "target",
        "input_price_per_million", "output_price_per_million", "name", "metadata", "deleted_at",
    ),
    max_size=2,
)  # fmt: skip


@few
@given(
    st.fixed_dictionaries(
        {"model_list": MODELS, "litellm_settings": SETTINGS, "router_settings": SETTINGS},
        optional={"credential_list": VALUES, "environment_variables": VALUES, "z": VALUES},
    )
)
def test_any_configuration(content: dict[str, Any]) -> None:
    try:
        plan = read_config(YamlDocument("f", content, {}), {"X": "v"}).plan
    except Misused:
        return
    assert {line.verdict for line in plan.lines} <= {"carried", "adapted", "cannot"}


@few
@given(st.fixed_dictionaries({table: rows_of(table) for table in TABLES}))
def test_any_rows_of_tables(tables: dict[str, list[dict[str, Any]]]) -> None:
    plan = read_tables(tables, NOW, LiteLLMConfig())
    assert {key["user_id"] for key in plan.keys} <= {each["user_id"] for each in plan.accounts}


@few
@given(
    some("providers", "pricing", "aliases"),
    st.fixed_dictionaries(dict.fromkeys(OTARI_TABLES, OTARI_ROWS)),
)
def test_any_otari(content: Any, tables: dict[str, list[dict[str, Any]]]) -> None:
    try:
        read_otari(YamlDocument("f", content, {}), tables, NOW, ())
    except Misused:
        return


@few
@given(st.integers(0, len(CONFIG) - 1), st.sampled_from(list(b"{}[]:#&*!|>-\n '\x00\xff")))
def test_any_damage_to_a_file(place: int, byte: int) -> None:
    damaged = CONFIG[:place] + bytes([byte]) + CONFIG[place + 1 :]
    message = "f:"
    try:
        read_config(parse_document(damaged, "f"), {})
    except Misused as error:
        message = error.message
    assert message.startswith("f:")


@few
@given(
    st.dictionaries(
        st.sampled_from(["accounts", "keys", "routes", "prices", "receivers", "version", "x"]),
        st.lists(some("user_id", "name", "model", "deployments", "budgets", "url"), max_size=2)
        | VALUES,
    )
)
def test_any_declaration(content: dict[str, Any]) -> None:
    problems: Sequence[str] = ("nothing",)
    try:
        read_declaration(YamlDocument("f", content, {}))
    except Misused as error:
        problems = error.details
    assert problems
