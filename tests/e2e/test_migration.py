"""A LiteLLM Proxy moves here, and its clients notice nothing but the address."""

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from deploy.local.client import StackClient
from deploy.local.stack import LocalStack
from tests.support.command_line import CommandResult, run

SOURCE = Path(__file__).parents[1] / "support/litellm"
RESEARCH = "7e5e2c5e-8a32-4b35-9c8a-0c6f1b7a1d11"
# What LiteLLM's clients hold: the dump has only their hashes.
CI, CLAUDE, ADA, BLOCKED = (
    "sk-research-4f1c2a", "sk-research-claude-9d2e", "sk-ada-own-77aa", "sk-blocked-1",
)  # fmt: skip
ROUTES = ("smart", "claude", "house", "gpt-4o", "cheap")
QUESTION: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def admin(stack: LocalStack) -> Iterator[StackClient]:
    client = StackClient(stack.info.admin_url, stack.info.admin_api_key)
    yield client
    for route in ROUTES:
        client.call("DELETE", f"/admin/models/{route}")


def migrate(stack: LocalStack, *options: str) -> CommandResult:
    environ = {
        "GATEWAYCTL_URL": stack.info.admin_url,
        "GATEWAYCTL_KEY": stack.info.admin_api_key,
        "AZURE_API_BASE": "https://azure.invalid",
    }
    files = ("--config", str(SOURCE / "config.yaml"), "--export", str(SOURCE / "dump.sql"))
    return run("import", "litellm", *files, *options, environ=environ)


def actions(result: CommandResult) -> dict[str, str]:
    rows = [row for row in result.rows if row["action"]]
    return {f"{row['kind']} {row['name']}": row["action"] for row in rows}


def test_keys_of_a_litellm_proxy_go_on_working(stack: LocalStack, admin: StackClient) -> None:
    dry = migrate(stack)
    assert (dry.code, actions(dry)) == (0, {})
    assert admin.call("GET", f"/admin/accounts/{RESEARCH}")[0] == 404

    first = migrate(stack, "--apply")
    assert first.code == 0, first.out[-2000:]
    assert Counter(actions(first).values()) == {"create": 6 + 3 + 1 + 5 + 5}
    second = migrate(stack, "--apply")
    assert second.code == 0
    assert set(actions(second).values()) == {"same"}, second.out[-2000:]

    account = admin.expect("GET", f"/admin/accounts/{RESEARCH}")
    assert account["spend"]["total_usd"] == Decimal("12.34")
    (budget,) = account["spend"]["budgets"]
    assert budget["spent_usd"] == Decimal("12.34")

    base = stack.gateway_urls[0]
    with openai.OpenAI(api_key=CI, base_url=f"{base}/v1") as client:
        # Its key is allowed `smart`, and so its alias.
        for model in ("smart", "gpt-4o"):
            answer = client.chat.completions.create(model=model, messages=QUESTION)
            assert answer.choices[0].message.content
        with pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(model="claude", messages=QUESTION)
    with anthropic.Anthropic(api_key=CLAUDE, base_url=base) as claude:
        for model in ("claude", "gpt-4o"):
            message = claude.messages.create(model=model, max_tokens=20, messages=QUESTION)
            assert message.content
    with (
        openai.OpenAI(api_key=BLOCKED, base_url=f"{base}/v1") as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.chat.completions.create(model="smart", messages=QUESTION)
    with openai.OpenAI(api_key=ADA, base_url=f"{base}/v1") as client:
        assert {model.id for model in client.models.list()} >= set(ROUTES)
    assert admin.expect("GET", f"/admin/ledger/verify?user_id={RESEARCH}")["ok"] is True


def test_the_output_of_a_migration_holds_no_secret(stack: LocalStack) -> None:
    result = migrate(stack)
    for secret in ("sk-stands-in-the-file", CI):
        assert secret not in result.out + result.err
