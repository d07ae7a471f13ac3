"""Writes parts as Anthropic's content blocks."""

from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec

from libs.common.decode_errors import UNREADABLE
from services.gateway.upstream.translation.messages.family import is_own
from services.gateway.upstream.translation.names import sent_call_id, sent_name
from services.gateway.upstream.translation.parts import (
    At,
    Audio,
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
    Refusal,
    Result,
    SearchResult,
    Text,
    Thinking,
    ToolCall,
    Url,
)
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Report, uncarried, unsupported

Block = dict[str, Any]

_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_PDF = "application/pdf"
_HOUR_S = 3600
_SEARCH = "web_search"

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


class BlockWriter:
    """None for a part that is left out: empty text, and thinking of another family.

    Raises UnsupportedField by the path of a part that cannot be carried.
    """

    def __init__(self, profile: Profile, report: Report) -> None:
        self._profile = profile
        self._family = profile.family
        self._takes_marks = profile.takes_cache_marks
        self._max_name_chars = profile.max_name_chars
        self._report = report

    def write(self, part: Part) -> Block | msgspec.Raw | None:
        return self._writers[type(part)](self, part)

    def mark(self, block: Block, mark: CacheMark | None) -> Block:
        if mark is not None and self._takes_marks:
            block["cache_control"] = written_cache_control(mark)
        return block

    def _path(self, at: At) -> str:
        return self._report.paths.of(at)

    def _text(self, part: Text) -> Block | None:
        text = part.text
        if not text or text.isspace():
            return None
        block: Block = {"type": "text", "text": text}
        if part.citations is not None and part.family == self._family:
            block["citations"] = part.citations
        return block if part.cache is None else self.mark(block, part.cache)

    def _image(self, part: Image) -> Block:
        if not self._profile.sees:
            raise unsupported(self._path(part.at), "the model does not accept images")
        source = part.source
        if isinstance(source, Bytes):
            if source.media_type not in _IMAGES:
                why = f"images of type {source.media_type} cannot be carried: send JPEG or PNG"
                raise unsupported(self._path(part.at), why)
            source_block = _base64(source)
        else:
            source_block = self._elsewhere(source, part.at)
        return self.mark({"type": "image", "source": source_block}, part.cache)

    def _document(self, part: DocumentPart) -> Block:
        block: Block = {"type": "document", "source": self._document_source(part)}
        title = part.filename if part.title is None else part.title
        if title is not None:
            block["title"] = title
        if part.context is not None:
            block["context"] = part.context
        if part.citable is not None:
            block["citations"] = {"enabled": part.citable}
        return self.mark(block, part.cache)

    def _document_source(self, part: DocumentPart) -> Block:
        is_text = isinstance(part.source, Plain | Blocks) or _is_text(part.source)
        if not is_text and not self._profile.reads_pdf:
            raise unsupported(self._path(part.at), "the model accepts only text documents")
        match part.source:
            case Bytes(media_type=media_type) as file if media_type == _PDF:
                return _base64(file)
            case Bytes() as file:
                return _plain(self._decode_text(file, part.at))
            case Plain(text=text):
                return _plain(text)
            case Blocks(parts=parts):
                return {"type": "content", "content": self._blocks(parts)}
            case Url() | FileId() as elsewhere:
                return self._elsewhere(elsewhere, part.at)

    def _elsewhere(self, source: Url | FileId, at: At) -> Block:
        """A file that the provider fetches, or keeps."""
        if isinstance(source, Url):
            return {"type": "url", "url": source.url}
        if source.family != self._family:
            why = "a file that another provider keeps cannot be carried: send its content"
            raise unsupported(self._path(at), why)
        return {"type": "file", "file_id": source.id}

    def _decode_text(self, file: Bytes, at: At) -> str:
        """Files of text, which Anthropic takes as text alone."""
        if _is_text(file):
            try:
                return b64decode(file.data, validate=True).decode()
            except ValueError:
                raise unsupported(self._path(at), "its content is not base64 text") from None
        why = f"documents of type {file.media_type} cannot be carried; send PDF or text"
        raise unsupported(self._path(at), why)

    def _audio(self, part: Audio) -> Block:
        raise unsupported(self._path(part.at), "the model's provider does not accept audio")

    def _refusal(self, part: Refusal) -> Block | None:
        return self._text(Text(text=part.text, at=part.at))

    def _search_result(self, part: SearchResult) -> Block:
        block: Block = {
            "type": "search_result",
            "source": part.source,
            "title": part.title,
            "content": self._blocks(part.parts),
        }
        if part.citable is not None:
            block["citations"] = {"enabled": part.citable}
        return self.mark(block, part.cache)

    def _call(self, part: ToolCall) -> Block:
        block: Block = {
            "type": "tool_use",
            "id": sent_call_id(part.id, is_plain=True),
            "name": sent_name(part.name, part.namespace, self._max_name_chars),
            "input": self._input(part),
        }
        self._add_extra(part, block)
        return block if part.cache is None else self.mark(block, part.cache)

    def _add_extra(self, part: ToolCall | Result, block: Block) -> None:
        for name, raw in part.extra.items():
            if not is_own(self._report.paths):
                raise unsupported(self._report.paths.of(part.at, name))
            block[name] = raw

    def _input(self, part: ToolCall) -> Any:
        """Arguments that are not an object are wrapped in one."""
        arguments = part.arguments
        if part.is_freeform:
            return {"input": arguments}
        try:
            _object.decode(arguments)
        except UNREADABLE:
            if arguments.strip() in ("", "null"):
                return {}
            self._report.adapted(self._path(part.at))
            return {"input": arguments}
        return msgspec.Raw(arguments.encode())

    def _result(self, part: Result) -> Block:
        block: Block = {
            "type": "tool_result",
            "tool_use_id": sent_call_id(part.call_id, is_plain=True),
            "content": self._blocks(part.parts),
        }
        if part.has_failed is not None:
            block["is_error"] = part.has_failed
        self._add_extra(part, block)
        return block if part.cache is None else self.mark(block, part.cache)

    def _blocks(self, parts: tuple[Part, ...]) -> list[Block | msgspec.Raw]:
        return [block for part in parts if (block := self.write(part)) is not None]

    def _thinking(self, part: Thinking) -> Block | None:
        signature = part.signature
        if signature is None or signature.family != self._family:
            return None
        if part.is_redacted:
            return {"type": "redacted_thinking", "data": signature.data}
        text = part.text or "\n\n".join(part.summaries)
        return {"type": "thinking", "thinking": text, "signature": signature.data}

    def _hosted(self, part: Hosted) -> msgspec.Raw | None:
        """What a search of another provider found stays in the text that tells of it."""
        if part.family == self._family:
            return part.raw
        if part.kind == _SEARCH:
            return None
        raise uncarried(self._path(part.at), part.kind)

    def _opaque(self, part: Opaque) -> msgspec.Raw:
        if part.family != self._family:
            raise uncarried(self._path(part.at), part.kind)
        return part.raw

    # Of the class: bound methods in an instance keep it, and the call's body, until a collection.
    _writers: ClassVar[
        Mapping[type, Callable[["BlockWriter", Any], Block | msgspec.Raw | None]]
    ] = {
        Text: _text,
        Image: _image,
        DocumentPart: _document,
        Audio: _audio,
        Refusal: _refusal,
        SearchResult: _search_result,
        ToolCall: _call,
        Result: _result,
        Thinking: _thinking,
        Hosted: _hosted,
        Opaque: _opaque,
    }


def _is_text(source: Any) -> bool:
    return isinstance(source, Bytes) and source.media_type.startswith("text/")


def _base64(source: Bytes) -> Block:
    return {"type": "base64", "media_type": source.media_type, "data": source.data}


def _plain(text: str) -> Block:
    return {"type": "text", "media_type": "text/plain", "data": text}


def written_cache_control(mark: CacheMark) -> Block:
    """The longest of Anthropic's times that is no longer than the mark's."""
    if mark.ttl_s is None:
        return {"type": "ephemeral"}
    return {"type": "ephemeral", "ttl": "1h" if mark.ttl_s >= _HOUR_S else "5m"}
