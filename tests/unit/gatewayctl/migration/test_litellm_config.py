"""LiteLLM's `config.yaml` as routes and prices."""

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gatewayctl.documents import parse_document, read_document
from gatewayctl.errors import Misused
from gatewayctl.migration.litellm_config import read_config
from gatewayctl.migration.plan import MigrationPlan

CONFIG = Path(__file__).parents[3] / "support/litellm/config.yaml"
ENVIRON = {"AZURE_API_BASE": "https://x.openai.azure.com"}


def plan_of(text: str, environ: Mapping[str, str] = ENVIRON) -> MigrationPlan:
    return read_config(parse_document(text.encode(), "config.yaml"), environ).plan


def model(params: str, *, beside: str = "") -> MigrationPlan:
    return plan_of(f"model_list: [{{model_name: m, litellm_params: {{{params}}} {beside}}}]")


def notes_of(plan: MigrationPlan, kind: str) -> list[tuple[str, str]]:
    return [(line.verdict, line.note) for line in plan.lines if line.kind == kind]


def test_a_configuration_as_routes_prices_and_fallbacks() -> None:
    config = read_config(read_document(CONFIG), ENVIRON)
    plan = config.plan
    routes = {route["model"]: route for route in plan.routes}
    assert list(routes) == ["smart", "claude", "house", "gpt-4o", "cheap"]
    bounds = {"max_attempts": 3, "cooldown_after": 4, "cooldown_s": 30}
    assert routes["smart"] == {
        "model": "smart",
        "deployments": [
            {
                "model": "openai/gpt-4.1",
                "credential": "env:OPENAI_API_KEY",
                "drop_params": True,
                "timeouts": {"total": 600},
                "weight": 1000,
                "priority": 1,
            },
            {
                "model": "azure/gpt-4.1-eu",
                "api_base": "https://x.openai.azure.com",
                "credential": "env:AZURE_API_KEY",
                "max_parallel": 40,
                "timeouts": {"total": 300, "first_byte": 30},
                "priced_as": "gpt-4.1",
                "drop_params": True,
                "weight": 111,
                "priority": 2,
            },
        ],
        "fallbacks": ["claude", "house"],
        **bounds,
    }
    assert routes["house"]["context_fallbacks"] == ["smart"]
    assert routes["gpt-4o"] == routes["smart"] | {"model": "gpt-4o"}
    assert plan.costs == [
        {
            "model": "qwen3-32b",
            "provider": "hosted_vllm",
            "input_cost_per_million": Decimal("0.1"),
            "output_cost_per_million": Decimal("0.25"),
        }
    ]
    assert config.allowed == {
        "beta-models": ("smart", "gpt-4o", "house", "cheap"),
        "smart": ("smart", "gpt-4o"),
        "house": ("house", "cheap"),
    }
    assert "sk-stands-in-the-file" not in repr(plan)
    credential = routes["house"]["deployments"][0]["credential"]
    assert credential == "env:HOSTED_VLLM_10_0_0_7_API_KEY"


def test_a_key_in_the_file_never_takes_a_variable_that_has_another_secret() -> None:
    """That of the provider itself would be sent to the other address."""
    plan = plan_of("""
model_list:
- model_name: own
  litellm_params: {model: openai/gpt-4o, api_key: os.environ/OPENAI_API_KEY}
- model_name: in-file
  litellm_params: {model: openai/gpt-4o, api_key: sk-one}
- model_name: elsewhere
  litellm_params: {model: openai/x, api_key: sk-two, api_base: "https://llm.example.com/v1"}
- model_name: elsewhere-too
  litellm_params: {model: openai/y, api_key: sk-three, api_base: "https://llm.example.com/v1"}
- model_name: elsewhere-again
  litellm_params: {model: openai/z, api_key: sk-two, api_base: "https://llm.example.com/v1"}
- model_name: odd
  litellm_params: {model: openai/z, api_key: sk-four, api_base: "http://[1/v1"}
litellm_settings: {redis_password: os.environ/OPENAI_OTHER_API_KEY}
""")
    credentials = {
        route["model"]: route["deployments"][0]["credential"].removeprefix("env:")
        for route in plan.routes
    }
    assert credentials == {
        "own": "OPENAI_API_KEY",
        "in-file": "OPENAI_API_KEY_2",
        "elsewhere": "OPENAI_LLM_EXAMPLE_COM_API_KEY",
        "elsewhere-too": "OPENAI_LLM_EXAMPLE_COM_API_KEY_2",
        "elsewhere-again": "OPENAI_LLM_EXAMPLE_COM_API_KEY",
        "odd": "OPENAI_OTHER_API_KEY_2",
    }


