"""Which fields of a client's body go into a translation; the rest is refused by name.

Invariant: only what a format's API documents reaches LiteLLM. Its own control parameters
(`api_base`, `api_key`, `mock_response`, `extra_headers`, callbacks and so on) share one namespace
with the request's fields there, so a client that could name them could redirect the call.

Three kinds of field are let through. Carried ones go to LiteLLM, which refuses what the provider
cannot do. Dropped ones are hints and labels that do not change the answer. Neutral ones say what
is so without them, at the values listed.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from services.gateway.upstream.translation.target import (
    ClientFormat,
    TranslationTarget,
    UpstreamRefused,
)


class FormatFields(msgspec.Struct, frozen=True, kw_only=True):
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
)

_EMBEDDINGS = FormatFields(
    required=frozenset({"input"}),
    carried=_names("dimensions encoding_format input"),
    dropped=_names("user"),
    neutral={},
    tools=frozenset(),
)

_FIELDS: Mapping[ClientFormat, FormatFields] = {
    "chat": _CHAT,
    "messages": _MESSAGES,
    "responses": _RESPONSES,
    "embeddings": _EMBEDDINGS,
}


def carried(client_format: ClientFormat, body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields to translate. Raises UpstreamRefused(400) that names the field in the way."""
    fields = _FIELDS[client_format]
    for name in sorted(fields.required):
        if body.get(name) is None:
            raise _invalid(f"{name}: this field is required")
    kept = {
        name: value
        for name, value in body.items()
        if value is not None and _is_carried(fields, client_format, name, value)
    }
    _check_messages(kept.get("messages"))
    if client_format == "responses":
        _check_input(kept.get("input"))
    _check_tools(fields, kept.get("tools"))
    _check_choice(fields, kept.get("tool_choice"))
    return kept


def check_provider(
    client_format: ClientFormat, target: TranslationTarget, fields: Mapping[str, Any]
) -> None:
    """Refuses what LiteLLM would leave out for this provider without a word.

    A route that drops what cannot be carried lets it.
    """
    if target.provider != "anthropic" or target.drop_params:
        return
    text = fields.get("text") if client_format == "responses" else None
    if isinstance(text, dict) and text.get("verbosity") not in (None, "medium"):
        raise _unsupported("text.verbosity: this field cannot be carried to the model's provider")
    name = "text.format" if client_format == "responses" else "response_format"
    shape = text.get("format") if isinstance(text, dict) else fields.get("response_format")
    if isinstance(shape, dict) and shape.get("type") == "json_object":
        raise _unsupported(
            f"{name}: json_object cannot be carried to the model's provider; json_schema can"
        )


def sifted(
    client_format: ClientFormat, body: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body without what cannot be carried, for a route that would rather do without it.

    The names of what was left out come second; a tool's is `tools[n]`.
    """
    fields = _FIELDS[client_format]
    kept: dict[str, Any] = {}
    dropped: list[str] = []
    for name, value in body.items():
        try:
            if value is not None:
                _is_carried(fields, client_format, name, value)
        except UpstreamRefused:
            dropped.append(name)
        else:
            kept[name] = value
    tools = kept.get("tools")
    if isinstance(tools, list):
        known = [_can_carry(fields, tool) for tool in tools]
        dropped += (f"tools[{index}]" for index, is_known in enumerate(known) if not is_known)
        kept["tools"] = [tool for tool, is_known in zip(tools, known, strict=True) if is_known]
        if tools and not kept["tools"]:
            # Without any tool, a choice among them is refused by every provider.
            for name in ("tools", "tool_choice"):
                kept.pop(name, None)
    return kept, tuple(dropped)


def _is_carried(fields: FormatFields, client_format: ClientFormat, name: str, value: Any) -> bool:
    # The route decides the model, and the method whether the answer is a stream.
    if name in ("model", "stream") or name in fields.dropped:
        return False
    if value in fields.neutral.get(name, ()):
        return False
    if client_format == "messages" and name == "context_management":
        return _keeps_context(value)
    if name not in fields.carried:
        raise _unsupported(f"{name}: this field cannot be carried to the model's provider")
    return True


def _keeps_context(value: Any) -> bool:
    """Thinking is not carried to other providers, so an edit that clears it has nothing to do.

    Others are refused: LiteLLM would summarise with a second call, which nobody would pay for.
    """
    edits = value.get("edits") if isinstance(value, dict) else None
    for edit in edits if isinstance(edits, list) else [None]:
        kind = edit.get("type") if isinstance(edit, dict) else None
        if not (isinstance(kind, str) and kind.startswith("clear_thinking_")):
            raise _unsupported(
                f"context_management: {kind} cannot be carried to the model's provider"
            )
    return False


def _check_messages(messages: Any) -> None:
    if messages is None:
        return
    if not isinstance(messages, list) or not messages:
        raise _invalid("messages: a list with at least one message is required")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise _invalid(f"messages[{index}]: an object with a role is required")
        if not isinstance(message.get("content"), str | list | None):
            raise _invalid(f"messages[{index}].content: neither text nor a list")


def _check_input(items: Any) -> None:
    if items is None or isinstance(items, str):
        return
    if not isinstance(items, list):
        raise _invalid("input: neither text nor a list")
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise _invalid(f"input[{index}]: an object is required")
        if item.get("type") in ("item_reference", "additional_tools", "mcp_call"):
            raise _unsupported(
                f"input[{index}]: {item['type']} cannot be carried to the model's provider; "
                "send the whole items of the conversation",
            )


def _check_tools(fields: FormatFields, tools: Any) -> None:
    """A hosted tool that only its own provider runs is refused rather than left out."""
    if tools is None:
        return
    if not isinstance(tools, list):
        raise _invalid("tools: a list is required")
    for index, tool in enumerate(tools):
        if not _can_carry(fields, tool):
            kind = _kind_of(tool)
            raise _unsupported(f"tools[{index}]: {kind} cannot be carried to the model's provider")


def _check_choice(fields: FormatFields, choice: Any) -> None:
    """LiteLLM leaves out what it does not know, or breaks on it."""
    known = fields.choice_types if isinstance(choice, dict) else fields.choices
    said = _kind_of(choice) if isinstance(choice, dict) else choice
    if choice is not None and not (isinstance(said, str) and said in known):
        raise _unsupported("tool_choice: this choice cannot be carried to the model's provider")


def _can_carry(fields: FormatFields, tool: Any) -> bool:
    kind = _kind_of(tool)
    return isinstance(kind, str) and (
        kind in fields.tools or kind.rstrip("0123456789") in fields.tools
    )


def _kind_of(tool: Any) -> Any:
    return tool.get("type", "") if isinstance(tool, dict) else None


def _unsupported(message: str) -> UpstreamRefused:
    return UpstreamRefused(400, message, code="unsupported_field")


def _invalid(message: str) -> UpstreamRefused:
    return UpstreamRefused(400, message, code="invalid_request")
