"""Reads whole answers of a provider that speaks chat."""

from hashlib import sha256

import msgspec

from libs.common.domain.reported_counts import decode_report
from libs.common.domain.usage import usage_of_openai
from libs.common.errors import AnswerBroken
from libs.common.schemas.usage import TokenUsage
from services.gateway.formats.base import decode_answer
from services.gateway.upstream.translation.chat import answer_wire, wire
from services.gateway.upstream.translation.chat.content_reader import read_block
from services.gateway.upstream.translation.chat.errors import ENDED_IN_ERROR, ERRED, failure_in
from services.gateway.upstream.translation.chat.family import CALL_SIGNATURES, FILES, split_id
from services.gateway.upstream.translation.chat.stops import stop_of
from services.gateway.upstream.translation.parts import (
    Family,
    Part,
    Refusal,
    Text,
    Thinking,
    ThoughtSignature,
    ToolCall,
)
from services.gateway.upstream.translation.reply import Reply, ReportedError

_MINTED_CHARS = 24
# What OpenAI's searching models leave of their one search.
CITED = b"url_citation"
_encode = msgspec.json.encode


def read_answer(body: bytes, _family: Family) -> Reply | ReportedError:
    """Is the same for every family, since chat does not name the family.

    Raises UpstreamFailed where it is not an answer of chat's, AnswerBroken for an empty one."""
    answer = decode_answer(body, answer_wire.answer_decoder)
    choices = answer.choices or []
    errors = (answer.error, *(choice.error for choice in choices))
    for raw in errors:
        if raw not in (wire.ABSENT, wire.NULL):
            return failure_in(raw)
    if not choices:
        raise AnswerBroken("The provider's answer has no choices.")
    if choices[0].finish_reason == ERRED:
        return ENDED_IN_ERROR
    first, *others = [_reply(answer, choice) for choice in choices]
    usage = usage_in(answer.usage, answer.service_tier)
    if usage is not None and usage.web_searches is None and _has_searched(first):
        # OpenAI's models that search do so once, and their usage does not count it.
        usage = msgspec.structs.replace(usage, web_searches=1)
    return msgspec.structs.replace(first, usage=usage, others=tuple(others))


def usage_in(raw: msgspec.Raw, tier: str | None) -> TokenUsage | None:
    if raw in (wire.ABSENT, wire.NULL):
        return None
    report = decode_report(raw)
    return None if report is None else usage_of_openai(report, tier)


def minted_id(answer_id: str, index: int) -> str:
    """An id for a call that a server sent without one; the same each time the answer is read."""
    digest = sha256(f"{answer_id}:{index}".encode()).hexdigest()
    return f"call_{digest[:_MINTED_CHARS]}"


def arguments_text(arguments: str | dict[str, msgspec.Raw] | None) -> str:
    """Some servers send an object in the place of its text."""
    if isinstance(arguments, dict):
        return _encode(arguments).decode()
    return arguments or ""


def call_signature(call: answer_wire.AnswerCall) -> ThoughtSignature | None:
    extra = call.extra_content
    if extra is None or extra.google is None or not extra.google.thought_signature:
        return None
    return ThoughtSignature(CALL_SIGNATURES, extra.google.thought_signature)


def text_and_thinking(content: str | list[answer_wire.ContentPiece] | None) -> tuple[str, str]:
    """The text of a content, and the thinking that Mistral has in it."""
    if content is None or isinstance(content, str):
        return content or "", ""
    texts, thoughts = [], []
    for piece in content:
        if piece.type == "thinking":
            text, inner = text_and_thinking(piece.thinking)
            thoughts.append(text + inner)
        else:
            texts.append(piece.text or "")
    return "".join(texts), "".join(thoughts)


def _reply(answer: answer_wire.Completion, choice: answer_wire.Choice) -> Reply:
    message = choice.message or answer_wire.AnswerMessage()
    answer_id = answer.id or ""
    text, inner_thought = text_and_thinking(message.content)
    parts: list[Part] = _thinking(message, inner_thought)
    if text:
        citations = _encode(message.annotations) if message.annotations else None
        parts.append(
            Text(
                text=text,
                citations=None if citations is None else msgspec.Raw(citations),
                family=None if citations is None else FILES,
            )
        )
    if message.refusal:
        parts.append(Refusal(text=message.refusal))
    calls = _calls(message, answer_id)
    parts += calls
    logprobs = choice.logprobs.content if choice.logprobs is not None else wire.NULL
    return Reply(
        id=answer_id,
        model=answer.model or "",
        parts=tuple(parts),
        stop=stop_of(
            choice.finish_reason,
            choice.stop_reason,
            has_calls=bool(calls),
            has_refused=bool(message.refusal),
        ),
        created=None if answer.created is None else int(answer.created),
        tier=answer.service_tier,
        logprobs=logprobs if bytes(logprobs)[:1] == b"[" else None,
        fingerprint=answer.system_fingerprint,
    )


def _thinking(message: answer_wire.AnswerMessage, inner: str) -> list[Part]:
    """The blocks, where they are, have the text of the other members too."""
    if message.thinking_blocks:
        thoughts = [read_block(block, ()) for block in message.thinking_blocks]
        return [thinking for thinking in thoughts if thinking is not None]
    text = message.reasoning_content or message.reasoning or inner
    return [Thinking(text=text)] if text else []


def _calls(message: answer_wire.AnswerMessage, answer_id: str) -> list[ToolCall]:
    calls = [_call(call, n, answer_id) for n, call in enumerate(message.tool_calls or ())]
    legacy = message.function_call
    if legacy is not None and not calls:
        call = answer_wire.AnswerCall(function=legacy)
        calls.append(_call(call, 0, answer_id))
    return calls


def _call(call: answer_wire.AnswerCall, index: int, answer_id: str) -> ToolCall:
    call_id, signature = split_id(call.id or minted_id(answer_id, index))
    if call.custom is not None:
        name, arguments, is_freeform = call.custom.name, call.custom.input or "", True
    else:
        function = call.function or answer_wire.AnswerFunction()
        # No arguments are an empty object.
        name, is_freeform = function.name or "", False
        arguments = arguments_text(function.arguments) or "{}"
    return ToolCall(
        id=call_id,
        name=name,
        arguments=arguments,
        is_freeform=is_freeform,
        signature=call_signature(call) or signature,
    )


def _has_searched(reply: Reply) -> bool:
    return any(
        type(part) is Text and part.citations is not None and CITED in bytes(part.citations)
        for part in reply.parts
    )
