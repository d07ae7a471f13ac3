"""Providers' fees for the use of tools, whichever of their models uses them.

Each figure has the page that it is from and the day on which that page was read. A price's own
fees beat these, and these beat LiteLLM's map, which lacks some and has one for both of OpenAI's
tools for searches.
"""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase

import msgspec

from libs.common.domain.tool_fees import WEB_SEARCH
from libs.common.schemas.price import PriceVersion

_OPENAI_PAGE = "https://developers.openai.com/api/docs/pricing"
_ANTHROPIC_PAGE = "https://platform.claude.com/docs/en/about-claude/pricing"
_GEMINI_PAGE = "https://ai.google.dev/gemini-api/docs/pricing"
_XAI_PAGE = "https://docs.x.ai/developers/pricing"
# A server that speaks OpenAI's formats is called `openai` as well, and its models have other names.
_OPENAIS_OWN = (
    "gpt-*",
    "chatgpt-*",
    "chat-latest",
    "codex-*",
    "computer-use-*",
    "daybreak-*",
    "ft:*",
    "o1*",
    "o3*",
    "o4*",
)
_NOT_REASONING = ("gpt-3.5*", "gpt-4*", "chatgpt-4*", "ft:gpt-3.5*", "ft:gpt-4*")
_ANY = ("*",)


class ProviderFee(msgspec.Struct, frozen=True, kw_only=True):
    """USD for one use of the tool by a model that one of the patterns covers."""

    provider: str
    tool: str
    usd: Decimal
    page: str
    read_on: date
    models: tuple[str, ...]


def _fees(
    provider: str, page: str, read_on: date, models: tuple[str, ...], **usd: str
) -> Iterable[ProviderFee]:
    for tool, text in usd.items():
        yield ProviderFee(
            provider=provider,
            tool=tool,
            usd=Decimal(text),
            page=page,
            read_on=read_on,
            models=models,
        )


# The first row that covers a model counts.
PROVIDER_FEES: tuple[ProviderFee, ...] = (
    # Chat's searching models are the preview's: 25 per 1,000, the content free of charge.
    *_fees(
        "openai", _OPENAI_PAGE, date(2026, 10, 4), ("gpt-4*-search-preview*",), web_search="0.025"
    ),
    *_fees("openai", _OPENAI_PAGE, date(2026, 10, 4), _NOT_REASONING, web_search_preview="0.025"),
    *_fees(
        "openai",
        _OPENAI_PAGE,
        date(2026, 10, 4),
        _OPENAIS_OWN,
        web_search="0.01",
        web_search_preview="0.01",
        file_search="0.0025",
        # For 20 minutes.
        container_1g="0.03",
        container_4g="0.12",
        container_16g="0.48",
        container_64g="1.92",
    ),
    # Fetched pages cost their tokens. Containers are free beside the newer search tools, else 0.05
    # an hour beyond 1,550 free hours a month, which no answer tells: an operator who goes beyond
    # sets a fee.
    *_fees(
        "anthropic",
        _ANTHROPIC_PAGE,
        date(2026, 10, 7),
        _ANY,
        web_search="0.01",
        web_fetch="0",
        code_execution="0",
    ),
    # Both cost their tokens alone.
    *(
        fee
        for provider in ("gemini", "vertex_ai")
        for fee in _fees(
            provider, _GEMINI_PAGE, date(2026, 10, 7), _ANY, code_execution="0", url_context="0"
        )
    ),
    *_fees(
        "xai",
        _XAI_PAGE,
        date(2026, 9, 30),
        _ANY,
        web_search="0.005",
        x_search="0.005",
        code_execution="0.005",
        attachment_search="0.01",
        collections_search="0.0025",
        file_search="0.0025",
    ),
)


def provider_fees(provider: str, model: str) -> dict[str, Decimal]:
    """By tool, for one of the provider's own models; `model` is what the provider calls it."""
    fees: dict[str, Decimal] = {}
    for fee in PROVIDER_FEES:
        if fee.provider == provider and any(fnmatchcase(model, name) for name in fee.models):
            fees.setdefault(fee.tool, fee.usd)
    return fees


def with_provider_fees(version: PriceVersion, provider: str, model: str) -> PriceVersion:
    """What a call of that model is priced by: the version, with the provider's for missing fees."""
    fees = provider_fees(provider, model)
    if not fees:
        return version
    search = fees.pop(WEB_SEARCH, None)
    return msgspec.structs.replace(
        version,
        web_search=search if version.web_search is None else version.web_search,
        tool_fees=fees | version.tool_fees,
    )
