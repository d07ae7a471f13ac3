"""The conversation that all formats are read into and written from.

A turn knows where the client put it, as its parts do: `at` is (3,) for `messages[3]`. JSON that
nobody looks into stays `msgspec.Raw`, the client's own bytes. None = not said.
"""

from typing import Literal

import msgspec

from libs.common.schemas.profile import EffortLevel
from services.gateway.upstream.translation.parts import At, CacheMark, Part
from services.gateway.upstream.translation.tools import Tool, ToolChoice

Effort = EffortLevel
TurnRole = Literal["system", "developer", "user", "assistant"]


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """Tool results are parts of a user turn, as in Anthropic's format.

    `phase` is OpenAI's `commentary` or `final_answer`, `name` the speaker's.
    """

    role: TurnRole
    parts: tuple[Part, ...]
    at: At = ()
    name: str | None = None
    phase: str | None = None


class OutputLimits(msgspec.Struct, frozen=True, kw_only=True):
    output_tokens: int | None = None
    stop: tuple[str, ...] = ()
    answers: int = 1
    hosted_calls: int | None = None


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """`wants_logprobs` without `top_logprobs` is those of the chosen tokens alone."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    presence: float | None = None
    frequency: float | None = None
    logit_bias: msgspec.Raw | None = None
    wants_logprobs: bool = False
    top_logprobs: int | None = None


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """How the model should think. `auto` is Anthropic's adaptive thinking.

    `summary` auto, concise or detailed; `is_shown` is Anthropic's `display`.
    """

    mode: Literal["off", "auto", "on", "between_tools"] | None = None
    effort: Effort | None = None
    budget_tokens: int | None = None
    summary: str | None = None
    is_shown: bool | None = None


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The form of the answer."""

    kind: Literal["json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema: msgspec.Raw | None = None
    strict: bool | None = None


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """Labels that the provider stores with the call. `keeps` is OpenAI's `store`."""

    user: str | None = None
    safety_id: str | None = None
    metadata: msgspec.Raw | None = None
    cache_key: str | None = None
    cache_retention: str | None = None
    keeps: bool | None = None
    tier: str | None = None


# Nothing said of them, as in most calls.
NO_WISH, NO_SAMPLING, NO_LABELS = Wish(), Sampling(), Labels()


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One call. `extra` has the top-level fields that other formats have no word for, and refuse.

    `hints` has those whose lack changes nothing that was asked: other formats leave them out.

    `auto_cache` is Anthropic's top-level `cache_control`.
    """

    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...] = ()
    choice: ToolChoice | None = None
    parallel: bool | None = None
    limits: OutputLimits = OutputLimits()
    sampling: Sampling = NO_SAMPLING
    thinking: Wish = NO_WISH
    shape: Shape | None = None
    verbosity: str | None = None
    labels: Labels = NO_LABELS
    auto_cache: CacheMark | None = None
    stream: bool = False
    wants_usage: bool = True
    # The client sent OpenAI's first form of tools, `functions`, and gets it back.
    has_legacy_functions: bool = False
    extra: dict[str, msgspec.Raw] = {}
    hints: dict[str, msgspec.Raw] = {}
