"""How much a model should think, in the terms and within the rules of the target.

Where thinking and something else exclude each other, thinking gives way to what the provider would
refuse otherwise, and sampling gives way to thinking unless little of it was asked for.
"""

from msgspec.structs import replace

from services.gateway.upstream.translation.conversation import (
    NO_WISH,
    Effort,
    Request,
    Turn,
    Wish,
)
from services.gateway.upstream.translation.mender.aim import Aim
from services.gateway.upstream.translation.mender.efforts import (
    BUDGETS,
    effort_of,
    least,
    nearest_effort,
)
from services.gateway.upstream.translation.parts import Result, Thinking, ToolCall
from services.gateway.upstream.translation.tools import Freeform, Function

_THINKING = frozenset({"auto", "on", "between_tools"})
_LITTLE = frozenset({"minimal", "low"})
_DEFAULT_EFFORT: Effort = "medium"
# What servers know that nothing is known of.
_COMMON: tuple[Effort, ...] = ("low", "medium", "high")
_MIN_BUDGET = 1024
_LEAST_TOP_P = 0.95


def thinking_without_ability(request: Request, aim: Aim) -> Request:
    """Drops thinking for a model that cannot think; `auto` is dropped without a note."""
    wish = request.thinking
    if wish == NO_WISH or aim.profile.can_think:
        return request
    if wish.mode == "on" or wish.effort not in (None, "none"):
        aim.adapted(named_wish(wish, aim))
    return replace(request, thinking=NO_WISH)


def thinking_in_tokens(request: Request, aim: Aim) -> Request:
    """For Claude, which takes a mode, and an effort or a budget, depending on the model."""
    wish, profile = request.thinking, aim.profile
    if wish == NO_WISH:
        return request
    if wish.mode == "off" or wish.effort == "none":
        return replace(request, thinking=_off_for_claude(wish, aim))
    if wish.mode is None and (wish.effort is None or aim.from_messages):
        return replace(request, thinking=replace(wish, effort=_snap(wish.effort, aim)))
    if profile.is_adaptive and (wish.mode != "on" or not profile.has_budgets):
        effort: Effort | None = wish.effort
        if wish.mode == "on":
            aim.adapted("thinking.mode")
            if effort is None and wish.budget_tokens is not None:
                effort = nearest_effort(effort_of(wish.budget_tokens), profile.efforts or _COMMON)
        mode = "between_tools" if wish.mode == "between_tools" else "auto"
        mended = replace(wish, mode=mode, effort=_snap(effort, aim), budget_tokens=None)
        return replace(request, thinking=mended)
    return replace(request, thinking=_with_budget(wish, aim))


def _off_for_claude(wish: Wish, aim: Aim) -> Wish:
    if aim.profile.always_thinks:
        aim.unsupported(named_wish(wish, aim), "the model always thinks")
        return NO_WISH
    effort = None if wish.effort == "none" else _snap(wish.effort, aim)
    return Wish(mode="off", effort=effort)


def _with_budget(wish: Wish, aim: Aim) -> Wish:
    budget = wish.budget_tokens
    if budget is None:
        if wish.mode is not None:
            aim.adapted("thinking.mode")
        budget = BUDGETS[wish.effort or _DEFAULT_EFFORT]
    return replace(
        wish,
        mode="between_tools" if wish.mode == "between_tools" else "on",
        budget_tokens=budget,
        # Tokens say it, to servers that may know no words for it.
        effort=None if aim.profile.efforts is None else _snap(wish.effort, aim),
    )


def thinking_in_words(request: Request, aim: Aim) -> Request:
    """For all other models, which take an effort."""
    wish, efforts = request.thinking, aim.profile.efforts
    if wish == NO_WISH:
        return request
    effort = wish.effort
    if wish.mode == "off" or effort == "none":
        effort = _off_in_words(wish, aim)
    else:
        if effort is None and wish.mode == "on":
            level = effort_of(wish.budget_tokens or BUDGETS[_DEFAULT_EFFORT])
            effort = nearest_effort(level, efforts or _COMMON)
        effort = _snap(effort, aim)
    return replace(request, thinking=replace(wish, effort=effort, budget_tokens=None))


def _off_in_words(wish: Wish, aim: Aim) -> Effort | None:
    """If thinking cannot be turned off, Anthropic's `disabled` becomes the least effort."""
    efforts = aim.profile.efforts
    if efforts is None:
        return wish.effort if wish.effort == "none" else None
    if "none" in efforts:
        return "none"
    if wish.effort == "none":
        aim.unsupported(named_wish(wish, aim), "the model always thinks")
        return None
    if not efforts:
        return None
    aim.adapted(named_wish(wish, aim))
    return least(efforts)


