"""Routes: which deployments serve a public model name, and what happens when one fails."""

from decimal import Decimal
from typing import Literal

import msgspec

from libs.common.schemas.price import AT_COST
from libs.common.schemas.profile import ProfileFields
from libs.common.schemas.usage import ClientFormat

TranslationWay = Literal["native", "library"]
AnswerModel = Literal["asked", "served"]

# The providers of the gateway's table; it also knows those of LiteLLM's map.
NATIVE_PROVIDERS = frozenset(
    {
        "anthropic",
        "azure",
        "cohere_chat",
        "deepseek",
        "fireworks_ai",
        "groq",
        "hosted_vllm",
        "mistral",
        "ollama",
        "ollama_chat",
        "openai",
        "openrouter",
        "perplexity",
        "sglang",
        "together_ai",
        "xai",
    }
)

# The services' own variables, which are not credentials for a provider.
NOT_FOR_PROVIDERS = frozenset(
    {
        "MONGO_URI",
        "REDIS_URL",
        "ADMIN_API_KEY",
        "ADMIN_API_KEY_NEXT",
        "OIDC_CLIENT_SECRET",
        "TRUSTED_PROXY_SECRET",
    }
)


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds; None leaves one to the gateway's settings. `first_byte` counts from the request."""

    connect: float | None = None
    first_byte: float | None = None
    between_bytes: float | None = None
    total: float | None = None


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One way to serve a route.

    `model` is `provider/model`. `credential` is `env:NAME`, or `file:NAME` in the directory of
    mounted secrets; None uses the provider's own key. `formats` are those that `api_base` speaks;
    None takes them from the provider. Lower priorities are tried first, equal ones by weight.
    `max_parallel` is each gateway's own limit. `profile` says what the gateway cannot know of the
    model, or knows wrongly; `translation: library` leaves translating to LiteLLM's adapters.
    Where it costs other than its model does: `multiplier` is on all of it, `priced_as` is the name
    of the price that it has instead, and `region` where it runs, for a price's surcharges.
    """

    deployment_id: str
    model: str
    api_base: str | None = None
    credential: str | None = None
    formats: tuple[ClientFormat, ...] | None = None
    weight: int = 1
    priority: int = 0
    max_parallel: int | None = None
    timeouts: Timeouts = Timeouts()
    drop_params: bool = False
    profile: ProfileFields | None = None
    translation: TranslationWay = "native"
    multiplier: Decimal = AT_COST
    priced_as: str | None = None
    region: str | None = None


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """`model` is the name that clients send.

    `fallbacks` are other models, tried in order when every deployment has failed, and
    `context_fallbacks` those for a request that is too long for this one's. All of a call's
    attempts together are at most `max_attempts`. A deployment
    that has failed `cooldown_after` times in a row is left alone for `cooldown_s`: by the account
    whose calls failed, and by all where no request can be the reason or more accounts than that
    met it. Every caller of the route may name its `provider_objects`, beyond the account's and the
    key's own. Answers name the model that was `asked` for, or the one that `served`.
    """

    model: str
    deployments: tuple[Deployment, ...]
    fallbacks: tuple[str, ...] = ()
    context_fallbacks: tuple[str, ...] = ()
    max_attempts: int = 3
    cooldown_after: int = 3
    cooldown_s: int = 30
    provider_objects: tuple[str, ...] = ()
    answer_model: AnswerModel = "asked"
    revision: str = ""
