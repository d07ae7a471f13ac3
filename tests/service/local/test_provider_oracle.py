"""The record of what was served: exact, and there before the last byte."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from deploy.local.provider import oracle as oracles
from deploy.local.provider.answers import ScriptedTokens
from deploy.local.provider.app import StandIn
from deploy.local.provider.client import Message, Send
from deploy.local.provider.oracle import Oracle
from tests.service.local.conftest import AUTHORISED, PATIENCE_S, StandInProvider
from tests.service.local.test_provider_faults import body_for, every_format, every_way


async def converse(
    oracle: Oracle, path: str, body: dict[str, Any], then: asyncio.Future[Message], send: Send
) -> None:
    """One exchange without a server: the request whole, and `then` whatever comes after it."""
    requests = iter([{"type": "http.request", "body": json.dumps(body).encode()}])

    async def receive() -> Message:
        request = next(requests, None)
        return request if request is not None else await then

    headers = [(name.encode(), value.encode()) for name, value in AUTHORISED.items()]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    await StandIn(oracle)(scope, receive, send)


@every_format
@every_way
@pytest.mark.parametrize(
    "script", ["", "status=429", "garbage", "chunks=3 error_after_chunks=1", "end_after_chunks=0"]
)
async def test_the_record_exists_before_the_last_byte(path: str, stream: bool, script: str) -> None:
    oracle = Oracle()
    recorded: list[int] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body" and not message["more_body"]:
            recorded.append(oracle.totals()["calls"])

    body = body_for(path, f"[[stand-in {script}]]", stream=stream)
    await converse(oracle, path, body, asyncio.Future(), send)
    assert recorded == [1]


@every_format
async def test_a_client_that_disconnects_before_the_last_byte_was_not_served(path: str) -> None:
    oracle = Oracle()
    left: asyncio.Future[Message] = asyncio.Future()

    async def send(message: Message) -> None:
        deltas = message.get("body", b"").count(b"delta")
        if message["type"] == "http.response.body" and deltas and not left.done():
            left.set_result({"type": "http.disconnect"})

    body = body_for(path, "[[stand-in chunks=1]]", stream=True)
    await converse(oracle, path, body, left, send)
    [call] = oracle.page(0, 10)["calls"]
    assert (call.outcome, call.completed) == ("client_gone", False)
    # The closing frames were not sent, so their usage was not either.
    output = 0 if call.tokens is None else call.tokens.output_total
    assert output <= 1


@every_format
@every_way
def test_the_record_says_what_was_served(
    provider: StandInProvider, path: str, stream: bool
) -> None:
    body = body_for(path, "[[stand-in cached_tokens=2]]", stream=stream)
    body["stream_options"] = {"include_usage": True}
    headers = {**AUTHORISED, "x-request-id": "call-1"}
    with provider.http.stream("POST", path, json=body, headers=headers) as response:
        received = b"".join(response.iter_raw()).decode()
        call = json.loads(provider.log.read_text().splitlines()[-1])
    assert call["id"] in received
    assert call["request_id"] in (
        response.headers.get("x-request-id"),
        response.headers.get("request-id"),
    )
    assert call["client_request_id"] == "call-1"
    assert (call["path"], call["model"], call["stream"]) == (path, "m", stream)
    assert (call["status"], call["outcome"], call["completed"]) == (200, "served", True)
    assert call["usage"] is not None
    assert json.dumps(call["usage"], separators=(",", ":")) in received
    assert provider.calls(call["seq"] - 1)["calls"] == [call]


def test_totals_are_the_sum_of_what_was_served(provider: StandInProvider) -> None:
    provider.http.delete("/_stand-in/calls")
    script = "[[stand-in input_tokens=100 cached_tokens=30 cache_write_tokens=20"
    script += " cache_write_1h_tokens=5 output_tokens=50 reasoning_tokens=10]]"
    for path in ("/v1/chat/completions", "/v1/responses", "/v1/messages"):
        provider.post(path, body_for(path, script))
    provider.post("/v1/messages", body_for("/v1/messages", "[[stand-in status=500]]"))
    provider.http.post("/v1/messages", content=b"")
    totals = provider.totals()
    assert (totals["calls"], totals["in_flight"]) == (5, 0)
    model = totals["models"]["m"]
    assert (model["calls"], model["served"], model["refused"], model["with_usage"]) == (4, 3, 1, 3)
    # Messages counts its cached tokens beside the input, the OpenAI formats inside it.
    assert {name: model[name] for name in ScriptedTokens.__struct_fields__} == {
        "input_text": 50 + 50 + 100,
        "cache_read": 90,
        "cache_write_5m": 45,
        "cache_write_1h": 15,
        "output_text": 120,
        "reasoning": 30,
    }
    assert totals["models"]["(unknown)"]["refused"] == 1


@every_format
@every_way
def test_a_disconnected_client_is_recorded_as_gone(
    provider: StandInProvider, path: str, stream: bool
) -> None:
    before = provider.last_seq()
    delay = "chunk_delay_ms=120000" if stream else "delay_ms=120000"
    body = body_for(path, f"[[stand-in chunks=9 {delay}]]", stream=stream)
    with httpx2.Client(base_url=provider.url, headers=AUTHORISED, timeout=PATIENCE_S) as client:
        if stream:
            with client.stream("POST", path, json=body) as response:
                assert next(response.iter_raw())
        else:
            with pytest.raises(httpx2.ReadTimeout):
                client.post(path, json=body, timeout=0.2)
    [call] = provider.calls(before, wait_ms=int(PATIENCE_S * 1000))["calls"]
    assert (call["outcome"], call["completed"], call["deltas"]) == ("client_gone", False, 0)
    assert call["status"] == (200 if stream else 499)
    # Only message_start tells usage before the first delta.
    assert (call["usage"] is not None) == (stream and path == "/v1/messages")


def test_a_client_that_stops_reading_and_leaves_is_recorded_as_gone(
    provider: StandInProvider,
) -> None:
    """The stream is larger than the sockets' buffers and has no pause in which to notice."""
    before, path = provider.last_seq(), "/v1/chat/completions"
    body = body_for(path, f"[[stand-in chunks=10000 text={'x' * 2000}]]", stream=True)
    with (
        httpx2.Client(base_url=provider.url, headers=AUTHORISED, timeout=PATIENCE_S) as client,
        client.stream("POST", path, json=body) as response,
    ):
        assert next(response.iter_raw())
    [call] = provider.calls(before, wait_ms=int(PATIENCE_S * 1000))["calls"]
    assert call["outcome"] == "client_gone"
    assert 0 < call["deltas"] < 10_000


