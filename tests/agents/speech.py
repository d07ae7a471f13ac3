"""What a scripted model says, and how each API says it: as one answer, and as a stream."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

ANTHROPIC_SIGNATURE, OPENAI_SIGNATURE = "signed-by-anthropic", "signed-by-openai"
_USAGE = (1200, 40)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`calls` are names and inputs of tools; a `blocked` answer was refused by the provider."""

    text: str = ""
    thinking: str = ""
    calls: tuple[tuple[str, dict[str, Any] | str], ...] = ()
    blocked: bool = False


@dataclass(frozen=True, kw_only=True)
class Fault:
    """An error in the API's own shape."""

    status: int
    body: dict[str, Any]


def too_long(api: str) -> Fault:
    """In the words that the providers use."""
    if api == "messages":
        message = "prompt is too long: 214000 tokens > 200000 maximum"
        error = {"type": "invalid_request_error", "message": message}
        return Fault(status=400, body={"type": "error", "error": error})
    message = (
        "Your input exceeds the context window of this model. Please adjust your input and try "
        "again."
        if api == "responses"
        else "This model's maximum context length is 128000 tokens. However, your messages "
        "resulted in 214000 tokens. Please reduce the length of the messages."
    )
    code, param = "context_length_exceeded", "input" if api == "responses" else "messages"
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return Fault(status=400, body={"error": error})


