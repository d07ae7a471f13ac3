"""The documented fields of each format's API, and how a translation treats them.

Three kinds of field are let through. Carried ones go to LiteLLM, which refuses what the provider
cannot do. Dropped ones are hints and labels that do not change the answer. Neutral ones have
no effect at the values listed.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from libs.common.schemas.usage import ClientFormat


class FormatFields(msgspec.Struct, frozen=True, kw_only=True):
    """Names of fields, of tools and of the choices among them."""

    required: frozenset[str]
    carried: frozenset[str]
    dropped: frozenset[str]
    neutral: Mapping[str, tuple[Any, ...]]
    # The types of tool that have an equivalent elsewhere; "" is a tool that states no type, and
    # a trailing "_" stands for any date (`web_search_20250305`).
    tools: frozenset[str]
    # Which tool the model has to use: a word, or the `type` of an object.
    choices: frozenset[str] = frozenset()
    choice_types: frozenset[str] = frozenset()
    # The field with the items of a conversation, and the one with edits of it.
    items: str | None = None
    edits: str | None = None
    # Where the answer's form stands, and how wordy it is to be, by the names on the way.
    shape: tuple[str, ...] = ()
    verbosity: tuple[str, ...] = ()


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CHAT = FormatFields(
    required=frozenset({"messages"}),
    carried=_names(
        "audio frequency_penalty function_call functions logit_bias logprobs "
        "max_completion_tokens max_tokens messages modalities n parallel_tool_calls "
        "prediction presence_penalty reasoning_effort response_format seed service_tier "
        "stop temperature tool_choice tools top_logprobs top_p user verbosity "
        "web_search_options"
    ),
    dropped=_names(
        "metadata prompt_cache_key prompt_cache_options prompt_cache_retention "
        "safety_identifier store stream_options"
    ),
    neutral={
        "frequency_penalty": (0,),
        "function_call": ("auto",),
        "functions": ([],),
        "logit_bias": ({},),
        "logprobs": (False,),
        "modalities": (["text"],),
        "n": (1,),
        "parallel_tool_calls": (True,),
        "presence_penalty": (0,),
        "service_tier": ("auto", "default"),
        "stop": ([],),
        "tools": ([],),
        "top_logprobs": (0,),
        "verbosity": ("medium",),
    },
    tools=frozenset({"function"}),
    choices=_names("auto none required"),
    choice_types=_names("allowed_tools custom function"),
    shape=("response_format",),
)

_MESSAGES = FormatFields(
    required=frozenset({"max_tokens", "messages"}),
    carried=_names(
        "max_tokens messages metadata output_config stop_sequences system temperature "
        "thinking tool_choice tools top_k top_p"
    ),
    # Caching is the provider's own affair elsewhere, and diagnostics are Anthropic's.
    dropped=_names("cache_control diagnostics"),
    neutral={
        "mcp_servers": ([],),
        "service_tier": ("auto", "standard_only"),
        "speed": ("standard",),
        "stop_sequences": ([],),
        "system": ("", []),
        "thinking": ({"type": "disabled"},),
        "tools": ([],),
    },
    tools=frozenset({"", "custom", "web_search_"}),
    choice_types=_names("any auto none tool"),
    edits="context_management",
)

_RESPONSES = FormatFields(
    required=frozenset({"input"}),
    carried=_names(
        "input instructions max_output_tokens parallel_tool_calls reasoning temperature "
        "text tool_choice tools top_p user"
    ),
    # Coding agents label themselves in `client_metadata`.
    dropped=_names(
        "client_metadata include metadata prompt_cache_key prompt_cache_options "
        "prompt_cache_retention safety_identifier store stream_options"
    ),
    neutral={
        "background": (False,),
        "parallel_tool_calls": (True,),
        "service_tier": ("auto", "default"),
        "tools": ([],),
        "top_logprobs": (0,),
        "truncation": ("disabled",),
    },
    tools=frozenset({"custom", "function", "namespace", "web_search", "web_search_preview"}),
    choices=_names("auto none required"),
    choice_types=_names("allowed_tools custom function web_search web_search_preview"),
    items="input",
    shape=("text", "format"),
    verbosity=("text", "verbosity"),
)

_EMBEDDINGS = FormatFields(
    required=frozenset({"input"}),
    carried=_names("dimensions encoding_format input"),
    dropped=_names("user"),
    neutral={},
    tools=frozenset(),
)

FIELDS: Mapping[ClientFormat, FormatFields] = {
    "chat": _CHAT,
    "messages": _MESSAGES,
    "responses": _RESPONSES,
    "embeddings": _EMBEDDINGS,
}
