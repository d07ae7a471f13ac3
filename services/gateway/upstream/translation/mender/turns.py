"""Turns that the target would refuse, or that do not concern it."""

import operator

from msgspec.structs import replace

from services.gateway.upstream.translation.conversation import Request, Turn
from services.gateway.upstream.translation.mender.aim import Aim
from services.gateway.upstream.translation.parts import (
    DocumentPart,
    Hosted,
    Part,
    Result,
    SearchResult,
    Text,
    Thinking,
    ToolCall,
)
from services.gateway.upstream.translation.refusals import invalid, unsupported
from services.gateway.upstream.translation.thought_signatures import UNSIGNED

SYSTEM = ("system", "developer")
_SEARCH = "web_search"
# Claude Code's first line, which differs with each session and would spoil others' caches.
_BILLING = "x-anthropic-billing-header:"


def billing_line(request: Request, _: Aim) -> Request:
    """Drops the billing line, which only Anthropic reads."""
    for place, turn in enumerate(request.turns):
        if turn.role not in SYSTEM:
            break
        parts = tuple(part for part in turn.parts if not _is_billing(part))
        if len(parts) < len(turn.parts):
            mended = (replace(turn, parts=parts),) if parts else ()
            turns = request.turns[:place] + mended + request.turns[place + 1 :]
            return replace(request, turns=turns)
    return request


def _is_billing(part: Part) -> bool:
    return type(part) is Text and part.text.startswith(_BILLING)


def foreign_thinking(request: Request, aim: Aim) -> Request:
    """Signatures of one family reach no other; a turn's thinking is kept or dropped as a whole."""
    turns = request.turns
    changed: dict[int, Turn] = {}
    for place, turn in enumerate(turns):
        if turn.role != "assistant":
            continue
        parts = _without_foreign(turn.parts, request, aim)
        if parts is not turn.parts:
            changed[place] = replace(turn, parts=parts)
    if not changed:
        return request
    return replace(
        request, turns=tuple(changed.get(place, turn) for place, turn in enumerate(turns))
    )


def _without_foreign(parts: tuple[Part, ...], request: Request, aim: Aim) -> tuple[Part, ...]:
    is_foreign = has_foreign_calls = False
    for part in parts:
        if type(part) is Thinking:
            is_foreign = is_foreign or not _is_own(part, request, aim)
        elif type(part) is ToolCall and part.signature is not None:
            has_foreign_calls = has_foreign_calls or part.signature.family != aim.profile.family
    if is_foreign:
        parts = tuple(part for part in parts if type(part) is not Thinking)
    if has_foreign_calls:
        parts = tuple(_without_signature(part, aim) for part in parts)
    return parts


def _is_own(thought: Thinking, request: Request, aim: Aim) -> bool:
    if not aim.profile.can_think:
        # OpenAI refuses thoughts of models that do.
        return False
    family = UNSIGNED if thought.signature is None else thought.signature.family
    if family == aim.profile.family:
        return True
    if family != UNSIGNED:
        return False
    if aim.profile.replays_thinking is not None:
        return bool(thought.text)
    # OpenAI finds what it keeps by its id.
    keeps = aim.is_openai and aim.to == "responses" and request.labels.keeps is True
    return keeps and thought.item_id is not None


def _without_signature(part: Part, aim: Aim) -> Part:
    if (
        type(part) is not ToolCall
        or part.signature is None
        or part.signature.family == aim.profile.family
    ):
        return part
    return replace(part, signature=None)


def foreign_searches(request: Request, aim: Aim) -> Request:
    """Drops another provider's search records; the text after them has the findings."""
    turns = request.turns
    changed: dict[int, Turn] = {}
    for place, turn in enumerate(turns):
        if turn.role != "assistant" or Hosted not in map(type, turn.parts):
            continue
        kept = tuple(part for part in turn.parts if not _is_foreign_search(part, aim))
        if len(kept) < len(turn.parts):
            changed[place] = replace(turn, parts=kept)
    if not changed:
        return request
    mended = (changed.get(place, turn) for place, turn in enumerate(turns))
    return replace(request, turns=tuple(turn for turn in mended if turn.parts))


def _is_foreign_search(part: Part, aim: Aim) -> bool:
    if type(part) is not Hosted or part.kind != _SEARCH:
        return False
    if aim.client == aim.to and part.family == aim.profile.family:
        return False
    aim.report.adapted(aim.report.paths.of(part.at))
    return True


