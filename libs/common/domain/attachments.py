"""Images, recordings and documents in a request: the length of their base64 says little of tokens.

Only what stands where a format has its attachments is one: text cannot pose as an image, which
would take hardly any of a budget.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from libs.common.decode_errors import UNREADABLE

Kind = Literal["image", "recording", "document"]

# An image of the largest size that providers do not scale down.
_TOKENS_PER_IMAGE = 1600
# Base64 characters to a token, where that is more than an image: at 32 tokens a second a recording
# is speech at some 20 kbit/s, and a document a PDF with little but text in it.
_CHARS_PER_TOKEN: dict[Kind, int] = {"recording": 80, "document": 30}
# The members of a body that hold what is said.
_SAID = ("messages", "input")
# A message holds a tool's result, that a document, and that parts.
_MAX_DEPTH = 4
# By the type of a part, the member that holds parts in turn: never what a tool is called with,
# which is text whatever it looks like.
_INSIDE = {
    "message": "content",
    "tool_result": "content",
    "document": "source",
    "content": "content",
    "function_call_output": "output",
    "custom_tool_call_output": "output",
    "computer_call_output": "output",
}


class Attachment(msgspec.Struct, frozen=True):
    """Its base64, without what a data URL has in front."""

    kind: Kind
    data: str

    @property
    def tokens(self) -> int:
        """What it is taken to have."""
        chars = _CHARS_PER_TOKEN.get(self.kind)
        by_length = 0 if chars is None else -(-len(self.data) // chars)
        return max(_TOKENS_PER_IMAGE, by_length)


def attachments_of(body: bytes, fields: Mapping[str, msgspec.Raw]) -> list[Attachment]:
    """`fields` are those of the body. Most bodies have none, which two searches tell."""
    if b"base64" not in body and b"input_audio" not in body:
        return []
    found: list[Attachment] = []
    for name in _SAID:
        raw = fields.get(name)
        if raw is not None:
            try:
                said = msgspec.json.decode(raw)
            except UNREADABLE:
                continue
            found += _in(said, 0)
    return found


def _in(said: Any, depth: int) -> Iterator[Attachment]:
    if depth > _MAX_DEPTH:
        return
    if isinstance(said, list):
        for part in said:
            if isinstance(part, dict):
                yield from _of(part, depth)
    elif isinstance(said, dict):
        yield from _of(said, depth)


def _of(part: dict[str, Any], depth: int) -> Iterator[Attachment]:
    """Of a message, or of a part of its content, in any of the formats."""
    match part:
        case {"type": "image", "source": {"type": "base64", "data": str(data)}}:
            yield Attachment("image", data)
        case {"type": "document", "source": {"type": "base64", "data": str(data)}}:
            yield Attachment("document", data)
        case {"type": "image_url", "image_url": {"url": str(url)} | str(url)}:
            yield from _of_url(url)
        case {"type": "input_image", "image_url": str(url)}:
            yield from _of_url(url)
        case {"type": "input_audio", "input_audio": {"data": str(data)}}:
            yield Attachment("recording", data)
        case {"type": "file", "file": {"file_data": str(url)}}:
            yield from _of_url(url)
        case {"type": "input_file", "file_data": str(url)}:
            yield from _of_url(url)
        case {"type": str(kind)} if kind in _INSIDE:
            yield from _in(part.get(_INSIDE[kind]), depth + 1)
        case {"role": str(), "content": content}:
            yield from _in(content, depth + 1)


def _of_url(url: str) -> Iterator[Attachment]:
    head, marker, data = url.partition(";base64,")
    if marker and head.startswith("data:"):
        yield Attachment("image" if head.startswith("data:image/") else "document", data)
