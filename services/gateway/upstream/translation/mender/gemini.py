"""What LiteLLM loses or mis-sends on the way to Gemini, and what Gemini does not know.

Gemini up to 2.5 is told in tokens how much to think; it has no ids of calls on the wire, so that
only their order tells which result is whose.
"""

from msgspec.structs import replace

from services.gateway.upstream.translation.conversation import (
    Effort,
    Request,
    Turn,
    Wish,
)
from services.gateway.upstream.translation.google_schemas import MAX_LEVELS, TooDeep, adapted_schema
from services.gateway.upstream.translation.mender.aim import Aim
from services.gateway.upstream.translation.mender.bedrock import all_parts
from services.gateway.upstream.translation.mender.efforts import BUDGETS
from services.gateway.upstream.translation.mender.thinking import (
    named_wish,
    thinking_in_words,
)
from services.gateway.upstream.translation.parts import (
    Image,
    Part,
    Result,
    ToolCall,
    Url,
)
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import unsupported
from services.gateway.upstream.translation.tools import Function, Tool

_OWN_FILES = ("gs://", "https://generativelanguage.googleapis.com/")
_NONE = Wish()
_OFF = Wish(mode="off", effort="none")
_ANSWER_TOKENS = 1024
# Google's own bounds on budgets, in tokens.
_LEAST_BUDGET = 128
_MAX_BUDGET = 24_576
_PROS_MAX_BUDGET = 32_768
_DEFAULT_EFFORT: Effort = "medium"


def sent_pictures(request: Request, aim: Aim) -> Request:
    """Raises UnsupportedField for images that the gateway would have to fetch."""
    for part in all_parts(request):
        url = part.source if isinstance(part, Image) else None
        if isinstance(url, Url) and not url.url.startswith(_OWN_FILES):
            path = aim.report.paths.of(part.at)
            raise unsupported(path, "the model takes images only as data: send it")
    return request


def shape_beside_tools(request: Request, aim: Aim) -> Request:
    """Gemini up to 2.5 cannot combine a response format with tools."""
    if request.shape is None or not request.tools or not _is_older(aim.profile):
        return request
    aim.unsupported("shape", "the model takes no response format together with tools")
    return replace(request, shape=None)


def always_strict_shape(request: Request, _: Aim) -> Request:
    """Drops `strict`, since Gemini always follows a response schema strictly."""
    if request.shape is None or request.shape.strict is None:
        return request
    return replace(request, shape=replace(request.shape, strict=None))


def known_schemas(request: Request, aim: Aim) -> Request:
    """Rewrites schemas in the keywords that Gemini knows; LiteLLM would drop the others."""
    if not any(isinstance(tool, Function) and tool.schema is not None for tool in request.tools):
        return request
    return replace(request, tools=tuple(_with_known_schema(tool, aim) for tool in request.tools))


def _with_known_schema(tool: Tool, aim: Aim) -> Tool:
    if not isinstance(tool, Function) or tool.schema is None:
        return tool
    try:
        adapted = adapted_schema(tool.schema)
    except TooDeep:
        path = aim.report.paths.tool(tool.at)
        raise unsupported(path, f"its schema has more than {MAX_LEVELS} levels") from None
    if adapted is None:
        return tool
    aim.report.adapted(aim.report.paths.tool(tool.at))
    return replace(tool, schema=adapted)


def equal_calls(request: Request, aim: Aim) -> Request:
    """LiteLLM sends only one of two equal calls in a turn, so that one gets both results."""
    if not _is_older(aim.profile):
        return request
    turns: list[Turn] = []
    first_ids: dict[str, str] = {}
    for turn in request.turns:
        if turn.role == "assistant":
            first_ids = _first_ids(turn, aim)
            parts = [part for part in turn.parts if not _is_one_of(part, first_ids)]
        else:
            parts = _join_results(turn.parts, first_ids)
        is_same = len(parts) == len(turn.parts)
        turns.append(turn if is_same else replace(turn, parts=tuple(parts)))
    return replace(request, turns=tuple(turns))


