"""Calls of tools as a chat client knows them."""

from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE
from services.gateway.upstream.translation.chat.family import CALL_SIGNATURES
from services.gateway.upstream.translation.names import ToolNames
from services.gateway.upstream.translation.parts import ThoughtSignature, ToolCall


class _Wrapped(msgspec.Struct, frozen=True):
    input: str


_wrapped = msgspec.json.Decoder(_Wrapped)


class ChatCallHead(msgspec.Struct, frozen=True):
    """`is_wrapped`: the client's tool takes any text, and what came is JSON around it."""

    call_id: str
    name: str
    is_freeform: bool
    is_wrapped: bool

    @property
    def kind(self) -> str:
        return "custom" if self.is_freeform else "function"

    @property
    def member(self) -> str:
        """Where what the model gives to the tool stands."""
        return "input" if self.is_freeform else "arguments"

    def client_input(self, arguments: str) -> str:
        if self.is_wrapped:
            return _unwrap(arguments)
        return arguments if arguments or self.is_freeform else "{}"

    def call(self, call_input: str, signature: ThoughtSignature | None) -> dict[str, Any]:
        call: dict[str, Any] = {
            "id": self.call_id,
            "type": self.kind,
            self.kind: {"name": self.name, self.member: call_input},
        }
        if signature is not None and signature.family == CALL_SIGNATURES:
            call["extra_content"] = call_extra(signature)
        return call


def chat_call_head(call_id: str, name: str, is_freeform: bool, names: ToolNames) -> ChatCallHead:
    _, original, was_freeform = names.original(name)
    return ChatCallHead(
        call_id=call_id,
        name=original,
        is_freeform=is_freeform or was_freeform,
        is_wrapped=was_freeform and not is_freeform,
    )


def written_call(call: ToolCall, names: ToolNames) -> dict[str, Any]:
    head = chat_call_head(call.id, call.name, call.is_freeform, names)
    return head.call(head.client_input(call.arguments), call.signature)


def call_extra(signature: ThoughtSignature) -> dict[str, Any]:
    """The member in which Google expects the signature of a call."""
    return {"google": {"thought_signature": signature.data}}


def _unwrap(arguments: str) -> str:
    try:
        return _wrapped.decode(arguments).input
    except UNREADABLE:
        return arguments
