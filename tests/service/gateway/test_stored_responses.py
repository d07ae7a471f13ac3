"""Responses that the provider keeps: handed out to the account that made them, and to no other."""

import json
from typing import Any
from uuid import uuid4

import pytest
from arq.constants import job_key_prefix

from tests.service.gateway.dialects import CHAT, RESPONSES, named
from tests.service.gateway.routes import Endpoints, add_route, deployment
from tests.service.gateway.stage import CHAT_MODEL, Client, bearer
from tests.service.gateway.upstream import Upstream, UpstreamConnection, UpstreamRequest
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")


def new_id() -> str:
    return f"resp_{uuid4().hex}"


def script_responses(upstream: Upstream, response_id: str) -> None:
    """Makes the response, streamed or not, and answers everything about it."""

    async def script(request: UpstreamRequest, connection: UpstreamConnection) -> None:
        if request.method == "POST" and request.path.endswith("/responses"):
            whole = {"id": response_id, **RESPONSES.whole}
            if request.fields.get("stream"):
                frames = (
                    named("response.created", response={"id": response_id, "usage": None}),
                    *RESPONSES.frames[1:],
                )
                await connection.stream(frames)
            else:
                await connection.answer(json.dumps(whole).encode())
        else:
            await connection.answer(b'{ "id": "kept" }')

    upstream.does(script)


async def make(gateway: Client, secret: str, *, model: str = CHAT_MODEL, **fields: Any) -> None:
    body = {**RESPONSES.body(**fields), "model": model}
    assert (await gateway.post(RESPONSES.path, secret, body)).status_code == 200


@pytest.mark.parametrize("posted", [False, True])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_account_that_made_a_response_gets_it(
    gateway: Client, books: Books, upstream: Upstream, stream: bool, posted: bool
) -> None:
    response_id = new_id()
    script_responses(upstream, response_id)
    user_id = await books.add_account()
    secret, second = await books.add_key(user_id), await books.add_key(user_id)
    await make(gateway, secret, stream=stream)
    if posted:
        await books.post_to_ledger(secret)
    upstream.requests.clear()
    path = f"{RESPONSES.path}/{response_id}"

    for key in (secret, second):
        response = await gateway.http.get(f"{path}?include[]=a&x=%20", headers=bearer(key))
        assert (response.status_code, response.content) == (200, b'{ "id": "kept" }')
    items = await gateway.http.get(f"{path}/input_items?limit=2", headers=bearer(secret))
    cancelled = await gateway.http.post(f"{path}/cancel", headers=bearer(secret))
    gone = await gateway.http.delete(path, headers=bearer(secret))

    assert [r.status_code for r in (items, cancelled, gone)] == [200] * 3
    assert [(r.method, r.path, r.body) for r in upstream.requests] == [
        ("GET", f"{path}?include%5B%5D=a", b""),
        ("GET", f"{path}?include%5B%5D=a", b""),
        ("GET", f"{path}/input_items?limit=2", b""),
        ("POST", f"{path}/cancel", b""),
        ("DELETE", path, b""),
    ]
    first, *others = await books.events(secret)
    assert (first.response_id, first.operation) == (response_id, "create")
    operations = ["retrieve", "retrieve", "list_items", "cancel", "delete"]
    assert [event.operation for event in others] == operations
    for event in others:
        assert (event.status, event.usage, event.held_nusd) == ("ok", None, 0)
        assert (event.requested_model, event.deployment) == (CHAT_MODEL, f"openai/{CHAT_MODEL}")
        assert event.response_id is None


@pytest.mark.parametrize("posted", [False, True])
async def test_other_accounts_cannot_get_a_response(
    gateway: Client, books: Books, upstream: Upstream, posted: bool
) -> None:
    response_id = new_id()
    script_responses(upstream, response_id)
    secret, other = await books.add_key(), await books.add_key()
    await make(gateway, secret)
    if posted:
        await books.post_to_ledger(secret)
    upstream.requests.clear()

    for method, suffix in (
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/input_items"),
        ("POST", "/cancel"),
    ):
        path = f"{RESPONSES.path}/{response_id}{suffix}"
        response = await gateway.http.request(method, path, headers=bearer(other))
        RESPONSES.check_error(response, 404, "not_found")
    body = RESPONSES.body(previous_response_id=response_id)
    for path in (RESPONSES.path, f"{RESPONSES.path}/input_tokens"):
        error = RESPONSES.check_error(await gateway.post(path, other, body), 404, "not_found")
        assert error["param"] == "previous_response_id"

    assert upstream.requests == []
    assert {event.http_status for event in await books.events(other)} == {404}


async def test_a_conversation_continues_on_its_deployment(
    gateway: Client, books: Books, upstream: Upstream
) -> None:
    """Equal deployments: chance would send half of the calls to the other one."""
    endpoints = Endpoints(upstream, RESPONSES)
    for name in ("a", "b"):
        endpoints.answers(name, {"id": f"resp_{name}", **RESPONSES.whole})
    formats = ("responses",)
    model = await add_route(
        books, *(deployment(upstream, name, formats=formats) for name in ("a", "b"))
    )
    secret = await books.add_key()
    while len(set(endpoints.calls)) < 2:
        await make(gateway, secret, model=model)
    upstream.requests.clear()

    for name in "aabbaabb":
        await make(gateway, secret, model=model, previous_response_id=f"resp_{name}")
        await gateway.http.get(f"{RESPONSES.path}/resp_{name}", headers=bearer(secret))

    assert endpoints.calls == list("aaaabbbbaaaabbbb")


