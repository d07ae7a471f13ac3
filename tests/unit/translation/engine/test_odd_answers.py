"""Whatever a provider answers: the client gets an answer of its format, or a plain error."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

from hypothesis import settings

from libs.common.errors import AppError
from libs.common.schemas.usage import ClientFormat
from services.gateway.formats.sse import FrameSplitter, data_of
from services.gateway.upstream.translation.engine import Translation
from tests.unit.translation.coverage.bodies import BASES
from tests.unit.translation.engine.calls import answered, streamed, translation
from tests.unit.translation.engine.oddities import ODD, places, with_it
from tests.unit.translation.engine.provider_answers import FAMILIES, frames, whole_answer

SEED = 20_261_129
CASES = 15 * settings().max_examples
_TARGETS: dict[ClientFormat, str] = {
    "chat": "gpt-4.1",
    "messages": "claude-sonnet-4-5",
    "responses": "gpt-5-mini",
}
_FORMATS = tuple(FAMILIES)
_LAST = {
    "messages": ("message_stop", "error"),
    "responses": ("response.completed", "response.incomplete", "response.failed"),
}


@cache
def road(client: ClientFormat, to: ClientFormat) -> Translation:
    body = BASES[client] | {"stream": True}
    if client == "chat":
        body |= {"stream_options": {"include_usage": True}}
    return translation(client, body, _TARGETS[to], to, takes_search=True)


def _roads(chance: random.Random) -> tuple[ClientFormat, ClientFormat]:
    return chance.choice(_FORMATS), chance.choice(_FORMATS)


def odd_answers(
    seed: int, count: int
) -> Iterator[tuple[str, ClientFormat, ClientFormat, dict[str, Any]]]:
    chance = random.Random(seed)
    bodies = {to: whole_answer(to) for to in _FORMATS}
    for _ in range(count):
        client, to = _roads(chance)
        body = bodies[to]
        place, odd = chance.choice(list(places(body))), chance.choice(ODD)
        yield f"{to} {place}: {odd!r}", client, to, with_it(body, place, odd)


def odd_streams(
    seed: int, count: int
) -> Iterator[tuple[str, ClientFormat, ClientFormat, list[bytes]]]:
    chance = random.Random(seed)
    streams = {to: frames(to) for to in _FORMATS}
    for _ in range(count):
        client, to = _roads(chance)
        changed = list(streams[to])
        what = _change(changed, chance)
        yield f"{to} {what}", client, to, changed


def _change(stream: list[bytes], chance: random.Random) -> str:
    """Of one event: another value in it, or that it is lost, repeated, late, broken or too much."""
    at = chance.randrange(len(stream))
    event = stream[at]
    data = data_of(event)
    match chance.randrange(10):
        case 0:
            del stream[at]
            return f"without {event!r}"
        case 1:
            stream.insert(at, event)
            return f"twice {event!r}"
        case 2:
            stream.append(stream.pop(at))
            return f"last {event!r}"
        case 3:
            del stream[at:]
            return f"until {event!r}"
        case 4:
            stream[at] = event.replace(data, data[: chance.randrange(len(data))])
            return f"cut {stream[at]!r}"
        case 5:
            stream[at] = event.replace(data, json.dumps(chance.choice(ODD[1:])).encode())
            return f"only {stream[at]!r}"
    if not data.startswith(b"{"):
        return "as it was"
    value = json.loads(data)
    place, odd = chance.choice(list(places(value))), chance.choice(ODD)
    stream[at] = event.replace(data, json.dumps(with_it(value, place, odd)).encode())
    return f"{stream[at]!r}"


def ends(client: ClientFormat, stream: bytes) -> bool:
    """With the one event that ends a stream in the client's format, or the one that fails it."""
    splitter = FrameSplitter()
    events = [data for frame in splitter.feed(stream) if (data := data_of(frame))]
    if splitter.rest() or not events:
        return False
    if client == "chat":
        *others, last = events
        decoded = [json.loads(event) for event in others if event != b"[DONE]"]
        if len(decoded) < len(others) or any("error" in event for event in decoded):
            return False
        if last != b"[DONE]":
            return "error" in json.loads(last)
        finished = [c for e in decoded for c in e["choices"] if c["finish_reason"] is not None]
        return len(finished) == 1
    kinds = [json.loads(event)["type"] for event in events]
    last_kinds = _LAST[client]
    if [kind for kind in kinds if kind in last_kinds] != kinds[-1:]:
        return False
    return client == "messages" or ("error" in kinds) == (kinds[-1] == "response.failed")


def test_odd_answers() -> None:
    outcomes = Counter[bool]()
    for what, client, to, body in odd_answers(SEED, CASES):
        try:
            answer = answered(road(client, to), body)
        except AppError:
            outcomes[False] += 1
            continue
        except Exception as error:
            error.add_note(f"{what} for {client}")
            raise
        json.loads(answer.body)
        outcomes[answer.status == 200] += 1
    assert min(outcomes.values()) > CASES / 20


def test_odd_streams_end() -> None:
    endless: list[str] = []
    outcomes = Counter[bool]()
    for what, client, to, changed in odd_streams(SEED, CASES):
        try:
            found = streamed(road(client, to), changed)
        except AppError:
            # Before anything was written.
            outcomes[False] += 1
            continue
        except Exception as error:
            error.add_note(f"{what} for {client}")
            raise
        outcomes[found.error is None] += 1
        if not ends(client, found.written):
            endless.append(f"{what} for {client}: {found.written[-300:]!r}")
    assert endless == []
    assert min(outcomes.values()) > CASES / 20
