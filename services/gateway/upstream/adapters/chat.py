"""Writes LiteLLM's answers as OpenAI chat completions, without the fields that are LiteLLM's own.

Two extensions stay, because nothing else carries what they hold and clients of other gateways
know them: `reasoning_content`, and `thinking_blocks`, whose signatures Anthropic wants back.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec

from services.gateway.upstream.adapters.chat_stream import ChatStream
from services.gateway.upstream.adapters.library_terms import AnswerTerms
from services.gateway.upstream.adapters.usage import chat_usage, served_tier

_encode = msgspec.json.Encoder().encode
DONE = b"data: [DONE]\n\n"

_EXTRAS = ("annotations", "audio", "function_call", "images", "thinking_blocks")
_LISTS = ("annotations", "images", "thinking_blocks")
# A tool that the provider ran itself: the client never defined it and has nothing to run.
_HOSTED_CALL = "srvtoolu_"
_SIGNATURE_MARK = "__thought__"
_AS_IT_IS = AnswerTerms()


def chat_request(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields, with the numbers off the thinking that the client sends back, and Gemini's
    signatures where LiteLLM looks for them.
    """
    return {**fields, "messages": [_sent_message(message) for message in fields["messages"]]}


def _sent_message(message: dict[str, Any]) -> dict[str, Any]:
    blocks, calls = message.get("thinking_blocks"), message.get("tool_calls")
    if isinstance(blocks, list):
        message = {**message, "thinking_blocks": [_without_index(block) for block in blocks]}
    if isinstance(calls, list):
        message = {**message, "tool_calls": [_sent_call(call) for call in calls]}
    return message


def _sent_call(call: Any) -> Any:
    extra = call.get("extra_content") if isinstance(call, dict) else None
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    if not isinstance(signature, str):
        return call
    rest = {name: value for name, value in call.items() if name != "extra_content"}
    return {**rest, "provider_specific_fields": {"thought_signature": signature}}


def chat_completion(answer: Any, terms: AnswerTerms = _AS_IT_IS) -> bytes:
    usage = getattr(answer, "usage", None)
    return _encode(
        {
            "id": answer.id,
            "object": "chat.completion",
            "created": answer.created,
            "model": answer.model,
            "choices": [_choice(choice, terms) for choice in answer.choices],
            **_present(
                usage=_usage(usage, terms),
                service_tier=served_tier(answer, usage),
                system_fingerprint=getattr(answer, "system_fingerprint", None),
            ),
        }
    )


def _usage(usage: Any, terms: AnswerTerms) -> dict[str, Any] | None:
    fields = chat_usage(usage)
    if fields is None:
        return None
    details = fields["prompt_tokens_details"]
    if terms.caches_as_claude and details["cache_write_tokens"]:
        for_an_hour = details.get("cache_write_1h_tokens", 0)
        details["cache_write_5m_tokens"] = max(details["cache_write_tokens"] - for_an_hour, 0)
    if terms.thinks_uncounted:
        del fields["completion_tokens_details"]["reasoning_tokens"]
    return fields


async def chat_frames(
    stream: ChatStream, terms: AnswerTerms = _AS_IT_IS
) -> AsyncGenerator[bytes, None]:
    """The chunks as SSE frames, then one with the usage if the provider reported it, then [DONE].

    Raises TranslationRefused where the provider's stream ended without a finish reason.
    """
    writer = _ChunkWriter(stream, terms)
    last_chunk: Any = None
    async for chunk in stream:
        last_chunk = chunk
        frame = writer.frame(chunk)
        if frame is not None:
            yield frame
    usage = _usage(stream.usage, terms)
    if usage is not None:
        yield writer.usage_frame(last_chunk, usage, stream.service_tier)
    yield DONE


