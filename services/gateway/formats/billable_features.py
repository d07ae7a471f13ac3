"""What a request's body tells of classes that may cost more than text, found without parsing it."""

from collections.abc import Mapping

import msgspec

from libs.common.domain.holds import PLAIN_TEXT, BillableFeatures
from services.gateway.formats.base import NULL
from services.gateway.formats.billed_tools import billed_tools
from services.gateway.formats.plain_members import PLAIN_MEMBERS

_CACHE_OPTIONS = "prompt_cache_options"
_STANDARD_SPEED = msgspec.Raw(b'"standard"')


def billable_features(
    body: bytes,
    fields: Mapping[str, msgspec.Raw],
    max_tool_calls: int | None = None,
    *,
    disguised: bool,
) -> BillableFeatures:
    """Errs on the high side: a word counts whether it is a name or just text."""
    cache_writes = disguised or b"cache_control" in body
    audio_input = disguised or _occurs_outside_tools(b"input_audio", body, fields)
    if not (cache_writes or audio_input) and fields.keys() <= PLAIN_MEMBERS:
        return PLAIN_TEXT
    audio_output = "audio" in fields or (
        "modalities" in fields and b"audio" in bytes(fields["modalities"])
    )
    tools = billed_tools(fields, max_tool_calls, disguised=disguised)
    long_writes = (
        disguised
        or (cache_writes and b'"1h"' in body)
        or (_CACHE_OPTIONS in fields and b"12h" in bytes(fields[_CACHE_OPTIONS]))
    )
    fast = "speed" in fields and fields["speed"] not in (NULL, _STANDARD_SPEED)
    if not (cache_writes or long_writes or audio_input or audio_output or tools or fast):
        return PLAIN_TEXT
    return BillableFeatures(
        cache_writes=cache_writes,
        long_writes=long_writes,
        audio_input=audio_input,
        audio_output=audio_output or (disguised and "modalities" in fields),
        tools=tools,
        fast=fast,
    )


def _occurs_outside_tools(word: bytes, body: bytes, fields: Mapping[str, msgspec.Raw]) -> bool:
    """Whether the word occurs outside of the tools, which make up most of a long body."""
    if "tools" not in fields:
        return word in body
    return any(word in bytes(raw) for name, raw in fields.items() if name != "tools")
