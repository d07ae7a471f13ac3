"""Writes the parts of a user's or system's message, and of what a tool gave back."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from services.gateway.upstream.translation.parts import (
    Blocks,
    Bytes,
    CacheMark,
    DocumentPart,
    FileId,
    Image,
    Opaque,
    Part,
    Plain,
    Refusal,
    SearchResult,
    Text,
    Url,
)
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Report, uncarried, unsupported
from services.gateway.upstream.translation.responses.paths import PATHS

_HALF_HOUR_S = 1800
_PDF = "application/pdf"


class ContentWriter:
    def __init__(self, profile: Profile, report: Report) -> None:
        self._profile = profile
        self._report = report
        self._is_own = report.paths is PATHS

    def marked(
        self, content: list[dict[str, Any] | msgspec.Raw], mark: CacheMark | None
    ) -> list[dict[str, Any] | msgspec.Raw]:
        """With the mark of all of it at its end."""
        last = content[-1] if content else None
        if mark is None or not isinstance(last, dict):
            return content
        return [*content[:-1], self._with_mark(dict(last), mark)]

    def write(self, parts: Iterable[Part]) -> list[dict[str, Any] | msgspec.Raw]:
        """Without empty texts, which say nothing."""
        content: list[dict[str, Any] | msgspec.Raw] = []
        for part in parts:
            if type(part) is Text:
                if part.text:
                    content.append(self._text(part.text, part.cache))
            else:
                content += self._other(part)
        return content

    def _other(self, part: Part) -> Iterator[dict[str, Any] | msgspec.Raw]:
        if type(part) is Image:
            yield self._image(part)
        elif type(part) is DocumentPart:
            yield from self._document(part)
        elif type(part) is SearchResult:
            texts = (text.text for text in part.parts)
            text_part = self._text_of_lines([part.source, part.title, *texts], part)
            yield self._with_mark(text_part, part.cache)
        elif type(part) is Refusal:
            yield self._text(part.text, None)
        elif type(part) is Opaque:
            if not self._is_own or part.family != self._profile.family:
                raise uncarried(self._report.paths.of(part.at), part.kind)
            yield part.raw
        else:
            raise unsupported(self._report.paths.of(part.at))

    def _text(self, text: str, mark: CacheMark | None) -> dict[str, Any]:
        return self._with_mark({"type": "input_text", "text": text}, mark)

    def _image(self, part: Image) -> dict[str, Any]:
        if not self._profile.sees:
            raise unsupported(self._report.paths.of(part.at), "the model does not accept images")
        image: dict[str, Any] = {"type": "input_image", "detail": part.detail or "auto"}
        source = part.source
        if type(source) is FileId:
            image["file_id"] = self._file_id(source, part)
        else:
            image["image_url"] = source.url if type(source) is Url else _data_url(source)
        return self._with_mark(image, part.cache)

    def _blocks(self, part: DocumentPart, source: Blocks) -> Iterator[dict[str, Any] | msgspec.Raw]:
        head = self._text_of_lines([part.title, part.context], part)
        content = self.write(source.parts)
        yield from self.marked([head, *content] if head["text"] else content, part.cache)

    def _document(self, part: DocumentPart) -> Iterator[dict[str, Any] | msgspec.Raw]:
        source = part.source
        if isinstance(source, Plain):
            text_part = self._text_of_lines([part.title, part.context, source.text], part)
            yield self._with_mark(text_part, part.cache)
            return
        if isinstance(source, Blocks):
            yield from self._blocks(part, source)
            return
        yield from self._file(part, source)

    def _file(self, part: DocumentPart, source: Bytes | Url | FileId) -> Iterator[dict[str, Any]]:
        if not self._profile.reads_pdf:
            raise unsupported(self._report.paths.of(part.at), "the model does not accept files")
        # A file that is sent has its title for a name.
        lines = [None if isinstance(source, Bytes) else part.title, part.context]
        if any(lines):
            yield self._text_of_lines(lines, part)
        if part.citable:
            # The provider's own citations are of searches alone.
            self._report.adapted(self._report.paths.of(part.at, "citations"))
        file: dict[str, Any] = {"type": "input_file"}
        if isinstance(source, Bytes):
            file["filename"] = part.title or "document.pdf"
            file["file_data"] = _data_url(source)
        elif isinstance(source, FileId):
            file["file_id"] = self._file_id(source, part)
        else:
            file["file_url"] = source.url
        if part.filename is not None:
            file["filename"] = part.filename
        if part.detail is not None:
            file["detail"] = part.detail
        yield self._with_mark(file, part.cache)

    def _text_of_lines(
        self, lines: Sequence[str | None], part: DocumentPart | SearchResult
    ) -> dict[str, Any]:
        """As a text, which keeps all that was said."""
        self._report.adapted(self._report.paths.of(part.at))
        return self._text("\n".join(line for line in lines if line), None)

    def _file_id(self, source: FileId, part: Image | DocumentPart) -> str:
        if source.family != self._profile.family:
            why = "a file that another provider keeps cannot be carried: send its content"
            raise unsupported(self._report.paths.of(part.at), why)
        return source.id

    def _with_mark(self, content_part: dict[str, Any], mark: CacheMark | None) -> dict[str, Any]:
        if mark is not None and self._profile.takes_cache_marks:
            content_part["prompt_cache_breakpoint"] = {"mode": "explicit"}
            if mark.ttl_s is not None:
                ttl = "30m" if mark.ttl_s <= _HALF_HOUR_S else "12h"
                content_part["prompt_cache_breakpoint"]["ttl"] = ttl
        return content_part


def _data_url(source: Bytes | Any) -> str:
    return f"data:{source.media_type};base64,{source.data}"
