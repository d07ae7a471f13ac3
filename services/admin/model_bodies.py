"""The bodies and answers of `/admin/models`."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from libs.common.schemas.price import AT_COST
from libs.common.schemas.profile import ProfileFields
from libs.common.schemas.route import AnswerModel, Timeouts, TranslationWay
from libs.common.schemas.usage import ClientFormat
from services.admin.fields import Fallbacks, Id, Model, ProviderObjects, RoutedModel, RouteName
from services.admin.price_fields import Multiplier, Region
from services.admin.route_fields import (
    ApiBase,
    CooldownTime,
    Credential,
    FailureCount,
    Formats,
    MaxAttempts,
    ParallelCalls,
    Priority,
    Timeout,
    Weight,
)
from services.admin.validation import FieldRule

_MAX_DEPLOYMENTS = 32


class TimeoutsBody(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds; null uses the gateway's setting."""

    connect: Timeout | None = None
    first_byte: Timeout | None = None
    between_bytes: Timeout | None = None
    total: Timeout | None = None


class DeploymentBody(msgspec.Struct, frozen=True, kw_only=True):
    """`deployment_id` keeps the identity of an existing deployment."""

    model: RoutedModel
    deployment_id: Id | None = None
    api_base: ApiBase | None = None
    credential: Credential | None = None
    formats: Formats | None = None
    weight: Weight = 1
    priority: Priority = 0
    max_parallel: ParallelCalls | None = None
    timeouts: TimeoutsBody | None = None
    drop_params: bool = False
    profile: ProfileFields | None = None
    translation: TranslationWay = "native"
    multiplier: Multiplier = AT_COST
    priced_as: Model | None = None
    region: Region | None = None


def _deployments(values: Sequence[DeploymentBody], _: datetime) -> str | None:
    if 1 <= len(values) <= _MAX_DEPLOYMENTS:
        return None
    return f"must have 1 to {_MAX_DEPLOYMENTS} deployments"


Deployments = Annotated[tuple[DeploymentBody, ...], FieldRule(_deployments)]


class NewRoute(msgspec.Struct, frozen=True, kw_only=True):
    """`model` is the name that clients send."""

    model: RouteName
    deployments: Deployments
    fallbacks: Fallbacks = ()
    context_fallbacks: Fallbacks = ()
    max_attempts: MaxAttempts = 3
    cooldown_after: FailureCount = 3
    cooldown_s: CooldownTime = 30
    provider_objects: ProviderObjects = ()
    answer_model: AnswerModel = "asked"


class RouteChanges(msgspec.Struct, frozen=True, kw_only=True):
    """An absent field stays as it is; `deployments` replaces all deployments."""

    deployments: Deployments | UnsetType = UNSET
    fallbacks: Fallbacks | UnsetType = UNSET
    context_fallbacks: Fallbacks | UnsetType = UNSET
    max_attempts: MaxAttempts | UnsetType = UNSET
    cooldown_after: FailureCount | UnsetType = UNSET
    cooldown_s: CooldownTime | UnsetType = UNSET
    provider_objects: ProviderObjects | UnsetType = UNSET
    answer_model: AnswerModel | UnsetType = UNSET


class DeploymentView(msgspec.Struct, frozen=True, kw_only=True):
    """`cooling_until` is null unless it cools down, and while Redis is unavailable.

    `cooling_reason` is what a gateway said of it, null where none did.
    """

    deployment_id: str
    model: str
    api_base: str | None
    credential: str | None
    formats: tuple[ClientFormat, ...] | None
    weight: int
    priority: int
    max_parallel: int | None
    timeouts: Timeouts
    drop_params: bool
    profile: ProfileFields | None
    translation: TranslationWay
    multiplier: Decimal
    priced_as: str | None
    region: str | None
    cooling_until: datetime | None
    cooling_reason: str | None


class RouteView(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    deployments: tuple[DeploymentView, ...]
    fallbacks: tuple[str, ...]
    context_fallbacks: tuple[str, ...]
    max_attempts: int
    cooldown_after: int
    cooldown_s: int
    provider_objects: tuple[str, ...]
    answer_model: AnswerModel
