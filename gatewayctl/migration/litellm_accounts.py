"""LiteLLM's teams and users as accounts, and which account a key draws on.

A key of a team draws on the team's pool, whoever holds it; any other key on its user's. Those
without either share an account that has no budget: theirs are their own.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fnmatch import fnmatchcase

from gatewayctl.migration.accounts import (
    MAX_TEXT,
    NO_MODEL,
    ORIGIN,
    UNREADABLE_MODELS,
    AccountIds,
    bounds_of,
    first_models,
    metadata_of,
    name_from,
    shown_id,
    spend_of,
)
from gatewayctl.migration.columns import names
from gatewayctl.migration.litellm_columns import REASONS
from gatewayctl.migration.litellm_config import LiteLLMConfig
from gatewayctl.migration.plan import EarlierSpend, Fields, MigrationPlan
from gatewayctl.values import Row

_ALL_MODELS = {"all-proxy-models", "all-team-models", "*"}
_WHOLE_PROXY = "litellm-proxy-budget"
_UNASSIGNED = "litellm-keys"
_MAX_MODEL = 256


class LiteLLMAccounts:
    """Adds to the plan. `organizations` are their names."""

    def __init__(
        self, plan: MigrationPlan, organizations: Mapping[str, str], config: LiteLLMConfig
    ) -> None:
        self._plan = plan
        self._organizations = organizations
        self._config = config
        self._ids = AccountIds()
        self._accounts: set[str] = set()
        # The models that each account may use; empty is all.
        self._models: dict[str, Sequence[str]] = {}
        # By account and origin: what the keys spent whose account has no row.
        self._key_spends: dict[tuple[str, str], Decimal] = {}

    def add(self, kind: str, row: Row) -> None:
        source_id = row.get(f"{kind}_id")
        fields = Fields(self._plan, kind, shown_id(row.get(f"{kind}_alias") or source_id), row)
        if not isinstance(source_id, str) or not source_id:
            fields.rest(note=f"has no {kind}_id")
            return
        if source_id == _WHOLE_PROXY:
            fields.rest(note="there is no budget of all accounts together")
            return
        user_id = self._ids.of(kind, source_id)
        if user_id in self._accounts:
            fields.rest(note=f"appears twice in the source: {kind} {shown_id(source_id)}")
            return
        if user_id == source_id:
            fields.carried(f"{kind}_id", note="is the account's user_id")
        else:
            fields.adapted(f"{kind}_id", note="becomes what a user_id can be")
        origin = f"litellm {kind} {source_id}"
        body: Row = {"user_id": user_id, "name": name_from(fields, f"{kind}_alias") or user_id}
        body |= self._time_zone() | bounds_of(fields)
        if row.get("blocked") not in (None, False):
            body["status"] = "suspended"
            fields.adapted("blocked", note="the account is suspended")
        body["metadata"] = metadata_of(fields, "metadata", origin, self._extra_metadata(fields))
        self._spend(fields, user_id, origin)
        self._models[user_id] = self._allowed(fields)
        fields.adapted("models", note="each key of it is allowed these")
        fields.rest(REASONS)
        self._accounts.add(user_id)
        self._plan.accounts.append(body)

    def _time_zone(self) -> Row:
        zone = self._config.time_zone
        return {} if zone is None else {"time_zone": zone}

    def _extra_metadata(self, fields: Fields) -> dict[str, str]:
        extra: dict[str, str] = {}
        organization = fields.get("organization_id")
        if isinstance(organization, str) and organization:
            name = self._organizations.get(organization) or organization
            extra["organization"] = name[:MAX_TEXT]
            fields.adapted("organization_id", note="is in the metadata; it has no pool of its own")
        email = fields.get("user_email")
        if isinstance(email, str) and 0 < len(email) <= MAX_TEXT:
            extra["email"] = email
            fields.adapted("user_email", note="is in the metadata")
        return extra

    def _spend(self, fields: Fields, user_id: str, origin: str) -> None:
        spent = spend_of(fields)
        if spent:
            self._plan.spends.append(EarlierSpend(user_id, origin, spent))
            fields.adapted("spend", note="is an adjustment, which counts in all current periods")
        else:
            fields.carried("spend")

    def owner(self, fields: Fields, spent: Decimal) -> str:
        """The account that pays, which is made here where the source has no row for it."""
        team, user = fields.get("team_id"), fields.get("user_id")
        if isinstance(team, str) and team:
            user_id, origin = self._ids.of("team", team), f"litellm team {team}"
            fields.carried("team_id", note="is its account")
            fields.cannot("user_id", note="a team's key is the team's, whoever holds it")
        elif isinstance(user, str) and user:
            user_id, origin = self._ids.of("user", user), f"litellm user {user}"
            fields.carried("user_id", note="is its account")
        else:
            user_id, origin = self._ids.of("keys", _UNASSIGNED), "litellm keys without a team"
        if user_id not in self._accounts:
            self._accounts.add(user_id)
            body = {"user_id": user_id, "name": user_id, "metadata": {ORIGIN: origin[:MAX_TEXT]}}
            self._plan.accounts.append(body | self._time_zone())
            note = "its team or user has no row: the account has no budget"
            self._plan.say("adapted", "key.account", user_id, note)
            self._key_spends[user_id, origin] = Decimal(0)
        if (user_id, origin) in self._key_spends:
            self._key_spends[user_id, origin] += spent
        return user_id

    def allowed(self, fields: Fields, user_id: str) -> list[str] | None:
        """The models that both the key and its account allow. None means every model."""
        account = self._models.get(user_id, ())
        own = self._allowed(fields)
        if not own:
            allowed = list(account)
            fields.carried("models")
        elif not account:
            allowed = list(own)
            fields.carried("models")
        else:
            allowed = [each for each in own if any(fnmatchcase(each, one) for one in account)]
            fields.adapted("models", note="those of them that its team or user is allowed")
            allowed = allowed or [NO_MODEL]
        return first_models(self._plan, fields, "models", allowed) or None

    def _allowed(self, fields: Fields) -> list[str]:
        """Groups as their models. Empty is every model, which nothing unreadable becomes."""
        given = names(fields.get("models"))
        if given is None:
            fields.cannot("models", note=UNREADABLE_MODELS)
            return [NO_MODEL]
        if not given or any(each in _ALL_MODELS for each in given):
            return []
        models = [model for each in given for model in self._config.allowed.get(each, (each,))]
        fit = [each for each in dict.fromkeys(models) if 0 < len(each) <= _MAX_MODEL]
        return fit or [NO_MODEL]

    def add_spends(self) -> None:
        """Of the accounts that have no row, what their keys spent."""
        for (user_id, origin), spent in self._key_spends.items():
            if spent:
                self._plan.spends.append(EarlierSpend(user_id, origin, spent))