def foreign_members(request: Request, aim: Aim) -> Request:
    """Handles members of parts that the other format cannot express.

    Raises UnsupportedField where it is content; citations that nobody will give are told.
    """
    if aim.client == aim.to:
        return request
    for turn in request.turns:
        for part in turn.parts:
            if type(part) is Text:
                # Most are, and have nothing beside.
                continue
            if type(part) is Result:
                for inner in part.parts:
                    if type(inner) is not Text:
                        _check_members(inner, aim)
            _check_members(part, aim)
    return request


def _check_members(part: Part, aim: Aim) -> None:
    paths = aim.report.paths
    if isinstance(part, (ToolCall, Result)):
        for name in part.extra:
            raise unsupported(paths.of(part.at, name))
    elif isinstance(part, (DocumentPart, SearchResult)) and part.citable:
        aim.report.adapted(paths.of(part.at, "citations"))


def orphaned_thinking(request: Request, _: Aim) -> Request:
    """OpenAI refuses a thought without model output after it."""
    kept: list[Turn] = []
    # Backwards, as a turn that goes leaves the one before it at the end.
    is_followed = False
    for turn in reversed(request.turns):
        mended: Turn | None = turn
        if turn.role != "assistant":
            is_followed = False
        else:
            if not is_followed:
                mended = _without_last_thoughts(turn)
            is_followed = mended is not None
        if mended is not None:
            kept.append(mended)
    kept.reverse()
    if len(kept) == len(request.turns) and all(map(operator.is_, kept, request.turns)):
        return request
    return replace(request, turns=tuple(kept))


def _without_last_thoughts(turn: Turn) -> Turn | None:
    """None if nothing else is left in the turn."""
    parts = turn.parts
    count = len(parts)
    while count and type(parts[count - 1]) is Thinking:
        count -= 1
    if count == len(parts):
        return turn
    return replace(turn, parts=parts[:count]) if count else None


def a_users_turn(request: Request, aim: Aim) -> Request:
    """Anthropic requires a user turn that is not empty."""
    for turn in request.turns:
        if turn.role == "user" and any(map(_says_something, turn.parts)):
            return request
    raise invalid(
        aim.report.paths.turns,
        "the model's provider requires a user message that is not empty",
    )


def _says_something(part: Part) -> bool:
    return type(part) is not Text or not (part.text == "" or part.text.isspace())


def system_inside(request: Request, aim: Aim) -> Request:
    """A system message within the conversation becomes a tagged user text in its place.

    Not before results, which follow their calls at once. In Messages the writer does so.
    """
    first = 0
    while first < len(request.turns) and request.turns[first].role in SYSTEM:
        first += 1
    inside = request.turns[first:]
    if aim.to == "messages" or all(turn.role not in SYSTEM for turn in inside):
        return request
    turns, system_turns = list(request.turns[:first]), list[Turn]()
    for turn in inside:
        if turn.role in SYSTEM:
            aim.report.adapted(aim.report.paths.of(turn.at))
            system_turns.append(_as_users(turn))
        elif any(type(part) is Result for part in turn.parts):
            turns.append(turn)
        else:
            turns += [*system_turns, turn]
            system_turns = []
    return replace(request, turns=(*turns, *system_turns))


def alternation(request: Request, _: Aim) -> Request:
    """Joins neighbouring turns, so that user and assistant alternate; system comes first."""
    groups: list[list[Turn]] = []
    for turn in request.turns:
        is_inside = turn.role in SYSTEM and groups and groups[-1][0].role not in SYSTEM
        mended = _as_users(turn) if is_inside else turn
        if groups and groups[-1][0].role == mended.role and mended.role not in SYSTEM:
            groups[-1].append(mended)
        else:
            groups.append([mended])
    return replace(request, turns=tuple(map(_join_turns, groups)))


def _join_turns(turns: list[Turn]) -> Turn:
    if len(turns) == 1:
        return turns[0]
    return replace(turns[0], parts=tuple(part for turn in turns for part in turn.parts))


def _as_users(turn: Turn) -> Turn:
    parts = tuple(
        replace(part, text=f"<system-reminder>\n{part.text}\n</system-reminder>")
        if type(part) is Text
        else part
        for part in turn.parts
    )
    return replace(turn, role="user", parts=parts)
