"""Makes the stand-in's answers and counts. Both depend only on the request."""

import itertools

import msgspec

from deploy.local.provider import directives
from deploy.local.provider.directives import CallScript

LABEL = "[local stand-in]"
THOUGHT = f"{LABEL} A scripted thought."
_ECHO_CHARACTERS = 400
_CHARACTERS_PER_TOKEN = 4


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a request that the stand-in reads, in any format."""

    model: str
    prompt: str = ""
    """The text of the last user message."""
    characters: int = 0
    """Of all text that the request carries, tools included."""
    stream: bool = False
    include_usage: bool = True
    may_call_tools: bool = False
    """Tools came along, and the last turn is the user's: a tool's result is answered in words."""
    ends_with_user: bool = False
    has_tools: bool = False
    output_limit: int | None = None
    in_thread: bool = False
    """The conversation is to be kept under the answer's id."""
    continues: str | None = None
    """The id of the answer whose conversation goes on."""


class ScriptedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    pieces: tuple[str, ...]
    """The deltas of the text, or of the tool call's arguments. Joined, they are the whole."""
    tool: str | None = None
    truncated: bool = False

    @property
    def whole(self) -> str:
        return "".join(self.pieces)


class ScriptedTokens(msgspec.Struct, frozen=True, kw_only=True):
    """Classes that do not overlap and sum to the totals."""

    input_text: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output_text: int = 0
    reasoning: int = 0

    @property
    def cache_write(self) -> int:
        return self.cache_write_5m + self.cache_write_1h

    @property
    def input_total(self) -> int:
        return self.input_text + self.cache_read + self.cache_write

    @property
    def output_total(self) -> int:
        return self.output_text + self.reasoning


def token_length(characters: int) -> int:
    """Tokens of a text: one for four characters, begun ones counted, never none."""
    return max(1, -(-characters // _CHARACTERS_PER_TOKEN))


def compose(ask: Ask, script: CallScript) -> ScriptedAnswer:
    if script.tool_call is not None and ask.may_call_tools:
        return _call_tool(script.tool_call, ask, script)
    words = _words(ask, script)
    limit = ask.output_limit
    truncated = limit is not None and script.output_tokens is None and len(words) > limit
    if truncated:
        words = words[:limit]
    spaced = [words[0], *(f" {word}" for word in words[1:])]
    return ScriptedAnswer(pieces=_group(spaced, script.chunks), truncated=truncated)


def scripted_tokens(
    ask: Ask, script: CallScript, answer: ScriptedAnswer, *, inclusive: bool
) -> ScriptedTokens:
    """Tokens by class; `inclusive` when the format's input count contains the cached tokens."""
    cached, write_1h = script.cached_tokens, script.cache_write_1h_tokens
    write = max(script.cache_write_tokens, write_1h)
    if script.input_tokens is None:
        text = token_length(ask.characters)
    elif inclusive:
        cached = min(cached, script.input_tokens)
        write = min(write, script.input_tokens - cached)
        text = script.input_tokens - cached - write
    else:
        text = script.input_tokens
    write_1h = min(write_1h, write)
    output, reasoning = script.output_tokens, script.reasoning_tokens
    if output is None:
        output = reasoning + _output_tokens(answer)
    reasoning = min(reasoning, output)
    return ScriptedTokens(
        input_text=text,
        cache_read=cached,
        cache_write_5m=write - write_1h,
        cache_write_1h=write_1h,
        output_text=output - reasoning,
        reasoning=reasoning,
    )


def _output_tokens(answer: ScriptedAnswer) -> int:
    """One for each word, so that a limit on tokens is a limit on words."""
    if answer.tool is not None:
        return token_length(len(answer.tool) + len(answer.whole))
    return answer.whole.count(" ") + 1


def _words(ask: Ask, script: CallScript) -> list[str]:
    text = script.text
    if text is None:
        echo = directives.without(ask.prompt)[:_ECHO_CHARACTERS].strip()
        text = f"{LABEL} You said: {echo}" if echo else f"{LABEL} This is a scripted answer."
    # A text of blanks alone still has to be an answer.
    words = text.split() or [LABEL]
    count = script.chunks
    if count is not None and len(words) < count:
        words = (words * -(-count // len(words)))[:count]
    return words


def _group(parts: list[str], groups: int | None) -> tuple[str, ...]:
    """The parts in order, joined into that many pieces of nearly equal size."""
    total = len(parts)
    if groups is None or groups >= total:
        return tuple(parts)
    edges = [total * number // groups for number in range(groups + 1)]
    return tuple("".join(parts[start:end]) for start, end in itertools.pairwise(edges))


def _call_tool(name: str, ask: Ask, script: CallScript) -> ScriptedAnswer:
    echo = directives.without(ask.prompt)[:_ECHO_CHARACTERS].strip()
    arguments = msgspec.json.encode({"stand_in": True, "echo": echo}).decode()
    groups = 2 if script.chunks is None else script.chunks
    return ScriptedAnswer(pieces=_group(list(arguments), groups), tool=name)
