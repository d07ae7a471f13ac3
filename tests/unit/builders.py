"""Builders of the shared schemas: a test names what matters to it and nothing else."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from libs.common.schemas.account import Account
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.key import ApiKey
from libs.common.schemas.price import Hours, PriceVersion, Rates, Tier
from libs.common.schemas.usage import UsageEvent

# A Tuesday, in ISO week 48.
NOW = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)


def account(user_id: str = "acme", **fields: Any) -> Account:
    defaults: dict[str, Any] = {"name": "Acme", "created_at": NOW, "updated_at": NOW}
    return Account(user_id=user_id, **(defaults | fields))


def api_key(key_id: str = "key-1", **fields: Any) -> ApiKey:
    defaults: dict[str, Any] = {
        "user_id": "acme",
        "name": "laptop",
        "prefix": "sk-gw-abcdef",
        "secret_hash": f"hash of {key_id}",
        "created_at": NOW,
        "updated_at": NOW,
    }
    return ApiKey(key_id=key_id, **(defaults | fields))


def rates(**usd_per_million: str | None) -> Rates:
    """Three dollars for input and fifteen for output, unless given otherwise."""
    texts: dict[str, str | None] = {"input": "3", "output": "15", **usd_per_million}
    decimals: dict[str, Any] = {
        name: None if usd is None else Decimal(usd) for name, usd in texts.items()
    }
    return Rates(**decimals)


def tier(
    above: int = 0,
    service_tier: str | None = None,
    hours: tuple[Hours, ...] = (),
    **usd_per_million: str | None,
) -> Tier:
    return Tier(
        rates=rates(**usd_per_million),
        above_input_tokens=above,
        service_tier=service_tier,
        hours=hours,
    )


def price(model: str = "gpt-4o", *, days: int = -1, **fields: Any) -> PriceVersion:
    """In force since `days` after NOW; its id says what it is."""
    defaults: dict[str, Any] = {
        "price_id": f"{fields.get('provider', '*')}:{model}@{days}",
        "model": model,
        "effective_from": NOW + timedelta(days=days),
        "rates": rates(),
        "created_at": NOW,
    }
    return PriceVersion(**(defaults | fields))


def event(call_id: str = "call-1", **fields: Any) -> UsageEvent:
    defaults: dict[str, Any] = {
        "user_id": "acme",
        "key_id": "key-1",
        "started_at": NOW,
        "format": "chat",
        "status": "ok",
        "http_status": 200,
    }
    return UsageEvent(call_id=call_id, **(defaults | fields))


def entry(entry_id: str = "call-1", **fields: Any) -> LedgerEntry:
    defaults: dict[str, Any] = {
        "user_id": "acme",
        "key_id": "key-1",
        "started_at": NOW,
        "posted_at": NOW,
        "periods": ("total", "2026-11", "2026-W48", "2026-11-24"),
        "format": "chat",
        "requested_model": "gpt-4o",
        "provider": "openai",
        "model": "gpt-4o",
        "translated": False,
        "stream": False,
        "status": "ok",
        "http_status": 200,
        "error_code": None,
        "usage": None,
        "usage_source": "provider",
        "cost_nusd": 1_000,
        "lines": (),
        "price_id": "*:gpt-4o@-1",
        "held_nusd": 0,
        "latency_ms": None,
        "first_byte_ms": None,
        "provider_request_id": None,
        "client_user": None,
    }
    return LedgerEntry(entry_id=entry_id, **(defaults | fields))
