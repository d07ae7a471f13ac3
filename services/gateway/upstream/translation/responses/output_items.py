"""The items of an answer's output, as a client gets them whole or at the end of their stream."""

from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE
from services.gateway.upstream.translation.names import ToolNames
from services.gateway.upstream.translation.parts import Family
from services.gateway.upstream.translation.responses.ids import item_id

Item = dict[str, Any] | msgspec.Raw


class _Nested(msgspec.Struct, frozen=True):
    """Of chat's: what a response has side by side is nested in one member."""

    type: str = ""
    url_citation: dict[str, Any] | None = None


class _Location(msgspec.Struct, frozen=True):
    """Of Anthropic's."""

    type: str = ""
    url: str | None = None
    title: str | None = None
    file_id: str | None = None
    document_title: str | None = None
    document_index: int = 0


class _Searched(msgspec.Struct, frozen=True):
    """A search of Anthropic's, or an item of OpenAI's."""

    type: str = ""
    input: dict[str, Any] | None = None
    status: str | None = None


class _Wrapped(msgspec.Struct, frozen=True):
    input: str


_ANTHROPIC = "anthropic"

_nested = msgspec.json.Decoder(_Nested)
_location = msgspec.json.Decoder(_Location)
_searched = msgspec.json.Decoder(_Searched)
_wrapped = msgspec.json.Decoder(_Wrapped)
_object = msgspec.json.Decoder(dict[str, Any])


def message_item(identity: str, parts: list[dict[str, Any]], status: str) -> dict[str, Any]:
    return {
        "id": identity,
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": parts,
    }


def output_text_part(text: str, annotations: list[Any], logprobs: Any) -> dict[str, Any]:
    return {
        "type": "output_text",
        "text": text,
        "annotations": annotations,
        "logprobs": logprobs,
    }


def refusal_part(text: str) -> dict[str, Any]:
    return {"type": "refusal", "refusal": text}


class CallItemHead(msgspec.Struct, frozen=True):
    """A call as its client knows it. `is_wrapped`: what came is JSON around the input."""

    call_id: str
    name: str
    namespace: str | None
    is_freeform: bool
    is_wrapped: bool

    @property
    def prefix(self) -> str:
        return "ctc" if self.is_freeform else "fc"

    def item(self, identity: str, call_input: str, status: str) -> dict[str, Any]:
        item: dict[str, Any] = {
            "id": identity,
            "type": "custom_tool_call" if self.is_freeform else "function_call",
            "status": status,
            "call_id": self.call_id,
            "name": self.name,
            "input" if self.is_freeform else "arguments": call_input,
        }
        if self.namespace is not None:
            item["namespace"] = self.namespace
        return item

    def client_input(self, arguments: str) -> str:
        """A call without arguments has an empty object; a freeform one's input is taken out."""
        if self.is_wrapped:
            return unwrapped(arguments)
        return arguments if arguments or self.is_freeform else "{}"


def call_item_head(call_id: str, name: str, is_freeform: bool, names: ToolNames) -> CallItemHead:
    namespace, original, was_freeform = names.original(name)
    return CallItemHead(
        call_id=call_id,
        name=original,
        namespace=namespace,
        is_freeform=is_freeform or was_freeform,
        is_wrapped=was_freeform and not is_freeform,
    )


def unwrapped(arguments: str) -> str:
    """The input of a freeform tool that was offered as one with a single argument."""
    try:
        return _wrapped.decode(arguments).input
    except UNREADABLE:
        return arguments


def output_annotation(raw: msgspec.Raw, family: Family, text: str) -> dict[str, Any] | None:
    """None for a citation that the format cannot express. `text` is the cited text."""
    try:
        if family == _ANTHROPIC:
            return _of_location(_location.decode(raw), text)
        nested = _nested.decode(raw)
        if nested.type == "url_citation" and nested.url_citation is not None:
            return {"type": "url_citation", **nested.url_citation}
        return _object.decode(raw)
    except UNREADABLE:
        return None


def _of_location(location: _Location, text: str) -> dict[str, Any] | None:
    if location.url is not None:
        return {
            "type": "url_citation",
            "start_index": 0,
            "end_index": len(text),
            "url": location.url,
            "title": location.title or "",
        }
    if location.file_id is not None:
        return {
            "type": "file_citation",
            "file_id": location.file_id,
            "filename": location.document_title or "",
            "index": location.document_index,
        }
    return None


def hosted_item(
    kind: str, raw: msgspec.Raw, family: Family, answer_digest: str, index: int
) -> Item | None:
    """OpenAI's own as it came. None for what the format has no word for, and for what is told by
    another item: what a search of Anthropic's found.
    """
    try:
        search = _searched.decode(raw)
    except UNREADABLE:
        return None
    if family != _ANTHROPIC:
        return raw
    if kind != "web_search" or search.type != "server_tool_use":
        return None
    query = (search.input or {}).get("query")
    action: dict[str, Any] = {"type": "search"}
    if isinstance(query, str):
        action |= {"query": query, "queries": [query]}
    return {
        "id": item_id("ws", answer_digest, index),
        "type": "web_search_call",
        "status": "completed",
        "action": action,
    }