def test_calls_are_paged_without_gaps(provider: StandInProvider) -> None:
    before = provider.last_seq()
    for _ in range(5):
        provider.post("/v1/responses", body_for("/v1/responses", "x"))
    first = provider.calls(before, limit=3)
    second = provider.calls(first["next"], limit=3)
    assert [first["more"], second["more"]] == [True, False]
    seqs = [call["seq"] for call in first["calls"] + second["calls"]]
    assert seqs == list(range(before + 1, before + 6))
    assert provider.calls(second["next"]) == {
        "calls": [],
        "next": second["next"],
        "more": False,
        "dropped": second["next"] - len(provider.calls(limit=10_000)["calls"]),
    }
    assert provider.http.get("/_stand-in/calls?after=x").status_code == 400


def record(oracle: Oracle, model: str) -> None:
    oracle.record(
        id="id",
        request_id="req",
        client_request_id=None,
        path="/v1/responses",
        model=model,
        stream=False,
        status=200,
        outcome="served",
        completed=True,
        deltas=0,
        usage=None,
        tokens=ScriptedTokens(input_text=2),
        started_at_ms=0,
    )


async def test_a_reader_waits_for_the_next_call() -> None:
    oracle = Oracle()
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        readers = [group.create_task(oracle.wait_page(0, 10, 3600)) for _ in range(2)]
        await asyncio.sleep(0)
        record(oracle, "m")
    assert [len(reader.result()["calls"]) for reader in readers] == [1, 1]
    assert (await oracle.wait_page(1, 10, 0))["calls"] == []


def test_old_calls_are_dropped_and_stay_in_the_totals() -> None:
    oracle = Oracle(calls_kept=2)
    for _ in range(5):
        record(oracle, "m")
    page = oracle.page(0, 10)
    assert ([call.seq for call in page["calls"]], page["dropped"]) == ([4, 5], 3)
    assert oracle.totals()["models"]["m"]["input_text"] == 10


def test_the_number_of_models_is_bounded() -> None:
    oracle = Oracle()
    for number in range(oracles.MODELS_KEPT + 3):
        record(oracle, f"m{number}")
    models = oracle.totals()["models"]
    assert len(models) == oracles.MODELS_KEPT + 1
    assert models[oracles.OTHER_MODELS]["calls"] == 3
