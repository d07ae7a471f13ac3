"""Checks that calls and results match, for targets that refuse one without the other."""

from services.gateway.upstream.translation.conversation import Request, Turn
from services.gateway.upstream.translation.mender.aim import Aim
from services.gateway.upstream.translation.parts import Result, ToolCall
from services.gateway.upstream.translation.refusals import invalid

_NO_CALL = "the assistant's message before it has no call of this id"
_NO_RESULT = "no message right after it has the result of this call"


def matched_results(request: Request, aim: Aim) -> Request:
    """Every result answers a call of the assistant's turn before it, and every call has one.

    Raises InvalidRequest by the path of the one that stands alone. Responses may have them apart.
    """
    if aim.to == "responses":
        _check_ids(request, aim)
        return request
    calls: dict[str, ToolCall] = {}
    pending: dict[str, ToolCall] = {}
    was_assistant = False
    for turn in request.turns:
        if turn.role == "assistant":
            if not was_assistant:
                _refuse_pending(pending, aim)
                calls = {}
            was_assistant = True
            new_calls = {part.id: part for part in turn.parts if type(part) is ToolCall}
            calls.update(new_calls)
            pending.update(new_calls)
        elif turn.role == "user":
            was_assistant = False
            _answer(turn, calls, pending, aim)
    _refuse_pending(pending, aim)
    return request


def _answer(turn: Turn, calls: dict[str, ToolCall], pending: dict[str, ToolCall], aim: Aim) -> None:
    says_more = False
    for part in turn.parts:
        if type(part) is not Result:
            says_more = True
        elif part.call_id not in calls:
            raise invalid(aim.report.paths.of(part.at), _NO_CALL)
        else:
            pending.pop(part.call_id, None)
    if says_more:
        _refuse_pending(pending, aim)


def _refuse_pending(pending: dict[str, ToolCall], aim: Aim) -> None:
    for call in pending.values():
        raise invalid(aim.report.paths.of(call.at), _NO_RESULT)


def _check_ids(request: Request, aim: Aim) -> None:
    calls: dict[str, ToolCall] = {}
    answered_ids: set[str] = set()
    for turn in request.turns:
        for part in turn.parts:
            if type(part) is ToolCall:
                calls[part.id] = part
            elif type(part) is Result:
                if part.call_id not in calls:
                    raise invalid(aim.report.paths.of(part.at), "no earlier call has this id")
                answered_ids.add(part.call_id)
    _refuse_pending({name: call for name, call in calls.items() if name not in answered_ids}, aim)
