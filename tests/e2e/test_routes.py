"""A model of the administrator's own naming, from its making to its entries."""

from decimal import Decimal
from typing import Any

from deploy.local.client import StackClient
from deploy.local.stack import LocalStack
from tests.support.polling import eventually_in_thread

ROUTE = {
    "model": "house/default",
    "deployments": [
        {"model": "openai/gpt-4.1-mini"},
        {"model": "anthropic/claude-haiku-4-5", "priority": 1},
    ],
}
CALL = {"model": "house/default", "messages": [{"role": "user", "content": "Hello"}]}


async def test_a_route_is_made_tested_used_and_removed(stack: LocalStack) -> None:
    admin = StackClient(stack.info.admin_url, stack.info.admin_api_key)
    client = StackClient(stack.gateway_urls[0], stack.info.demo_api_key)
    admin.expect("POST", "/admin/models", ROUTE)

    results = admin.expect("POST", "/admin/models/house/default/test", {})["results"]
    assert [(result["ok"], result["error"]) for result in results] == [(True, None)] * 2
    client.expect("POST", "/v1/chat/completions", CALL)

    entries: dict[str, Any] = {}

    def posted() -> bool:
        usage = admin.expect("GET", "/admin/usage/user/gateway-tests")
        entries.update({entry["entry_id"]: entry for entry in usage["data"]})
        return {result["request_id"] for result in results} <= entries.keys()

    await eventually_in_thread(posted)
    for result in results:
        entry = entries[result["request_id"]]
        assert entry["deployment"] == result["deployment_id"]
        assert Decimal(str(entry["cost_usd"])) == Decimal(str(result["cost_usd"])) > 0
    assert admin.expect("GET", "/admin/ledger/verify")["ok"] is True

    status, _ = admin.call("DELETE", "/admin/models/house/default")
    assert status == 204
    await eventually_in_thread(lambda: client.call("POST", "/v1/chat/completions", CALL)[0] == 404)
