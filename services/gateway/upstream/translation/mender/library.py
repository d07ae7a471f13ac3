"""What LiteLLM's chat call loses or breaks on, whoever the provider is."""

import msgspec
from msgspec.structs import replace

from libs.common.decode_errors import UNREADABLE
from services.gateway.upstream.translation.conversation import Request
from services.gateway.upstream.translation.mender.aim import Aim
from services.gateway.upstream.translation.parts import Part, ToolCall
from services.gateway.upstream.translation.tools import ToolChoice

_AUTO = ToolChoice()
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def whole_arguments(request: Request, aim: Aim) -> Request:
    """Wraps a model's own broken arguments as text in an object, since LiteLLM
    fails over them, or sends none.
    """
    turns = tuple(
        replace(turn, parts=tuple(_with_whole_arguments(part, aim) for part in turn.parts))
        if turn.role == "assistant" and any(type(part) is ToolCall for part in turn.parts)
        else turn
        for turn in request.turns
    )
    return replace(request, turns=turns)


def _with_whole_arguments(part: Part, aim: Aim) -> Part:
    if not isinstance(part, ToolCall) or part.is_freeform:
        return part
    if part.arguments in ("", "null"):
        return replace(part, arguments="{}")
    try:
        _object.decode(part.arguments)
    except UNREADABLE:
        aim.report.adapted(aim.report.paths.of(part.at))
        wrapped = msgspec.json.encode({"input": part.arguments}).decode()
        return replace(part, arguments=wrapped)
    return part


def default_choice(request: Request, _: Aim) -> Request:
    """Drops a choice that equals the default, which some providers do not know."""
    return replace(request, choice=None) if request.choice == _AUTO else request


def parallel_tool_calls(request: Request, aim: Aim) -> Request:
    """Gemini, and all of Bedrock's models but Claude, cannot be told to make one call at a time."""
    if request.parallel is None:
        return request
    if not request.parallel and request.tools:
        aim.unsupported("parallel", "the model cannot be limited to one call at a time")
    return replace(request, parallel=None)
