"""The bodies and answers of `/admin/keys`."""

from datetime import datetime
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from libs.common.schemas.account import Limits
from libs.common.schemas.key import ApiKey, KeyStatus
from libs.common.schemas.recording import RecordingTerms
from services.admin.budgets import Budgets, BudgetView, LimitsBody, LimitsChanges, budget_view
from services.admin.fields import (
    AllowedModels,
    FutureTime,
    KeyPrefix,
    Name,
    ProviderObjects,
    RetentionDays,
    SearchText,
    Sha256,
    Time,
    UserId,
)
from services.admin.pages import PageQuery, found_in
from services.admin.spend import KeySpend

ShownStatus = Literal["active", "expired", "revoked"]


class RecordingBody(msgspec.Struct, frozen=True, kw_only=True):
    """The key's calls are recorded and kept for `retention_days`."""

    retention_days: RetentionDays


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """`key_sha256` is that of a secret which clients hold already; only owners may give it."""

    user_id: UserId
    name: Name | None = None
    allowed_models: AllowedModels | None = None
    provider_objects: ProviderObjects = ()
    expires_at: FutureTime | None = None
    budgets: Budgets = ()
    limits: LimitsBody | None = None
    recording: RecordingBody | None = None
    key_sha256: Sha256 | None = None


class KeyChanges(msgspec.Struct, frozen=True, kw_only=True):
    """A merge patch: an absent field stays as it is, at every depth; null removes a restriction."""

    name: Name | UnsetType = UNSET
    allowed_models: AllowedModels | UnsetType | None = UNSET
    provider_objects: ProviderObjects | UnsetType = UNSET
    expires_at: FutureTime | UnsetType | None = UNSET
    budgets: Budgets | UnsetType = UNSET
    limits: LimitsChanges | UnsetType | None = UNSET
    recording: RecordingBody | UnsetType | None = UNSET
    status: KeyStatus | UnsetType = UNSET


class KeyQuery(PageQuery, frozen=True, kw_only=True):
    """`q` is part of the key_id, the user_id or the name; `prefix` that of any of its secrets."""

    user_id: UserId | UnsetType = UNSET
    q: SearchText | UnsetType = UNSET
    prefix: KeyPrefix | UnsetType = UNSET
    status: ShownStatus | UnsetType = UNSET
    expires_before: Time | UnsetType = UNSET
    sort: Literal["key_id", "-key_id"] = "key_id"

    def wants(self, key: ApiKey, now: datetime) -> bool:
        if self.status is not UNSET and key_status(key, now) != self.status:
            return False
        if self.expires_before is not UNSET and (
            key.expires_at is None or key.expires_at >= self.expires_before
        ):
            return False
        if self.user_id is not UNSET and key.user_id != self.user_id:
            return False
        return found_in(self.q, key.key_id, key.user_id, key.name)


class OldSecretView(msgspec.Struct, frozen=True, kw_only=True):
    """A rotation replaced it; it works until then."""

    prefix: str
    until: datetime


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    key_id: str
    user_id: str
    name: str
    prefix: str
    old_secrets: tuple[OldSecretView, ...]
    allowed_models: tuple[str, ...] | None
    provider_objects: tuple[str, ...]
    expires_at: datetime | None
    budgets: tuple[BudgetView, ...]
    limits: Limits
    recording: RecordingTerms | None
    spend: KeySpend
    status: ShownStatus
    created_by: str | None
    updated_by: str | None
    created_at: datetime
    updated_at: datetime


class NewKeyView(KeyView, frozen=True, kw_only=True):
    """`api_key` is the secret, shown only in this answer; null where only its hash is known."""

    api_key: str | None


def key_status(key: ApiKey, now: datetime) -> ShownStatus:
    if key.status == "active" and key.expires_at is not None and key.expires_at <= now:
        return "expired"
    return key.status


def recording_terms(body: RecordingBody | None) -> RecordingTerms | None:
    return None if body is None else RecordingTerms(retention_days=body.retention_days)


def key_view(key: ApiKey, spend: KeySpend, now: datetime) -> KeyView:
    return KeyView(
        key_id=key.key_id,
        user_id=key.user_id,
        name=key.name,
        prefix=key.prefix,
        old_secrets=tuple(
            OldSecretView(prefix=old.prefix, until=old.until) for old in key.old_secrets
        ),
        allowed_models=key.allowed_models,
        provider_objects=key.provider_objects,
        expires_at=key.expires_at,
        budgets=tuple(map(budget_view, key.budgets)),
        limits=key.limits,
        recording=key.recording,
        spend=spend,
        status=key_status(key, now),
        created_by=key.created_by,
        updated_by=key.updated_by,
        created_at=key.created_at,
        updated_at=key.updated_at,
    )
