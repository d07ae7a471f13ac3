"""What a target can do."""

from typing import Literal

import msgspec

from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.translation.conversation import Effort, Family


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment's abilities; the defaults are those of a server that nothing is known of.

    `formats` are those it speaks, the preferred first. `efforts` None: not known, any goes as it
    is; empty: it cannot think. `replays_thinking`: the member in which it wants its own back.
    """

    family: Family = "other"
    formats: tuple[ClientFormat, ...] = ("chat",)
    sees: bool = True
    hears: bool = True
    reads_pdf: bool = True
    efforts: tuple[Effort, ...] | None = None
    default_effort: Effort | None = None
    always_thinks: bool = False
    is_adaptive: bool = False
    has_budgets: bool = False
    takes_sampling: bool = True
    takes_top_k: bool = False
    takes_forced_tools: bool = True
    takes_system_inside: bool = True
    takes_prefill: bool = True
    takes_strict: bool = True
    takes_search: bool = False
    takes_cache_marks: bool = False
    checks_results: bool = False
    max_output: int | None = None
    max_stops: int | None = None
    max_user_chars: int = 64
    max_name_chars: int = 64
    limit_word: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    system_word: Literal["system", "developer"] = "system"
    replays_thinking: str | None = None
    alternates: bool = False
    schema_dialect: Literal["plain", "openai", "anthropic"] = "plain"
