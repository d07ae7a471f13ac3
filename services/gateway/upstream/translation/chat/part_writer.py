"""Writes user content and tool results as parts of a chat message."""

from base64 import b64decode
from binascii import Error as Base64Error
from typing import Any

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
    SearchResult,
    Text,
    Url,
)
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Report, uncarried, unsupported

_PDF = "application/pdf"
_PLAIN = "text/plain"
_FILE_NAME = "document.pdf"
_HALF_HOUR_S = 1800
_HOUR_S = 3600
BREAK = "\n\n"

JsonObject = dict[str, Any]


def written_text_part(text: str, mark: CacheMark | None, profile: Profile) -> JsonObject:
    return _with_mark({"type": "text", "text": text}, mark, profile)


def _with_mark(part: JsonObject, mark: CacheMark | None, profile: Profile) -> JsonObject:
    """By the words of the target's family, where it has marks in its prompts."""
    if mark is None or not profile.takes_cache_marks:
        return part
    ttl_s = mark.ttl_s
    if profile.family == "anthropic":
        part["cache_control"] = {"type": "ephemeral"}
        if ttl_s is not None and ttl_s > _HALF_HOUR_S:
            part["cache_control"]["ttl"] = "1h"
        return part
    part["prompt_cache_breakpoint"] = {"mode": "explicit"}
    if ttl_s is not None:
        part["prompt_cache_breakpoint"]["ttl"] = "30m" if ttl_s <= _HALF_HOUR_S else "12h"
    return part


class PartWriter:
    """Of the content of one request; what the target cannot take is refused by its path."""

    def __init__(self, profile: Profile, report: Report) -> None:
        self._profile = profile
        self._report = report

    def write(self, part: Part) -> list[JsonObject]:
        """Nothing of an empty text."""
        if type(part) is Text:
            return [written_text_part(part.text, part.cache, self._profile)] if part.text else []
        if type(part) is Image:
            return [self._image(part)]
        if type(part) is DocumentPart:
            return self._document(part)
        if type(part) is SearchResult:
            return [self._search_result(part)]
        if type(part) is Audio:
            return [self._audio(part)]
        if type(part) is Refusal:
            return [written_text_part(part.text, None, self._profile)] if part.text else []
        if type(part) is Hosted:
            return self._hosted(part)
        if type(part) is Opaque:
            raise uncarried(self._path(part.at), part.kind)
        raise unsupported(self._path(part.at), "it cannot be carried in this turn")

    def _hosted(self, part: Hosted) -> list[JsonObject]:
        """Of a search the text stays that the model wrote after it."""
        if part.kind == "web_search":
            return []
        raise uncarried(self._path(part.at), part.kind)

    def _image(self, image: Image) -> JsonObject:
        if not self._profile.sees:
            raise unsupported(self._path(image.at), "the model does not accept images")
        source = image.source
        if isinstance(source, Bytes):
            url = f"data:{source.media_type};base64,{source.data}"
        elif isinstance(source, Url):
            url = source.url
        else:
            raise unsupported(
                self._path(image.at), "an image cannot be carried by its file id: send its data"
            )
        image_url = {"url": url}
        if image.detail is not None:
            image_url["detail"] = image.detail
        return _with_mark({"type": "image_url", "image_url": image_url}, image.cache, self._profile)

    def _audio(self, audio: Audio) -> JsonObject:
        if not self._profile.hears:
            raise unsupported(self._path(audio.at), "the model does not accept audio")
        return {"type": "input_audio", "input_audio": {"data": audio.data, "format": audio.format}}

    def _document(self, document: DocumentPart) -> list[JsonObject]:
        source = document.source
        if isinstance(source, Plain):
            return [self._titled(document, source.text)]
        if isinstance(source, Blocks):
            return self._blocks(document, source)
        path = self._path(document.at)
        if isinstance(source, Url):
            raise unsupported(path, "a document cannot be carried by its URL: send its data")
        if isinstance(source, FileId):
            file = self._file({"file_id": self._own_id(source, path)}, document)
            return [*self._context(document), file]
        if source.media_type == _PLAIN:
            return [self._titled(document, _text_of(source.data, path))]
        if source.media_type != _PDF or not self._profile.reads_pdf:
            raise unsupported(path, f"the model accepts no {source.media_type} documents")
        name = document.filename or document.title or _FILE_NAME
        data = f"data:{source.media_type};base64,{source.data}"
        return [
            *self._context(document),
            self._file({"filename": name, "file_data": data}, document),
        ]

    def _own_id(self, source: FileId, path: str) -> str:
        if source.family != self._profile.family:
            raise unsupported(path, "the model's provider does not have this file: send its data")
        return source.id

    def _file(self, file: JsonObject, document: DocumentPart) -> JsonObject:
        return _with_mark({"type": "file", "file": file}, document.cache, self._profile)

    def _context(self, document: DocumentPart) -> list[JsonObject]:
        if not document.context:
            return []
        self._report.adapted(self._report.paths.of(document.at, "context"))
        return [written_text_part(document.context, None, self._profile)]

    def _titled(self, document: DocumentPart, text: str) -> JsonObject:
        self._report.adapted(self._path(document.at))
        lines = (document.title or document.filename, document.context, text)
        full_text = BREAK.join(line for line in lines if line)
        return written_text_part(full_text, document.cache, self._profile)

    def _blocks(self, document: DocumentPart, source: Blocks) -> list[JsonObject]:
        """Texts and images, one after the other, below the title."""
        self._report.adapted(self._path(document.at))
        parts = [
            written_text_part(line, None, self._profile)
            for line in (document.title, document.context)
            if line
        ]
        for part in source.parts:
            parts += self.write(part)
        if parts:
            parts[-1] = _with_mark(parts[-1], document.cache, self._profile)
        return parts

    def _search_result(self, result: SearchResult) -> JsonObject:
        self._report.adapted(self._path(result.at))
        lines = (result.source, result.title, *(part.text for part in result.parts))
        text = BREAK.join(line for line in lines if line)
        return written_text_part(text, result.cache, self._profile)

    def _path(self, at: At) -> str:
        return self._report.paths.of(at)


def _text_of(data: str, path: str) -> str:
    try:
        return b64decode(data, validate=True).decode()
    except (Base64Error, ValueError):
        raise unsupported(path, "it is not UTF-8 text") from None
