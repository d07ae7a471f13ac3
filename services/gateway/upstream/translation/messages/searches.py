"""Web searches that another family's provider ran, as Anthropic tells of its own.

Ids and what Anthropic would have encrypted hold an envelope instead. So the reader of requests, and
the relay, know what to leave out when a client sends it back: no other provider knows the search.
"""

from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE
from services.gateway.upstream.translation.messages.family import FAMILY
from services.gateway.upstream.translation.parts import Family, ThoughtSignature
from services.gateway.upstream.translation.thought_signatures import envelope

SEARCH = "web_search"
_ID_PREFIX = "srvtoolu_"


class _Source(msgspec.Struct, frozen=True):
    url: str | None = None
    title: str | None = None


class _Action(msgspec.Struct, frozen=True):
    query: str | None = None
    url: str | None = None
    sources: list[_Source] | None = None


class _Search(msgspec.Struct, frozen=True):
    id: str = ""
    action: _Action | None = None


class _UrlCitation(msgspec.Struct, frozen=True):
    url: str | None = None
    title: str | None = None
    start_index: int = 0
    end_index: int = 0


class _Annotation(_UrlCitation, frozen=True):
    """OpenAI's, in chat one level further in."""

    type: str = ""
    url_citation: _UrlCitation | None = None


_search = msgspec.json.Decoder(_Search)
_annotation = msgspec.json.Decoder(_Annotation)
_annotations = msgspec.json.Decoder(list[msgspec.Raw])


def hosted_blocks(kind: str, raw: msgspec.Raw, family: Family) -> list[Any]:
    """Anthropic's own block as it came; none for what its format cannot express."""
    if family == FAMILY:
        return [raw]
    if kind != SEARCH:
        return []
    try:
        search = _search.decode(raw)
    except UNREADABLE:
        return []
    action = search.action or _Action()
    tool_id = _ID_PREFIX + envelope(ThoughtSignature(family, search.id))
    results = [
        {
            "type": "web_search_result",
            "url": source.url,
            "title": source.title or source.url,
            "encrypted_content": envelope(ThoughtSignature(family, "")),
            "page_age": None,
        }
        for source in action.sources or ()
        if source.url is not None
    ]
    query = action.query or action.url or ""
    return [
        {"type": "server_tool_use", "id": tool_id, "name": SEARCH, "input": {"query": query}},
        {"type": "web_search_tool_result", "tool_use_id": tool_id, "content": results},
    ]


def citations_of(raw: msgspec.Raw, family: Family, text: str) -> Any:
    """A list; Anthropic's own as it came."""
    if family == FAMILY:
        return raw
    try:
        annotations = _annotations.decode(raw)
    except UNREADABLE:
        return []
    found = (citation_of(annotation, family, text) for annotation in annotations)
    return [citation for citation in found if citation is not None]


def citation_of(raw: msgspec.Raw, family: Family, text: str) -> Any:
    """One of the text; None for what cites no page."""
    if family == FAMILY:
        return raw
    try:
        annotation = _annotation.decode(raw)
    except UNREADABLE:
        return None
    url_citation = annotation.url_citation or annotation
    if annotation.type != "url_citation" or url_citation.url is None:
        return None
    return {
        "type": "web_search_result_location",
        "url": url_citation.url,
        "title": url_citation.title,
        "cited_text": text[max(url_citation.start_index, 0) : max(url_citation.end_index, 0)],
        "encrypted_index": envelope(ThoughtSignature(family, "")),
    }
