"""Images, recordings and documents in a request: their tokens do not follow from their bytes.

Only a part in a place where a format allows attachments is one. Text that looks like an image does
not count as an image, which would make its hold too small.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal

import msgspec

from libs.common.decode_errors import UNREADABLE

AttachmentKind = Literal["image", "recording", "document"]

# An image of the largest size that providers do not scale down.
_TOKENS_PER_IMAGE = 1600
# Base64 characters per token, if that gives more tokens than an image: a recording has 32 tokens a
# second, at the 20 kbit/s of speech; a document is a PDF with little but text.
_CHARS_PER_TOKEN: dict[AttachmentKind, int] = {"recording": 80, "document": 30}
# The members of a body that hold its content.
_CONTENT = ("messages", "input")
# The deepest nesting: a message, a tool's result, a document, its parts.
_MAX_DEPTH = 4
# By a part's type, its member that holds further parts. The arguments of a tool call are left out:
# they are text in any case.
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
    """`data` is base64, without the start of a data URL."""

    kind: AttachmentKind
    data: str

    @property
    def tokens(self) -> int:
        """An estimate."""
        chars = _CHARS_PER_TOKEN.get(self.kind)
        by_length = 0 if chars is None else -(-len(self.data) // chars)
        return max(_TOKENS_PER_IMAGE, by_length)


def attachments_of(fields: Mapping[str, msgspec.Raw]) -> list[Attachment]:
    """`fields` are those of a body. Two searches spare most of them, which have no attachment."""
    attachments: list[Attachment] = []
    for name in _CONTENT:
        raw = fields.get(name)
        if raw is None:
            continue
        content = bytes(raw)
        if b"base64" in content or b"input_audio" in content:
            with suppress(*UNREADABLE):
                attachments += _in_content(msgspec.json.decode(content), 0)
    return attachments


def _in_content(content: Any, depth: int) -> Iterator[Attachment]:
    if depth > _MAX_DEPTH:
        return
    if isinstance(content, list):
        for part in content:
            if isinstance(part, dict):
                yield from _in_part(part, depth)
    elif isinstance(content, dict):
        yield from _in_part(content, depth)


def _in_part(part: dict[str, Any], depth: int) -> Iterator[Attachment]:
    """The attachments of a message, or of a part of its content, in any format."""
    match part:
        case {"type": "image", "source": {"type": "base64", "data": str(data)}}:
            yield Attachment("image", data)
        case {"type": "document", "source": {"type": "base64", "data": str(data)}}:
            yield Attachment("document", data)
        case {"type": "image_url", "image_url": {"url": str(url)} | str(url)}:
            yield from _in_url(url)
        case {"type": "input_image", "image_url": str(url)}:
            yield from _in_url(url)
        case {"type": "input_audio", "input_audio": {"data": str(data)}}:
            yield Attachment("recording", data)
        case {"type": "file", "file": {"file_data": str(url)}}:
            yield from _in_url(url)
        case {"type": "input_file", "file_data": str(url)}:
            yield from _in_url(url)
        case {"type": str(kind)} if kind in _INSIDE:
            yield from _in_content(part.get(_INSIDE[kind]), depth + 1)
        case {"role": str(), "content": content}:
            yield from _in_content(content, depth + 1)


def _in_url(url: str) -> Iterator[Attachment]:
    head, marker, data = url.partition(";base64,")
    if marker and head.startswith("data:"):
        yield Attachment("image" if head.startswith("data:image/") else "document", data)
