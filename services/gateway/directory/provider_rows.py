"""The providers that the gateway calls without LiteLLM: their API is a client's format too."""

from collections.abc import Mapping

import msgspec

from libs.common.schemas.profile import ProfileFields
from libs.common.schemas.usage import ClientFormat

# Each format's path below a provider's base URL.
OPENAI_PATHS: dict[ClientFormat, str] = {
    "chat": "/chat/completions",
    "responses": "/responses",
    "embeddings": "/embeddings",
}
ANTHROPIC_PATHS: dict[ClientFormat, str] = {"messages": "/v1/messages"}
_CHAT: dict[ClientFormat, str] = {"chat": OPENAI_PATHS["chat"]}
_CHAT_AND_EMBEDDINGS: dict[ClientFormat, str] = {**_CHAT, "embeddings": OPENAI_PATHS["embeddings"]}
OPENAI = ProfileFields(
    family="openai",
    takes_prefill=False,
    checks_results=True,
    max_stops=4,
    limit_word="max_completion_tokens",
    schema_dialect="openai",
)
ANTHROPIC = ProfileFields(
    family="anthropic",
    # Models that are newer than the map.
    is_adaptive=True,
    takes_system_inside=False,
    takes_top_k=True,
    takes_search=True,
    takes_cache_marks=True,
    checks_results=True,
    max_name_chars=128,
    max_user_chars=256,
    schema_dialect="anthropic",
)


class ProviderRow(msgspec.Struct, frozen=True, kw_only=True):
    """`base_url` None: only the variable or a route's `api_base` gives the address.

    `key_variables`: the first one that is set counts. Without one, calls carry no key, unless
    `needs_key`. `has_other_credentials`: LiteLLM can authenticate without a key. `completes_base`
    is appended to an address without a version. `names`: the prefixes of models whose names are
    sent unchanged; LiteLLM completes all others. `relays` and `defaults` are Target's.
    """

    name: str
    base_url: str | None
    base_variable: str
    key_variables: tuple[str, ...]
    needs_key: bool = True
    has_other_credentials: bool = False
    paths: Mapping[ClientFormat, str] = msgspec.field(default_factory=lambda: _CHAT)
    completes_base: str = ""
    names: str = ""
    relays: bool = True
    defaults: ProfileFields


