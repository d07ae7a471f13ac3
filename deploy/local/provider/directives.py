"""Reads scripts, which callers write into the text of the last user message.

`[[stand-in status=429 retry_after=1]]` or `[[stand-in chunks=20 text="two words" no_usage]]`.
An invalid directive is rejected: a misspelt one that is ignored makes a test that proves nothing.
"""

import re
from typing import Annotated, Any

import msgspec

Tokens = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=120_000)]
Chunks = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
After = Annotated[int, msgspec.Meta(ge=0, le=10_000)]

OPENING = "[[stand-in"
_DIRECTIVE = re.compile(r"\[\[stand-in\b((?:\"[^\"]*\"|'[^']*'|[^\"'\]]|\](?!\]))*)\]\]")
_SETTING = re.compile(r"(\w+)(?:\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s\"',;]+))?")


class CallScript(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One call's script. Token counts are in the format's own convention, as it writes them."""

    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    cached_tokens: Tokens = 0
    cache_write_tokens: Tokens = 0
    """All cache writes, those for one hour included."""
    cache_write_1h_tokens: Tokens = 0
    reasoning_tokens: Tokens = 0
    no_usage: bool = False

    chunks: Chunks | None = None
    """Into how many deltas the answer is cut; a shorter text is repeated to fill them."""
    burst: Chunks = 1
    """How many deltas go out in one write. One each is what a provider does; a benchmark that
    looks for a gateway's ceiling raises it, because a write is most of what a delta costs here."""
    delay_ms: Milliseconds = 0
    """Before the first byte."""
    chunk_delay_ms: Milliseconds = 0
    """Before each delta."""

    status: Annotated[int, msgspec.Meta(ge=400, le=599)] | None = None
    retry_after: Annotated[int, msgspec.Meta(ge=0, le=86_400)] | None = None
    error_after_chunks: After | None = None
    """An error frame in the middle of a stream."""
    cut_after_chunks: After | None = None
    """The socket closes in the middle of the body."""
    end_after_chunks: After | None = None
    """A stream that ends cleanly without its terminal events."""
    garbage: bool = False

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)] | None = None
    """Short, because `chunks` may repeat it: together they bound an answer at 20 MB."""
    tool_call: Annotated[str, msgspec.Meta(pattern=r"^[\w-]{1,64}$")] | None = None


_UNSCRIPTED = CallScript()


class InvalidDirectiveError(ValueError):
    """A directive is unknown or out of its bounds."""


def parse(text: str) -> CallScript:
    if OPENING not in text:
        return _UNSCRIPTED
    directives = _DIRECTIVE.findall(text)
    if len(directives) != text.count(OPENING):
        raise InvalidDirectiveError(f"stand-in directive: a {OPENING} or a quote is not closed")
    settings: dict[str, Any] = {}
    for directive in directives:
        rest = _SETTING.sub("", directive).strip(" ,;\t\r\n")
        if rest:
            raise InvalidDirectiveError(f"stand-in directive: cannot read {rest!r}")
        for key, value in _SETTING.findall(directive):
            settings[key] = _unquote(value) if value else True
    try:
        return msgspec.convert(settings, CallScript, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidDirectiveError(f"stand-in directive: {error}") from error


def _unquote(value: str) -> str:
    return value[1:-1] if value[0] in "\"'" else value


def without(text: str) -> str:
    """The text as a person wrote it."""
    return _DIRECTIVE.sub("", text) if OPENING in text else text


def directive_lines() -> list[str]:
    return list(CallScript.__struct_fields__)