def leaves(value: Any, path: str = "") -> list[str]:
    """The fields of the file: of lists of models each row's own."""
    if isinstance(value, dict):
        return [leaf for name, inner in value.items() for leaf in leaves(inner, f"{path}.{name}")]
    return [path]


def test_every_field_is_reported_once() -> None:
    text = """
model_list:
  - model_name: m
    surprise: 1
    litellm_params:
      {model: openai/x, api_key: k, api_base: "http://h/v1", base_url: b, rpm: 1, tpm: 2, weight: 3,
       order: 1, timeout: 1, stream_timeout: 2, max_retries: 3, max_parallel_requests: 4,
       drop_params: true, custom_llm_provider: openai, input_cost_per_token: 1,
       output_cost_per_token: 1, cache_read_input_token_cost: 1, organization: o, tags: [t],
       max_budget: 5, budget_duration: 1d, region_name: eu, temperature: 1, new_one: {a: 1}}
    model_info: {id: i, mode: chat, base_model: b, input_cost_per_token: 1, access_groups: [g],
                 supports_vision: true, max_tokens: 5, other: x}
litellm_settings: {drop_params: true, cache: true, num_retries: 1, unheard_of: 1, timeout: 5}
router_settings: {allowed_fails: 1, cooldown_time: 5, routing_strategy: x}
general_settings: {master_key: k, alerting: [a], unheard_of: 2}
guardrails: [1]
unheard_of: {a: b}
"""
    document = parse_document(text.encode(), "config.yaml")
    plan = read_config(document, {}).plan
    counts = Counter(line.kind for line in plan.lines)
    assert set(counts.values()) == {1}, counts
    content = document.content
    row = content.pop("model_list")[0]
    expected = {f"model_list.{name}" for name in ("model_name", "surprise")}
    for inner in ("litellm_params", "model_info"):
        expected |= {f"model_list.{inner}.{name}" for name in row[inner]}
    for section in ("litellm_settings", "router_settings", "general_settings"):
        expected |= {f"{section}.{name}" for name in content.pop(section)}
    assert set(counts) == expected | {f"config.{name}" for name in content}


def test_each_row_is_a_deployment_and_its_price_its_own() -> None:
    plan = plan_of(
        """
model_list:
  - {model_name: m, litellm_params: {model: openai/x, input_cost_per_token: 1e-6,
     output_cost_per_token: 2e-6}}
  - {model_name: m, litellm_params: {model: openai/x, api_key: sk-2, input_cost_per_token: 3e-6,
     output_cost_per_token: 4e-6}}
  - model_name: other
    litellm_params: {model: openai/x}
    model_info: {input_cost_per_token: 0.000001, output_cost_per_token: 0.000002}
"""
    )
    assert [(cost["model"], cost["input_cost_per_million"]) for cost in plan.costs] == [
        ("x", 1),
        ("x@m", 3),
    ]
    assert [each.get("priced_as") for each in plan.routes[0]["deployments"]] == [None, "x@m"]


