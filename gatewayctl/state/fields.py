"""The fields of declared objects, with their defaults.

They are those of the admin API's bodies, which a test compares with them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

REQUIRED = object()


@dataclass(frozen=True)
class FieldShape:
    """`own` are the fields with their defaults; `items` are shapes of the elements of lists, and
    `objects` those of objects."""

    own: Mapping[str, Any]
    items: Mapping[str, "FieldShape"] = field(default_factory=dict)
    objects: Mapping[str, "FieldShape"] = field(default_factory=dict)


_RATES: dict[str, Any] = {
    "input_cost_per_million": REQUIRED,
    "output_cost_per_million": REQUIRED,
    "cached_read_cost_per_million": None,
    "cache_write_cost_per_million": None,
    "cache_write_1h_cost_per_million": None,
    "cache_write_30m_cost_per_million": None,
    "cache_write_12h_cost_per_million": None,
    "reasoning_cost_per_million": None,
    "input_audio_cost_per_million": None,
    "input_image_cost_per_million": None,
    "output_audio_cost_per_million": None,
    "output_image_cost_per_million": None,
    "citation_cost_per_million": None,
}
BUDGET = FieldShape(
    {"limit_usd": REQUIRED, "period": REQUIRED, "soft_limit_usd": None, "alert_percents": []}
)
LIMITS = FieldShape(
    {"requests_per_minute": None, "tokens_per_minute": None, "parallel_calls": None}
)
TIMEOUTS = FieldShape({"connect": None, "first_byte": None, "between_bytes": None, "total": None})
HOURS = FieldShape({"from": REQUIRED, "to": REQUIRED, "weekdays": [1, 2, 3, 4, 5, 6, 7]})
TIER = FieldShape(
    {"above_input_tokens": REQUIRED, "service_tier": None, "hours": [], **_RATES},
    items={"hours": HOURS},
)
ACCOUNT = FieldShape(
    {
        "user_id": REQUIRED,
        "name": None,
        "status": "active",
        "budgets": [],
        "limits": {},
        "time_zone": "UTC",
        "price_multiplier": 1,
        "provider_objects": [],
        "metadata": {},
    },
    items={"budgets": BUDGET},
    objects={"limits": LIMITS},
)
KEY = FieldShape(
    {
        "user_id": REQUIRED,
        "key_id": None,
        "name": None,
        "allowed_models": None,
        "provider_objects": [],
        "expires_at": None,
        "budgets": [],
        "limits": {},
        "recording": None,
        "key_sha256": None,
    },
    items={"budgets": BUDGET},
    objects={"limits": LIMITS, "recording": FieldShape({"retention_days": REQUIRED})},
)
DEPLOYMENT = FieldShape(
    {
        "model": REQUIRED,
        "api_base": None,
        "credential": None,
        "formats": None,
        "weight": 1,
        "priority": 0,
        "max_parallel": None,
        "timeouts": {},
        "drop_params": False,
        "profile": None,
        "translation": "native",
        "multiplier": 1,
        "priced_as": None,
        "region": None,
    },
    objects={"timeouts": TIMEOUTS},
)
ROUTE = FieldShape(
    {
        "model": REQUIRED,
        "deployments": REQUIRED,
        "fallbacks": [],
        "context_fallbacks": [],
        "max_attempts": 3,
        "cooldown_after": 3,
        "cooldown_s": 30,
        "provider_objects": [],
        "answer_model": "asked",
    },
    items={"deployments": DEPLOYMENT},
)
PRICE = FieldShape(
    {
        "model": REQUIRED,
        "provider": "*",
        "aliases": [],
        **_RATES,
        "web_search_cost": None,
        "web_search_per": "search",
        "tool_fees": {},
        "surcharges": {},
        "max_output_tokens": None,
        "multiplier": 1,
        "basis": "rates",
        "tiers": [],
    },
    items={"tiers": TIER},
)
RECEIVER = FieldShape(
    {
        "receiver_id": None,
        "name": None,
        "url": REQUIRED,
        "kinds": [],
        "user_ids": [],
        "enabled": True,
    }
)
