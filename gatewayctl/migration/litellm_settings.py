"""LiteLLM's settings of the proxy and of its router, where routes and deployments have them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from gatewayctl.migration.conversions import number, whole_count
from gatewayctl.migration.plan import Fields, MigrationPlan, has_value
from gatewayctl.values import Row

_MAX_ATTEMPTS = 10
_MAX_COOLDOWN_S = 3600
_MAX_FAILURES = 100
_MAX_TIMEOUT_S = 3600
_MAX_FALLBACKS = 16
_OBSERVED = "metrics, logs, usage exports and alerts are the gateway's own"
_STORE = "the gateway has its own database and Redis"
_REASONS = {
    "master_key": "people have admin keys: gatewayctl people; it does not work for calls here",
    "database_url": _STORE,
    "redis_host": _STORE,
    "redis_port": _STORE,
    "redis_password": _STORE,
    "redis_url": _STORE,
    "store_model_in_db": "routes are always in the database",
    "cache": "answers are not cached",
    "cache_params": "answers are not cached",
    "callbacks": _OBSERVED,
    "success_callback": _OBSERVED,
    "failure_callback": _OBSERVED,
    "service_callback": _OBSERVED,
    "alerting": "alerts go to receivers: gatewayctl alerts",
    "max_budget": "there is no budget of all accounts together",
    "budget_duration": "there is no budget of all accounts together",
    "max_user_budget": "budgets are of accounts and keys",
    "max_end_user_budget": "there are no budgets of end users",
    "max_internal_user_budget": "accounts are made with a budget of their own",
    "default_internal_user_params": "accounts are made with a budget of their own",
    "default_team_settings": "accounts are made with a budget of their own",
    "content_policy_fallbacks": "a refusal is an answer here",
    "routing_strategy": "deployments are tried by priority, then by weight",
    "retry_after": "the provider's own, up to 5 s",
    "set_verbose": "set LOG_LEVEL for the gateway",
    "json_logs": "logs are JSON always",
    "custom_auth": "keys are the gateway's own",
    "pass_through_endpoints": "paths beside the API's are not passed through",
    "enforced_params": "calls are not made to have parameters",
}


@dataclass
class LiteLLMSettings:
    """What every route and every deployment gets, unless its own row says otherwise."""

    SECTIONS: ClassVar = ("litellm_settings", "router_settings", "general_settings")

    aliases: dict[str, str] = field(default_factory=dict)
    fallbacks: dict[str, list[str]] = field(default_factory=dict)
    context_fallbacks: dict[str, list[str]] = field(default_factory=dict)
    default_fallbacks: list[str] = field(default_factory=list)
    route: Row = field(default_factory=dict)
    deployment: Row = field(default_factory=dict)
    timeouts: Row = field(default_factory=dict)
    time_zone: str | None = None

    def route_fields(self, name: str, routes: Sequence[str]) -> Row:
        """Fallbacks are those of them that are routes."""
        fields: Row = dict(self.route)
        fallbacks = [*self.fallbacks.get(name, ()), *self.default_fallbacks]
        for field_name, names in (
            ("fallbacks", fallbacks),
            ("context_fallbacks", self.context_fallbacks.get(name, ())),
        ):
            found = [each for each in dict.fromkeys(names) if each in routes and each != name]
            if found:
                fields[field_name] = found[:_MAX_FALLBACKS]
        if ("fallbacks" in fields or "context_fallbacks" in fields) and (
            fields.get("max_attempts", _MAX_ATTEMPTS) < 2
        ):
            fields["max_attempts"] = 2
        return fields

    def defaults(self, deployment: Row) -> Row:
        fields = {**self.deployment, **deployment}
        timeouts = {**self.timeouts, **deployment.get("timeouts", {})}
        return fields | ({"timeouts": timeouts} if timeouts else {})


def read_settings(plan: MigrationPlan, content: Mapping[str, Any]) -> LiteLLMSettings:
    """LiteLLM's router has its own settings, and takes the proxy's for those that it lacks."""
    settings = LiteLLMSettings()
    models = _names(content.get("model_list"))
    for section in LiteLLMSettings.SECTIONS:
        values = content.get(section)
        if not isinstance(values, Mapping):
            if has_value(values):
                plan.say("cannot", "config." + section, section, "is not a mapping")
            continue
        fields = Fields(plan, section, section, values)
        if section != "general_settings":
            _read_fallbacks(plan, fields, settings, models)
            _read_numbers(fields, settings)
            _read_aliases(plan, fields, settings)
            _read_time_zone(fields, settings)
        fields.rest(_REASONS)
    return settings


def _names(rows: Any) -> set[Any]:
    entries = rows if isinstance(rows, list) else []
    names = [row.get("model_name") for row in entries if isinstance(row, Mapping)]
    return {name for name in names if isinstance(name, str)}


def _read_fallbacks(
    plan: MigrationPlan, fields: Fields, settings: LiteLLMSettings, models: set[Any]
) -> None:
    for name, fallbacks in (
        ("fallbacks", settings.fallbacks),
        ("context_window_fallbacks", settings.context_fallbacks),
    ):
        if not fields.has(name):
            continue
        rules = fields.get(name)
        for rule in rules if isinstance(rules, list) else [rules]:
            _read_rule(plan, f"{fields.kind}.{name}", rule, fallbacks, models)
        fields.skip(name)
    default = fields.get("default_fallbacks")
    if isinstance(default, list) and default:
        settings.default_fallbacks += [
            each for each in default if isinstance(each, str) and each in models
        ]
        fields.adapted("default_fallbacks", note="are fallbacks of every route")


def _read_rule(
    plan: MigrationPlan, kind: str, rule: Any, fallbacks: dict[str, list[str]], models: set[Any]
) -> None:
    """A rule is `{model: [others]}`."""
    if not isinstance(rule, Mapping):
        plan.say("cannot", kind, str(rule)[:80], "is not a mapping from a model to others")
        return
    for model, others in rule.items():
        if not isinstance(others, list):
            plan.say("cannot", kind, str(model), "is not a list of models")
            continue
        names = [each for each in others if isinstance(each, str) and each in models]
        fallbacks.setdefault(str(model), []).extend(names)
        if model not in models:
            plan.say("cannot", kind, str(model), "is not a model of the list")
        elif len(names) == len(others):
            plan.say("carried", kind, str(model))
        elif names:
            plan.say("adapted", kind, str(model), "without those that are not models of the list")
        else:
            plan.say("cannot", kind, str(model), "names no model of the list")


def _read_numbers(fields: Fields, settings: LiteLLMSettings) -> None:
    for name in ("num_retries", "max_retries"):
        retries = whole_count(fields.get(name))
        if retries is not None and fields.has(name):
            settings.route["max_attempts"] = min(retries + 1, _MAX_ATTEMPTS)
            fields.adapted(name, note=f"is max_attempts, one more and at most {_MAX_ATTEMPTS}")
    fails = whole_count(fields.get("allowed_fails"))
    if fails is not None and fields.has("allowed_fails"):
        settings.route["cooldown_after"] = min(fails + 1, _MAX_FAILURES)
        fields.adapted("allowed_fails", note="is cooldown_after: failures in a row, not a minute's")
    cooldown = number(fields.get("cooldown_time"))
    if cooldown is not None and 0 <= cooldown <= _MAX_COOLDOWN_S and fields.has("cooldown_time"):
        settings.route["cooldown_s"] = int(cooldown)
        fields.carried("cooldown_time", note="is cooldown_s")
    for name, ours in (
        ("request_timeout", "total"),
        ("timeout", "total"),
        ("stream_timeout", "first_byte"),
    ):
        seconds = number(fields.get(name))
        if seconds is not None and 0 < seconds <= _MAX_TIMEOUT_S:
            settings.timeouts[ours] = seconds
            fields.adapted(name, note=f"is timeouts.{ours} of every deployment")
    if fields.get("drop_params") is True:
        settings.deployment["drop_params"] = True
        fields.carried("drop_params", note="of every deployment")
    parallel = whole_count(fields.get("default_max_parallel_requests"))
    if parallel:
        settings.deployment["max_parallel"] = parallel
        fields.carried("default_max_parallel_requests", note="of every deployment")


def _read_time_zone(fields: Fields, settings: LiteLLMSettings) -> None:
    from zoneinfo import available_timezones

    zone = fields.get("timezone")
    if isinstance(zone, str) and zone in available_timezones():
        settings.time_zone = zone
        fields.carried("timezone", note="is that of every account")


def _read_aliases(plan: MigrationPlan, fields: Fields, settings: LiteLLMSettings) -> None:
    aliases = fields.get("model_group_alias")
    if not isinstance(aliases, Mapping):
        return
    fields.skip("model_group_alias")
    for alias, target in aliases.items():
        model = target.get("model") if isinstance(target, Mapping) else target
        if isinstance(model, str) and isinstance(alias, str) and alias.strip("/ "):
            settings.aliases[alias] = model
        else:
            plan.say("cannot", f"{fields.kind}.model_group_alias", str(alias), "names no model")
