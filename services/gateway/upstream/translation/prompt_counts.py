"""How many tokens a prompt has: the target's own count where it has one, else an estimate."""

from collections.abc import Mapping
from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.domain.attachments import attachments_of
from libs.common.errors import UpstreamFailed
from libs.common.schemas.usage import ClientFormat
from services.gateway.usage.estimator import Tokenizer

# What of a client's body is read by the model.
_PROMPT = ("system", "instructions", "messages", "input", "tools", "output_config", "text")


class CountForm(msgspec.Struct, frozen=True, kw_only=True):
    """How a format counts: a row of the table.

    `path` is below the format's own, `fields` are what of a body a count takes, `defaults` what the
    format's reader asks of a body and a count may lack, and `labels` what an answer has beside the
    count. If `has_nulls`, the reader judges them; else a null is a field that is not there.
    """

    path: str
    fields: frozenset[str]
    defaults: Mapping[str, msgspec.Raw]
    has_nulls: bool = False
    labels: Mapping[str, str] = {}


COUNT_FORMS: Mapping[ClientFormat, CountForm] = {
    "messages": CountForm(
        path="/count_tokens",
        fields=frozenset(
            {"model", "messages", "system", "tools", "tool_choice", "thinking", "output_config"}
        ),
        # A count has no answer to limit.
        defaults={"max_tokens": msgspec.Raw(b"1")},
        has_nulls=True,
    ),
    "responses": CountForm(
        path="/input_tokens",
        fields=frozenset(
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
        # A count may be of tools or instructions alone.
        defaults={"input": msgspec.Raw(b'""')},
        labels={"object": "response.input_tokens"},
    ),
}


class _Count(msgspec.Struct, frozen=True):
    input_tokens: int


_decode = msgspec.json.Decoder(_Count).decode


def call_fields(client: ClientFormat, fields: Mapping[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """The body of a count as that of a call."""
    form = COUNT_FORMS[client]
    if form.has_nulls:
        return {**form.defaults, **fields}
    non_null = {name: value for name, value in fields.items() if value != b"null"}
    return {**form.defaults, **non_null}


def counted_fields(target: ClientFormat, fields: Mapping[str, Any]) -> dict[str, Any]:
    """What of a translated body the target's count takes."""
    return {name: value for name, value in fields.items() if name in COUNT_FORMS[target].fields}


def count_in(body: bytes) -> int:
    """Raises UpstreamFailed for an answer that is not a count."""
    try:
        return _decode(body).input_tokens
    except UNREADABLE as error:
        raise UpstreamFailed("The provider's count cannot be read.") from error


def count_body(client: ClientFormat, tokens: int) -> bytes:
    return msgspec.json.encode({**COUNT_FORMS[client].labels, "input_tokens": tokens})


async def estimate_tokens(tokenizer: Tokenizer, fields: Mapping[str, msgspec.Raw]) -> int:
    """As the holds of calls are: a little more than the model reads, attachments by their kind."""
    prompt = {name: fields[name] for name in _PROMPT if name in fields}
    text = b",".join(bytes(raw) for raw in prompt.values())
    attachments = attachments_of(prompt)
    for attachment in attachments:
        text = text.replace(attachment.data.encode(), b"", 1)
    return await tokenizer.count(text) + sum(each.tokens for each in attachments)
