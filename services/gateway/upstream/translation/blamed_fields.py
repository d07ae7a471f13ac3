"""Finds the client's field for the provider's field that an error names.

None if two readings are possible: a wrong path misleads more than a missing one.
"""

import re
from collections.abc import Sequence

from services.gateway.upstream.translation.conversation import Turn
from services.gateway.upstream.translation.engine import Translation
from services.gateway.upstream.translation.parts import At, Result

# `messages.3.content.1.text` of Anthropic's, `tools[2].function.name` of OpenAI's.
_STEP = re.compile(r"[^.\[\]]+")
_MAX_STEPS = 8
_SYSTEM_ROLES = ("system", "developer")


def blamed_field(translation: Translation, param: str | None) -> str | None:
    """`param` as the target says it, in the words of the client's format."""
    if not param or translation.client is translation.target:
        return param
    steps = _STEP.findall(param)[:_MAX_STEPS]
    if steps[:1] == ["tools"] and len(steps) > 1:
        return _tool(translation, steps[1])
    if steps[:1] == ["messages"] and translation.format == "messages" and len(steps) > 1:
        return _turn(translation, steps[1:])
    return _option(translation, steps)


def _option(translation: Translation, steps: list[str]) -> str | None:
    """By the longest beginning that the target's format has a field for."""
    fields = {
        word: field for field, word in reversed(tuple(translation.target.paths.fields.items()))
    }
    client_names = translation.report.paths.fields
    for length in range(len(steps), 0, -1):
        field = fields.get(".".join(steps[:length]))
        if field is not None:
            # The turn is not known, and naming all of them would not help.
            is_vague = field == "turns" and len(steps) > length
            return None if is_vague else client_names.get(field)
    return None


def _tool(translation: Translation, step: str) -> str | None:
    """Where a choice left some out, their places are not the client's."""
    tools, sent_tools = translation.mended_request.tools, translation.fields.get("tools", ())
    index = _index(step, tools)
    if index is None or len(tools) != len(sent_tools) or not tools[index].at:
        return None
    return translation.report.paths.tool(tools[index].at)


def _turn(translation: Translation, steps: list[str]) -> str | None:
    """Of turns that were sent one for one; system messages among them change their places."""
    inside = 0
    turns = translation.mended_request.turns
    while inside < len(turns) and turns[inside].role in _SYSTEM_ROLES:
        inside += 1
    turns, sent_messages = turns[inside:], translation.fields["messages"]
    index = _index(steps[0], turns)
    if (
        index is None
        or len(turns) != len(sent_messages)
        or any(turn.role in _SYSTEM_ROLES for turn in turns)
    ):
        return None
    at: At | None = turns[index].at
    if steps[1:2] == ["content"] and len(steps) > 2:
        at = _part(turns[index], len(sent_messages[index]["content"]), steps[2])
    return translation.report.paths.of(at) if at else None


def _part(turn: Turn, sent_count: int, step: str) -> At | None:
    """Tool results are sent first in their turn, so their places differ."""
    parts = sorted(turn.parts, key=lambda part: type(part) is not Result)
    index = _index(step, parts)
    return None if index is None or len(parts) != sent_count else parts[index].at or turn.at


def _index(step: str, items: Sequence[object]) -> int | None:
    return int(step) if step.isascii() and step.isdigit() and int(step) < len(items) else None
