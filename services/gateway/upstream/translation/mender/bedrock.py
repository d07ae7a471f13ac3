"""What LiteLLM loses or rewrites on the way to Bedrock's Converse API."""

from collections.abc import Iterator

from msgspec.structs import replace

from services.gateway.upstream.translation.conversation import Request
from services.gateway.upstream.translation.mender.aim import Aim
from services.gateway.upstream.translation.parts import (
    Audio,
    Bytes,
    Image,
    Part,
    Result,
    ToolCall,
)
from services.gateway.upstream.translation.refusals import unsupported

_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


def carried_parts(request: Request, aim: Aim) -> Request:
    """Raises UnsupportedField for audio, which would be left out, and for images that fail."""
    for part in all_parts(request):
        path = aim.report.paths.of(part.at)
        if isinstance(part, Audio):
            raise unsupported(path, "the model's provider does not accept audio")
        if isinstance(part, Image):
            if not isinstance(part.source, Bytes):
                raise unsupported(path, "the model's provider takes images only as data: send it")
            if part.source.media_type not in _IMAGES:
                raise unsupported(path, f"no images of type {part.source.media_type}")
    return request


def no_choice(request: Request, aim: Aim) -> Request:
    """Converse cannot forbid calls, so the tools are left out."""
    choice = request.choice
    if choice is None or choice.mode != "none":
        return request
    if _has_calls(request):
        aim.unsupported("choice", "the provider cannot forbid calls after earlier ones")
        return replace(request, choice=None)
    return replace(request, choice=None, tools=())


def tools_of_history(request: Request, aim: Aim) -> Request:
    """Raises UnsupportedField for earlier calls without tools, which would become plain text."""
    if not request.tools and _has_calls(request):
        path = aim.report.paths.field("tools")
        raise unsupported(path, "the provider needs the tools of the earlier calls")
    return request


def all_parts(request: Request) -> Iterator[Part]:
    """All parts, including those in tool results."""
    for turn in request.turns:
        for part in turn.parts:
            yield part
            if isinstance(part, Result):
                yield from part.parts


def _has_calls(request: Request) -> bool:
    return any(isinstance(part, ToolCall) for turn in request.turns for part in turn.parts)
