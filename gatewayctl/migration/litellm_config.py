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
        self._served: dict[str, list[ServedModel]] = {}
        self._costs: dict[tuple[str, str], Row] = {}

    def read(self, rows: list[Any], credentials: Mapping[str, Mapping[str, Any]]) -> None:
        of_name: dict[Any, list[Mapping[str, Any]]] = {}
        for values in rows:
            of_name.setdefault(str(values.get("model_name")), []).append(values)
        for place, values in enumerate(rows):
            row = Fields(self.plan, "model_list", f"model_list[{place}]", values)
            name = values.get("model_name")
            if not isinstance(name, str) or not name.strip("/ ") or not name.isprintable():
                row.rest(said="its model_name is not a name")
                for inner in ("litellm_params", "model_info"):
                    row.inner(inner).rest(said="its model_name is not a name")
                continue
            row.of = name
            if _WILD in name:
                self._wildcard(row, name)
                continue
            served = read_model(row, credentials, self._variables, share_by(of_name[name]))
            if served is not None:
                self._add(name, served)

    def _add(self, name: str, served: ServedModel) -> None:
        others = self._served.setdefault(name, [])
        if len(others) == _MAX_DEPLOYMENTS:
            said = f"a route has at most {_MAX_DEPLOYMENTS} deployments"
            self.plan.say("cannot", "model_list.deployment", name, said)
            return
        others.append(served)
        for group in served.groups:
            models = self.groups.setdefault(group, [])
            if name not in models:
                models.append(name)
        if served.cost is not None:
            self._price(name, served.deployment, served.cost)

    def _price(self, name: str, deployment: Row, cost: Row) -> None:
        """Two deployments of one model may cost differently: the later has a price of its own."""
        known = self._costs.setdefault((cost["provider"], cost["model"]), cost)
        if known == cost:
            if known is cost:
                self.plan.costs.append(cost)
            return
        priced_as = f"{cost['model']}@{name}"
        deployment["priced_as"] = priced_as
        own = {**cost, "model": priced_as}
        if self._costs.setdefault((own["provider"], priced_as), own) is own:
            self.plan.costs.append(own)
        elif self._costs[(own["provider"], priced_as)] != own:
            said = "a deployment of the same model and name has another price"
            self.plan.say("cannot", "model_list.price", name, said)

    def _wildcard(self, row: Fields, name: str) -> None:
        params = row.inner("litellm_params")
        if name == params.get("model") and name.endswith("/*") and name.count(_WILD) == 1:
            said = "needs no route: the gateway serves provider/model with the provider's own key"
            row.adapted("model_name", said=said)
            params.adapted("model", said=said)
            params.rest(said="a model without a route has the gateway's own settings")
        else:
            params.rest(said="a route has one name, without wildcards")
        row.inner("model_info").rest(said="a model without a route has no settings of its own")
        row.rest(said="a route has one name, without wildcards")

    def routes(self, settings: LiteLLMSettings) -> None:
        names = [*self._served]
        for name, served in self._served.items():
            route: Row = {"model": name, "deployments": _deployments(served, settings)}
            self.plan.routes.append(route | settings.route_fields(name, names))
        for alias, name in settings.aliases.items():
            if alias in self._served or name not in self._served:
                said = "is a model's name too" if alias in self._served else f"no model {name!r}"
                self.plan.say("cannot", "router_settings.model_group_alias", alias, said)
                continue
            self.aliases.setdefault(name, []).append(alias)
            said = f"is a route with the deployments of {name}, for the keys that may use that"
            self.plan.say("adapted", "router_settings.model_group_alias", alias, said)
            route = {"model": alias, "deployments": _deployments(self._served[name], settings)}
            self.plan.routes.append(route | settings.route_fields(name, names))

    def allowed(self) -> Groups:
        """What a name allows: a group its models, and a model its aliases too."""
        found = {
            name: (name, *aliases)
            for name, aliases in self.aliases.items()
            if name not in self.groups
        }
        for group, models in self.groups.items():
            found[group] = tuple(each for m in models for each in (m, *self.aliases.get(m, ())))
        return found


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
    set_there = top.mapping("environment_variables")
    named = {t.removeprefix(ENVIRON) for t in texts_within(content) if t.startswith(ENVIRON)}
    variables = Variables(
        {**{name: str(value) for name, value in set_there.items()}, **environ},
        SecretVariables({*named, *set_there}),
    )
    for name in set_there:
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
    found: dict[str, Mapping[str, Any]] = {}
    for place, row in enumerate(rows):
        fields = Fields(plan, "credential_list", f"credential_list[{place}]", row)
        name, values = row.get("credential_name"), row.get("credential_values")
        if isinstance(name, str) and isinstance(values, Mapping):
            fields.of = name
            found[name] = values
            fields.adapted(
                "credential_name", "credential_values", said="is told by each model that names it"
            )
        fields.rest()
    return found


def _deployments(served: list[ServedModel], settings: LiteLLMSettings) -> list[Row]:
    shares = [each.shares for each in served]
    given = [each for each in shares if each is not None]
    # Where some have a share, LiteLLM gives those without one nothing; the least here is 1.
    shared = iter(weights(given, scaled=len(given) < len(shares))) if given else iter(())
    # LiteLLM tries those without an order only where none has one.
    last = max((each.order or 0 for each in served), default=0) + 1
    ordered = any(each.order is not None for each in served)
    deployments = []
    for each in served:
        own = settings.defaults(each.deployment)
        if each.shares is not None:
            own["weight"] = next(shared)
        if ordered:
            own["priority"] = min(each.order if each.order is not None else last, 100)
        deployments.append(own)
    return deployments
