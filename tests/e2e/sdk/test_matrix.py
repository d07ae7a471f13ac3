"""Every call of the matrix gives through the gateway what it gives without: the newest SDKs,
called once against the provider's stand-in itself and once through the gateway."""

from typing import Any

import pytest

from deploy.local.client import StackClient
from deploy.local.stack import LocalStack
from tests.e2e.sdk.conftest import NewKey, RunScript

OPENAI, ANTHROPIC = "gpt-4o-mini", "claude-haiku-4-5"
OWN = {"chat": OPENAI, "responses": OPENAI, "messages": ANTHROPIC}
OTHERS = {
    "chat": f"anthropic/{ANTHROPIC}",
    "responses": f"anthropic/{ANTHROPIC}",
    "messages": f"openai/{OPENAI}",
}
# Where OpenAI's own models are asked in the other one of its formats, by routes that say so.
ELSEWHERE = {"chat": "sdk/responses", "responses": "sdk/chat", "messages": "sdk/chat"}
BY_OTHERS = pytest.mark.parametrize("models", [OTHERS, ELSEWHERE], ids=["others", "elsewhere"])
# Each answer has its own.
IDENTITIES = {
    "id",
    "_request_id",
    "call_id",
    "created",
    "created_at",
    "completed_at",
    "item_id",
    "tool_call_id",
}
Results = dict[str, dict[str, Any]]


def config(url: str, key: str, models: dict[str, str]) -> dict[str, Any]:
    return {"openai_url": f"{url}/v1", "anthropic_url": url, "key": key, "models": models}


def without_identities(value: Any) -> Any:
    if isinstance(value, list):
        return [without_identities(item) for item in value]
    if isinstance(value, dict):
        return {k: without_identities(v) for k, v in value.items() if k not in IDENTITIES}
    return value


@pytest.fixture(scope="module")
def key(new_key: NewKey) -> str:
    return new_key()


@pytest.fixture(scope="module", autouse=True)
def routes(stack: LocalStack) -> None:
    admin = StackClient(stack.info.admin_url, stack.info.admin_api_key)
    for name in ("chat", "responses"):
        base = f"{stack.info.provider_url}/v1"
        deployment: dict[str, Any] = {
            "model": f"openai/{OPENAI}",
            "formats": [name],
            "api_base": base,
        }
        # Another address than the provider's own gets no key unasked.
        deployment["credential"] = "env:OPENAI_API_KEY"
        admin.expect("POST", "/admin/models", {"model": f"sdk/{name}", "deployments": [deployment]})


@pytest.fixture(scope="module")
def direct(stack: LocalStack, run_script: RunScript) -> Results:
    rows: Results = run_script("matrix.py", config(stack.info.provider_url, "any", OWN))
    assert len(rows) == 3 * 7 * 2
    # Chat's own parser raises for an answer that was cut off, and nothing else fails.
    assert {name for name, row in rows.items() if "error" in row} == {
        "chat limited whole",
        "chat limited stream",
    }
    return rows


def test_relayed_calls_give_the_same_except_for_ids(
    stack: LocalStack, run_script: RunScript, direct: Results, key: str
) -> None:
    relayed: Results = run_script("matrix.py", config(stack.gateway_urls[0], key, OWN))

    for name, row in direct.items():
        assert without_identities(relayed[name]) == without_identities(row), name


@BY_OTHERS
def test_translated_calls_give_the_same_text_tools_and_usage(
    stack: LocalStack, run_script: RunScript, direct: Results, key: str, models: dict[str, str]
) -> None:
    translated: Results = run_script("matrix.py", config(stack.gateway_urls[0], key, models))

    for name, row in direct.items():
        result = translated[name]
        if "error" in row:
            assert result.get("error") == row["error"], (name, result)
            continue
        expected = row["gist"]
        client_format, call, way = name.split()
        if call == "cached":
            # Cached tokens come on top at Anthropic and are part of the count at OpenAI.
            is_claude = models[client_format].startswith("anthropic/")
            provider = "messages" if is_claude else "chat"
            expected = {**expected, "tokens": direct[f"{provider} cached {way}"]["gist"]["tokens"]}
        assert result.get("gist") == expected, (name, result)


def test_langchain_gets_the_same_results(
    stack: LocalStack, run_script: RunScript, key: str
) -> None:
    def run(url: str, secret: str, models: dict[str, str]) -> dict[str, Any]:
        rows: dict[str, Any] = run_script(
            "langchain_calls.py", {"url": url, "key": secret, "models": models}
        )
        return rows

    direct = run(stack.info.provider_url, "any", OWN)

    assert len(direct) == 3 * 5 + 1
    assert run(stack.gateway_urls[0], key, OWN) == direct
    for models in (OTHERS, ELSEWHERE):
        assert run(stack.gateway_urls[0], key, models) == direct
