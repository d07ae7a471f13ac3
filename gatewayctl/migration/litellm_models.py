"""A row of LiteLLM's `model_list` as a deployment, with its price."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gatewayctl.migration.conversions import MAX_COUNT, number, whole_count
from gatewayctl.migration.deployments import SecretVariables, add_base
from gatewayctl.migration.litellm_prices import migrated_price
from gatewayctl.migration.plan import Fields
from gatewayctl.values import Row

ENVIRON = "os.environ/"
_SERVED_MODES = ("chat", "completion", "responses", "embedding", None)
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,127}")
_PROVIDER = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# Providers that LiteLLM knows by name alone.
_FAMILIES = (
    ("openai", ("gpt-", "chatgpt-", "o1", "o3", "o4", "ft:", "text-embedding-")),
    ("anthropic", ("claude-",)),
)
_MAX_PARALLEL = 100_000
_MAX_TIMEOUT_S = 3600
_MAX_ORDER = 100
_PARAM_REASONS = {
    "api_version": "Azure is asked by its v1 API, which has no versions",
    "tpm": "a deployment has no rate limit; `max_parallel` bounds it",
    "rpm": "a deployment has no rate limit; `max_parallel` bounds it",
    "max_retries": "a route has `max_attempts` for all of its deployments",
    "num_retries": "a route has `max_attempts` for all of its deployments",
    "max_budget": "budgets are of accounts and keys",
    "budget_duration": "budgets are of accounts and keys",
    "tags": "no routing by tags",
    "aws_region_name": "set AWS_REGION_NAME for the gateway; it holds for all deployments",
    "aws_access_key_id": "set AWS_ACCESS_KEY_ID for the gateway; it holds for all deployments",
    "aws_secret_access_key": "set AWS_SECRET_ACCESS_KEY for the gateway",
    "vertex_project": "set VERTEXAI_PROJECT for the gateway; it holds for all deployments",
    "vertex_location": "set VERTEXAI_LOCATION for the gateway; it holds for all deployments",
    "vertex_credentials": "set GOOGLE_APPLICATION_CREDENTIALS for the gateway",
}
_INFO_REASONS = {
    "id": "deployments get ids of their own",
    "db_model": "deployments get ids of their own",
}


@dataclass(frozen=True)
class Variables:
    """Resolves `os.environ/NAME`, and collects the variables that the gateway needs."""

    environ: Mapping[str, str]
    secrets: SecretVariables

    def resolve(self, value: Any) -> Any:
        """None for a variable that is not set."""
        if isinstance(value, str) and value.startswith(ENVIRON):
            return self.environ.get(value.removeprefix(ENVIRON))
        return value


@dataclass(frozen=True)
class ServedModel:
    """`shares` is what calls are shared out by; None where nothing says it."""

    deployment: Row
    cost: Row | None
    shares: Decimal | None
    order: int | None
    groups: tuple[str, ...]


def read_model(
    row: Fields,
    credentials: Mapping[str, Mapping[str, Any]],
    variables: Variables,
    share_by: str | None,
) -> ServedModel | None:
    """None, with a line that says why, if it cannot be served. `share_by` is of all its rows."""
    params, info = row.inner("litellm_params"), row.inner("model_info")
    params = _with_credential(params, credentials)
    mode = info.get("mode")
    identity = _named_model(params, variables)
    if mode not in _SERVED_MODES:
        _refuse(row, params, info, f"calls of the kind {mode!r} are not served here")
        return None
    if identity is None:
        note = "names no provider that is known; write provider/model"
        _refuse(row, params, info, note)
        return None
    base = variables.resolve(params.get("api_base") or params.get("base_url"))
    if base is None and (params.has("api_base") or params.has("base_url")):
        _refuse(row, params, info, "its api_base is a variable that is not set here")
        return None
    provider, model = identity
    params.carried("model", "custom_llm_provider")
    deployment: Row = {"model": f"{provider}/{model}"}
    if base is not None:
        add_base(params, deployment, str(base), provider)
    _add_credential(params, deployment, variables, provider)
    _add_bounds(params, deployment)
    _add_flags(params, deployment)
    cost = migrated_price(params, info, deployment, provider, model)
    shares, order = _shares(params, share_by), _order(params)
    groups = _groups(info)
    info.carried("mode")
    info.rest(_INFO_REASONS, note="what a model can do is known from its price map, or a profile")
    params.rest(_PARAM_REASONS)
    row.carried("model_name")
    row.rest(_PARAM_REASONS)
    return ServedModel(deployment, cost, shares, order, groups)


def _with_credential(params: Fields, by_name: Mapping[str, Mapping[str, Any]]) -> Fields:
    """With what `litellm_credential_name` stands for, beneath what the row says itself."""
    name = params.get("litellm_credential_name")
    if not isinstance(name, str) or name not in by_name:
        return params
    return params.over(by_name[name], adapted="litellm_credential_name", note=f"is that of {name}")


def _refuse(row: Fields, params: Fields, info: Fields, note: str) -> None:
    for fields in (params, info, row):
        fields.rest(note=note)


def _named_model(params: Fields, variables: Variables) -> tuple[str, str] | None:
    """Its provider, and its name there."""
    model, custom = variables.resolve(params.get("model")), params.get("custom_llm_provider")
    if not isinstance(model, str) or not model or not model.isprintable():
        return None
    head, slash, rest = model.partition("/")
    if isinstance(custom, str) and _PROVIDER.fullmatch(custom):
        return custom, model.removeprefix(f"{custom}/")
    if slash and _PROVIDER.fullmatch(head) and rest:
        return head, rest
    for provider, prefixes in _FAMILIES:
        if model.startswith(prefixes):
            return provider, model
    return None


def _add_credential(params: Fields, deployment: Row, variables: Variables, provider: str) -> None:
    """Never the secret itself: the name of the variable that the gateway gets it by."""
    key = params.get("api_key")
    if not params.has("api_key"):
        return
    name = str(key).removeprefix(ENVIRON)
    if not str(key).startswith(ENVIRON):
        name = variables.secrets.of(str(key), provider, deployment.get("api_base"))
        params.adapted("api_key", note=f"stands in the file: give it to the gateway as {name}")
    elif _VARIABLE.fullmatch(name):
        params.carried("api_key", note=f"the gateway needs {name}")
    else:
        params.cannot("api_key", note="its variable's name has other than capitals, digits and _")
        return
    deployment["credential"] = f"env:{name}"


def _add_bounds(params: Fields, deployment: Row) -> None:
    parallel = whole_count(params.get("max_parallel_requests"))
    if parallel is not None and 1 <= parallel <= _MAX_PARALLEL:
        deployment["max_parallel"] = parallel
        params.carried("max_parallel_requests", note="of each gateway process")
    timeouts = {}
    for name, ours in (("timeout", "total"), ("stream_timeout", "first_byte")):
        seconds = number(params.get(name))
        if seconds is None or not 0 < seconds <= _MAX_TIMEOUT_S:
            params.cannot(name, note=f"must be seconds, up to {_MAX_TIMEOUT_S}")
            continue
        timeouts[ours] = seconds
        params.adapted(name, note=f"is timeouts.{ours}")
    if timeouts:
        deployment["timeouts"] = timeouts


def _add_flags(params: Fields, deployment: Row) -> None:
    if params.get("drop_params") is True:
        deployment["drop_params"] = True
        params.carried("drop_params")


def share_by(rows: Iterable[Mapping[str, Any]]) -> str | None:
    """LiteLLM shares a model's calls out by the first of these that any of its rows has."""
    params = [row.get("litellm_params") for row in rows]
    for name in ("weight", "rpm", "tpm"):
        if any(isinstance(each, Mapping) and _share(each.get(name)) for each in params):
            return name
    return None


def _share(value: Any) -> Decimal | None:
    share = number(value)
    return share if share is not None and 0 < share <= MAX_COUNT else None


def _shares(params: Fields, by: str | None) -> Decimal | None:
    share = None if by is None else _share(params.get(by))
    if by is None or share is None:
        return None
    if by == "weight":
        params.carried(by)
    else:
        params.adapted(by, note="shares out calls as LiteLLM does, but limits nothing")
    return share


def _order(params: Fields) -> int | None:
    order = whole_count(params.get("order"))
    if order is None or order > _MAX_ORDER:
        return None
    params.carried("order", note="is the priority")
    return order


def _groups(info: Fields) -> tuple[str, ...]:
    groups = info.get("access_groups")
    if not isinstance(groups, list):
        return ()
    info.adapted("access_groups", note="keys that name the group are allowed its models")
    return tuple(str(group) for group in groups)
