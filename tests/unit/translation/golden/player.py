"""Plays a golden conversation: its call, its answer and its stream through the engine.

A body or a frame is shown as JSON where that says each of its bytes, else as the text that it is.
"""

import json
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from libs.common.errors import AppError
from libs.common.schemas.usage import ClientFormat
from services.gateway.endpoints.reply_headers import error_headers
from services.gateway.formats import FORMATS
from services.gateway.formats.sse import FrameSplitter
from services.gateway.upstream.answer import Stream, WholeAnswer
from services.gateway.upstream.signals import error_with_signals
from services.gateway.upstream.translation.engine import ClientCall, Translation, translate
from services.gateway.upstream.translation.way_back import translated_answer, translated_stream
from tests.support.translated_streams import served
from tests.unit.translation.mender.calls import profile_of

DIRECTORY = Path(__file__).parent / "conversations"
CREATED = 1_700_000_000
_PLAIN_HEADERS = {b"content-type", b"content-length", b"request-id", b"x-request-id"}
_DONE = b"data: [DONE]\n\n"
_STREAMING: dict[ClientFormat, dict[str, Any]] = {
    "chat": {"stream": True, "stream_options": {"include_usage": True}},
    "messages": {"stream": True},
    "responses": {"stream": True},
}


class Answered(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What the provider answers with."""

    status: int = 200
    headers: dict[str, str] = {}
    body: Any


class Given(msgspec.Struct, kw_only=True):
    """What of a conversation is written by hand; the rest of its file is what comes of it.

    `target` is a model's full name, `format` what its server is asked in. `streamed` are the
    provider's events, a text among them where its bytes matter. A call without an answer is
    refused.
    """

    client: ClientFormat
    target: str
    format: ClientFormat
    drops: bool = False
    asked: dict[str, Any]
    answered: Answered | None = None
    streamed: list[Any] | None = None


def names() -> list[str]:
    return sorted(path.stem for path in DIRECTORY.glob("*.json"))


def text_of(name: str) -> str:
    return (DIRECTORY / f"{name}.json").read_text()


def given(name: str) -> Given:
    return msgspec.json.decode(text_of(name), type=Given)


def compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def translation_of(call: Given, *, stream: bool = False) -> Translation:
    """Raises AppError where it is refused."""
    model, profile = profile_of(call.target)
    body = call.asked | (_STREAMING[call.client] if stream else {})
    request = ClientCall(
        client=call.client,
        fields=msgspec.json.decode(compact(body), type=dict[str, msgspec.Raw]),
        model=body["model"],
        created=CREATED,
        call_id="call-1",
    )
    return translate(request, model, profile, (call.format,), drops=call.drops)


def answer_of(translation: Translation, answered: Answered) -> WholeAnswer:
    """Raises AppError."""
    headers = [(name.encode(), value.encode()) for name, value in answered.headers.items()]
    body = answered.body if isinstance(answered.body, str) else None
    raw = compact(answered.body) if body is None else body.encode()
    return translated_answer(
        translation, WholeAnswer(status=answered.status, headers=headers, body=raw)
    )


def provider_bytes(language: ClientFormat, events: Iterable[Any]) -> bytes:
    """As the provider of that format sends them."""
    frames = [each.encode() if isinstance(each, str) else _frame(language, each) for each in events]
    return b"".join(frames)


async def stream_of(translation: Translation, chunks: Sequence[bytes]) -> bytes:
    """All that the client gets, an error that came too late for a status among it.

    Raises AppError where the first chunk begins with one.
    """

    async def provider_chunks() -> AsyncGenerator[bytes, None]:
        for chunk in chunks:
            yield chunk

    async def close() -> None:
        pass

    first_bytes = chunks[0] if chunks else b""
    stream = await translated_stream(
        translation,
        Stream(headers=[], chunks=provider_chunks(), close=close, first_bytes=first_bytes),
    )
    client_bytes, _ = await served(stream)
    return client_bytes


async def play(call: Given) -> dict[str, Any]:
    """The whole file's content."""
    content: dict[str, Any] = {"client": call.client, "target": call.target, "format": call.format}
    content |= {"drops": True} if call.drops else {}
    content["asked"] = call.asked
    try:
        translation = translation_of(call)
    except AppError as error:
        return content | {"refused": _error(call, error)}
    content["sent"] = _json_or_text(msgspec.json.encode(translation.fields))
    content |= {"headers": _headers(translation.headers)} if translation.headers else {}
    if call.answered is not None:
        content["answered"] = cast("dict[str, Any]", msgspec.to_builtins(call.answered))
        content["told"] = _whole_answer(call, translation, call.answered)
    if call.streamed is not None:
        streaming = translation_of(call, stream=True)
        content["sent_to_stream"] = {
            name: _json_or_text(msgspec.json.encode(value))
            for name, value in streaming.fields.items()
            if name not in translation.fields
        }
        content["streamed"] = call.streamed
        content["told_streamed"] = await _client_stream(call, streaming, call.streamed)
    return content


def file_of(content: Mapping[str, Any]) -> str:
    """A line for each event of a stream."""
    members = []
    for name, value in content.items():
        if name.endswith("streamed") and isinstance(value, list):
            events = [f"\n  {json.dumps(each, ensure_ascii=False)}" for each in value]
            text = f"[{','.join(events)}\n ]"
        else:
            text = json.dumps(value, ensure_ascii=False, indent=1).replace("\n", "\n ")
        members.append(f'\n "{name}": {text}')
    return f"{{{','.join(members)}\n}}\n"


def _whole_answer(call: Given, translation: Translation, answered: Answered) -> dict[str, Any]:
    try:
        answer = answer_of(translation, answered)
    except AppError as error:
        return _error(call, error)
    body = _json_or_text(answer.body)
    if answer.status == 200:
        return {"status": 200, "body": body}
    return {"status": answer.status, "headers": _headers(answer.headers), "body": body}


async def _client_stream(call: Given, translation: Translation, events: Sequence[Any]) -> Any:
    chunks = [provider_bytes(call.format, [each]) for each in events]
    try:
        client_bytes = await stream_of(translation, chunks)
    except AppError as error:
        return _error(call, error)
    splitter = FrameSplitter()
    frames = [_event_or_text(call.client, each) for each in splitter.feed(client_bytes)]
    return [*frames, splitter.rest().decode()] if splitter.rest() else frames


def _error(call: Given, error: AppError) -> dict[str, Any]:
    error = error_with_signals(error, FORMATS[call.client])
    answer = FORMATS[call.client].error(error, "call-1")
    headers = _headers(error_headers(error, "call-1", len(answer.body)))
    return {"status": answer.status, "headers": headers, "body": _json_or_text(answer.body)}


def _headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Of those that tell something."""
    return {name.decode(): value.decode() for name, value in headers if name not in _PLAIN_HEADERS}


def _json_or_text(body: bytes) -> Any:
    decoded = json.loads(body)
    return decoded if compact(decoded) == body else body.decode()


def _frame(language: ClientFormat, event: Any) -> bytes:
    head = b"" if language == "chat" else f"event: {event['type']}\n".encode()
    return head + b"data: " + compact(event) + b"\n\n"


def _event_or_text(language: ClientFormat, frame: bytes) -> Any:
    data = frame.rpartition(b"data: ")[2].removesuffix(b"\n\n")
    if frame != _DONE and data.startswith(b"{") and data.endswith(b"}"):
        event = json.loads(data)
        if (language == "chat" or "type" in event) and _frame(language, event) == frame:
            return event
    return frame.decode()