def _first_ids(turn: Turn, aim: Aim) -> dict[str, str]:
    """Maps the ids of later equal calls to the first."""
    ids: dict[tuple[str | None, str, str], str] = {}
    first_ids: dict[str, str] = {}
    for part in turn.parts:
        if isinstance(part, ToolCall):
            key = part.namespace, part.name, part.arguments
            first_id = ids.setdefault(key, part.id)
            if first_id != part.id:
                first_ids[part.id] = first_id
                aim.report.adapted(aim.report.paths.of(part.at))
    return first_ids


def _is_one_of(part: Part, first_ids: dict[str, str]) -> bool:
    return isinstance(part, ToolCall) and part.id in first_ids


def _join_results(parts: tuple[Part, ...], first_ids: dict[str, str]) -> list[Part]:
    if not first_ids:
        return list(parts)
    results: dict[str, Result] = {}
    for part in parts:
        if isinstance(part, Result):
            call_id = first_ids.get(part.call_id, part.call_id)
            result = results.get(call_id)
            results[call_id] = (
                replace(part, call_id=call_id)
                if result is None
                else replace(
                    result,
                    parts=result.parts + part.parts,
                    has_failed=result.has_failed or part.has_failed,
                )
            )
    return [*results.values(), *(part for part in parts if not isinstance(part, Result))]


def results_in_order(request: Request, aim: Aim) -> Request:
    """Puts a turn's results into the order of its calls."""
    if not _is_older(aim.profile):
        return request
    turns: list[Turn] = []
    places: dict[str, int] = {}
    for turn in request.turns:
        if turn.role == "assistant":
            calls = [part.id for part in turn.parts if isinstance(part, ToolCall)]
            places = {call_id: place for place, call_id in enumerate(calls)}
        results = [part for part in turn.parts if isinstance(part, Result)]
        in_order = sorted(results, key=lambda result: places.get(result.call_id, len(places)))
        if in_order != results:
            rest = [part for part in turn.parts if not isinstance(part, Result)]
            turn = replace(turn, parts=(*in_order, *rest))  # noqa: PLW2901
        turns.append(turn)
    return replace(request, turns=tuple(turns))


def thinking_for_gemini(request: Request, aim: Aim) -> Request:
    """Sets thinking in words or in tokens, as the model expects; unset if nothing was asked."""
    wish = request.thinking
    if wish == _NONE:
        return request
    is_off = wish.mode == "off" or wish.effort == "none"
    if not _is_older(aim.profile):
        return _without_thinking(request, aim) if is_off else thinking_in_words(request, aim)
    if is_off and aim.profile.always_thinks:
        return _without_thinking(request, aim)
    if is_off:
        return replace(request, thinking=_OFF)
    if wish.budget_tokens is None and wish.effort is None:
        return replace(request, thinking=_NONE)
    return replace(request, thinking=_with_budget(wish, request.limits.output_tokens, aim))


def _without_thinking(request: Request, aim: Aim) -> Request:
    """The least thinking that the model allows."""
    name = named_wish(request.thinking, aim)
    if request.thinking.mode != "off" and "minimal" not in (aim.profile.efforts or ()):
        aim.report.unsupported(aim.report.paths.field(name), "the model always thinks")
        return replace(request, thinking=_NONE)
    aim.adapted(name)
    efforts = aim.profile.efforts
    if not efforts:
        return replace(request, thinking=Wish(mode="on", budget_tokens=_LEAST_BUDGET))
    return replace(request, thinking=Wish(effort=efforts[0]))


def _with_budget(wish: Wish, limit: int | None, aim: Aim) -> Wish:
    """A budget below the answer's limit, of which thinking is a part."""
    budget = wish.budget_tokens
    if budget is None:
        budget = BUDGETS[wish.effort or _DEFAULT_EFFORT]
    max_budget = _PROS_MAX_BUDGET if aim.profile.always_thinks else _MAX_BUDGET
    if limit is not None:
        max_budget = min(max_budget, max(limit - _ANSWER_TOKENS, limit // 2))
    if budget > max_budget:
        aim.adapted(named_wish(wish, aim))
    return Wish(mode="on", budget_tokens=min(budget, max_budget))


def _is_older(profile: Profile) -> bool:
    """Whether the model is up to 2.5; newer ones take words for thinking."""
    return not profile.efforts
