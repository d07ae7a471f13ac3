"""Makes the recorded text of one side of a call: bounded, without attachments and secrets.

Pure, and slow enough to need a thread.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.domain.redaction import redact
from libs.common.schemas.recording import Transcript
from services.gateway.formats.sse import FrameSplitter, data_of

# A secret that the bound cuts in two is not recognised. So the last word is dropped, unless it is
# longer than any secret.
_MAX_WORD_BYTES = 8 * 1024
_BETWEEN_WORDS = (b" ", b'"', b"\n")
# A longer string without a space is an image, a file or an embedding.
_MIN_ATTACHMENT_BYTES = 1024
_ATTACHMENT = re.compile(rb"[A-Za-z0-9+/=_\\-]+")
# Inside a longer string. A backslash at the end belongs to the next characters.
_DATA_URL = re.compile(rb";base64,[A-Za-z0-9+/=_\\-]{256,}(?<!\\)")

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

# Texts in a chat's delta, or in a tool call in it; `function_call` is the older form.
_PARTS_OF_CHAT = (
    ("function", "arguments"),
    ("function_call", "arguments"),
    ("custom", "input"),
    ("audio", "transcript"),
)
# The text that a piece continues, the object that holds the piece, and the piece's member there.
_KeyedText = tuple[str, dict[str, Any], str]


class _Piece(NamedTuple):
    """A piece of text in the frame at that index."""

    place: int
    holder: dict[str, Any]
    name: str

    @property
    def text(self) -> str:
        text: str = self.holder[self.name]
        return text


def transcribe(raw: bytes, size: int, max_bytes: int, *, stream: bool) -> Transcript:
    """`raw` is the start, or all, of the `size` bytes on the wire."""
    text = without_attachments(raw)
    truncated = len(raw) < size or len(text) > max_bytes
    if truncated:
        text = _whole_words(text[:max_bytes])
    text = redact(_whole_secrets(text, truncated=truncated) if stream else text)
    return Transcript(text=text.decode("utf-8", "replace"), size=size, truncated=truncated)


def _whole_words(text: bytes) -> bytes:
    last = max(text.rfind(space) for space in _BETWEEN_WORDS) + 1
    return text[: max(last, len(text) - _MAX_WORD_BYTES)]


def without_attachments(text: bytes) -> bytes:
    """Replaces each attachment in JSON, or in events of JSON, by a marker."""
    if len(text) < _MIN_ATTACHMENT_BYTES:
        return text
    strings = text.split(b'"')
    for place, string in enumerate(strings):
        if len(string) >= _MIN_ATTACHMENT_BYTES:
            strings[place] = _without_attachment(string)
    return b'"'.join(strings)


def _without_attachment(string: bytes) -> bytes:
    encoded = string.rstrip(b"\\")
    if _ATTACHMENT.fullmatch(encoded):
        return b"[base64:%d-bytes]" % len(encoded) + string[len(encoded) :]
    if b";base64," not in string:
        return string
    return _DATA_URL.sub(
        lambda match: b";base64,[%d-bytes]" % (len(match[0]) - len(b";base64,")), string
    )


def _whole_secrets(text: bytes, *, truncated: bool) -> bytes:
    """A stream can split a secret over events, where no rule recognises it.

    A text with a secret is therefore joined in its first event, and removed from the others. A text
    whose stream was cut loses its last word.
    """
    splitter = FrameSplitter()
    frames = splitter.feed(text)
    decoded = [_event(frame) for frame in frames]
    pieces_by_text: defaultdict[str, list[_Piece]] = defaultdict(list)
    for place, event in enumerate(decoded):
        if event is not None:
            for text_key, holder, name in _pieces(event):
                pieces_by_text[text_key].append(_Piece(place, holder, name))
    changed: set[int] = set()
    for pieces in pieces_by_text.values():
        if truncated:
            changed |= _drop_last_word(pieces)
        changed |= _redact_pieces(pieces)
    for place in changed:
        frames[place] = _rewrite_frame(frames[place], decoded[place])
    return b"".join(frames) + splitter.rest()


def _redact_pieces(pieces: list[_Piece]) -> set[int]:
    """Returns the indexes of changed frames."""
    text = "".join(piece.text for piece in pieces).encode()
    redacted = redact(text)
    if redacted == text:
        return set()
    rest = redacted.decode("utf-8", "replace")
    for piece in pieces:
        piece.holder[piece.name], rest = rest, ""
    return {piece.place for piece in pieces}


def _drop_last_word(pieces: list[_Piece]) -> set[int]:
    """Returns the indexes of changed frames."""
    changed, dropped = set(), 0
    for piece in reversed(pieces):
        text = piece.text
        end = max(map(text.rfind, " \n")) + 1
        piece.holder[piece.name] = text[:end]
        changed.add(piece.place)
        dropped += len(text) - end
        if end or dropped > _MAX_WORD_BYTES:
            break
    return changed


def _event(frame: bytes) -> dict[str, Any] | None:
    try:
        event = _decode(data_of(frame))
    except UNREADABLE:
        return None
    return event if isinstance(event, dict) else None


def _rewrite_frame(frame: bytes, event: dict[str, Any] | None) -> bytes:
    head = b"".join(line + b"\n" for line in frame.splitlines() if line.startswith(b"event:"))
    return head + b"data: " + _encode(event) + b"\n\n"


def _pieces(event: dict[str, Any]) -> Iterator[_KeyedText]:
    """The pieces of an event of any format; the formats differ enough to try each one."""
    for reader in _READERS:
        yield from reader(event)


def _chat_texts(event: dict[str, Any]) -> Iterator[_KeyedText]:
    for choice in _dicts(event.get("choices")):
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            continue
        prefix = f"choice {choice.get('index')}"
        yield from _texts(prefix, delta, ("content", "reasoning_content", "reasoning", "refusal"))
        yield from _nested_texts(prefix, delta)
        for tool in _dicts(delta.get("tool_calls")):
            yield from _nested_texts(f"{prefix} {tool.get('index')}", tool)


def _nested_texts(prefix: str, holder: dict[str, Any]) -> Iterator[_KeyedText]:
    for part, name in _PARTS_OF_CHAT:
        value = holder.get(part)
        if isinstance(value, dict):
            yield from _texts(f"{prefix} {part}", value, (name,))


def _messages_texts(event: dict[str, Any]) -> Iterator[_KeyedText]:
    delta = event.get("delta")
    if isinstance(delta, dict):
        yield from _texts(
            f"block {event.get('index')}", delta, ("text", "thinking", "partial_json")
        )


def _responses_texts(event: dict[str, Any]) -> Iterator[_KeyedText]:
    ids = [event.get(name) for name in ("type", "item_id", "content_index", "summary_index")]
    yield from _texts(f"item {ids}", event, ("delta",))


_READERS: tuple[Callable[[dict[str, Any]], Iterator[_KeyedText]], ...] = (
    _chat_texts,
    _messages_texts,
    _responses_texts,
)


def _texts(prefix: str, holder: dict[str, Any], names: tuple[str, ...]) -> Iterator[_KeyedText]:
    for name in names:
        if isinstance(holder.get(name), str):
            yield f"{prefix} {name}", holder, name


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
