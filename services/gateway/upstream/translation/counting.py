"""How many tokens a prompt has: the target's own count where it has one, else an estimate."""

from collections.abc import Mapping
from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.domain.attachments import attachments_of
from libs.common.errors import UpstreamFailed
from libs.common.schemas.usage import ClientFormat
from services.gateway.usage.estimator import Tokenizer

# Each format's path of counts, below its own, and what of a body a count takes.
COUNT_PATHS: Mapping[ClientFormat, str] = {
    "messages": "/count_tokens",
    "responses": "/input_tokens",
}
_COUNTED: Mapping[ClientFormat, frozenset[str]] = {
    "messages": frozenset(
        {"model", "messages", "system", "tools", "tool_choice", "thinking", "output_config"}
    ),
    "responses": frozenset(
        {
            "model",
            "input",
            "instructions",
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "reasoning",
            "text",
        }
    ),
}
# What of a client's body is read by the model.
_PROMPT = ("system", "instructions", "messages", "input", "tools", "output_config", "text")
# A count has no answer to limit, and the format's reader asks for a limit.
_ANY_LIMIT = msgspec.Raw(b"1")


class _Count(msgspec.Struct, frozen=True):
    input_tokens: int


_decode = msgspec.json.Decoder(_Count).decode


def readable(client: ClientFormat, fields: Mapping[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """The body of a count as that of a call."""
    if client == "messages":
        return {"max_tokens": _ANY_LIMIT, **fields}
    # A count may be of tools or instructions alone.
    given = {name: value for name, value in fields.items() if value != b"null"}
    return {"input": msgspec.Raw(b'""'), **given}


def counted_fields(target: ClientFormat, fields: Mapping[str, Any]) -> dict[str, Any]:
    """What of a translated body the target's count takes."""
    return {name: value for name, value in fields.items() if name in _COUNTED[target]}


def count_in(body: bytes) -> int:
    """Raises UpstreamFailed for an answer that is not a count."""
    try:
        return _decode(body).input_tokens
    except UNREADABLE as error:
        raise UpstreamFailed("The provider's count cannot be read.") from error


def count_body(client: ClientFormat, tokens: int) -> bytes:
    kind = {"object": "response.input_tokens"} if client == "responses" else {}
    return msgspec.json.encode({**kind, "input_tokens": tokens})


async def estimated(tokenizer: Tokenizer, fields: Mapping[str, msgspec.Raw]) -> int:
    """As the holds of calls are: a little more than the model reads, attachments by their kind."""
    prompt = {name: fields[name] for name in _PROMPT if name in fields}
    text = b",".join(bytes(raw) for raw in prompt.values())
    attachments = attachments_of(prompt)
    for attachment in attachments:
        text = text.replace(attachment.data.encode(), b"", 1)
    return await tokenizer.count(text) + sum(each.tokens for each in attachments)
