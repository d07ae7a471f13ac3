"""Reads a client's content blocks into parts."""

from collections.abc import Callable
from typing import Any

import msgspec

from libs.common.errors import UnsupportedField
from services.gateway.formats.base import ABSENT, NULL
from services.gateway.upstream.translation.messages import wire
from services.gateway.upstream.translation.messages.family import FAMILY, PATHS
from services.gateway.upstream.translation.parts import (
    At,
    Blocks,
    Bytes,
    CacheMark,
    DocumentPart,
    FileId,
    Hosted,
    Image,
    Opaque,
    Part,
    Plain,
    Result,
    SearchResult,
    Text,
    Thinking,
    ToolCall,
    Url,
)
from services.gateway.upstream.translation.refusals import decode_at, invalid
from services.gateway.upstream.translation.thought_signatures import MARK, UNSIGNED, signature_in

_MINTED = MARK.encode()
_TTL_S = {"5m": 300, "1h": 3600, None: None}
_DIRECT = "direct"
_RESULT_KINDS = ("text", "image", "document", "search_result")
_KINDS = (*_RESULT_KINDS, "tool_use", "tool_result", "thinking", "redacted_thinking")
_SEARCH = "web_search"
_RESULT_SUFFIX = "_tool_result"

_kind = msgspec.json.Decoder(wire.BlockHead)
_block = msgspec.json.Decoder(wire.Block)
_result_part = msgspec.json.Decoder(wire.ResultPart)
_raw_result = msgspec.json.Decoder(wire.RawToolResultBlock)


def read_block(block: Any, at: At) -> tuple[Part, ...]:
    """Of a decoded block, or of its bytes; no part for what is not to be carried.

    Raises InvalidRequest with the path of what is wrong in it.
    """
    return _read_block(block, at, _KINDS)


def _read_block(block: Any, at: At, kinds: tuple[str, ...]) -> tuple[Part, ...]:
    if type(block) is msgspec.Raw:
        block = _decode_block(block, at, kinds)
        if type(block) is msgspec.Raw:
            return _own_parts(block, at)
    return (_READ[type(block)](block, at),)


def _decode_block(raw: msgspec.Raw, at: At, kinds: tuple[str, ...]) -> Any:
    """The block, or its bytes where it, or a member of it, is of Anthropic's alone."""
    path = PATHS.of(at)
    kind = decode_at(_kind, raw, path).type
    if kind is None:
        raise invalid(f"{path}.type", "this field is missing")
    if kind not in kinds:
        return raw
    if kind == "tool_result":
        return decode_at(_raw_result, raw, path)
    try:
        return decode_at(_result_part if kinds is _RESULT_KINDS else _block, raw, path)
    except UnsupportedField:
        return raw


def _own_parts(raw: msgspec.Raw, at: At) -> tuple[Part, ...]:
    """A block for Anthropic alone; what the gateway told of another's search is left out."""
    head = _kind.decode(raw)
    kind = head.type or ""
    if kind == "server_tool_use":
        name, tool_id = head.name or kind, head.id
    elif kind.endswith(_RESULT_SUFFIX):
        name, tool_id = kind.removesuffix(_RESULT_SUFFIX), head.tool_use_id
    else:
        return (Opaque(kind=_opaque_kind(raw, kind, at), raw=raw, family=FAMILY, at=at),)
    if name == _SEARCH and _MINTED in bytes(raw):
        return ()
    return (Hosted(kind=name, raw=raw, family=FAMILY, id=tool_id, at=at),)


def _opaque_kind(raw: msgspec.Raw, kind: str, at: At) -> str:
    """`image.transformations` where all but that member is known."""
    if kind not in _KINDS:
        return kind
    path = PATHS.of(at)
    try:
        decode_at(_block, raw, path)
    except UnsupportedField as error:
        return kind + (error.param or "").removeprefix(path)
    return kind


def _is_said(raw: msgspec.Raw) -> bool:
    return raw is not ABSENT and raw != NULL


def read_mark(control: wire.CacheControl | None) -> CacheMark | None:
    return None if control is None else CacheMark(_TTL_S[control.ttl])


def read_text(block: wire.TextBlock, at: At) -> Text:
    # Those with the gateway's mark quote what another family's search found.
    is_kept = _is_said(block.citations) and _MINTED not in bytes(block.citations)
    citations = block.citations if is_kept else None
    return Text(
        text=block.text,
        cache=read_mark(block.cache_control),
        citations=citations,
        family=None if citations is None else FAMILY,
        at=at,
    )


