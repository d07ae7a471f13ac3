"""LiteLLM's `config.yaml`: models as routes and prices, settings as what corresponds to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gatewayctl.documents import YamlDocument
from gatewayctl.errors import Misused
from gatewayctl.migration.conversions import weights
from gatewayctl.migration.deployments import SecretVariables, texts_within
from gatewayctl.migration.litellm_models import (
    ENVIRON,
    ServedModel,
    Variables,
    read_model,
    share_by,
)
from gatewayctl.migration.litellm_settings import LiteLLMSettings, read_settings
from gatewayctl.migration.plan import Fields, MigrationPlan
from gatewayctl.values import Row

Groups = dict[str, tuple[str, ...]]

_MAX_DEPLOYMENTS = 32
_WILD = "*"
_TOP_REASONS = {
    "include": "merge the files that it includes first",
    "guardrails": "no guardrails here",
    "mcp_servers": "no MCP servers here",
    "vector_store_registry": "name vector stores in `provider_objects`",
}


class _Reader:
    def __init__(self, plan: MigrationPlan, variables: Variables) -> None:
        self.plan = plan
        self.groups: dict[str, list[str]] = {}
        self.aliases: dict[str, list[str]] = {}
        self._variables = variables
        self._models: dict[str, list[ServedModel]] = {}
        self._costs: dict[tuple[str, str], Row] = {}

    def read(self, rows: list[Any], credentials: Mapping[str, Mapping[str, Any]]) -> None:
        rows_by_name: dict[Any, list[Mapping[str, Any]]] = {}
        for values in rows:
            rows_by_name.setdefault(str(values.get("model_name")), []).append(values)
        for place, values in enumerate(rows):
            row = Fields(self.plan, "model_list", f"model_list[{place}]", values)
            name = values.get("model_name")
            if not isinstance(name, str) or not name.strip("/ ") or not name.isprintable():
                row.rest(note="its model_name is not a name")
                for section in ("litellm_params", "model_info"):
                    row.inner(section).rest(note="its model_name is not a name")
                continue
            row.subject = name
            if _WILD in name:
                self._wildcard(row, name)
                continue
            model = read_model(row, credentials, self._variables, share_by(rows_by_name[name]))
            if model is not None:
                self._add(name, model)

    def _add(self, name: str, model: ServedModel) -> None:
        siblings = self._models.setdefault(name, [])
        if len(siblings) == _MAX_DEPLOYMENTS:
            note = f"a route has at most {_MAX_DEPLOYMENTS} deployments"
            self.plan.say("cannot", "model_list.deployment", name, note)
            return
        siblings.append(model)
        for group in model.groups:
            models = self.groups.setdefault(group, [])
            if name not in models:
                models.append(name)
        if model.cost is not None:
            self._price(name, model.deployment, model.cost)

    def _price(self, name: str, deployment: Row, cost: Row) -> None:
        """Two deployments of one model may cost differently: the later has a price of its own."""
        first_cost = self._costs.setdefault((cost["provider"], cost["model"]), cost)
        if first_cost == cost:
            if first_cost is cost:
                self.plan.costs.append(cost)
            return
        priced_as = f"{cost['model']}@{name}"
        deployment["priced_as"] = priced_as
        own_cost = {**cost, "model": priced_as}
        if self._costs.setdefault((own_cost["provider"], priced_as), own_cost) is own_cost:
            self.plan.costs.append(own_cost)
        elif self._costs[(own_cost["provider"], priced_as)] != own_cost:
            note = "a deployment of the same model and name has another price"
            self.plan.say("cannot", "model_list.price", name, note)

    def _wildcard(self, row: Fields, name: str) -> None:
        params = row.inner("litellm_params")
        if name == params.get("model") and name.endswith("/*") and name.count(_WILD) == 1:
            note = "needs no route: the gateway serves provider/model with the provider's own key"
            row.adapted("model_name", note=note)
            params.adapted("model", note=note)
            params.rest(note="a model without a route has the gateway's own settings")
        else:
            params.rest(note="a route has one name, without wildcards")
        row.inner("model_info").rest(note="a model without a route has no settings of its own")
        row.rest(note="a route has one name, without wildcards")

    def routes(self, settings: LiteLLMSettings) -> None:
        names = [*self._models]
        for name, models in self._models.items():
            route: Row = {"model": name, "deployments": _deployments(models, settings)}
            self.plan.routes.append(route | settings.route_fields(name, names))
        for alias, name in settings.aliases.items():
            if alias in self._models or name not in self._models:
                note = "is a model's name too" if alias in self._models else f"no model {name!r}"
                self.plan.say("cannot", "router_settings.model_group_alias", alias, note)
                continue
            self.aliases.setdefault(name, []).append(alias)
            note = f"is a route with the deployments of {name}, for the keys that may use that"
            self.plan.say("adapted", "router_settings.model_group_alias", alias, note)
            route = {"model": alias, "deployments": _deployments(self._models[name], settings)}
            self.plan.routes.append(route | settings.route_fields(name, names))

    def allowed(self) -> Groups:
        """What a name allows: a group its models, and a model its aliases too."""
        groups = {
            name: (name, *aliases)
            for name, aliases in self.aliases.items()
            if name not in self.groups
        }
        for group, models in self.groups.items():
            groups[group] = tuple(each for m in models for each in (m, *self.aliases.get(m, ())))
        return groups


@dataclass(frozen=True)
class LiteLLMConfig:
    """`allowed` is what each name allows that is more than one model; `time_zone` that of budgets,
    None for UTC."""

    plan: MigrationPlan = field(default_factory=MigrationPlan)
    allowed: Groups = field(default_factory=dict)
    time_zone: str | None = None


def read_config(document: YamlDocument, environ: Mapping[str, str]) -> LiteLLMConfig:
    """Raises Misused, with the line."""
    plan = MigrationPlan()
    content = _mapping_of(document)
    top = Fields(plan, "config", "config.yaml", content)
    file_variables = top.mapping("environment_variables")
    env_names = {t.removeprefix(ENVIRON) for t in texts_within(content) if t.startswith(ENVIRON)}
    variables = Variables(
        {**{name: str(value) for name, value in file_variables.items()}, **environ},
        SecretVariables({*env_names, *file_variables}),
    )
    for name in file_variables:
        plan.say("adapted", "environment_variables", name, "set it for the gateway")
    credentials = _credentials(plan, _rows(document, "credential_list"))
    settings = read_settings(plan, content)
    reader = _Reader(plan, variables)
    reader.read(_rows(document, "model_list"), credentials)
    reader.routes(settings)
    top.skip("model_list", "credential_list", *LiteLLMSettings.SECTIONS)
    top.rest(_TOP_REASONS)
    return LiteLLMConfig(plan, reader.allowed(), settings.time_zone)


def _mapping_of(document: YamlDocument) -> Mapping[str, Any]:
    if not isinstance(document.content, Mapping):
        raise Misused(f"{document.where()}: is not a mapping with a model_list.")
    return document.content


def _rows(document: YamlDocument, name: str) -> list[Any]:
    rows = document.content.get(name)
    if rows is None:
        return []
    if not isinstance(rows, list):
        raise Misused(f"{document.where(name)}: {name} is not a list.")
    for place, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise Misused(f"{document.where(name, place)}: {name}[{place}] is not a mapping.")
    return rows


def _credentials(plan: MigrationPlan, rows: list[Any]) -> dict[str, Mapping[str, Any]]:
    credentials: dict[str, Mapping[str, Any]] = {}
    for place, row in enumerate(rows):
        fields = Fields(plan, "credential_list", f"credential_list[{place}]", row)
        name, values = row.get("credential_name"), row.get("credential_values")
        if isinstance(name, str) and isinstance(values, Mapping):
            fields.subject = name
            credentials[name] = values
            fields.adapted(
                "credential_name", "credential_values", note="is told by each model that names it"
            )
        fields.rest()
    return credentials


def _deployments(models: list[ServedModel], settings: LiteLLMSettings) -> list[Row]:
    shares = [model.shares for model in models]
    known = [share for share in shares if share is not None]
    # Where some have a share, LiteLLM gives those without one nothing; the least here is 1.
    scaled = iter(weights(known, scaled=len(known) < len(shares))) if known else iter(())
    # LiteLLM tries those without an order only where none has one.
    last = max((model.order or 0 for model in models), default=0) + 1
    is_ordered = any(model.order is not None for model in models)
    deployments = []
    for model in models:
        deployment = settings.defaults(model.deployment)
        if model.shares is not None:
            deployment["weight"] = next(scaled)
        if is_ordered:
            deployment["priority"] = min(model.order if model.order is not None else last, 100)
        deployments.append(deployment)
    return deployments
