"""Otari's providers, prices and aliases as routes and prices.

Its clients name models `provider:model`, so each model that has a price becomes a route of that
name.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gatewayctl.documents import YamlDocument
from gatewayctl.errors import Misused
from gatewayctl.migration.accounts import shown_id
from gatewayctl.migration.conversions import number
from gatewayctl.migration.deployments import SecretVariables, add_base, texts_within
from gatewayctl.migration.plan import Fields, MigrationPlan
from gatewayctl.values import Row

_RATES = {
    "input_price_per_million": "input_cost_per_million",
    "output_price_per_million": "output_cost_per_million",
    "cache_read_price_per_million": "cached_read_cost_per_million",
    "cache_write_price_per_million": "cache_write_cost_per_million",
    "cache_write_1h_price_per_million": "cache_write_1h_cost_per_million",
}
# Its names of providers that have others here.
_PROVIDERS = {
    "vertexai": "vertex_ai", "together": "together_ai", "fireworks": "fireworks_ai",
    "azureopenai": "azure", "openai-compatible": "openai", "openai_compatible": "openai",
    "vllm": "hosted_vllm", "cohere": "cohere_chat",
}  # fmt: skip
_VARIABLE = re.compile(r"\$\{([A-Z_][A-Z0-9_]{0,127})\}")
_OWN = "rows here have times of their own"
REASONS = {
    "created_at": _OWN, "updated_at": _OWN, "last_used_at": _OWN, "budget_started_at": _OWN,
    "next_budget_reset_at": "periods begin by the calendar, and by themselves",
    "workspace_id": "there are no workspaces: accounts are who pays",
    "key_prefix": "a hash has no readable start",
    "exclude_from_budget": "every call of an account counts in its budget",
    "reject_user_mismatch": "a key is its account's, whatever `user` a call names",
    "reserved": "holds are of calls under way",
    "pricing_tiers": "set them with gatewayctl costs set",
}  # fmt: skip


class OtariModels:
    """Adds to the plan."""

    def __init__(self, plan: MigrationPlan) -> None:
        self._plan = plan
        self._secrets = SecretVariables(())
        self._providers: dict[str, Row] = {}
        self._routes: dict[str, Row] = {}

    def config(self, document: YamlDocument) -> None:
        content = document.content
        if not isinstance(content, Mapping):
            raise Misused(f"{document.where()}: is not a mapping of settings.")
        top = Fields(self._plan, "config", "config.yml", content)
        matches = map(_VARIABLE.fullmatch, texts_within(content))
        self._secrets = SecretVariables({match[1] for match in matches if match})
        for name, values in _pairs(content, "providers"):
            self._provider(name, values)
        for key, values in _pairs(content, "pricing"):
            self.price(key, Fields.of_value(self._plan, "pricing", shown_id(key), values))
        for name, target in _pairs(content, "aliases"):
            self._alias(name, target)
        top.skip("providers", "pricing", "aliases")
        top.rest(note="is the other gateway's own")

    def _provider(self, name: str, values: Any) -> None:
        fields = Fields.of_value(self._plan, "providers", shown_id(name), values)
        kind = str(fields.get("provider_type") or name).lower()
        settings: Row = {"provider": _PROVIDERS.get(kind, kind)}
        fields.carried("provider_type")
        if fields.has("api_base"):
            add_base(fields, settings, str(fields.get("api_base")), settings["provider"])
        key = fields.get("api_key")
        if fields.has("api_key"):
            match = _VARIABLE.fullmatch(str(key))
            if match is None:
                variable = self._secrets.of(str(key), name, settings.get("api_base"))
            else:
                variable = match[1]
            settings["credential"] = f"env:{variable}"
            note = f"give it to the gateway as {variable}"
            if match is None:
                fields.adapted("api_key", note=note)
            else:
                fields.carried("api_key", note=note)
        fields.rest(note="set it for the gateway, if it needs it")
        self._providers[name] = settings

    def _deployment(self, key: str) -> Row | None:
        """Of `provider:model`; the instance's name may stand for a provider."""
        instance, colon, model = key.partition(":")
        if not colon or not model or not instance:
            return None
        kind = _PROVIDERS.get(instance, instance)
        settings = {"provider": kind, **self._providers.get(instance, {})}
        provider = settings.pop("provider")
        return {"model": f"{provider}/{model}", **settings}

    def price(self, key: str, fields: Fields) -> None:
        deployment = self._deployment(key)
        rates = {ours: number(fields.get(theirs)) for theirs, ours in _RATES.items()}
        if deployment is None or None in [*rates.values()][:2]:
            note = "needs provider:model, and prices of input and output"
            fields.cannot("model_key", *_RATES, note=note)
            fields.rest(REASONS)
            return
        fields.carried("model_key", *_RATES)
        fields.rest(REASONS)
        provider, _, model = deployment["model"].partition("/")
        cost: Row = {"model": model, "provider": provider}
        cost |= {name: rate for name, rate in rates.items() if rate is not None}
        # Rows of the database come later, and apply before the file's.
        self._plan.costs = [
            other
            for other in self._plan.costs
            if (other["model"], other["provider"]) != (model, provider)
        ] + [cost]
        if key not in self._routes:
            self._routes[key] = {"model": key, "deployments": [deployment]}
            self._plan.routes.append(self._routes[key])

    def alias_row(self, row: Row) -> None:
        fields = Fields(self._plan, "alias", shown_id(row.get("name")), row)
        if row.get("user_id") is not None:
            fields.rest(note="names of models are routes, the same for all")
            return
        self._alias(str(row.get("name") or ""), row.get("target"), fields)
        fields.rest(REASONS | {"id": _OWN})

    def _alias(self, name: str, target: Any, fields: Fields | None = None) -> None:
        fields = fields or Fields(self._plan, "aliases", shown_id(name), {"target": target})
        deployment = self._deployment(target) if isinstance(target, str) else None
        if deployment is None or name in self._routes or not name:
            fields.rest(note="needs a name of its own, and a target provider:model")
            return
        fields.carried("name", "target", note="is a route")
        self._routes[name] = {"model": name, "deployments": [deployment]}
        self._plan.routes.append(self._routes[name])


def _pairs(content: Mapping[str, Any], name: str) -> Sequence[tuple[str, Any]]:
    values = content.get(name)
    return [*values.items()] if isinstance(values, Mapping) else []
