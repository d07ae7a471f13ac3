"""Makes the demo account and its key through the admin API."""

from typing import Any

from deploy.local.client import StackClient
from deploy.local.errors import StackError

DEMO_USER_ID = "demo"
DEMO_ACCOUNT = {
    "user_id": DEMO_USER_ID,
    "name": "Demo account",
    "budget": {"limit_usd": 10, "period": "monthly"},
}
DEMO_KEY = {"user_id": DEMO_USER_ID, "name": "Demo key"}


def seed_demo(*, gateway_url: str, admin_url: str, admin_api_key: str, demo_api_key: str) -> str:
    """Makes the account unless it exists, and a key unless `demo_api_key` still works."""
    admin = StackClient(admin_url, admin_api_key)
    status, answer = admin.call("POST", "/admin/accounts", DEMO_ACCOUNT)
    if status not in (201, 409):
        raise StackError(f"could not create the demo account: {status} {answer}")
    if demo_api_key and StackClient(gateway_url, demo_api_key).call("GET", "/v1/models")[0] == 200:
        return demo_api_key
    key: Any = admin.expect("POST", "/admin/keys", DEMO_KEY)
    return str(key["api_key"])