class _Api:
    """Numbers of answers make all ids distinct."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def _number(self, answer: Answer) -> tuple[str, list[tuple[str, str, str]]]:
        """The answer's number, and the calls' ids, names and inputs as JSON (or as text)."""
        number = str(next(self._numbers))
        calls = [
            (f"{number}{n}", name, value if isinstance(value, str) else json.dumps(value))
            for n, (name, value) in enumerate(answer.calls)
        ]
        return number, calls


class MessagesApi(_Api):
    def whole(self, answer: Answer, body: dict[str, Any]) -> dict[str, Any]:
        number, calls = self._number(answer)
        blocks: list[dict[str, Any]] = []
        if answer.thinking and _thinks(body):
            signature = f"{ANTHROPIC_SIGNATURE}-{number}"
            blocks.append({"type": "thinking", "thinking": answer.thinking, "signature": signature})
        if answer.text:
            blocks.append({"type": "text", "text": answer.text})
        blocks += [
            {"type": "tool_use", "id": f"toolu_{id_}", "name": name, "input": json.loads(arguments)}
            for id_, name, arguments in calls
        ]
        stop = "refusal" if answer.blocked else "tool_use" if calls else "end_turn"
        details: dict[str, Any] = {
            "type": "refusal",
            "category": "cyber",
            "explanation": "Not this.",
        }
        return {
            "id": f"msg_{number}",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": blocks,
            "stop_reason": stop,
            "stop_sequence": None,
            **({"stop_details": details} if answer.blocked else {}),
            "usage": {"input_tokens": _USAGE[0], "output_tokens": _USAGE[1]},
        }

    def frames(self, answer: Answer, body: dict[str, Any]) -> Iterator[bytes]:
        whole = self.whole(answer, body)
        usage = {"input_tokens": _USAGE[0], "output_tokens": 1}
        start = {**whole, "content": [], "stop_reason": None, "usage": usage}
        yield _event("message_start", message=start)
        for index, block in enumerate(whole["content"]):
            yield from self._block(index, block)
        ends = ("stop_reason", "stop_sequence", "stop_details")
        delta = {name: whole[name] for name in ends if name in whole}
        yield _event("message_delta", delta=delta, usage=whole["usage"])
        yield _event("message_stop")

    def _block(self, index: int, block: dict[str, Any]) -> Iterator[bytes]:
        match block["type"]:
            case "thinking":
                empty: dict[str, Any] = {"type": "thinking", "thinking": "", "signature": ""}
                deltas = [
                    {"type": "thinking_delta", "thinking": block["thinking"]},
                    {"type": "signature_delta", "signature": block["signature"]},
                ]
            case "text":
                empty = {"type": "text", "text": ""}
                deltas = [{"type": "text_delta", "text": part} for part in _pieces(block["text"])]
            case _:
                empty = {**block, "input": {}}
                parts = _pieces(json.dumps(block["input"]))
                deltas = [{"type": "input_json_delta", "partial_json": part} for part in parts]
        yield _event("content_block_start", index=index, content_block=empty)
        for delta in deltas:
            yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)


class ChatApi(_Api):
    def whole(self, answer: Answer, body: dict[str, Any]) -> dict[str, Any]:
        number, calls = self._number(answer)
        message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
        if answer.thinking:
            message["reasoning_content"] = answer.thinking
        if calls:
            message["tool_calls"] = [
                {
                    "id": f"call_{id_}",
                    "type": "function",
                    "function": {"name": name, "arguments": arguments},
                }
                for id_, name, arguments in calls
            ]
        stop = "content_filter" if answer.blocked else "tool_calls" if calls else "stop"
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": stop}
        return {**self._head(number, body, "chat.completion"), "choices": [choice], **_chat_usage()}

    def frames(self, answer: Answer, body: dict[str, Any]) -> Iterator[bytes]:
        whole = self.whole(answer, body)
        head = {**whole, "object": "chat.completion.chunk"}
        del head["choices"], head["usage"]
        message = whole["choices"][0]["message"]
        for delta in self._deltas(message):
            yield _data({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        stop = whole["choices"][0]["finish_reason"]
        yield _data({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": stop}]})
        if (body.get("stream_options") or {}).get("include_usage"):
            yield _data({**head, "choices": [], "usage": whole["usage"]})
        yield b"data: [DONE]\n\n"

    def _deltas(self, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """All calls begin in one chunk and go on in turns, as some servers do."""
        yield {"role": "assistant", "content": ""}
        if "reasoning_content" in message:
            yield {"reasoning_content": message["reasoning_content"]}
        for part in _pieces(message["content"] or ""):
            yield {"content": part}
        calls = message.get("tool_calls", [])
        if calls:
            heads = [
                {**call, "index": n, "function": {**call["function"], "arguments": ""}}
                for n, call in enumerate(calls)
            ]
            yield {"tool_calls": heads}
        parts = [_pieces(call["function"]["arguments"]) for call in calls]
        for row in itertools.zip_longest(*parts):
            for n, part in enumerate(row):
                if part is not None:
                    yield {"tool_calls": [{"index": n, "function": {"arguments": part}}]}

    def _head(self, number: str, body: dict[str, Any], kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{number}",
            "object": kind,
            "created": 1_790_000_000,
            "model": body["model"],
        }


class ResponsesApi(_Api):
    def whole(self, answer: Answer, body: dict[str, Any]) -> dict[str, Any]:
        number, calls = self._number(answer)
        customs = {tool["name"] for tool in body.get("tools", []) if tool["type"] == "custom"}
        items: list[dict[str, Any]] = []
        if answer.thinking:
            summary = [{"type": "summary_text", "text": answer.thinking}]
            item = {"type": "reasoning", "id": f"rs_{number}", "summary": summary}
            if "reasoning.encrypted_content" in (body.get("include") or []):
                item["encrypted_content"] = f"{OPENAI_SIGNATURE}-{number}"
            items.append(item)
        if answer.text:
            part = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
            items.append(
                {
                    "type": "message",
                    "id": f"msg_{number}",
                    "status": "completed",
                    "role": "assistant",
                    "content": [part],
                }
            )
        items += [self._call(call, custom=call[1] in customs) for call in calls]
        details = {"reason": "content_filter"} if answer.blocked else None
        return {
            "id": f"resp_{number}",
            "object": "response",
            "created_at": 1_790_000_000,
            "status": "incomplete" if details else "completed",
            "incomplete_details": details,
            "error": None,
            "instructions": body.get("instructions"),
            "metadata": {},
            "model": body["model"],
            "output": items,
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "store": False,
            "usage": {
                "input_tokens": _USAGE[0],
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": _USAGE[1],
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": sum(_USAGE),
            },
        }

    def _call(self, call: tuple[str, str, str], *, custom: bool) -> dict[str, Any]:
        id_, name, arguments = call
        common = {"call_id": f"call_{id_}", "name": name, "status": "completed"}
        if custom:
            return {"type": "custom_tool_call", "id": f"ctc_{id_}", **common, "input": arguments}
        return {"type": "function_call", "id": f"fc_{id_}", **common, "arguments": arguments}

    def frames(self, answer: Answer, body: dict[str, Any]) -> Iterator[bytes]:
        whole = self.whole(answer, body)
        numbers = itertools.count()
        initial = {**whole, "status": "in_progress", "output": [], "usage": None}
        events = [
            ("response.created", {"response": initial}),
            ("response.in_progress", {"response": initial}),
            *(row for index, item in enumerate(whole["output"]) for row in self._item(index, item)),
            (f"response.{whole['status']}", {"response": whole}),
        ]
        for kind, fields in events:
            yield _event(kind, sequence_number=next(numbers), **fields)

    def _item(self, index: int, item: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        position = {"output_index": index, "item_id": item["id"]}
        match item["type"]:
            case "reasoning":
                initial: dict[str, Any] = {**item, "summary": []}
                inner = self._summary(position, item["summary"][0])
            case "message":
                initial = {**item, "content": [], "status": "in_progress"}
                inner = self._text(position, item["content"][0])
            case kind:
                field = "arguments" if kind == "function_call" else "input"
                initial = {**item, field: "", "status": "in_progress"}
                inner = self._input(position, kind, field, item[field])
        yield "response.output_item.added", {"output_index": index, "item": initial}
        yield from inner
        yield "response.output_item.done", {"output_index": index, "item": item}

    def _summary(
        self, position: dict[str, Any], part: dict[str, Any]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        part_position = {**position, "summary_index": 0}
        prefix = "response.reasoning_summary"
        yield f"{prefix}_part.added", {**part_position, "part": {**part, "text": ""}}
        for text in _pieces(part["text"]):
            yield f"{prefix}_text.delta", {**part_position, "delta": text}
        yield f"{prefix}_text.done", {**part_position, "text": part["text"]}
        yield f"{prefix}_part.done", {**part_position, "part": part}

    def _text(
        self, position: dict[str, Any], part: dict[str, Any]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        part_position = {**position, "content_index": 0}
        yield "response.content_part.added", {**part_position, "part": {**part, "text": ""}}
        for text in _pieces(part["text"]):
            yield "response.output_text.delta", {**part_position, "delta": text, "logprobs": []}
        yield "response.output_text.done", {**part_position, "text": part["text"], "logprobs": []}
        yield "response.content_part.done", {**part_position, "part": part}

    def _input(
        self, position: dict[str, Any], kind: str, field: str, content: str
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        name = f"response.{kind}_{field}"
        for text in _pieces(content):
            yield f"{name}.delta", {**position, "delta": text}
        yield f"{name}.done", {**position, field: content}


def _thinks(body: dict[str, Any]) -> bool:
    return (body.get("thinking") or {}).get("type") in ("enabled", "adaptive")


def _chat_usage() -> dict[str, Any]:
    counts = {"prompt_tokens": _USAGE[0], "completion_tokens": _USAGE[1]}
    return {"usage": {**counts, "total_tokens": sum(_USAGE)}}


def _pieces(text: str) -> list[str]:
    """In three, so that no delta is the whole."""
    size = max(1, -(-len(text) // 3))
    return [text[start : start + size] for start in range(0, len(text), size)]


def _data(fields: Any) -> bytes:
    return f"data: {json.dumps(fields)}\n\n".encode()


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\n".encode() + _data({"type": kind, **fields})