async def test_an_unknown_or_invalid_id_is_not_found(
    gateway: Client, books: Books, upstream: Upstream
) -> None:
    script_responses(upstream, new_id())
    secret = await books.add_key()
    await make(gateway, secret)
    upstream.requests.clear()

    cases = {"resp_unknown": 404, "x" * 300: 404, "..%2Fmodels": 404, "a%3Fb": 404, "%0d%0a": 400}
    for name, status in cases.items():
        response = await gateway.http.get(f"{RESPONSES.path}/{name}", headers=bearer(secret))
        assert response.status_code == status, name
    assert upstream.requests == []


async def test_stored_responses_need_a_key(gateway: Client) -> None:
    for secret in (None, "sk-gw-wrong"):
        response = await gateway.http.get(f"{RESPONSES.path}/resp_1", headers=bearer(secret))
        RESPONSES.check_error(response, 401, "invalid_api_key")


async def test_a_wrong_method_and_a_second_stream(gateway: Client, books: Books) -> None:
    secret = await books.add_key()
    path = f"{RESPONSES.path}/resp_1"

    wrong = await gateway.http.put(path, headers=bearer(secret))
    stream = await gateway.http.get(f"{path}?stream=true", headers=bearer(secret))

    RESPONSES.check_error(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == "DELETE, GET"
    RESPONSES.check_error(stream, 400, "invalid_request")


async def test_provider_errors_about_a_response_are_passed_on(
    gateway: Client, books: Books, upstream: Upstream
) -> None:
    """And a response that has expired says nothing of the deployment's health."""
    response_id = new_id()
    script_responses(upstream, response_id)
    secret = await books.add_key()
    await make(gateway, secret)
    upstream.answers(b'{"error": {"message": "expired"}}', status=404)

    for _ in range(5):
        path = f"{RESPONSES.path}/{response_id}"
        response = await gateway.http.get(path, headers=bearer(secret))
        assert (response.status_code, response.json()["error"]["message"]) == (404, "expired")

    script_responses(upstream, new_id())
    await make(gateway, secret)


@pytest.mark.parametrize(
    "reference",
    [
        b'{"type": "item_reference", "id": "msg_1"}',
        b'{"id": "msg_1"}',
        b'{"type": null, "id": "msg_1", "role": null}',
        b'{"id": "msg_1", "type": "item\\u005freference"}',
        b'{"\\u0069d": "msg_1"}',
        b'{"type": "message", "id": "msg_1", "type": "item_reference"}',
        b'{"type": "item_reference", "id": "msg_1", "type": "message"}',
        b'{"type": "reasoning", "id": "rs_1", "summary": []}',
        b'{"type": "image_generation_call", "id": "ig_1", "result": null, "status": "completed"}',
        b'{"type": "web_search_call", "id": "ws_1", "status": "completed"}',
        b'{"type": "something_new", "id": "x_1"}',
    ],
)
async def test_references_to_stored_items_are_rejected(
    gateway: Client, books: Books, upstream: Upstream, reference: bytes
) -> None:
    """They may be anybody's."""
    script_responses(upstream, new_id())
    secret = await books.add_key()
    body = json.dumps(RESPONSES.body(input=[{"role": "user", "content": "Hi"}, "HERE"]))

    for path in (RESPONSES.path, f"{RESPONSES.path}/input_tokens"):
        sent = body.encode().replace(b'"HERE"', reference)
        error = RESPONSES.check_error(await gateway.post(path, secret, sent), 404, "not_found")
        assert error["param"] == "input[1].id"

    assert upstream.requests == []
    assert {event.status for event in await books.events(secret)} == {"refused"}


async def test_items_with_their_own_ids_pass(
    gateway: Client, books: Books, upstream: Upstream
) -> None:
    script_responses(upstream, new_id())
    items: list[dict[str, Any]] = [
        {"role": "user", "content": 'What is an "id"?'},
        {"id": "msg_1", "type": "message", "role": "assistant", "content": []},
        {"id": "msg_2", "role": "assistant", "content": []},
        {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "x"},
        {"id": "fc_1", "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "\u00e9"},
    ]
    for value in (items, 'Is {"id": "msg_1"} an item?'):
        await make(gateway, await books.add_key(), input=value)
    assert len(upstream.requests) == 2


async def test_a_translated_response_is_not_stored(
    gateway: Client, books: Books, upstream: Upstream
) -> None:
    upstream.answers(CHAT.answer)
    model = await add_route(books, deployment(upstream, "m", formats=("chat",)))
    secret = await books.add_key()

    body = {**RESPONSES.body(), "model": model}
    response = await gateway.post(RESPONSES.path, secret, body)

    assert response.status_code == 200, response.text
    assert (await books.the_event(secret)).response_id is None
    path = f"{RESPONSES.path}/{response.json()['id']}"
    refused = await gateway.http.get(path, headers=bearer(secret))
    RESPONSES.check_error(refused, 404, "not_found")


async def test_response_owners_expire_in_redis(
    gateway: Client, books: Books, upstream: Upstream
) -> None:
    response_id = new_id()
    script_responses(upstream, response_id)
    secret = await books.add_key()
    await make(gateway, secret)

    (key,) = await books.redis.keys(f"gateway:*:object:{response_id}")

    assert 0 < await books.redis.ttl(key) <= 24 * 3600
    assert not key.startswith(job_key_prefix.encode())
