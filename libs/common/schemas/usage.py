"""A call's usage, and the event that carries it from the gateway to the ledger."""

from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from libs.common.schemas.price import AT_COST

ClientFormat = Literal["chat", "messages", "responses", "embeddings"]
# What a call is for. All but `create` make no tokens and cost nothing; `count` asks how many tokens
# a prompt has, the others are about a response that the provider keeps.
Operation = Literal["create", "count", "retrieve", "delete", "cancel", "list_items"]
UsageSource = Literal["provider", "estimated", "none"]
CallStatus = Literal["ok", "upstream_error", "client_closed", "refused", "abandoned"]

# Why a model ran beside the call's main one: to shorten its context, to advise it, before it in a
# turn that another model took over, for a tool that makes images, or unknown to this version.
RunRole = Literal["compaction", "advisor", "fallback", "image_generation", "other"]
# How counts that contradict each other, or text that is there, were read.
UsageNote = Literal[
    # `total_tokens` is larger than its parts: the rest counts as output.
    "output_from_total",
    # Details were larger than their totals: they count up to them.
    "details_clamped",
    # A count was not a whole number from 0 to what any call can have: it counts as not reported.
    "count_unreadable",
    # A run of a kind that this version does not know: it counts as one beside the others.
    "run_unknown",
    # Text was delivered and the provider reported none, or no prompt: it is estimated.
    "input_estimated",
    "output_estimated",
]

# Runs of models of one call; those beyond are added to the last of their kind.
MAX_RUNS = 64
# Kinds of tools: as many as one report may have, and those that the items of a response show.
MAX_TOOLS = 128
# What one call can make, of all that providers are known to; whatever goes beyond is not served.
MAX_OBJECTS = 64
MAX_OBJECT_ID_CHARS = 256
# As many as a route's `max_attempts` can be.
MAX_FAILED_ATTEMPTS = 10


class TokenCounts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Token classes that do not overlap: their sums are the totals. None = not reported.

    The order matters: those up to `citation` are input, the others output.
    """

    input_text: int | None = None
    cache_read: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    cache_write_30m: int | None = None
    cache_write_12h: int | None = None
    input_audio: int | None = None
    input_image: int | None = None
    citation: int | None = None
    output_text: int | None = None
    reasoning: int | None = None
    output_audio: int | None = None
    output_image: int | None = None


class ModelRun(TokenCounts, frozen=True, kw_only=True, omit_defaults=True):
    """A run of a model beside the call's main one, with a price and a context of its own.

    `model` None is the call's own.
    """

    role: RunRole
    model: str | None = None


class TokenUsage(TokenCounts, frozen=True, kw_only=True, omit_defaults=True):
    """What one call used, as its provider reports it.

    The counts are those of `model` (None: the call's own), which another one's may be where it
    answered instead; `runs` come on top of them. `unbilled`: the provider charges for the `runs`
    alone. `service_tier`, `speed` and `inference_geo` are how the provider says that it served the
    call.

    `web_searches` and `tool_uses` are what is charged for by use: searches of the plain tool, and
    by name the others, such as `file_search`, `web_search_preview`, `x_search`, or
    `container_1g` for each container of that size. `provider_cost_usd` is what the provider says
    that the call cost. `notes` say what was read in another way than the plain one.
    """

    model: str | None = None
    web_searches: int | None = None
    tool_uses: dict[str, int] = {}
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    runs: tuple[ModelRun, ...] = ()
    unbilled: bool = False
    provider_cost_usd: Decimal | None = None
    notes: tuple[UsageNote, ...] = ()


class FailedAttempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A try of a deployment that brought no answer that the client could get.

    `status` is the provider's, None where it sent none; `code` and `message` are its words, or the
    gateway's about it, redacted and bounded. It began `after_ms`, from the call's start.
    """

    deployment: str
    provider: str
    model: str
    status: int | None = None
    code: str = ""
    message: str = ""
    after_ms: int | None = None
    elapsed_ms: int


class UsageEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call, as the gateway saw it. `call_id` (UUIDv7) makes posting it idempotent.

    `started_at` (UTC, whole milliseconds) decides the price version and, in the account's
    `time_zone`, the budget periods.
    `model` and `provider` are what the call was routed to; both are None when it was refused
    before routing; `deployment` is the one that answered, after `attempts`, of which those in
    `failed_attempts` were of no use, in their order; the one that was not began `asked_after_ms`
    from the start. `overhead_ms` is the
    gateway's own share of `latency_ms`, up to the first byte of a stream. `held_nusd` is the
    amount of its hold, 0 when it held none. `response_id` is the provider's id of a response that
    it may be asked for again, `objects` are those of what else the call made there. `tags` are the
    client's (`domain.tags`). `account_multiplier` is the account's `price_multiplier` when the call
    was admitted; `deployment_multiplier` and `priced_as` are the deployment's, as they were.
    `traceparent` is the client's, where it sent one (`domain.traces`).
    """

    v: int = 1
    call_id: str
    user_id: str
    key_id: str
    started_at: datetime
    time_zone: str = "UTC"
    account_multiplier: Decimal = AT_COST
    format: ClientFormat
    operation: Operation = "create"
    requested_model: str | None = None
    provider: str | None = None
    model: str | None = None
    deployment: str | None = None
    deployment_multiplier: Decimal = AT_COST
    priced_as: str | None = None
    attempts: int = 0
    failed_attempts: tuple[FailedAttempt, ...] = ()
    asked_after_ms: int | None = None
    translated: bool = False
    stream: bool = False
    status: CallStatus
    http_status: int
    error_code: str | None = None
    usage: TokenUsage | None = None
    usage_source: UsageSource = "none"
    held_nusd: int = 0
    latency_ms: int | None = None
    first_byte_ms: int | None = None
    overhead_ms: float | None = None
    provider_request_id: str | None = None
    response_id: str | None = None
    objects: tuple[str, ...] = ()
    client_user: str | None = None
    tags: tuple[str, ...] = ()
    traceparent: str | None = None