def _snap(effort: Effort | None, aim: Aim) -> Effort | None:
    """None if the target knows no efforts; it then gets tokens."""
    efforts = aim.profile.efforts
    if effort is None or efforts is None:
        return effort
    if not efforts:
        return None
    nearest = nearest_effort(effort, efforts)
    if nearest != effort:
        aim.adapted("thinking.effort")
    return nearest


def thinking_amid_tools(request: Request, aim: Aim) -> Request:
    """Claude with a budget refuses to continue calls without a thought of its own before them."""
    if request.thinking.mode != "on" or not _has_unthought_calls(request.turns):
        return request
    return _without_thinking(request, aim)


def _has_unthought_calls(turns: tuple[Turn, ...]) -> bool:
    """Whether results at the end answer calls of a turn that does not begin with a thought."""
    last = len(turns) - 1
    has_results = False
    while last >= 0 and turns[last].role != "assistant":
        has_results = has_results or any(type(part) is Result for part in turns[last].parts)
        last -= 1
    if not has_results or last < 0:
        return False
    first = last
    while first > 0 and turns[first - 1].role == "assistant":
        first -= 1
    parts = [part for turn in turns[first : last + 1] for part in turn.parts]
    return any(type(part) is ToolCall for part in parts) and type(parts[0]) is not Thinking


def thinking_and_forced_tools(request: Request, aim: Aim) -> Request:
    """Claude with a budget refuses a forced tool choice."""
    choice = request.choice
    if request.thinking.mode != "on" or choice is None or choice.mode != "required":
        return request
    return _without_thinking(request, aim)


def thinking_and_sampling(request: Request, aim: Aim) -> Request:
    """Claude rejects sampling options while it thinks."""
    wish, sampling = request.thinking, request.sampling
    if wish.mode not in _THINKING:
        return request
    dropped = {}
    if sampling.temperature not in (None, 1):
        dropped["temperature"] = "sampling.temperature"
    if sampling.top_k is not None:
        dropped["top_k"] = "sampling.top_k"
    if sampling.top_p is not None and sampling.top_p < _LEAST_TOP_P:
        dropped["top_p"] = "sampling.top_p"
    if not dropped:
        return request
    effort = wish.effort
    if effort is None and wish.budget_tokens is not None:
        effort = effort_of(wish.budget_tokens)
    if effort in _LITTLE and not aim.profile.always_thinks:
        return _without_thinking(request, aim)
    for field in dropped.values():
        aim.adapted(field)
    return replace(request, sampling=replace(sampling, **dict.fromkeys(dropped)))


def budget_within_limit(request: Request, aim: Aim) -> Request:
    """Claude needs a budget of at least 1,024 tokens, and room for an answer beside it."""
    wish, limit = request.thinking, request.limits.output_tokens
    budget = wish.budget_tokens
    if wish.mode != "on" or budget is None or limit is None:
        return request
    max_budget = limit - _MIN_BUDGET
    if max_budget < _MIN_BUDGET:
        return _without_thinking(request, aim)
    new_budget = max(_MIN_BUDGET, min(budget, max_budget))
    if new_budget == budget:
        return request
    aim.adapted(named_wish(wish, aim))
    return replace(request, thinking=replace(wish, budget_tokens=new_budget))


def effort_without_thinking(request: Request, aim: Aim) -> Request:
    """Claude without thinking accepts at most a high effort."""
    wish = request.thinking
    if wish.mode != "off" or wish.effort not in ("xhigh", "max"):
        return request
    aim.adapted("thinking.effort")
    return replace(request, thinking=replace(wish, effort="high"))


def tools_in_chat(request: Request, aim: Aim) -> Request:
    """Some models of OpenAI's refuse functions in chat while they think, also by default."""
    profile, effort = aim.profile, request.thinking.effort
    if profile.thinks_beside_tools or effort == "none":
        return request
    if not any(isinstance(tool, (Function, Freeform)) for tool in request.tools):
        return request
    if effort is not None:
        aim.unsupported(
            named_wish(request.thinking, aim),
            "the model does not accept functions in chat completions while it thinks",
        )
    return replace(request, thinking=replace(request.thinking, effort="none"))


def _without_thinking(request: Request, aim: Aim) -> Request:
    aim.adapted(named_wish(request.thinking, aim))
    return replace(request, thinking=Wish(mode="off"))


def named_wish(wish: Wish, aim: Aim) -> str:
    """The client's field for a wish about thinking; OpenAI's formats have only efforts."""
    return "thinking.mode" if aim.from_messages and wish.mode is not None else "thinking.effort"