@pytest.mark.parametrize(
    ("params", "deployment"),
    [
        ("model: gpt-4o", {"model": "openai/gpt-4o"}),
        ("model: claude-x", {"model": "anthropic/claude-x"}),
        ("model: openai/org/x", {"model": "openai/org/x"}),
        ("model: x, custom_llm_provider: groq", {"model": "groq/x"}),
        ("model: openai/x, api_key: os.environ/lower", {"model": "openai/x"}),
        (
            "model: openai/x, api_base: 'http://h/v1'",
            {"model": "openai/x", "api_base": "http://h/v1", "formats": ["chat", "embeddings"]},
        ),
        ("model: openai/x, timeout: 0", {"model": "openai/x"}),
        ("model: openai/x, timeout: forever", {"model": "openai/x"}),
        ("model: openai/x, max_parallel_requests: -1", {"model": "openai/x"}),
        ("model: openai/x, weight: 0", {"model": "openai/x"}),
        ("model: openai/x, weight: -3", {"model": "openai/x"}),
        (
            "model: openai/x, input_cost_per_token: -1, output_cost_per_token: 1",
            {"model": "openai/x"},
        ),
    ],
)
def test_deployments(params: str, deployment: dict[str, Any]) -> None:
    (route,) = model(params).routes
    assert route["deployments"] == [deployment]


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ("model: unheard-of", "names no provider"),
        ("model: 5", "names no provider"),
        ("temperature: 1", "names no provider"),
        ("model: openai/x, api_base: os.environ/UNSET", "is not set here"),
    ],
)
def test_unsupported_models_are_reported(params: str, why: str) -> None:
    plan = model(params)
    assert plan.routes == []
    assert {line.verdict for line in plan.lines} == {"cannot"}
    assert any(why in line.note for line in plan.lines)


@pytest.mark.parametrize(
    ("shares", "weights"),
    [
        (["weight: 3", "weight: 1"], [3, 1]),
        (["weight: 0.5", "weight: 0.25"], [1000, 500]),
        (["rpm: 60", "rpm: 20"], [60, 20]),
        (["rpm: 60, weight: 2", "rpm: 20, weight: 1"], [2, 1]),
        # LiteLLM calls one without a share never.
        (["weight: 2", "rpm: 20"], [1000, None]),
        (["weight: 0", "tpm: 20000"], [None, 1000]),
        (["order: 1", "order: 2"], [None, None]),
    ],
)
def test_calls_are_shared_out_by_one_measure(shares: list[str], weights: list[Any]) -> None:
    rows = [f"{{model_name: m, litellm_params: {{model: openai/x, {each}}}}}" for each in shares]
    (route,) = plan_of(f"model_list: [{', '.join(rows)}]").routes
    assert [each.get("weight") for each in route["deployments"]] == weights


def test_a_named_credential_is_each_models_that_names_it() -> None:
    plan = plan_of(
        """
credential_list:
  - credential_name: eu
    credential_values: {api_key: os.environ/EU_KEY, api_base: "https://eu.example.com/v1"}
model_list:
  - {model_name: m, litellm_params: {model: groq/x, litellm_credential_name: eu, api_base: ""}}
  - {model_name: n, litellm_params: {model: groq/x, litellm_credential_name: none}}
"""
    )
    named, unnamed = [route["deployments"][0] for route in plan.routes]
    assert named == {
        "model": "groq/x", "api_base": "https://eu.example.com/v1", "credential": "env:EU_KEY",
    }  # fmt: skip
    assert unnamed == {"model": "groq/x"}
    assert [line.verdict for line in plan.lines if line.kind.endswith("credential_name")] == [
        "adapted", "adapted", "cannot",
    ]  # fmt: skip


@pytest.mark.parametrize(("zone", "found"), [("US/Eastern", "US/Eastern"), ("Mars/One", None)])
def test_the_time_zone_of_budgets(zone: str, found: str | None) -> None:
    document = parse_document(f"litellm_settings: {{timezone: {zone}}}".encode(), "config.yaml")
    assert read_config(document, {}).time_zone == found


