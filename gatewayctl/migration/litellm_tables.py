"""LiteLLM's tables: teams and users as accounts, keys by their hashes, what was spent so far."""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from gatewayctl.migration.accounts import (
    bounds_of,
    name_from,
    shown_id,
    spend_of,
)
from gatewayctl.migration.columns import typed_row
from gatewayctl.migration.litellm_accounts import LiteLLMAccounts
from gatewayctl.migration.litellm_columns import (
    BUDGETS,
    HISTORY,
    KEYS,
    KINDS,
    MODELS,
    ORGANIZATIONS,
    OTHER_TABLES,
    REASONS,
    TABLES,
    TEAMS,
    USERS,
)
from gatewayctl.migration.litellm_config import LiteLLMConfig
from gatewayctl.migration.plan import Fields, MigrationPlan, has_value
from gatewayctl.values import Row

Tables = Mapping[str, Sequence[Mapping[str, Any]]]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_DASHBOARD = "litellm-dashboard"
# What a key takes from the row of budgets that it names, where it has none itself.
_BUDGET_FIELDS = (
    "max_budget", "soft_budget", "budget_duration", "tpm_limit", "rpm_limit",
    "max_parallel_requests",
)  # fmt: skip


def read_tables(
    tables: Tables,
    now: datetime,
    config: LiteLLMConfig,
    *,
    also: Iterable[str] = (),
) -> MigrationPlan:
    """`also` are the names of tables that were not read."""
    plan = MigrationPlan()
    rows = {name: [typed_row(row, KINDS[name]) for row in tables.get(name, ())] for name in TABLES}
    organizations = {
        str(row.get("organization_id")): str(row.get("organization_alias") or "")
        for row in rows[ORGANIZATIONS]
    }
    accounts = LiteLLMAccounts(plan, organizations, config)
    for row in rows[TEAMS]:
        accounts.add("team", row)
    for row in rows[USERS]:
        accounts.add("user", row)
    budgets = {str(row.get("budget_id")): row for row in rows[BUDGETS]}
    keys = _Keys(plan, accounts, budgets, now)
    for row in rows[KEYS]:
        keys.add(row)
    accounts.add_spends()
    _tell_others(plan, rows, keys.shared_budgets)
    for name in also:
        plan.say("cannot", name, "table", OTHER_TABLES.get(name, HISTORY))
    return plan


class _Keys:
    """Adds to the plan."""

    def __init__(
        self,
        plan: MigrationPlan,
        accounts: LiteLLMAccounts,
        budgets: Mapping[str, Row],
        now: datetime,
    ) -> None:
        self.shared_budgets: set[str] = set()
        self._plan = plan
        self._accounts = accounts
        self._budgets = budgets
        self._now = now
        self._hashes: set[str] = set()

    def add(self, row: Row) -> None:
        hashed = _hash(row)
        fields = Fields(self._plan, "key", _shown_key(row, hashed), self._with_budget(row))
        reason = self._why_not(row, hashed)
        if reason is not None:
            fields.rest(note=reason)
            return
        self._hashes.add(str(hashed))
        if hashed == row["token"]:
            fields.carried("token", note="its secret stays")
        else:
            fields.adapted("token", note="was not a hash: its SHA-256 is carried")
        spent = spend_of(fields)
        user_id = self._accounts.owner(fields, spent)
        body: Row = {"user_id": user_id, "key_sha256": hashed, "name": _key_name(fields)}
        body |= bounds_of(fields, spent=spent)
        allowed = self._accounts.allowed(fields, user_id)
        body |= {"allowed_models": allowed} if allowed is not None else {}
        if row.get("expires") is not None:
            body["expires_at"] = row["expires"].isoformat()
            fields.carried("expires")
        note = "is in its account's; a period of its own budget begins at zero"
        fields.adapted("spend", note=note)
        self._share_budget(fields)
        if fields.has("metadata"):
            fields.inner("metadata").rest(note="keys have no metadata: its account has")
        fields.rest(REASONS)
        self._plan.keys.append(body)

    def _why_not(self, row: Row, hashed: str | None) -> str | None:
        if hashed is None:
            return "its token is not a SHA-256"
        if hashed in self._hashes:
            return "appears twice in the source"
        if row.get("team_id") == _DASHBOARD:
            return "is a session of LiteLLM's own pages"
        if row.get("blocked") not in (None, False):
            return "is blocked: its secret stays refused"
        expires = row.get("expires")
        if expires is not None and not isinstance(expires, datetime):
            return "its time of expiry cannot be read"
        if expires is not None and expires <= self._now:
            return "has expired: its secret stays refused"
        return None

    def _with_budget(self, row: Row) -> Row:
        budget = self._budgets.get(str(row.get("budget_id")), {})
        budget_fields = {name: budget.get(name) for name in _BUDGET_FIELDS if row.get(name) is None}
        return {**row, **{name: value for name, value in budget_fields.items() if has_value(value)}}

    def _share_budget(self, fields: Fields) -> None:
        budget_id = fields.get("budget_id")
        if isinstance(budget_id, str) and budget_id in self._budgets:
            self.shared_budgets.add(budget_id)
            fields.adapted("budget_id", note="its limits are the key's own")


def _tell_others(
    plan: MigrationPlan, rows: Mapping[str, Sequence[Row]], shared_budgets: Collection[str]
) -> None:
    for row in rows[BUDGETS]:
        fields = Fields(plan, "budget", shown_id(row.get("budget_id")), row)
        if row.get("budget_id") in shared_budgets:
            fields.adapted(*_BUDGET_FIELDS, note="each key that names it has the same of its own")
            fields.adapted("budget_id", note="each key that names it has the same of its own")
        fields.rest(REASONS, note="only keys get a budget by its name")
    for row in rows[ORGANIZATIONS]:
        name = shown_id(row.get("organization_alias") or row.get("organization_id"))
        fields = Fields(plan, "organization", name, row)
        note = "is in the metadata of its accounts"
        fields.adapted("organization_id", "organization_alias", note=note)
        fields.rest(REASONS, note="there is no pool of several accounts")
    for row in rows[MODELS]:
        fields = Fields(plan, "model", shown_id(row.get("model_name")), row)
        fields.rest(note="is encrypted in the database: put it into config.yaml")


def _hash(row: Row) -> str | None:
    """Versions of long ago kept secrets as they were."""
    token = row.get("token")
    if not isinstance(token, str):
        return None
    if token.startswith("sk-"):
        return hashlib.sha256(token.encode()).hexdigest()
    return token if _SHA256.fullmatch(token) else None


def _key_name(fields: Fields) -> str:
    alias = name_from(fields, "key_alias")
    if alias is None:
        return name_from(fields, "key_name") or ""
    fields.cannot("key_name", note="its alias is its name")
    return alias


def _shown_key(row: Row, hashed: str | None) -> str:
    return shown_id(row.get("key_alias") or row.get("key_name") or (hashed or "")[:12])
