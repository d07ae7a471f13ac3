"""Which fields of a client's body go into a translation; all others are refused by name.

Invariant: only what a format's API documents reaches LiteLLM. Its own control parameters
(`api_base`, `api_key`, `mock_response`, `extra_headers`, callbacks and so on) share one namespace
with the request's fields there, so a client that could name them could redirect the call.
"""

from collections.abc import Mapping
from typing import Any

from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.adapters.format_fields import FIELDS, FormatFields
from services.gateway.upstream.adapters.target import TranslationRefused, TranslationTarget


def carried_fields(client_format: ClientFormat, body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields to translate. Raises TranslationRefused(400) that names the field in the way."""
    fields = FIELDS[client_format]
    for name in sorted(fields.required):
        if body.get(name) is None:
            raise _invalid(f"{name}: this field is required")
    kept = {
        name: value
        for name, value in body.items()
        if value is not None and _is_carried(fields, name, value)
    }
    _check_messages(kept.get("messages"))
    if fields.items is not None:
        _check_items(fields.items, kept.get(fields.items))
    _check_tools(fields, kept.get("tools"))
    _check_choice(fields, kept.get("tool_choice"))
    return kept


def check_provider(
    client_format: ClientFormat, target: TranslationTarget, fields: Mapping[str, Any]
) -> None:
    """Refuses fields that LiteLLM would silently drop for this provider.

    With `drop_params` they may be dropped.
    """
    if target.provider != "anthropic" or target.drop_params:
        return
    format_fields = FIELDS[client_format]
    if _value_at(format_fields.verbosity, fields) not in (None, "medium"):
        name = ".".join(format_fields.verbosity)
        raise _unsupported(f"{name}: this field cannot be carried to the model's provider")
    shape = _value_at(format_fields.shape, fields)
    if isinstance(shape, dict) and shape.get("type") == "json_object":
        name = ".".join(format_fields.shape)
        raise _unsupported(
            f"{name}: json_object cannot be carried to the model's provider; json_schema can"
        )


def _value_at(path: tuple[str, ...], fields: Mapping[str, Any]) -> Any:
    """None for a format that has no such field."""
    value: Any = fields if path else None
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def sift(
    client_format: ClientFormat, body: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body without what cannot be carried, for a route with `drop_params`.

    The names of what was left out come second; a tool's is `tools[n]`.
    """
    fields = FIELDS[client_format]
    kept: dict[str, Any] = {}
    dropped: list[str] = []
    for name, value in body.items():
        try:
            if value is not None:
                _is_carried(fields, name, value)
        except TranslationRefused:
            dropped.append(name)
        else:
            kept[name] = value
    tools = kept.get("tools")
    if isinstance(tools, list):
        carriable = [_can_carry(fields, tool) for tool in tools]
        dropped += (f"tools[{index}]" for index, is_known in enumerate(carriable) if not is_known)
        kept["tools"] = [tool for tool, is_known in zip(tools, carriable, strict=True) if is_known]
        if tools and not kept["tools"]:
            # Without any tool, a choice among them is refused by every provider.
            for name in ("tools", "tool_choice"):
                kept.pop(name, None)
    return kept, tuple(dropped)


def _is_carried(fields: FormatFields, name: str, value: Any) -> bool:
    # The route decides the model, and the method whether the answer is a stream.
    if name in ("model", "stream") or name in fields.dropped:
        return False
    if value in fields.neutral.get(name, ()):
        return False
    if name == fields.edits:
        return _keeps_context(name, value)
    if name not in fields.carried:
        raise _unsupported(f"{name}: this field cannot be carried to the model's provider")
    return True


def _keeps_context(name: str, value: Any) -> bool:
    """Thinking is not carried to other providers, so an edit that clears it has nothing to do.

    Others are refused: LiteLLM would summarise with a second call, which nobody would pay for.
    """
    edits = value.get("edits") if isinstance(value, dict) else None
    for edit in edits if isinstance(edits, list) else [None]:
        kind = edit.get("type") if isinstance(edit, dict) else None
        if not (isinstance(kind, str) and kind.startswith("clear_thinking_")):
            raise _unsupported(f"{name}: {kind} cannot be carried to the model's provider")
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
            raise _invalid(f"messages[{index}].content: must be text or a list")


def _check_items(name: str, items: Any) -> None:
    if items is None or isinstance(items, str):
        return
    if not isinstance(items, list):
        raise _invalid(f"{name}: must be text or a list")
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise _invalid(f"{name}[{index}]: an object is required")
        if item.get("type") in ("item_reference", "additional_tools", "mcp_call"):
            raise _unsupported(
                f"{name}[{index}]: {item['type']} cannot be carried to the model's provider; "
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
    """LiteLLM drops a choice that it does not know, or breaks on it."""
    known_words = fields.choice_types if isinstance(choice, dict) else fields.choices
    word = _kind_of(choice) if isinstance(choice, dict) else choice
    if choice is not None and not (isinstance(word, str) and word in known_words):
        raise _unsupported("tool_choice: this choice cannot be carried to the model's provider")


def _can_carry(fields: FormatFields, tool: Any) -> bool:
    kind = _kind_of(tool)
    return isinstance(kind, str) and (
        kind in fields.tools or kind.rstrip("0123456789") in fields.tools
    )


def _kind_of(tool: Any) -> Any:
    return tool.get("type", "") if isinstance(tool, dict) else None


def _unsupported(message: str) -> TranslationRefused:
    return TranslationRefused(400, message, code="unsupported_field")


def _invalid(message: str) -> TranslationRefused:
    return TranslationRefused(400, message, code="invalid_request")
