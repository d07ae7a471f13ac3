"""Lets a relayed answer tell the model by the name that the client asked for.

A route's public name is what its callers know; some, such as Claude Code, take an answer of another
name for one of another model, and drop their own thinking before the next turn.
"""

import re
from collections.abc import Callable

import msgspec

from libs.common.decode_errors import UNREADABLE
from services.gateway.formats.sse import data_of

_Rename = Callable[[bytes], bytes]


class _HasModel(msgspec.Struct):
    """Where an event has its answer's model: in itself, or in the answer that it tells of."""

    model: str = ""


class _Event(_HasModel):
    message: _HasModel | None = None
    response: _HasModel | None = None


_encode = msgspec.json.encode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_event = msgspec.json.Decoder(_Event)


def with_model_name(body: bytes, model: str) -> bytes:
    """A whole answer by that name; what is not an object with a model stays as it is."""
    try:
        fields = _fields.decode(body)
    except UNREADABLE:
        return body
    if "model" not in fields:
        return body
    fields["model"] = msgspec.Raw(_encode(model))
    return _encode(fields)


def frame_renamer(model: str) -> _Rename:
    """For the frames of one stream, in order: their model's name alone changes."""
    member = b'"model":' + _encode(model)
    pattern: re.Pattern[bytes] | None = None

    def rename(frame: bytes) -> bytes:
        nonlocal pattern
        if b'"model"' not in frame:
            return frame
        if pattern is None:
            name = _name_in(frame)
            if name:
                pattern = re.compile(rb'"model"\s*:\s*' + re.escape(_encode(name)))
        return frame if pattern is None else pattern.sub(lambda _: member, frame, count=1)

    return rename


def _name_in(frame: bytes) -> str:
    try:
        event = _event.decode(data_of(frame))
    except UNREADABLE:
        return ""
    inner = event.message or event.response
    return event.model if inner is None else inner.model