# Names, variables and addresses are LiteLLM's, so that its adapters reach the same endpoint.
ROWS = (
    ProviderRow(
        name="azure",
        base_url=None,
        base_variable="AZURE_API_BASE",
        key_variables=("AZURE_API_KEY", "AZURE_OPENAI_API_KEY"),
        has_other_credentials=True,
        paths=OPENAI_PATHS,
        completes_base="/openai/v1",
        defaults=OPENAI,
    ),
    ProviderRow(
        name="hosted_vllm",
        base_url=None,
        base_variable="HOSTED_VLLM_API_BASE",
        key_variables=("HOSTED_VLLM_API_KEY",),
        needs_key=False,
        paths=_CHAT_AND_EMBEDDINGS,
        defaults=ProfileFields(family="hosted_vllm", takes_top_k=True),
    ),
    ProviderRow(
        name="sglang",
        base_url=None,
        base_variable="SGLANG_API_BASE",
        key_variables=("SGLANG_API_KEY",),
        needs_key=False,
        paths=_CHAT_AND_EMBEDDINGS,
        defaults=ProfileFields(family="sglang", takes_top_k=True),
    ),
    *(
        ProviderRow(
            name=name,
            base_url="http://localhost:11434",
            base_variable="OLLAMA_API_BASE",
            key_variables=("OLLAMA_API_KEY",),
            needs_key=False,
            paths=_CHAT_AND_EMBEDDINGS,
            completes_base="/v1",
            defaults=ProfileFields(family="ollama"),
        )
        for name in ("ollama", "ollama_chat")
    ),
    ProviderRow(
        name="deepseek",
        base_url="https://api.deepseek.com/beta",
        base_variable="DEEPSEEK_API_BASE",
        key_variables=("DEEPSEEK_API_KEY",),
        defaults=ProfileFields(
            family="deepseek",
            sees=False,
            hears=False,
            reads_pdf=False,
            checks_results=True,
            replays_thinking="reasoning_content",
        ),
    ),
    ProviderRow(
        name="xai",
        base_url="https://api.x.ai/v1",
        base_variable="XAI_API_BASE",
        key_variables=("XAI_API_KEY",),
        defaults=ProfileFields(family="xai"),
    ),
    ProviderRow(
        name="groq",
        base_url="https://api.groq.com/openai/v1",
        base_variable="GROQ_API_BASE",
        key_variables=("GROQ_API_KEY",),
        defaults=ProfileFields(family="groq", max_stops=4),
    ),
    ProviderRow(
        name="mistral",
        base_url="https://api.mistral.ai/v1",
        base_variable="MISTRAL_API_BASE",
        key_variables=("MISTRAL_API_KEY",),
        completes_base="/v1",
        # It rejects unknown fields.
        relays=False,
        defaults=ProfileFields(
            family="mistral",
            hears=False,
            checks_results=True,
            alternates=True,
            takes_stream_options=False,
            lacks=("logit_bias", "wants_logprobs", "top_logprobs"),
            max_user_chars=0,
            seed_word="random_seed",
        ),
    ),
    ProviderRow(
        name="together_ai",
        base_url="https://api.together.ai/v1",
        base_variable="TOGETHER_AI_API_BASE",
        key_variables=(
            "TOGETHER_API_KEY",
            "TOGETHER_AI_API_KEY",
            "TOGETHERAI_API_KEY",
            "TOGETHER_AI_TOKEN",
        ),
        paths=_CHAT_AND_EMBEDDINGS,
        defaults=ProfileFields(family="together_ai", takes_top_k=True),
    ),
    ProviderRow(
        name="fireworks_ai",
        base_url="https://api.fireworks.ai/inference/v1",
        base_variable="FIREWORKS_API_BASE",
        key_variables=(
            "FIREWORKS_API_KEY",
            "FIREWORKS_AI_API_KEY",
            "FIREWORKSAI_API_KEY",
            "FIREWORKS_AI_TOKEN",
        ),
        paths=_CHAT_AND_EMBEDDINGS,
        names="accounts/",
        defaults=ProfileFields(family="fireworks_ai", takes_top_k=True),
    ),
    ProviderRow(
        name="openrouter",
        base_url="https://openrouter.ai/api/v1",
        base_variable="OPENROUTER_API_BASE",
        key_variables=("OPENROUTER_API_KEY", "OR_API_KEY"),
        paths=_CHAT_AND_EMBEDDINGS,
        defaults=ProfileFields(family="openrouter", takes_top_k=True, max_user_chars=128),
    ),
    ProviderRow(
        # LiteLLM cannot read the streams of Cohere's own API, and loses its choice of tools.
        name="cohere_chat",
        base_url="https://api.cohere.ai/compatibility/v1",
        base_variable="COHERE_COMPATIBLE_API_BASE",
        key_variables=("COHERE_API_KEY", "CO_API_KEY"),
        # It refuses `stream_options`, by which relayed streams are made to report their usage.
        relays=False,
        defaults=ProfileFields(
            family="cohere",
            hears=False,
            reads_pdf=False,
            checks_results=True,
            takes_stream_options=False,
            lacks=("logit_bias", "wants_logprobs", "top_logprobs"),
            max_stops=5,
            max_user_chars=0,
        ),
    ),
    ProviderRow(
        name="perplexity",
        base_url="https://api.perplexity.ai",
        base_variable="PERPLEXITY_API_BASE",
        key_variables=("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
        defaults=ProfileFields(family="perplexity", takes_top_k=True, alternates=True),
    ),
)
