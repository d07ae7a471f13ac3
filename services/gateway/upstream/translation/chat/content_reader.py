"""Reads the parts of a chat client's messages."""

import msgspec

from libs.common.errors import InvalidRequest
from services.gateway.upstream.translation.chat import wire
from services.gateway.upstream.translation.chat.family import FILES, SIGNATURES
from services.gateway.upstream.translation.chat.paths import PATHS
from services.gateway.upstream.translation.parts import (
    At,
    Audio,
    Bytes,
    CacheMark,
    DocumentPart,
    FileId,
    Image,
    Part,
    Refusal,
    Text,
    Thinking,
    ThoughtSignature,
    Url,
)
from services.gateway.upstream.translation.refusals import invalid, uncarried
from services.gateway.upstream.translation.thought_signatures import signature_in

_PDF = "application/pdf"
_OPENING = ord("{")
_AUDIO_FORMATS = ("wav", "mp3")
_TTLS_S = {None: None, "30m": 1800, "12h": 43200, "5m": 300, "1h": 3600}

Content = str | list[wire.ChatPart] | None


def read_content(content: Content, at: At) -> tuple[Part, ...]:
    """Skips empty texts. Raises InvalidRequest with the path of the fault."""
    if not content:
        return ()
    if isinstance(content, str):
        return (Text(text=content, at=at),)
    return tuple([_read_part(part, (*at, index)) for index, part in enumerate(content)])


def is_object(raw: msgspec.Raw) -> bool:
    view = memoryview(raw)
    return len(view) > 0 and view[0] == _OPENING


def required_content(content: Content, at: At) -> Content:
    if content is None:
        raise invalid(PATHS.of(at, "content"), "this field is missing, or null")
    return content


def cache_mark(mark: wire.CacheBreakpoint | wire.ChatCacheControl, path: str) -> CacheMark:
    if mark.ttl not in _TTLS_S:
        raise invalid(f"{path}.ttl", f"must be 30m, 12h, 5m or 1h, not {mark.ttl!r}")
    return CacheMark(_TTLS_S[mark.ttl])


def read_cache_control(mark: wire.ChatCacheControl | None, at: At) -> CacheMark | None:
    return None if mark is None else cache_mark(mark, PATHS.of(at, "cache_control"))


def with_mark(parts: tuple[Part, ...], mark: CacheMark | None) -> tuple[Part, ...]:
    """A mark on a message is one on its last part."""
    if mark is None or not parts or not hasattr(parts[-1], "cache"):
        return parts
    return (*parts[:-1], msgspec.structs.replace(parts[-1], cache=mark))


def read_thinking(message: wire.ChatMessage, at: At) -> list[Part]:
    """The blocks, where they are, have the text of `reasoning_content` too."""
    if message.thinking_blocks:
        thoughts = [read_block(block, at) for block in message.thinking_blocks]
        return [thinking for thinking in thoughts if thinking is not None]
    text = message.reasoning_content or message.reasoning
    return [Thinking(text=text, at=at)] if text else []


def read_block(block: wire.ChatThinking, at: At) -> Thinking | None:
    if block.type == "redacted_thinking":
        signature = signature_in(block.data or "", SIGNATURES)
        return None if signature is None else Thinking(signature=signature, is_redacted=True, at=at)
    return signed_thinking(
        block.thinking or "", signature_in(block.signature or "", SIGNATURES), at
    )


def signed_thinking(text: str, signature: ThoughtSignature | None, at: At = ()) -> Thinking:
    """OpenAI keeps its thoughts, and tells a summary of them."""
    if signature is not None and signature.family == FILES:
        return Thinking(summaries=(text,) if text else (), signature=signature, at=at)
    return Thinking(text=text, signature=signature, at=at)


def _read_part(part: wire.ChatPart, at: At) -> Part:
    match part.type:
        case "text":
            if part.text is None:
                raise _missing(at, "text")
            return Text(text=part.text, cache=_cache(part, at), at=at)
        case "image_url":
            if part.image_url is None:
                raise _missing(at, "image_url")
            source = _source(part.image_url.url, at, "image_url.url")
            detail = part.image_url.detail
            return Image(source=source, detail=detail, cache=_cache(part, at), at=at)
        case "input_audio":
            return _read_audio(part.input_audio, at)
        case "file":
            return _read_file(part, at)
        case "refusal":
            if part.refusal is None:
                raise _missing(at, "refusal")
            return Refusal(text=part.refusal, at=at)
        case kind:
            raise uncarried(PATHS.of(at), f"a part of type {kind!r}")


def _read_audio(audio: wire.InputAudio | None, at: At) -> Audio:
    if audio is None:
        raise _missing(at, "input_audio")
    if audio.format not in _AUDIO_FORMATS:
        raise invalid(PATHS.of(at, "input_audio.format"), "must be wav or mp3")
    return Audio(data=audio.data, format=audio.format, at=at)


def _read_file(part: wire.ChatPart, at: At) -> DocumentPart:
    file = part.file
    if file is None:
        raise _missing(at, "file")
    source: Bytes | Url | FileId
    if file.file_id is not None:
        source = FileId(file.file_id, FILES)
    elif file.file_data is None:
        raise _missing(at, "file.file_data")
    elif file.file_data.startswith("data:"):
        source = _source(file.file_data, at, "file.file_data")
    else:
        source = Bytes(_PDF, file.file_data)
    return DocumentPart(source=source, filename=file.filename, cache=_cache(part, at), at=at)


def _source(url: str, at: At, member: str) -> Bytes | Url:
    if not url:
        raise invalid(PATHS.of(at, member), "it is empty")
    if not url.startswith("data:"):
        return Url(url)
    head, _, data = url.partition(",")
    media_type, _, coding = head[len("data:") :].rpartition(";")
    if coding != "base64" or not media_type or not data:
        raise invalid(PATHS.of(at, member), "a data URL needs a media type and base64")
    return Bytes(media_type, data)


def _cache(part: wire.ChatPart, at: At) -> CacheMark | None:
    if part.prompt_cache_breakpoint is not None:
        return cache_mark(part.prompt_cache_breakpoint, PATHS.of(at, "prompt_cache_breakpoint"))
    return read_cache_control(part.cache_control, at)


def _missing(at: At, member: str) -> InvalidRequest:
    return invalid(PATHS.of(at, member), "this field is missing")