def test_features_that_are_not_here_are_named() -> None:
    plan = model("model: openai/x", beside=", model_info: {mode: audio_speech}")
    assert plan.routes == []
    assert "'audio_speech' are not served here" in notes_of(plan, "model_list.model_name")[0][1]
    plan = plan_of("model_list: [{model_name: '*', litellm_params: {model: 'openai/*'}}]")
    assert plan.routes == []
    assert {line.verdict for line in plan.lines} == {"cannot"}


def test_ambiguous_and_dangling_aliases_are_reported() -> None:
    plan = plan_of(
        """
model_list:
  - {model_name: a, litellm_params: {model: openai/x}}
  - {model_name: b, litellm_params: {model: openai/y}}
router_settings: {model_group_alias: {a: b, c: b, d: nothing, e: {model: a}}}
"""
    )
    assert [route["model"] for route in plan.routes] == ["a", "b", "c", "e"]
    aliases = {line.subject: line.note for line in plan.lines if "alias" in line.kind}
    assert "is a model's name too" in aliases["a"]
    assert "no model 'nothing'" in aliases["d"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("model_list:\n  - a: [\n", ":3"),
        ("- a\n", ":1: is not a mapping"),
        ("model_list:\n  - 5\n", ":2: model_list[0] is not a mapping"),
        ("model_list: 5\n", ":1: model_list is not a list"),
        ("a: 1\nmodel_list: []\na: 2\n", ":3: has the key 'a' twice"),
    ],
)
def test_a_broken_file_is_named_with_its_line(text: str, where: str) -> None:
    with pytest.raises(Misused) as raised:
        plan_of(text)
    assert where in raised.value.message


@pytest.mark.parametrize(
    "odd",
    [
        "{litellm_params: 5}",
        "{model_name: m, litellm_params: [1]}",
        "{model_name: '', litellm_params: {model: x}}",
        "{model_name: 'ä ö 🚀', litellm_params: {model: openai/x}, model_info: 7}",
        "{model_name: m, litellm_params: {model: [1]}}",
        "{model_name: m, litellm_params: {model: openai/x, api_key: 5, weight: x, order: {}}}",
    ],
)
def test_odd_rows_are_reported_and_do_not_stop_the_import(odd: str) -> None:
    plan = plan_of(f"model_list: [{odd}, {{model_name: ok, litellm_params: {{model: openai/x}}}}]")
    assert plan.routes[-1]["model"] == "ok"


@pytest.mark.parametrize(
    "settings",
    [
        "litellm_settings: 5",
        "litellm_settings: {fallbacks: 5, num_retries: -1, request_timeout: x, drop_params: x}",
        "router_settings: {fallbacks: [5, {a: 5}, {m: [1, x]}], model_group_alias: [1]}",
        "router_settings: {default_fallbacks: [x, m], cooldown_time: -1, allowed_fails: 1.5}",
        "credential_list: [{credential_name: c, credential_values: {api_key: k}}]",
        "environment_variables: [1]",
    ],
)
def test_odd_settings_are_reported_and_do_not_stop_the_import(settings: str) -> None:
    plan = plan_of(
        f"model_list: [{{model_name: m, litellm_params: {{model: openai/x}}}}]\n{settings}"
    )
    assert plan.routes[0]["model"] == "m"
    assert len(plan.lines) > 2


def test_a_secret_in_the_file_is_not_given_by_the_variable_of_another() -> None:
    keys = ("sk-first", "os.environ/OPENAI_API_KEY", "sk-second", "sk-first")
    rows = [
        f"{{model_name: m{i}, litellm_params: {{model: openai/x, api_key: {key}}}}}"
        for i, key in enumerate(keys)
    ]
    plan = plan_of(f"model_list: [{', '.join(rows)}]")
    variables = [route["deployments"][0]["credential"] for route in plan.routes]
    first, second = "env:OPENAI_API_KEY_2", "env:OPENAI_API_KEY_3"
    assert variables == [first, "env:OPENAI_API_KEY", second, first]
