"""Alerts end to end: from calls that spend a budget to signed messages, with real processes."""

import asyncio

from deploy.local.client import StackClient
from tests.e2e.callers import body, new_caller, send_all, set_price
from tests.e2e.conftest import NewStack
from tests.servers import HOST
from tests.support.polling import eventually, eventually_in_thread
from tests.support.receivers import HttpReceiver


async def test_spending_a_budget_is_reported(new_stack: NewStack) -> None:
    stack = await asyncio.to_thread(new_stack, {"ALERT_ALLOWED_HOSTS": HOST})
    admin = StackClient(stack.info.admin_url, stack.info.admin_api_key)
    set_price(stack)
    caller = new_caller(stack, "told", 0.0105)
    budget = {"limit_usd": 0.0105, "period": "total", "alert_percents": [50, 90]}
    admin.expect("PATCH", f"/admin/accounts/{caller.user_id}", {"budget": budget})
    async with HttpReceiver(500, 204).serving() as hooks:
        fields = {"url": hooks.url, "user_ids": [caller.user_id]}
        receiver = admin.expect("POST", "/admin/alerts/receivers", fields)
        hooks.secret = receiver["secret"]
        # Ten calls fit, each for a thousandth of a USD; the others are refused.
        await send_all(caller, body("output_tokens=100"), 40)
        await eventually_in_thread(caller.ledger_is_right)

        async def all_delivered() -> bool:
            return len(hooks.messages) >= 4

        await eventually(all_delivered)
        alerts = f"/admin/alerts?receiver_id={receiver['receiver_id']}"
        await eventually_in_thread(
            lambda: not admin.expect("GET", f"{alerts}&state=pending")["data"]
        )
        deliveries = admin.expect("GET", alerts)["data"]
    # The first try was answered 500.
    assert len(hooks.messages) == 4
    assert {message.id for message in hooks.messages} == {row["alert_id"] for row in deliveries}
    percents = {data["percent"] for data in hooks.of("budget.threshold_reached")}
    assert percents == {50, 90}
    (refused_call_id,) = {data["refused_call_id"] for data in hooks.of("budget.exhausted")}
    assert refused_call_id in {
        entry["_id"] for entry in caller.entries(error_code="budget_exceeded")
    }
