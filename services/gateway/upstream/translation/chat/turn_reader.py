"""Reads a chat client's messages into turns.

Messages of role `tool` that follow each other are one user turn. The first form of tools,
`function_call` and role `function`, has no ids: a call gets its number, and a result is that of
the latest call of its name.
"""

import msgspec

from libs.common.errors import InvalidRequest, UnsupportedField
from services.gateway.upstream.translation.chat import wire
from services.gateway.upstream.translation.chat.content_reader import (
    read_cache_control,
    read_content,
    read_thinking,
    required_content,
    with_mark,
)
from services.gateway.upstream.translation.chat.family import CALL_SIGNATURES, split_id
from services.gateway.upstream.translation.chat.paths import PATHS
from services.gateway.upstream.translation.conversation import Turn, TurnRole
from services.gateway.upstream.translation.parts import (
    At,
    Opaque,
    Refusal,
    Result,
    ThoughtSignature,
    ToolCall,
)
from services.gateway.upstream.translation.refusals import decode_at, invalid

_PATH = "messages"
_ROLES: dict[str, TurnRole] = {"system": "system", "developer": "developer", "user": "user"}
_messages = msgspec.json.Decoder(list[wire.ChatMessage])
_members = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_KNOWN = frozenset(wire.ChatMessage.__struct_fields__)


def read_turns(raw: msgspec.Raw) -> tuple[tuple[Turn, ...], dict[str, msgspec.Raw]]:
    """Returns the turns and, by path, unknown members of messages."""
    unknown: dict[str, msgspec.Raw] = {}
    try:
        messages = decode_at(_messages, raw, _PATH)
    except UnsupportedField:
        known, unknown = _split_members(raw)
        messages = decode_at(_messages, known, _PATH)
    reader = _Turns()
    for index, message in enumerate(messages):
        reader.read(message, (index,))
    return reader.done(), unknown


def _split_members(raw: msgspec.Raw) -> tuple[bytes, dict[str, msgspec.Raw]]:
    unknown: dict[str, msgspec.Raw] = {}
    messages = decode_at(_members, raw, _PATH)
    for index, message in enumerate(messages):
        for name in sorted(message.keys() - _KNOWN):
            raw = message.pop(name)
            if raw != wire.NULL:
                unknown[f"{_PATH}[{index}].{name}"] = raw
    return msgspec.json.encode(messages), unknown


class _Turns:
    def __init__(self) -> None:
        self._turns: list[Turn] = []
        self._results: list[Result] = []
        self._results_at: At = ()
        self._freeform_ids: set[str] = set()
        self._legacy_calls: dict[str, str] = {}
        self._legacy_count = 0

    def read(self, message: wire.ChatMessage, at: At) -> None:
        role = message.role
        if role in ("tool", "function"):
            self._results_at = self._results_at or at
            self._results.append(self._read_result(message, at))
            return
        self._end_results()
        if role == "assistant":
            self._turns.append(self._read_assistant(message, at))
        elif role in _ROLES:
            parts = read_content(required_content(message.content, at), at)
            if message.cache_control is not None:
                parts = with_mark(parts, read_cache_control(message.cache_control, at))
            self._turns.append(Turn(role=_ROLES[role], parts=parts, at=at, name=message.name))
        else:
            raise invalid(
                PATHS.of(at, "role"),
                f"{role!r} is none of system, developer, user, assistant, tool and function",
            )

    def done(self) -> tuple[Turn, ...]:
        self._end_results()
        return tuple(self._turns)

    def _end_results(self) -> None:
        if self._results:
            self._turns.append(Turn(role="user", parts=tuple(self._results), at=self._results_at))
            self._results.clear()
            self._results_at = ()

    def _read_result(self, message: wire.ChatMessage, at: At) -> Result:
        is_legacy = message.role == "function"
        if is_legacy:
            name = message.name
            if not name:
                raise _missing(at, "name")
            call_id = self._legacy_calls.get(name, f"fc_{name}")
        elif not message.tool_call_id:
            raise _missing(at, "tool_call_id")
        else:
            call_id, _ = split_id(message.tool_call_id)
        # The result of a function that gave nothing may be null; that of a tool may not.
        content = message.content if is_legacy else required_content(message.content, at)
        return Result(
            call_id=call_id,
            parts=read_content(content, at),
            cache=read_cache_control(message.cache_control, at),
            name=message.name,
            is_freeform=call_id in self._freeform_ids,
            at=at,
        )

    def _read_assistant(self, message: wire.ChatMessage, at: At) -> Turn:
        parts = read_thinking(message, at)
        parts += read_content(message.content, at)
        if message.refusal:
            parts.append(Refusal(text=message.refusal, at=at))
        if message.audio not in (wire.ABSENT, wire.NULL):
            # An answer that was spoken, by the id under which its provider keeps it.
            parts.append(Opaque(kind="audio", raw=message.audio, family="openai", at=at))
        for index, call in enumerate(message.tool_calls or ()):
            tool_call = _read_call(call, (*at, -1 - index))
            if tool_call.is_freeform:
                self._freeform_ids.add(tool_call.id)
            parts.append(tool_call)
        if message.function_call is not None:
            parts.append(self._read_legacy_call(message.function_call, at))
        mark = read_cache_control(message.cache_control, at)
        return Turn(role="assistant", parts=with_mark(tuple(parts), mark), at=at, name=message.name)

    def _read_legacy_call(self, call: wire.FunctionCall, at: At) -> ToolCall:
        if not call.name:
            raise _missing(at, "function_call.name")
        call_id = f"fc_{self._legacy_count}"
        self._legacy_count += 1
        self._legacy_calls[call.name] = call_id
        return ToolCall(id=call_id, name=call.name, arguments=call.arguments or "", at=at)


def _read_call(call: wire.ChatToolCall, at: At) -> ToolCall:
    if not call.id:
        raise _missing(at, "id")
    call_id, signature = split_id(call.id)
    extra = call.extra_content
    if extra is not None and extra.google is not None and extra.google.thought_signature:
        signature = ThoughtSignature(CALL_SIGNATURES, extra.google.thought_signature)
    is_freeform = call.custom is not None
    if call.custom is not None:
        name, arguments = call.custom.name, call.custom.input
    elif call.function is not None:
        name, arguments = call.function.name, call.function.arguments
    else:
        raise _missing(at, "function")
    if not name:
        raise _missing(at, "custom.name" if is_freeform else "function.name")
    return ToolCall(
        id=call_id,
        name=name,
        arguments=arguments or "",
        is_freeform=is_freeform,
        signature=signature,
        cache=read_cache_control(call.cache_control, at),
        at=at,
    )


def _missing(at: At, member: str) -> InvalidRequest:
    return invalid(PATHS.of(at, member), "this field is missing")
