"""Ends of prompt caches: as many, as long and in such an order as the target takes."""

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from services.gateway.upstream.translation.conversation import Request
from services.gateway.upstream.translation.mender.aim import Aim
from services.gateway.upstream.translation.parts import (
    CacheMark,
    Part,
    Result,
    Text,
)
from services.gateway.upstream.translation.tools import Function

_MAX_MARKS = 4
# OpenAI's are the next that are not shorter; Anthropic's the one with the like price.
_OPENAI_TTLS = {300: 1800, 3600: 43200}
_CLAUDE_TTLS = {1800: 300, 43200: 3600}
_CLAUDE_DEFAULT_TTL_S = 300


def cache_marks(request: Request, aim: Aim) -> Request:
    """Keeps the newest marks, in the order of the prompt, tools before turns.

    Where the target takes none, the writers leave them out.
    """
    if not aim.profile.takes_cache_marks:
        return request
    marks = _marks(request)
    if not marks and request.auto_cache is None:
        return request
    auto = request.auto_cache
    mended: list[CacheMark | None] = [_convert(mark, aim) for mark in marks]
    if aim.is_claude:
        auto = None if auto is None else _convert(auto, aim)
        mended = _in_order(mended, auto)
    max_marks = _MAX_MARKS - (aim.is_claude and auto is not None)
    excess = max(0, len(mended) - max_marks)
    mended[:excess] = [None] * excess
    if mended == marks and auto == request.auto_cache:
        return request
    return _with_marks(replace(request, auto_cache=auto), iter(mended))


def _convert(mark: CacheMark, aim: Aim) -> CacheMark:
    ttls = _OPENAI_TTLS if aim.is_openai else _CLAUDE_TTLS
    ttl_s = mark.ttl_s
    return mark if ttl_s not in ttls else CacheMark(ttls[ttl_s])


def _in_order(marks: list[CacheMark | None], auto: CacheMark | None) -> list[CacheMark | None]:
    """Anthropic rejects a mark before a longer one, so each lasts as long as any that follows."""
    longest_s = 0 if auto is None else _ttl_s(auto)
    ordered: list[CacheMark | None] = []
    for mark in reversed(marks):
        longest_s = max(longest_s, 0 if mark is None else _ttl_s(mark))
        is_short = mark is not None and _ttl_s(mark) < longest_s
        ordered.append(CacheMark(longest_s) if is_short else mark)
    return ordered[::-1]


def _ttl_s(mark: CacheMark) -> int:
    return _CLAUDE_DEFAULT_TTL_S if mark.ttl_s is None else mark.ttl_s


def _marks(request: Request) -> list[CacheMark]:
    marks = [
        tool.cache
        for tool in request.tools
        if isinstance(tool, Function) and tool.cache is not None
    ]
    for turn in request.turns:
        for part in turn.parts:
            if type(part) is Result:
                marks += [mark for inner in part.parts if (mark := _mark_of(inner)) is not None]
            mark = _mark_of(part)
            if mark is not None:
                marks.append(mark)
    return marks


def _mark_of(part: Part) -> CacheMark | None:
    """None for marks on empty texts, which are left out."""
    mark: CacheMark | None = getattr(part, "cache", None)
    if mark is not None and type(part) is Text and not part.text.strip():
        return None
    return mark


def _with_marks(request: Request, fresh: Iterator[CacheMark | None]) -> Request:
    tools = tuple(
        replace(tool, cache=next(fresh))
        if isinstance(tool, Function) and tool.cache is not None
        else tool
        for tool in request.tools
    )
    turns = tuple(
        replace(turn, parts=tuple(_with_marks_of(part, fresh) for part in turn.parts))
        for turn in request.turns
    )
    return replace(request, tools=tools, turns=turns)


def _with_marks_of(part: Part, fresh: Iterator[CacheMark | None]) -> Part:
    changes: dict[str, Any] = {}
    if type(part) is Result and any(_mark_of(inner) for inner in part.parts):
        changes["parts"] = tuple(_with_marks_of(inner, fresh) for inner in part.parts)
    if _mark_of(part) is not None:
        changes["cache"] = next(fresh)
    return replace(part, **changes) if changes else part
