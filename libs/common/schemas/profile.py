"""The abilities of a target that a provider's row or an administrator may state."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

EffortLevel = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
LimitWord = Literal["max_tokens", "max_completion_tokens"]
SystemWord = Literal["system", "developer"]
SchemaDialect = Literal["plain", "openai", "anthropic"]
Word = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")]
TokenLimit = Annotated[int, Meta(ge=1, le=1_000_000_000)]
# A name that is longer is sent shorter and with a digest.
NameChars = Annotated[int, Meta(ge=64, le=4096)]
# A label that is longer is sent as a digest, of 64 characters; with room for none it is not sent.
LabelChars = Annotated[int, Meta(ge=0, le=4096)]
SeedWord = Literal["seed", "random_seed"]
SamplingName = Literal[
    "temperature",
    "top_p",
    "seed",
    "presence",
    "frequency",
    "logit_bias",
    "wants_logprobs",
    "top_logprobs",
]


class ProfileFields(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Each is a field of the gateway's profile of a target; None leaves it as it is known.

    `family` is whose thinking and ids the target takes back. `efforts` are the levels that it has
    a word for: none of them, and no budget, is a model that cannot think.
    """

    family: Word | None = None
    sees: bool | None = None
    hears: bool | None = None
    reads_pdf: bool | None = None
    efforts: Annotated[tuple[EffortLevel, ...], Meta(max_length=7)] | None = None
    default_effort: EffortLevel | None = None
    always_thinks: bool | None = None
    is_adaptive: bool | None = None
    has_budgets: bool | None = None
    thinks_beside_tools: bool | None = None
    takes_sampling: bool | None = None
    takes_top_k: bool | None = None
    lacks: Annotated[tuple[SamplingName, ...], Meta(max_length=8)] | None = None
    takes_forced_tools: bool | None = None
    takes_system_inside: bool | None = None
    takes_prefill: bool | None = None
    takes_strict: bool | None = None
    takes_search: bool | None = None
    takes_cache_marks: bool | None = None
    takes_stream_options: bool | None = None
    checks_results: bool | None = None
    alternates: bool | None = None
    max_output: TokenLimit | None = None
    max_stops: Annotated[int, Meta(ge=0, le=1024)] | None = None
    max_user_chars: LabelChars | None = None
    max_name_chars: NameChars | None = None
    seed_word: SeedWord | None = None
    limit_word: LimitWord | None = None
    system_word: SystemWord | None = None
    replays_thinking: Word | None = None
    schema_dialect: SchemaDialect | None = None