def _source(
    source: wire.Base64Source | wire.UrlSource | wire.FileSource,
) -> Bytes | Url | FileId:
    if isinstance(source, wire.Base64Source):
        return Bytes(source.media_type, source.data)
    if isinstance(source, wire.UrlSource):
        return Url(source.url)
    return FileId(source.file_id, FAMILY)


def _image(block: wire.ImageBlock, at: At) -> Image:
    return Image(source=_source(block.source), cache=read_mark(block.cache_control), at=at)


def _inner(block: wire.TextBlock | wire.ImageBlock, at: At) -> Part:
    return read_text(block, at) if isinstance(block, wire.TextBlock) else _image(block, at)


def _document(block: wire.DocumentBlock, at: At) -> DocumentPart:
    source: Bytes | Url | FileId | Plain | Blocks
    match block.source:
        case wire.TextSource(data=data):
            source = Plain(data)
        case wire.ContentSource(content=str(text)):
            source = Blocks((Text(text=text, at=at),))
        case wire.ContentSource(content=list(blocks)):
            # Paths name the document, where the client's own view of it ends.
            source = Blocks(tuple(_inner(block, at) for block in blocks))
        case wire.Base64Source() | wire.UrlSource() | wire.FileSource() as file:
            source = _source(file)
    return DocumentPart(
        source=source,
        title=block.title,
        context=block.context,
        citable=None if block.citations is None else block.citations.enabled,
        cache=read_mark(block.cache_control),
        at=at,
    )


def _search_result(block: wire.SearchResultBlock, at: At) -> SearchResult:
    return SearchResult(
        source=block.source,
        title=block.title,
        parts=tuple(read_text(inner, at) for inner in block.content),
        citable=None if block.citations is None else block.citations.enabled,
        cache=read_mark(block.cache_control),
        at=at,
    )


def _call(block: wire.ToolUseBlock, at: At) -> ToolCall:
    arguments = bytes(block.input)
    if arguments[:1] != b"{":
        raise invalid(f"{PATHS.of(at)}.input", "expected an object")
    pairs = (("caller", block.caller), ("toolset_name", block.toolset_name))
    extra = {name: raw for name, raw in pairs if _is_said(raw)}
    if "caller" in extra and decode_at(_kind, block.caller, PATHS.of(at, "caller")).type == _DIRECT:
        del extra["caller"]
    return ToolCall(
        id=block.id,
        name=block.name,
        arguments=arguments.decode(),
        cache=read_mark(block.cache_control),
        extra=extra,
        at=at,
    )


def _result(block: wire.ToolResultBlock | wire.RawToolResultBlock, at: At) -> Result:
    content = block.content
    parts: list[Part] = []
    if isinstance(content, str):
        parts += (Text(text=content, at=at),) if content else ()
    elif content is not None:
        for number, inner in enumerate(content):
            parts += _read_block(inner, (*at, number), _RESULT_KINDS)
    return Result(
        call_id=block.tool_use_id,
        parts=tuple(parts),
        has_failed=block.is_error,
        cache=read_mark(block.cache_control),
        extra={"toolset_name": block.toolset_name} if _is_said(block.toolset_name) else {},
        at=at,
    )


def _thinking(block: wire.ThinkingBlock, at: At) -> Thinking:
    """A foreign family's block holds what that family tells of its thinking, or the thinking."""
    signature = signature_in(block.signature, FAMILY)
    text = block.thinking
    if signature is not None and signature.family not in (FAMILY, UNSIGNED):
        return Thinking(summaries=(text,) if text else (), signature=signature, at=at)
    return Thinking(text=text, signature=signature, at=at)


def _redacted(block: wire.RedactedThinkingBlock, at: At) -> Thinking:
    return Thinking(signature=signature_in(block.data, FAMILY), is_redacted=True, at=at)


_READ: dict[type, Callable[[Any, At], Part]] = {
    wire.TextBlock: read_text,
    wire.ImageBlock: _image,
    wire.DocumentBlock: _document,
    wire.SearchResultBlock: _search_result,
    wire.ToolUseBlock: _call,
    wire.ToolResultBlock: _result,
    wire.RawToolResultBlock: _result,
    wire.ThinkingBlock: _thinking,
    wire.RedactedThinkingBlock: _redacted,
}