class _ChunkWriter:
    """Writes the chunks of one stream; numbers the tool calls that the client shall see."""

    def __init__(self, stream: ChatStream, terms: AnswerTerms) -> None:
        self._stream = stream
        self._terms = terms
        self._has_said = False
        self._calls = CallNumbers()
        self._lists = dict.fromkeys(_LISTS, 0)
        self._has_role = False

    def frame(self, chunk: Any) -> bytes | None:
        """None for a chunk that says nothing."""
        choices = [self._choice(choice) for choice in chunk.choices]
        nonempty = [choice for choice in choices if choice["delta"] or choice["finish_reason"]]
        if not nonempty:
            return None
        return self._encode_chunk(chunk, nonempty, None, getattr(chunk, "service_tier", None))

    def usage_frame(self, chunk: Any, usage: dict[str, Any], tier: str | None) -> bytes:
        return self._encode_chunk(chunk, [], usage, tier)

    def _encode_chunk(
        self, chunk: Any, choices: list[dict[str, Any]], usage: Any, tier: str | None
    ) -> bytes:
        body = {
            "id": chunk.id,
            "object": "chat.completion.chunk",
            "created": chunk.created,
            "model": chunk.model,
            "choices": choices,
            "usage": usage,
            **_present(
                service_tier=tier, system_fingerprint=getattr(chunk, "system_fingerprint", None)
            ),
        }
        return b"data: " + _encode(body) + b"\n\n"

    def _choice(self, choice: Any) -> dict[str, Any]:
        delta = _content(choice.delta)
        calls = getattr(choice.delta, "tool_calls", None) or ()
        self._has_said = self._has_said or bool(delta or calls)
        for name in self._lists.keys() & delta.keys():
            delta[name] = [self._with_index(name, entry) for entry in delta[name]]
        if not self._has_role:
            self._has_role = True
            delta = {"role": "assistant", "content": "", **delta}
        call_deltas = [
            _call_delta(call, number)
            for call in calls
            if (number := self._calls.number(call)) is not None
        ]
        call_deltas = [call for call in call_deltas if "id" in call or call["function"]]
        if call_deltas:
            delta["tool_calls"] = call_deltas
        return {
            "index": choice.index,
            "delta": delta,
            "logprobs": plain_data(getattr(choice, "logprobs", None)),
            "finish_reason": self._terms.end(
                choice.finish_reason, self._stream.own_end, has_said=self._has_said
            ),
        }

    def _with_index(self, name: str, entry: Any) -> Any:
        """OpenAI's SDK puts lists together by their entries' numbers, and fails without."""
        if not isinstance(entry, dict) or "index" in entry:
            return entry
        number = self._lists[name]
        # A block of thinking comes in parts, and its signature is the last.
        if entry.get("type") != "thinking" or entry.get("signature"):
            self._lists[name] += 1
        return {"index": number, **entry}


class CallNumbers:
    """Numbers a stream's tool calls from 0 without gaps, leaving out those the provider ran."""

    def __init__(self) -> None:
        self._numbers: dict[int, int | None] = {}

    def number(self, call: Any) -> int | None:
        index = call.index if isinstance(call.index, int) else 0
        if index not in self._numbers or (call.id and is_hosted(call)):
            count = sum(number is not None for number in self._numbers.values())
            self._numbers[index] = None if is_hosted(call) else count
        return self._numbers[index]


def is_hosted(call: Any) -> bool:
    return isinstance(call.id, str) and call.id.startswith(_HOSTED_CALL)


def plain_data(value: Any) -> Any:
    """Plain data of what may be one of LiteLLM's models, nulls left out."""
    if isinstance(value, list | tuple):
        return [plain_data(item) for item in value]
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", exclude_none=True, warnings=False)
    return value


def _choice(choice: Any, terms: AnswerTerms) -> dict[str, Any]:
    message = choice.message
    calls = [
        _call(call) for call in getattr(message, "tool_calls", None) or () if not is_hosted(call)
    ]
    return {
        "index": choice.index,
        "message": {
            "role": message.role,
            "content": message.content,
            "refusal": getattr(message, "refusal", None),
            **_content(message, but=("content", "refusal")),
            **({"tool_calls": calls} if calls else {}),
        },
        "logprobs": plain_data(getattr(choice, "logprobs", None)),
        "finish_reason": terms.end_of(choice),
    }


def _content(message: Any, but: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a message or delta says beside its tool calls; empty and null parts are left out."""
    names = ("content", "refusal", "reasoning_content", *_EXTRAS)
    values = {name: getattr(message, name, None) for name in names if name not in but}
    return {name: plain_data(value) for name, value in values.items() if value}


def _without_index(block: Any) -> Any:
    if not isinstance(block, dict):
        return block
    return {name: value for name, value in block.items() if name != "index"}


def _call(call: Any) -> dict[str, Any]:
    function = {"name": call.function.name, "arguments": call.function.arguments}
    return {**_id_fields(call), "type": "function", "function": function}


def _id_fields(call: Any) -> dict[str, Any]:
    """Its id, and Gemini's signature in Google's own place for it: LiteLLM puts it behind the id,
    which no other provider takes back.
    """
    call_id, _, signature = call.id.partition(_SIGNATURE_MARK)
    if not signature:
        fields = getattr(call, "provider_specific_fields", None)
        signature = fields.get("thought_signature") if isinstance(fields, dict) else None
    if not signature:
        return {"id": call_id}
    return {"id": call_id, "extra_content": {"google": {"thought_signature": signature}}}


def _call_delta(call: Any, number: int) -> dict[str, Any]:
    function = {"name": call.function.name, "arguments": call.function.arguments}
    if call.id:
        return {"index": number, **_id_fields(call), "type": "function", "function": function}
    delta = {name: value for name, value in function.items() if value}
    return {"index": number, "function": delta}


def _present(**values: Any) -> Mapping[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
