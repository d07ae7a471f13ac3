"""Chat's answers on the wire; members that nobody reads are skipped."""

import msgspec

from services.gateway.upstream.translation.chat.wire import (
    ABSENT,
    NULL,
    CallExtra,
    ChatThinking,
    CustomCall,
    Raw,
)


class ContentPiece(msgspec.Struct, frozen=True):
    """Mistral's answers have lists; their thinking is a list of texts."""

    type: str = "text"
    text: str | None = None
    thinking: "str | list[ContentPiece] | None" = None


class AnswerFunction(msgspec.Struct, frozen=True):
    """Some servers send the arguments as an object, others leave them out."""

    name: str | None = None
    arguments: str | dict[str, Raw] | None = None


class AnswerCall(msgspec.Struct, frozen=True):
    index: int | None = None
    id: str | None = None
    function: AnswerFunction | None = None
    custom: CustomCall | None = None
    extra_content: CallExtra | None = None


class AnswerMessage(msgspec.Struct, frozen=True):
    """Of an answer, or a delta of a stream's."""

    content: str | list[ContentPiece] | None = None
    refusal: str | None = None
    tool_calls: list[AnswerCall] | None = None
    function_call: AnswerFunction | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking_blocks: list[ChatThinking] | None = None
    annotations: list[Raw] | None = None


class Logprobs(msgspec.Struct, frozen=True):
    content: Raw = NULL


class Choice(msgspec.Struct, frozen=True):
    """`stop_reason` is vLLM's: the stop string that matched, or a token's number."""

    index: int = 0
    message: AnswerMessage | None = None
    delta: AnswerMessage | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    logprobs: Logprobs | None = None
    error: Raw = ABSENT


class Completion(msgspec.Struct, frozen=True):
    """A chat completion, or one chunk of a stream."""

    id: str | None = None
    model: str | None = None
    created: int | float | None = None
    choices: list[Choice] | None = None
    usage: Raw = ABSENT
    error: Raw = ABSENT
    service_tier: str | None = None
    system_fingerprint: str | None = None


answer_decoder = msgspec.json.Decoder(Completion)
