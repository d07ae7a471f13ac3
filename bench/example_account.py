"""An account with a budget that no measurement uses up, and its key."""

from datetime import datetime

from libs.common.domain.ids import secret_hash, secret_prefix
from libs.common.schemas.account import Account, Budget
from libs.common.schemas.key import ApiKey

_BUDGET = Budget(limit_nusd=10**15, period="monthly")


def example_account(number: str, secret: str, now: datetime) -> tuple[Account, ApiKey]:
    user_id = f"bench-{number}"
    account = Account(
        user_id=user_id, name=user_id, budgets=(_BUDGET,), created_at=now, updated_at=now
    )
    key = ApiKey(
        key_id=f"bench-key-{number}",
        user_id=user_id,
        name="bench",
        prefix=secret_prefix(secret),
        secret_hash=secret_hash(secret),
        created_at=now,
        updated_at=now,
    )
    return account, key
