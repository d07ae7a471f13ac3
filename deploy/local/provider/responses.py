"""OpenAI responses."""

from typing import Any

import msgspec

from deploy.local.provider import content, response_object
from deploy.local.provider.answers import THOUGHT, Ask
from deploy.local.provider.content import PromptTurn
from deploy.local.provider.wire import (
    SCRIPTED_MID_STREAM,
    GenerationRoute,
    ScriptedCall,
    ScriptedReply,
    StreamPlan,
    encode,
    event,
    openai_error,
)

_TEXT_DELTA = (
    b"event: response.output_text.delta\n"
    b'data: {"type":"response.output_text.delta","item_id":"%b","output_index":%d,'
    b'"content_index":0,"logprobs":[],"delta":'
)
_ARGUMENTS_DELTA = (
    b"event: response.function_call_arguments.delta\n"
    b'data: {"type":"response.function_call_arguments.delta","item_id":"%b","output_index":%d,'
    b'"delta":'
)


class _Request(msgspec.Struct, frozen=True):
    model: str
    input: str | list[PromptTurn] | None = None
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    tools: list[Any] | None = None


_decoder = msgspec.json.Decoder(_Request)


def read(body: bytes, headers: dict[bytes, bytes]) -> Ask:
    del headers
    request = _decoder.decode(body)
    turns = request.input if request.input is not None else []
    if isinstance(turns, str):
        turns = [PromptTurn(role="user", content=turns)]
    tools = request.tools if request.tools is not None else []
    talk = content.summarise(turns, system=request.instructions, tools=tools)
    return Ask(
        model=request.model,
        prompt=talk.prompt,
        characters=talk.characters,
        stream=request.stream is True,
        may_call_tools=bool(tools) and talk.ends_with_user,
        output_limit=request.max_output_tokens,
    )


def reply(call: ScriptedCall) -> ScriptedReply:
    served = response_object.served_usage(call)
    body = response_object.scripted_response(
        call, response_object.scripted_status(call), response_object.output(call), served
    )
    return ScriptedReply(body=encode(body), served=served)


Events = list[tuple[str, dict[str, Any]]]


def stream(call: ScriptedCall) -> StreamPlan:
    served = response_object.served_usage(call)
    index = 1 if call.tokens.reasoning else 0
    item = response_object.item(call, response_object.scripted_status(call))
    where = {"item_id": item["id"], "output_index": index}
    begun = response_object.scripted_response(call, "in_progress", [], None)
    opening: Events = [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
        *(_reasoning_events(call) if index else ()),
        (
            "response.output_item.added",
            {"output_index": index, "item": response_object.item(call, "in_progress")},
        ),
    ]
    if call.answer.tool is None:
        part = {**where, "content_index": 0, "part": response_object.part("")}
        opening.append(("response.content_part.added", part))
    finished = response_object.scripted_response(
        call, response_object.scripted_status(call), response_object.output(call), served
    )
    closing: Events = [
        *_item_done(call, where),
        ("response.output_item.done", {"output_index": index, "item": item}),
        (f"response.{response_object.scripted_status(call)}", {"response": finished}),
    ]
    before_closing = len(opening) + len(call.answer.pieces)
    return StreamPlan(
        opening=_number(opening, 0),
        deltas=_deltas(call, where, len(opening)),
        closing=_number(closing, before_closing),
        closed_with=served,
        error_frame=lambda deltas: _error_frame(len(opening) + deltas),
    )


def _number(events: Events, first: int) -> list[bytes]:
    return [
        event(name, {**data, "sequence_number": number})
        for number, (name, data) in enumerate(events, first)
    ]


def _deltas(call: ScriptedCall, where: dict[str, Any], first: int) -> list[bytes]:
    template = _TEXT_DELTA if call.answer.tool is None else _ARGUMENTS_DELTA
    head = template % (where["item_id"].encode(), where["output_index"])
    return [
        b'%b%b,"sequence_number":%d}\n\n' % (head, encode(piece), number)
        for number, piece in enumerate(call.answer.pieces, first)
    ]


def _item_done(call: ScriptedCall, where: dict[str, Any]) -> Events:
    whole = call.answer.whole
    if call.answer.tool is not None:
        done = {**where, "name": call.answer.tool, "arguments": whole}
        return [("response.function_call_arguments.done", done)]
    at = {**where, "content_index": 0}
    return [
        ("response.output_text.done", {**at, "text": whole, "logprobs": []}),
        ("response.content_part.done", {**at, "part": response_object.part(whole)}),
    ]


def _reasoning_events(call: ScriptedCall) -> Events:
    part = {"type": "summary_text", "text": THOUGHT}
    begun, done = response_object.reasoning(call, []), response_object.reasoning(call, [part])
    at = {"item_id": begun["id"], "output_index": 0, "summary_index": 0}
    empty = {"type": "summary_text", "text": ""}
    return [
        ("response.output_item.added", {"output_index": 0, "item": begun}),
        ("response.reasoning_summary_part.added", {**at, "part": empty}),
        ("response.reasoning_summary_text.delta", {**at, "delta": THOUGHT}),
        ("response.reasoning_summary_text.done", {**at, "text": THOUGHT}),
        ("response.reasoning_summary_part.done", {**at, "part": part}),
        ("response.output_item.done", {"output_index": 0, "item": done}),
    ]


def _error_frame(number: int) -> bytes:
    error = openai_error(500, SCRIPTED_MID_STREAM)
    fields = {name: error[name] for name in ("code", "message", "param")}
    return event("error", {**fields, "error": error, "sequence_number": number})


ENDPOINT = GenerationRoute(
    path="/v1/responses",
    family="openai",
    id_prefix="resp_",
    read=read,
    reply=reply,
    stream=stream,
)
