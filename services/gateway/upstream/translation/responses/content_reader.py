"""Reads the parts of a message's content, and of what a tool gave back."""

from collections.abc import Mapping

import msgspec

from services.gateway.upstream.translation.parts import (
    At,
    Bytes,
    CacheMark,
    DocumentPart,
    FileId,
    Image,
    Opaque,
    Part,
    Refusal,
    Text,
    Url,
)
from services.gateway.upstream.translation.refusals import invalid, unsupported
from services.gateway.upstream.translation.responses.paths import PATHS
from services.gateway.upstream.translation.responses.thoughts import FAMILY
from services.gateway.upstream.translation.responses.wire import (
    ABSENT,
    MEMBERS,
    RAWS,
    Breakpoint,
    ContentPart,
    Item,
    present,
)

_NO_ANNOTATIONS = (b"null", b"[]")
_CARRIED = frozenset(
    {"input_text", "output_text", "text", "input_image", "input_file", "refusal", "reasoning_text"}
)
_ITEM_MEMBERS = frozenset(Item.__struct_encode_fields__)
_PART_MEMBERS = frozenset(ContentPart.__struct_encode_fields__)
_TTLS_S = {"30m": 1800, "12h": 43200}
_BASE64 = ";base64"
_PDF = "application/pdf"


class RawItems:
    """The input's items as the bytes that came; asked for only by what nobody has a word for."""

    def __init__(self, raw: msgspec.Raw) -> None:
        self._raw = raw
        self._items: list[msgspec.Raw] | None = None

    def item(self, index: int) -> msgspec.Raw:
        if self._items is None:
            self._items = RAWS.decode(self._raw)
        return self._items[index]

    def check(self, index: int, item: Item) -> None:
        """Raises UnsupportedField for a member that nobody would be told of."""
        members = MEMBERS.decode(self.item(index))
        _check(members, _ITEM_MEMBERS, (index,))
        for name, parts in (("content", item.content), ("output", item.output)):
            if not isinstance(parts, list):
                continue
            raws = RAWS.decode(members[name])
            for place, part in enumerate(parts):
                if part.type in _CARRIED:
                    at = (index, place if name == "content" else -1 - place)
                    _check(MEMBERS.decode(raws[place]), _PART_MEMBERS, at)

    def part(self, at: At) -> msgspec.Raw:
        index, place = at
        members = MEMBERS.decode(self.item(index))
        name, place = ("content", place) if place >= 0 else ("output", -1 - place)
        return RAWS.decode(members[name])[place]


def _check(members: Mapping[str, msgspec.Raw], known: frozenset[str], at: At) -> None:
    for name in members:
        if name not in known and present(members, name) is not None:
            raise unsupported(PATHS.of(at, name))


def read_part(part: ContentPart, at: At, raws: RawItems) -> Part:
    kind = part.type
    if kind in ("input_text", "output_text", "text"):
        if part.text is None:
            raise invalid(PATHS.of(at, "text"), "this part requires text")
        annotations = part.annotations
        has_citations = annotations is not ABSENT and bytes(annotations) not in _NO_ANNOTATIONS
        return Text(
            text=part.text,
            cache=_mark(part.prompt_cache_breakpoint, at),
            citations=annotations if has_citations else None,
            family=FAMILY if has_citations else None,
            at=at,
        )
    if kind == "input_image":
        return _read_image(part, at)
    if kind == "input_file":
        return _read_file(part, at)
    if kind == "refusal":
        if part.refusal is None:
            raise invalid(PATHS.of(at, "refusal"), "this part requires a refusal")
        return Refusal(text=part.refusal, at=at)
    if not kind:
        raise invalid(PATHS.of(at, "type"), "a part requires a type, such as `input_text`")
    return Opaque(kind=kind, raw=raws.part(at), family=FAMILY, at=at)


def _read_image(part: ContentPart, at: At) -> Image:
    source: Bytes | Url | FileId
    if part.image_url:
        source = _address(part.image_url, PATHS.of(at, "image_url"))
    elif part.file_id:
        source = FileId(part.file_id, FAMILY)
    else:
        raise invalid(PATHS.of(at), "an image requires an image_url or a file_id")
    mark = _mark(part.prompt_cache_breakpoint, at)
    return Image(source=source, detail=part.detail, cache=mark, at=at)


def _read_file(part: ContentPart, at: At) -> DocumentPart:
    source: Bytes | Url | FileId
    if part.file_data:
        source = _file_bytes(part.file_data, PATHS.of(at, "file_data"))
    elif part.file_url:
        source = Url(part.file_url)
    elif part.file_id:
        source = FileId(part.file_id, FAMILY)
    else:
        raise invalid(PATHS.of(at), "a file requires file_data, a file_url or a file_id")
    return DocumentPart(
        source=source,
        filename=part.filename,
        detail=part.detail,
        cache=_mark(part.prompt_cache_breakpoint, at),
        at=at,
    )


def _address(url: str, path: str) -> Bytes | Url:
    return _data_url(url, path) if url[:5].lower() == "data:" else Url(url)


def _file_bytes(value: str, path: str) -> Bytes:
    return _data_url(value, path) if value[:5].lower() == "data:" else Bytes(_PDF, value)


def _data_url(url: str, path: str) -> Bytes:
    head, comma, data = url[5:].partition(",")
    if not comma or not head.endswith(_BASE64):
        raise invalid(path, "must be a data URL in base64")
    media_type = head.removesuffix(_BASE64).partition(";")[0].lower()
    return Bytes(media_type or "text/plain", data)


def _mark(breakpoint_: Breakpoint | None, at: At) -> CacheMark | None:
    if breakpoint_ is None:
        return None
    if breakpoint_.ttl is not None and breakpoint_.ttl not in _TTLS_S:
        place = PATHS.of(at, "prompt_cache_breakpoint.ttl")
        raise invalid(place, f"must be one of {', '.join(_TTLS_S)}")
    return CacheMark(None if breakpoint_.ttl is None else _TTLS_S[breakpoint_.ttl])
