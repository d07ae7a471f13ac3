"""One member at a time is removed, or is something else: nothing but plain errors comes of it."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec

from libs.common.errors import InvalidRequest, UpstreamFailed
from services.gateway.formats.base import decode_fields
from services.gateway.formats.sse import frame
from services.gateway.upstream.translation.messages import MESSAGES
from services.gateway.upstream.translation.refusals import Report
from services.gateway.upstream.translation.reply import Reply
from services.gateway.upstream.translation.sequencer import Sequencer
from tests.unit.translation.messages.answers import context, message
from tests.unit.translation.messages.requests import CLAUDE, body
from tests.unit.translation.messages.test_answers import OWN
from tests.unit.translation.messages.test_same_format import (
    ASSISTANT_BLOCKS,
    FIELDS,
    RESULTS,
    USER_BLOCKS,
)

ODD: tuple[Any, ...] = (None, 5, "x", ["x"], {}, {"type": "x"})
_REMOVED = object()


def changed(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every place in the value, with each odd thing in it."""
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for name, inner in members:
        for odd in (_REMOVED, *ODD):
            yield (*path, name), odd
        if isinstance(inner, dict | list):
            yield from changed(inner, (*path, name))


def with_it(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    # Through JSON, so that nothing in it is one object in two places.
    copied = msgspec.json.decode(msgspec.json.encode(value))
    holder = copied
    for name in path[:-1]:
        holder = holder[name]
    if odd is _REMOVED:
        del holder[path[-1]]
    else:
        holder[path[-1]] = odd
    return copied


def rich() -> dict[str, Any]:
    client_body = body(
        {"role": "user", "content": list(USER_BLOCKS.values())},
        {"role": "assistant", "content": list(ASSISTANT_BLOCKS.values())},
        {"role": "user", "content": list(RESULTS.values())},
        {"role": "system", "content": "s"},
    )
    for fields in FIELDS.values():
        client_body |= fields
    return client_body


def refusal_of(client_body: dict[str, Any]) -> str | None:
    """The path, or None where it is read and written."""
    try:
        request = MESSAGES.read_request(decode_fields(msgspec.json.encode(client_body)))
        MESSAGES.write_request(request, "m", CLAUDE, Report(MESSAGES.paths, drops=True))
    except InvalidRequest as error:
        return error.param or ""
    return None


def test_requests() -> None:
    """Refused by a path that begins where the odd thing is, or read and written."""
    whole = rich()
    found = [(str(path[0]), refusal_of(with_it(whole, path, odd))) for path, odd in changed(whole)]
    refused = [(field, path) for field, path in found if path is not None]
    assert [(field, path) for field, path in refused if not path.startswith(field)] == []
    assert len(refused) > 500
    assert len(found) - len(refused) > 200


def test_answers() -> None:
    whole = message(*(block for content in OWN.values() for block in content))
    for path, odd in changed(whole):
        with suppress(UpstreamFailed):
            reply = MESSAGES.read_answer(
                msgspec.json.encode(with_it(whole, path, odd)), "anthropic"
            )
            if isinstance(reply, Reply):
                MESSAGES.write_answer(reply, context())


def test_streams() -> None:
    events = [
        {"type": "message_start", "message": message()},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "tool_use", "id": "c", "name": "f", "input": {}},
        },
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": "{}"},
        },
        {"type": "content_block_stop", "index": 1},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use"},
            "usage": {"output_tokens": 1},
        },
        {"type": "message_stop"},
    ]
    for path, odd in changed(events):
        writer = MESSAGES.writer(context())
        reader = MESSAGES.reader(Sequencer(writer), "anthropic")
        with suppress(UpstreamFailed):
            for each in with_it(events, path, odd):
                reader.feed(frame(msgspec.json.encode(each)))
            if reader.end():
                writer.finish()
        writer.take()
