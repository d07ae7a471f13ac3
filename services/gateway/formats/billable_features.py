"""What a request's body tells of classes that may cost more than text, found without parsing it."""

from collections.abc import Mapping

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.domain.holds import PLAIN_TEXT, BillableFeatures
from services.gateway.formats.base import NULL

# Providers let a model search as often as it likes where the request sets no limit. LiteLLM's own
# tool for the largest context allows ten, and calls seldom come near.
_ASSUMED_SEARCHES = 10
_STANDARD_SPEED = msgspec.Raw(b'"standard"')


class _Tool(msgspec.Struct):
    type: str | None = None
    max_uses: int | None = None


_tools = msgspec.json.Decoder(list[_Tool])


def billable_features(
    body: bytes,
    fields: Mapping[str, msgspec.Raw],
    max_tool_calls: int | None = None,
    *,
    disguised: bool,
) -> BillableFeatures:
    """Errs on the side of more: whether the words are names or just text is not looked into."""
    cache_writes = disguised or b"cache_control" in body
    audio_input = disguised or b"input_audio" in body
    audio_output = "audio" in fields or (
        "modalities" in fields and b"audio" in bytes(fields["modalities"])
    )
    searches = _searches(fields, disguised=disguised)
    if max_tool_calls is not None:
        searches = min(searches, max(max_tool_calls, 0))
    fast = "speed" in fields and fields["speed"] not in (NULL, _STANDARD_SPEED)
    if not (cache_writes or audio_input or audio_output or searches or fast):
        return PLAIN_TEXT
    return BillableFeatures(
        cache_writes=cache_writes,
        hour_long_writes=disguised or (cache_writes and b'"1h"' in body),
        audio_input=audio_input,
        audio_output=audio_output or (disguised and "modalities" in fields),
        searches=searches,
        fast=fast,
    )


def _searches(fields: Mapping[str, msgspec.Raw], *, disguised: bool) -> int:
    """The most that the tools allow; functions of the client's own by that name are none."""
    searches = 0
    if "web_search_options" in fields and fields["web_search_options"] != NULL:
        searches = _ASSUMED_SEARCHES
    if "tools" in fields:
        tools = fields["tools"]
        if disguised or b"web_search" in bytes(tools):
            searches += _allowed_by(tools)
    return searches


def _allowed_by(tools: msgspec.Raw) -> int:
    if tools == NULL:
        return 0
    try:
        found = [
            tool for tool in _tools.decode(tools) if (tool.type or "").startswith("web_search")
        ]
    except UNREADABLE:
        return _ASSUMED_SEARCHES
    return sum(
        _ASSUMED_SEARCHES if tool.max_uses is None else max(tool.max_uses, 0) for tool in found
    )
