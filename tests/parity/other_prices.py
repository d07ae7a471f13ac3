"""Where genai-prices lists another price than litellm's map, by name, each with its reason.

Both are kept by hand from the providers' pages. We charge what the map says until an administrator
sets a price. `parts` says what differs: `text` (then all may), `read` and `write` of cached input,
or `long` input.
"""

from typing import Literal

import msgspec

Part = Literal["text", "read", "write", "long"]
_CACHED: frozenset[Part] = frozenset({"read", "write"})
_TEXT: frozenset[Part] = frozenset({"text"})


class OtherPrice(msgspec.Struct, frozen=True, kw_only=True):
    reason: str
    parts: frozenset[Part]
    names: tuple[str, ...]


OTHER_PRICES = (
    OtherPrice(
        reason="genai-prices has long-context rates, which the map lists with Bedrock's row of the "
        "model and not with Anthropic's; for later versions neither has any.",
        parts=frozenset({"long"}),
        names=("claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
    ),
    OtherPrice(
        reason="The map has a threshold at 272k tokens, as for the model's siblings; genai-prices "
        "has it for those alone.",
        parts=frozenset({"long"}),
        names=("gpt-5.6-cyber",),
    ),
    OtherPrice(
        reason="The map has a rate for cached input, genai-prices has none and charges input.",
        parts=_CACHED,
        names=(
            "azure/gpt-5.4-pro",
            "azure/gpt-5.4-pro-2026-03-05",
            "azure/gpt-5.5-pro",
            "azure/gpt-5.5-pro-2026-04-23",
            "ft:gpt-4o-2024-08-06",
            "ft:gpt-4o-mini-2024-07-18",
            "gemini/gemini-2.5-pro-preview-tts",
            "gpt-4o-search-preview",
            "gpt-4o-search-preview-2025-03-11",
            "mistral/codestral-latest",
            "mistral/devstral-small-latest",
            "mistral/mistral-tiny",
            "mistral/pixtral-large-latest",
            "together_ai/ricursive-ai/Ripple-65B-Preview",
        ),
    ),
    OtherPrice(
        reason="Where a model of Fireworks has no rate for cached input, litellm charges half of "
        "input, and so do we; genai-prices charges input.",
        parts=_CACHED,
        names=tuple(
            f"fireworks_ai/accounts/fireworks/models/{name}"
            for name in (
                "deepseek-r1-0528",
                "deepseek-v3-0324",
                "glm-4p7",
                "llama4-maverick-instruct-basic",
                "minimax-m2p1",
                "qwen2p5-vl-72b-instruct",
                "qwen3-235b-a22b",
            )
        ),
    ),
    OtherPrice(
        reason="The map has a rate for cache writes, half of input; genai-prices has none.",
        parts=frozenset({"write"}),
        names=("ft:gpt-4o-2024-11-20",),
    ),
    OtherPrice(
        reason="By the map, writing the cache is free, an explicit 0; DeepSeek reports no writes.",
        parts=frozenset({"write"}),
        names=(
            "deepseek-flash",
            "deepseek-v4-flash",
            "deepseek-v4-flash-vision-exp",
            "deepseek-v4-pro",
            "deepseek/deepseek-flash",
            "deepseek/deepseek-v4-flash",
            "deepseek/deepseek-v4-flash-vision-exp",
            "deepseek/deepseek-v4-pro",
        ),
    ),
    OtherPrice(
        reason="Both have a rate for cached input. The map's is rounded down to 0.037 for Groq's "
        "model; for Together's it is 0.25 against 0.5.",
        parts=_CACHED,
        names=("groq/openai/gpt-oss-safeguard-20b", "together_ai/Qwen/Qwen3.8-2.4T-A95B"),
    ),
    OtherPrice(
        reason="genai-prices adds a fee per request, by the context that was searched. The map has "
        "that fee per search, which Perplexity does not count in its usage.",
        parts=_TEXT,
        names=(
            "perplexity/sonar",
            "perplexity/sonar-pro",
            "perplexity/sonar-reasoning",
            "perplexity/sonar-reasoning-pro",
        ),
    ),
    OtherPrice(
        reason="Azure's data zones cost a tenth more, for which the map has rows of their own; "
        "genai-prices takes the global model's.",
        parts=_TEXT,
        names=(
            "azure/eu/o4-mini",
            "azure/eu/o4-mini-2025-04-16",
            "azure/us/o4-mini",
            "azure/us/o4-mini-2025-04-16",
        ),
    ),
    OtherPrice(
        reason="A name that moves on: the two take it for different versions of the model.",
        parts=_TEXT,
        names=(
            "mistral/magistral-medium-latest",
            "mistral/magistral-small-latest",
            "mistral/mistral-large-latest",
            "mistral/mistral-medium",
            "deepseek-chat",
            "deepseek-reasoner",
            "deepseek/deepseek-chat",
            "deepseek/deepseek-reasoner",
        ),
    ),
    OtherPrice(
        reason="The two list different rates, and which is right only the provider's page can say.",
        parts=_TEXT,
        names=(
            "azure/gpt-4-turbo",
            "azure/gpt-4-turbo-2024-04-09",
            "deepseek/deepseek-v3.2",
            "fireworks_ai/accounts/fireworks/models/deepseek-v4-flash-0731",
            "fireworks_ai/accounts/fireworks/models/deepseek-v4-pro",
            "fireworks_ai/accounts/fireworks/models/gemma-3-27b-it",
            "fireworks_ai/accounts/fireworks/models/llama-v3p1-8b-instruct",
            "mistral/open-mistral-nemo",
            "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo",
            "together_ai/mistralai/Mixtral-8x7B-Instruct-v0.1",
            "xai/grok-code-fast",
            "xai/grok-code-fast-1",
            "xai/grok-code-fast-1-0825",
        ),
    ),
)
