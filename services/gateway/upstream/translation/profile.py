"""The abilities of a target."""

import msgspec

from libs.common.schemas.profile import (
    LimitWord,
    SamplingName,
    SchemaDialect,
    SeedWord,
    SystemWord,
)
from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.translation.conversation import Effort
from services.gateway.upstream.translation.parts import Family


class Profile(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """One deployment's abilities; the defaults are those of a server that nothing is known of.

    `formats` are those it speaks, the preferred first. `efforts` are the levels it has a word for;
    None: not known, any goes as it is. `thinks_beside_tools` False: in chat it refuses functions
    while it thinks. `lacks` are kinds of sampling that it refuses. `max_user_chars` 0: it takes no
    label of a user. `replays_thinking`: the member in which it wants its own thinking back.
    `library` is the provider's name where LiteLLM's chat call is the way to it.
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
    thinks_beside_tools: bool = True
    takes_sampling: bool = True
    takes_top_k: bool = False
    lacks: tuple[SamplingName, ...] = ()
    takes_forced_tools: bool = True
    takes_system_inside: bool = True
    takes_prefill: bool = True
    takes_strict: bool = True
    takes_search: bool = False
    takes_cache_marks: bool = False
    takes_stream_options: bool = True
    checks_results: bool = False
    alternates: bool = False
    max_output: int | None = None
    max_stops: int | None = None
    max_user_chars: int = 64
    max_name_chars: int = 64
    seed_word: SeedWord = "seed"
    limit_word: LimitWord = "max_tokens"
    system_word: SystemWord = "system"
    replays_thinking: str | None = None
    schema_dialect: SchemaDialect = "plain"
    library: str | None = None

    @property
    def can_think(self) -> bool:
        """Whether the target may think: some ability says so, or none excludes it."""
        return self.efforts is None or bool(self.efforts) or self.has_budgets or self.is_adaptive
