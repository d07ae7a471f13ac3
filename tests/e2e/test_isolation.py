"""Two accounts on one stack of real processes: what one sends leaves the other's calls alone."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from deploy.local.client import StackClient
from deploy.local.stack import LocalStack
from tests.e2e.callers import Caller, new_caller

FIRST, SECOND = "openai/gpt-4.1-mini", "anthropic/claude-haiku-4-5"
Call = Callable[..., httpx2.Response]


@pytest.fixture
def call(stack: LocalStack) -> Call:
    def call(caller: Caller, model: str, text: str, **fields: Any) -> httpx2.Response:
        messages = [{"role": "user", "content": text}]
        return httpx2.post(
            f"{stack.gateway_urls[0]}/v1/messages",
            json={"model": model, "max_tokens": 20, "messages": messages, **fields},
            headers={"authorization": f"Bearer {caller.secret}"},
            timeout=30,
            trust_env=False,
        )

    return call


@pytest.mark.parametrize("status", [401, 429, 500])
def test_a_deployment_that_fails_one_account_serves_another(
    stack: LocalStack, call: Call, status: int
) -> None:
    admin = StackClient(stack.info.admin_url, stack.info.admin_api_key)
    model = f"shared/{status}"
    deployments = [{"model": SECOND}, {"model": FIRST, "priority": 1}]
    route = {"model": model, "deployments": deployments, "max_attempts": 1, "cooldown_after": 3}
    admin.expect("POST", "/admin/models", route)
    one, other = (new_caller(stack, f"{who}-{status}", 1.0) for who in ("one", "other"))
    for _ in range(3):
        failed = call(one, model, f"[[stand-in status={status}]] hello")
        assert failed.status_code == status

    # Its own calls go elsewhere for a while, and nobody else's.
    assert call(one, model, "hello").headers["x-gateway-model"] == FIRST
    served = call(other, model, "hello")
    assert served.status_code == 200
    assert served.headers["x-gateway-model"] == SECOND


def test_a_key_limited_to_one_model_runs_no_other(stack: LocalStack, call: Call) -> None:
    caller = new_caller(stack, "bound", 1.0)
    model = "claude-haiku-4-5"
    caller.admin().expect("PATCH", f"/admin/keys/{caller.key_id}", {"allowed_models": [model]})
    advisor = {"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-5"}

    refused = call(caller, model, "hello", tools=[advisor])

    assert refused.status_code == 403
    assert "tools[0].model" in refused.json()["error"]["message"]
    assert call(caller, model, "hello", tools=[{**advisor, "model": model}]).status_code == 200
