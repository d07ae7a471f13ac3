"""What a client tags its call with: the header `x-gateway-tags`, and its request's `metadata`.

The header is the gateway's own, so what is wrong with it is refused. `metadata` is the provider's
to judge, and clients fill it freely: what makes a tag is kept, nothing is refused.
"""

import re

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.domain.tags import (
    MAX_TAG_CHARS,
    MAX_TAGS_OF_EACH,
    is_tag,
    kept_tags,
    name_of,
)
from libs.common.errors import InvalidRequest
from services.gateway.calls.headers import Headers
from services.gateway.formats.base import Format

_HEADER_NAME = "x-gateway-tags"
_HEADER = _HEADER_NAME.encode()
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@+=-]*(:[A-Za-z0-9._/@+=:-]+)?")
# What OpenAI allows is smaller, however it is escaped.
_MAX_METADATA_BYTES = 64 * 1024

_metadata = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)


def tags_of(headers: Headers) -> tuple[str, ...]:
    """Raises InvalidRequest."""
    values = [value for name, value in headers if name == _HEADER]
    return _parse_tags(b",".join(values).decode("latin-1")) if values else ()


def with_metadata(
    tags: tuple[str, ...], metadata: msgspec.Raw, client_format: Format
) -> tuple[str, ...]:
    """A name that the header has stays as it is there."""
    if len(bytes(metadata)) > _MAX_METADATA_BYTES:
        return tags
    try:
        pairs = _metadata.decode(metadata)
    except UNREADABLE:
        return tags
    metadata_tags = (
        f"{name}:{text}" if text else name
        for name, raw in pairs.items()
        if ":" not in name
        and name not in client_format.untagged
        and (text := _text_in(raw)) is not None
    )
    return kept_tags((*tags, *metadata_tags), len(tags) + MAX_TAGS_OF_EACH)


def _text_in(raw: msgspec.Raw) -> str | None:
    try:
        return _text.decode(raw)
    except UNREADABLE:
        return None


def _parse_tags(text: str) -> tuple[str, ...]:
    tags = dict.fromkeys(tag for part in text.split(",") if (tag := part.strip()))
    if len(tags) > MAX_TAGS_OF_EACH:
        raise _invalid_header(f"has {len(tags)} tags, and may have {MAX_TAGS_OF_EACH}")
    names = set()
    for place, tag in enumerate(tags):
        if not (is_tag(tag) and _TAG.fullmatch(tag)):
            raise _invalid_header(
                f"is wrong at tag {place + 1}: a tag is 'name' or 'name:value', of letters, digits "
                f"and . _ / @ + = -, of {MAX_TAG_CHARS} characters at most, its name of 64"
            )
        if name_of(tag) in names:
            raise _invalid_header(f"has the name '{name_of(tag)}' twice")
        names.add(name_of(tag))
    return tuple(tags)


def _invalid_header(message: str) -> InvalidRequest:
    return InvalidRequest(f"The header {_HEADER_NAME} {message}.", param=_HEADER_NAME)
