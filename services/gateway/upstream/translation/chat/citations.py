"""Writes citations as chat's annotations, which can only cite URLs."""

from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE

_URL = "url_citation"


class _Citation(msgspec.Struct, frozen=True):
    """Chat's, which nests; the one of Responses, which does not; or Anthropic's location."""

    type: str = ""
    url_citation: "_Citation | None" = None
    url: str | None = None
    title: str | None = None
    start_index: int | None = None
    end_index: int | None = None


_citation = msgspec.json.Decoder(_Citation)
_citations = msgspec.json.Decoder(list[msgspec.Raw])


def annotations(raws: msgspec.Raw, start: int, end: int) -> list[dict[str, Any]]:
    """Of a list of citations of the text from `start` to `end` of the content."""
    try:
        found = [chat_annotation(raw, start, end) for raw in _citations.decode(raws)]
    except UNREADABLE:
        return []
    return [each for each in found if each is not None]


def chat_annotation(raw: msgspec.Raw, start: int, end: int) -> dict[str, Any] | None:
    """None for a citation that chat cannot express, such as of a document's page."""
    try:
        citation = _citation.decode(raw)
    except UNREADABLE:
        return None
    url_citation = citation.url_citation or citation
    if url_citation.url is None:
        return None
    # OpenAI's indexes count from the text's begin; Anthropic's text is cited as a whole.
    start_index = start if url_citation.start_index is None else start + url_citation.start_index
    end_index = end if url_citation.end_index is None else start + url_citation.end_index
    return {
        "type": _URL,
        _URL: {
            "start_index": start_index,
            "end_index": end_index,
            "url": url_citation.url,
            "title": url_citation.title or "",
        },
    }
