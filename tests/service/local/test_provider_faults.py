"""Refusals and scripted faults: each in its format's shape, each in the record of calls."""

import json
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from tests.service.local.conftest import AUTHORISED, StandInProvider

FORMATS = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": ""}]},
    "/v1/responses": {"input": [{"role": "user", "content": ""}]},
    "/v1/messages": {"max_tokens": 90, "messages": [{"role": "user", "content": ""}]},
}


def body_for(path: str, text: str, *, stream: bool = False) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(json.dumps(FORMATS[path]))
    turns = body["input"] if "input" in body else body["messages"]
    turns[0]["content"] = text
    return {**body, "model": "m", "stream": stream, "unheard_of": {"a": 1}}


every_format = pytest.mark.parametrize("path", FORMATS)
every_way = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])


def error_of(path: str, response: httpx2.Response) -> dict[str, Any]:
    """The error object, after a check of the shape around it."""
    answer = response.json()
    assert response.headers["content-type"] == "application/json"
    if path == "/v1/messages":
        assert set(answer) == {"type", "error", "request_id"}
        assert answer["request_id"] == response.headers["request-id"]
        assert set(answer["error"]) == {"type", "message"}
    else:
        assert set(answer) == {"error"}
        assert response.headers["x-request-id"].startswith("req_")
        assert set(answer["error"]) == {"message", "type", "param", "code"}
    error: dict[str, Any] = answer["error"]
    return error


@every_format
@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer"}, {"authorization": "Basic eA=="}]
)
def test_a_call_needs_a_credential(
    provider: StandInProvider, path: str, headers: dict[str, str]
) -> None:
    response = provider.http.post(
        path, json=body_for(path, "x"), headers={**headers, "anthropic-version": "2023-06-01"}
    )
    assert response.status_code == 401
    error = error_of(path, response)
    assert "invalid_api_key" in error.values() or error["type"] == "authentication_error"


@every_format
def test_x_api_key_works_only_for_messages(provider: StandInProvider, path: str) -> None:
    headers = {"x-api-key": "key", "anthropic-version": "2023-06-01"}
    response = provider.http.post(path, json=body_for(path, "x"), headers=headers)
    assert response.status_code == (200 if path == "/v1/messages" else 401)


@every_format
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"model": 5}', b'{"messages": []}', b'{"model": "\xff"}']
)
def test_an_unreadable_body_is_a_400(provider: StandInProvider, path: str, content: bytes) -> None:
    response = provider.http.post(path, content=content, headers=AUTHORISED)
    assert response.status_code == 400
    assert error_of(path, response)["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("directive", "named"),
    [
        ("[[stand-in chunk=3]]", "chunk"),
        ("[[stand-in chunks=0]]", "chunks"),
        ("[[stand-in chunks=99999]]", "chunks"),
        ("[[stand-in status=200]]", "status"),
        ("[[stand-in chunks=]]", "="),
        ("[[stand-in chunks=3", "closed"),
        ("[[stand-in text=it's]]", "closed"),
    ],
)
def test_an_invalid_directive_is_rejected(
    provider: StandInProvider, directive: str, named: str
) -> None:
    path = "/v1/chat/completions"
    response = provider.post(path, body_for(path, directive))
    assert response.status_code == 400
    assert named in error_of(path, response)["message"]


@every_format
@every_way
@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_a_scripted_status_is_returned(
    provider: StandInProvider, path: str, stream: bool, status: int
) -> None:
    text = f"[[stand-in status={status} retry_after=7]]"
    response = provider.post(path, body_for(path, text, stream=stream))
    assert (response.status_code, response.headers["retry-after"]) == (status, "7")
    assert str(status) in error_of(path, response)["message"]


def test_statuses_raise_the_sdks_error_classes(
    openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    limited = "[[stand-in status=429]]"
    overloaded = "[[stand-in status=529]]"
    with pytest.raises(openai.RateLimitError) as chat:
        openai_client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": limited}]
        )
    assert chat.value.code == "rate_limit_exceeded"
    with pytest.raises(openai.RateLimitError):
        openai_client.responses.create(model="m", input=limited)
    with pytest.raises(anthropic.APIStatusError) as messages:
        anthropic_client.messages.create(
            model="m", max_tokens=9, messages=[{"role": "user", "content": overloaded}]
        )
    assert messages.value.status_code == 529


def test_an_error_in_mid_stream_reaches_the_sdks(
    openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    text = "[[stand-in chunks=5 error_after_chunks=2]]"
    with (
        pytest.raises(openai.APIError, match="mid-stream"),
        openai_client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": text}], stream=True
        ) as chat,
    ):
        list(chat)
    with (
        pytest.raises(openai.APIError, match="mid-stream"),
        openai_client.responses.create(model="m", input=text, stream=True) as responses,
    ):
        list(responses)
    with (
        pytest.raises(anthropic.APIStatusError, match="mid-stream"),
        anthropic_client.messages.create(
            model="m", max_tokens=9, messages=[{"role": "user", "content": text}], stream=True
        ) as messages,
    ):
        list(messages)


@every_format
@every_way
def test_a_cut_breaks_the_connection(provider: StandInProvider, path: str, stream: bool) -> None:
    before = provider.last_seq()
    with pytest.raises(httpx2.RemoteProtocolError):
        provider.post(path, body_for(path, "[[stand-in cut_after_chunks=1]]", stream=stream))
    [call] = provider.calls(before)["calls"]
    assert (call["outcome"], call["completed"]) == ("cut", False)


@every_format
@pytest.mark.parametrize("burst", [1, 7])
@pytest.mark.parametrize(
    ("directive", "outcome"),
    [
        ("error_after_chunks=3", "errored"),
        ("end_after_chunks=3", "ended_early"),
        ("end_after_chunks=3 error_after_chunks=5 cut_after_chunks=11", "ended_early"),
    ],
)
def test_a_stream_breaks_off_after_so_many_deltas(
    provider: StandInProvider, path: str, directive: str, outcome: str, burst: int
) -> None:
    before = provider.last_seq()
    text = f"[[stand-in chunks=10 {directive} burst={burst}]]"
    streamed = provider.post(path, body_for(path, text, stream=True)).text
    [call] = provider.calls(before)["calls"]
    assert (call["outcome"], call["deltas"], call["status"]) == (outcome, 3, 200)
    for terminal in ("[DONE]", "response.completed", "message_stop"):
        assert terminal not in streamed


@every_format
@every_way
def test_garbage_is_not_json(provider: StandInProvider, path: str, stream: bool) -> None:
    text = provider.post(path, body_for(path, "[[stand-in garbage]]", stream=stream)).text
    with pytest.raises(json.JSONDecodeError):
        json.loads(text.removeprefix("data: "))


@every_format
@every_way
def test_usage_can_be_withheld(provider: StandInProvider, path: str, stream: bool) -> None:
    before = provider.last_seq()
    body = body_for(path, "[[stand-in no_usage]]", stream=stream)
    body["stream_options"] = {"include_usage": True}
    assert "tokens" not in provider.post(path, body).text.replace("max_output_tokens", "")
    [call] = provider.calls(before)["calls"]
    assert (call["completed"], call["usage"], call["tokens"]) == (True, None, None)
