"""The price that a row of LiteLLM's `model_list` sets, per token there and per million here."""

from decimal import Decimal

from gatewayctl.migration.conversions import number, per_million
from gatewayctl.migration.plan import Fields
from gatewayctl.values import Row

_RATES = {
    "input_cost_per_token": "input_cost_per_million",
    "output_cost_per_token": "output_cost_per_million",
    "cache_read_input_token_cost": "cached_read_cost_per_million",
    "cache_creation_input_token_cost": "cache_write_cost_per_million",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h_cost_per_million",
    "output_cost_per_reasoning_token": "reasoning_cost_per_million",
    "input_cost_per_audio_token": "input_audio_cost_per_million",
    "output_cost_per_audio_token": "output_audio_cost_per_million",
}
_REQUIRED = ("input_cost_per_token", "output_cost_per_token")


def migrated_price(
    params: Fields, info: Fields, deployment: Row, provider: str, model: str
) -> Row | None:
    """The price that the row sets, of the model at its provider."""
    rates: dict[str, Decimal] = {}
    for name in _RATES:
        # Of both places, LiteLLM takes the model's parameters.
        for fields in (params, info):
            rate = number(fields.get(name))
            if rate is not None and 0 <= rate <= 1 and name not in rates:
                rates[name] = rate
    priced_as = _base_model(info, deployment, provider, is_needed=not rates)
    if not rates:
        return None
    if any(name not in rates for name in _REQUIRED):
        for fields in (params, info):
            fields.cannot(*rates, note="a price needs the rates of input and output")
        return None
    for fields in (params, info):
        fields.carried(*rates)
    cost: Row = {"model": priced_as or model, "provider": provider}
    return cost | {_RATES[name]: per_million(rate) for name, rate in rates.items()}


def _base_model(info: Fields, deployment: Row, provider: str, *, is_needed: bool) -> str | None:
    base = info.get("base_model")
    if not isinstance(base, str) or not base or not is_needed:
        return None
    model = base.removeprefix(f"{provider}/")
    if "/" in model and provider in ("azure", "openai"):
        info.cannot("base_model", note="is of another provider")
        return None
    deployment["priced_as"] = model
    info.carried("base_model", note="is priced_as")
    return model
