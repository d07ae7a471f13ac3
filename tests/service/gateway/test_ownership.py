"""Objects that providers keep: served to the account whose call made them, and to no other."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from libs.common.schemas.invalidation import Invalidation
from libs.common.storage.redis.invalidation import publish
from tests.service.gateway.dialects import CHAT, MESSAGES, RESPONSES, Dialect, chunk, named
from tests.service.gateway.routes import Endpoints, add_route, announce, deployment
from tests.service.gateway.stage import OTHER_MODEL, Client
from tests.service.gateway.upstream import Upstream, UpstreamConnection, UpstreamRequest
from tests.support.books import Books
from tests.support.polling import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

Fields = dict[str, Any]
# As many tokens as every scripted answer says that it used.
_USED = 27
_COUNTING = {"messages": "/v1/messages/count_tokens", "responses": "/v1/responses/input_tokens"}


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """How a call makes an object, and how the next one names it (by a function of its id)."""

    name: str
    dialect: Dialect
    path: str
    asks: Fields
    says: Callable[[str], Fields]
    frames: Callable[[str], tuple[bytes, ...]]
    names: Callable[[str], Fields]
    is_response: bool = False


def _message_frames(start: Fields, *blocks: Fields, delta: Fields) -> tuple[bytes, ...]:
    usage = MESSAGES.whole["usage"]
    return (
        named("message_start", message={"container": None, **start, "usage": usage}),
        *(named("content_block_start", index=n, content_block=b) for n, b in enumerate(blocks)),
        named("message_delta", delta={"container": None, **delta}, usage={"output_tokens": 7}),
        named("message_stop"),
    )


def _response_frames(**response: Any) -> tuple[bytes, ...]:
    usage = RESPONSES.whole["usage"]
    initial = {"id": response.get("id", "resp_x"), "output": [], "usage": None}
    return (
        named("response.created", response=initial),
        named("response.completed", response={"id": initial["id"], **response, "usage": usage}),
    )


def _container(object_id: str) -> Fields:
    return {"container": {"id": object_id, "expires_at": "2026-11-29T00:00:00Z"}}


def _file_output(file_id: str) -> Fields:
    output = {"type": "bash_code_execution_output", "file_id": file_id}
    result = {"type": "bash_code_execution_result", "content": [output], "stdout": ""}
    return {
        "type": "bash_code_execution_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": result,
    }


def _interpreter_call(container_id: str) -> Fields:
    item = {"type": "code_interpreter_call", "id": "ci_1", "container_id": container_id}
    return {"output": [item]}


def _file_citation(file_id: str) -> Fields:
    note = {"type": "container_file_citation", "container_id": "cntr_1", "file_id": file_id}
    text = {"type": "output_text", "text": "Here.", "annotations": [note]}
    return {"output": [{"type": "message", "id": "msg_1", "content": [text]}]}


def _message(*content: Fields) -> Fields:
    return {"messages": [{"role": "user", "content": list(content)}]}


_AUDIO = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}
_THREAD = Case(
    name="thread",
    dialect=MESSAGES,
    path="thread.previous_message_id",
    asks={"thread": {"type": "create"}},
    says=lambda i: {"id": i},
    frames=lambda i: _message_frames({"id": i}, delta={}),
    names=lambda i: {"thread": {"type": "continue", "previous_message_id": i}},
    is_response=True,
)
_RESPONSE = Case(
    name="response",
    dialect=RESPONSES,
    path="previous_response_id",
    asks={},
    says=lambda i: {"id": i},
    frames=lambda i: _response_frames(id=i),
    names=lambda i: {"previous_response_id": i},
    is_response=True,
)
CASES = (
    _THREAD,
    _RESPONSE,
    Case(
        name="diagnostics",
        dialect=MESSAGES,
        path="diagnostics.previous_message_id",
        asks={"diagnostics": {"previous_message_id": None}},
        says=lambda i: {"id": i},
        frames=lambda i: _message_frames({"id": i}, delta={}),
        names=lambda i: {"diagnostics": {"previous_message_id": i}},
        is_response=True,
    ),
    Case(
        name="container",
        dialect=MESSAGES,
        path="container.id",
        asks={},
        says=_container,
        frames=lambda i: _message_frames({}, delta=_container(i)),
        names=lambda i: {"container": {"id": i, "skills": []}},
    ),
    Case(
        name="container as text",
        dialect=MESSAGES,
        path="container",
        asks={},
        says=_container,
        frames=lambda i: _message_frames(_container(i), delta={}),
        names=lambda i: {"container": i},
    ),
    Case(
        name="file",
        dialect=MESSAGES,
        path="messages[0].content[0].content[0].source.file_id",
        asks={},
        says=lambda i: {"content": [_file_output(i)]},
        frames=lambda i: _message_frames({}, _file_output(i), delta={}),
        names=lambda i: _message(
            {
                "type": "tool_result",
                "tool_use_id": "toolu_1",
                "content": [{"type": "image", "source": {"type": "file", "file_id": i}}],
            }
        ),
    ),
    Case(
        name="audio",
        dialect=CHAT,
        path="messages[0].audio.id",
        asks=_AUDIO,
        says=lambda i: {
            "choices": [{"message": {"role": "assistant", "audio": {"id": i, "data": "AA=="}}}]
        },
        frames=lambda i: (
            chunk({"role": "assistant", "audio": None}, usage=None),
            chunk({"audio": {"id": i, "data": "AA=="}}, usage=None),
            *CHAT.frames[1:],
        ),
        names=lambda i: {"messages": [{"role": "assistant", "audio": {"id": i}}]},
    ),
    Case(
        name="item reference",
        dialect=RESPONSES,
        path="input[0].id",
        asks={},
        says=lambda i: {"output": [{"type": "message", "id": i, "content": []}]},
        frames=lambda i: _response_frames(output=[{"type": "message", "id": i, "content": []}]),
        names=lambda i: {"input": [{"type": "item_reference", "id": i}]},
    ),
    Case(
        name="reasoning",
        dialect=RESPONSES,
        path="input[0].id",
        asks={},
        says=lambda i: {"output": [{"type": "reasoning", "id": i, "summary": []}]},
        frames=lambda i: _response_frames(output=[{"type": "reasoning", "id": i, "summary": []}]),
        names=lambda i: {"input": [{"type": "reasoning", "id": i, "summary": []}]},
    ),
    Case(
        name="interpreter",
        dialect=RESPONSES,
        path="tools[0].container",
        asks={},
        says=_interpreter_call,
        frames=lambda i: _response_frames(**_interpreter_call(i)),
        names=lambda i: {"tools": [{"type": "code_interpreter", "container": i}]},
    ),
    Case(
        name="cited file",
        dialect=RESPONSES,
        path="input[0].content[0].file_id",
        asks={},
        says=_file_citation,
        frames=lambda i: _response_frames(**_file_citation(i)),
        names=lambda i: {
            "input": [{"role": "user", "content": [{"type": "input_file", "file_id": i}]}]
        },
    ),
)
_each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def _script(upstream: Upstream, case: Case, object_id: str) -> None:
    """Every answer brings the object."""

    async def script(request: UpstreamRequest, connection: UpstreamConnection) -> None:
        if request.fields.get("stream"):
            await connection.stream(case.frames(object_id))
        else:
            whole = {**case.dialect.whole, **case.says(object_id)}
            await connection.answer(json.dumps(whole, indent=1).encode())

    upstream.does(script)


async def _ask(
    gateway: Client, case: Case, secret: str, *, stream: bool = False, **fields: Any
) -> Any:
    body = {**case.dialect.body(stream=stream), **fields}
    return await gateway.post(case.dialect.path, secret, body)


async def test_the_response_of_an_unreadable_answer_belongs_to_its_account(
    gateway: Client, books: Books, upstream: Upstream
) -> None:
    """Neither its usage nor its text can be read, but the provider keeps the response."""

    async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        await connection.answer(b'{"id": "resp_unreadable", "output": "no list"}')

    upstream.does(script)
    secret = await books.add_key()
    failed = await gateway.post(RESPONSES.path, secret, RESPONSES.body())
    RESPONSES.check_error(failed, 502, "upstream_unavailable")
    event = await books.the_event(secret)
    assert (event.status, event.response_id) == ("upstream_error", "resp_unreadable")


@pytest.mark.parametrize("posted", [False, True], ids=["in redis", "posted"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@_each_case
async def test_an_object_belongs_to_its_account_alone(
    gateway: Client, books: Books, upstream: Upstream, case: Case, stream: bool, posted: bool
) -> None:
    object_id = f"obj_{uuid4().hex}"
    _script(upstream, case, object_id)
    user_id = await books.add_account()
    maker, mate = await books.add_key(user_id), await books.add_key(user_id)
    stranger = await books.add_key()
    response = await _ask(gateway, case, maker, stream=stream, **case.asks)
    assert response.status_code == 200, response.text
    event = await books.the_event(maker)
    assert object_id in ((event.response_id,) if case.is_response else event.objects)
    if posted:
        await books.post_to_ledger(maker)
    upstream.requests.clear()

    refused = await _ask(gateway, case, stranger, **case.names(object_id))
    error = case.dialect.check_error(refused, 404, "not_found")
    assert case.path in error["message"]
    assert object_id in error["message"]
    if case.dialect is not MESSAGES:
        assert error["param"] == case.path
    assert upstream.requests == []
    assert (await books.the_event(stranger)).status == "refused"

    served = await _ask(gateway, case, mate, **case.names(object_id))
    assert served.status_code == 200, served.text
    (request,) = upstream.requests
    assert object_id.encode() in request.body


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.dialect.name in _COUNTING], ids=lambda case: case.name
)
async def test_token_counts_do_not_reveal_an_object(
    gateway: Client, books: Books, upstream: Upstream, case: Case
) -> None:
    path = _COUNTING[case.dialect.name]
    _script(upstream, case, "obj_1")
    body = {**case.dialect.body(), **case.names("obj_1")}

    refused = await gateway.post(path, await books.add_key(), body)

    case.dialect.check_error(refused, 404, "not_found")
    assert upstream.requests == []


async def test_an_unknown_thread_is_rejected_as_not_found(
    gateway: Client, books: Books, upstream: Upstream
) -> None:
    _script(upstream, _THREAD, "msg_1")

    refused = await _ask(gateway, _THREAD, await books.add_key(), **_THREAD.names("msg_2"))

    assert refused.json()["error"]["details"] == {"error_code": "thread_not_found"}


async def test_a_message_without_a_thread_is_not_remembered(
    gateway: Client, books: Books, upstream: Upstream
) -> None:
    _script(upstream, _THREAD, "msg_1")
    secret = await books.add_key()
    assert (await _ask(gateway, _THREAD, secret)).status_code == 200
    assert (await _ask(gateway, _THREAD, secret, thread=None)).status_code == 200
    assert {event.response_id for event in await books.events(secret)} == {None}


@pytest.mark.parametrize("case", [_THREAD, _RESPONSE], ids=lambda case: case.name)
@pytest.mark.parametrize("posted", [False, True], ids=["in redis", "posted"])
async def test_a_hold_covers_the_thread_being_continued(
    gateway: Client, books: Books, upstream: Upstream, case: Case, posted: bool
) -> None:
    """At a dollar per million input tokens, as the scripted price says."""
    object_id = f"obj_{uuid4().hex}"
    _script(upstream, case, object_id)
    secret = await books.add_key()
    await _ask(gateway, case, secret, **case.asks)
    if posted:
        await books.post_to_ledger(secret)
    fields = case.names(object_id)

    await _ask(gateway, case, secret, **fields)

    body = {**case.dialect.body(), **fields}
    tokens = -(-len(json.dumps(body)) // 3) + _USED
    event = (await books.events(secret))[-1]
    assert event.held_nusd == tokens * 1_000 + 100 * 2_000


@pytest.mark.parametrize("case", [_THREAD, _RESPONSE], ids=lambda case: case.name)
async def test_a_thread_continues_on_its_deployment(
    gateway: Client, books: Books, upstream: Upstream, case: Case
) -> None:
    """Equal deployments: chance would send half of the calls to the other one."""
    endpoints = Endpoints(upstream, case.dialect)
    for name in ("a", "b"):
        endpoints.answers(name, {**case.dialect.whole, **case.says(f"obj_{name}")})
    formats = (case.dialect.name,)
    model = await add_route(
        books, *(deployment(upstream, name, formats=formats) for name in ("a", "b"))
    )
    secret = await books.add_key()
    while len(set(endpoints.calls)) < 2:
        await _ask(gateway, case, secret, model=model, **case.asks)
    upstream.requests.clear()

    for name in "aabbaabb":
        served = await _ask(gateway, case, secret, model=model, **case.names(f"obj_{name}"))
        assert served.status_code == 200, served.text

    assert endpoints.calls == list("aabbaabb")


async def test_another_model_continues_only_at_the_same_provider(
    gateway: Client, books: Books, upstream: Upstream
) -> None:
    endpoints = Endpoints(upstream, RESPONSES)
    endpoints.answers("a", {**RESPONSES.whole, "id": "resp_1"})
    formats = ("responses",)
    first = await add_route(books, deployment(upstream, "a", formats=formats))
    same = await add_route(
        books,
        deployment(upstream, "b", formats=formats),
        deployment(upstream, "a", "openai/gpt-4o-mini", formats=formats),
    )
    other = await add_route(books, deployment(upstream, "b", formats=formats))
    await books.set_price("gpt-4o-mini", input_usd="1", output_usd="2")
    secret = await books.add_key()
    await _ask(gateway, _RESPONSE, secret, model=first)
    upstream.requests.clear()

    for _ in range(4):
        served = await _ask(gateway, _RESPONSE, secret, model=same, previous_response_id="resp_1")
        assert served.status_code == 200, served.text
    refused = await _ask(gateway, _RESPONSE, secret, model=other, previous_response_id="resp_1")

    RESPONSES.check_error(refused, 404, "not_found")
    assert endpoints.calls == ["a"] * 4


class Own(msgspec.Struct, frozen=True, kw_only=True):
    """How a request names something of the operator's; a call can make it, or it cannot."""

    dialect: Dialect
    path: str
    fields: Fields
    makeable: bool = False


OWN = (
    Own(dialect=RESPONSES, path="conversation", fields={"conversation": "own_1"}),
    Own(dialect=RESPONSES, path="conversation.id", fields={"conversation": {"id": "own_1"}}),
    Own(dialect=RESPONSES, path="prompt.id", fields={"prompt": {"id": "own_1"}}),
    Own(
        dialect=RESPONSES,
        path="tools[0].vector_store_ids[0]",
        fields={"tools": [{"type": "file_search", "vector_store_ids": ["own_1"]}]},
    ),
    Own(
        dialect=RESPONSES,
        path="tools[0].connector_id",
        fields={"tools": [{"type": "mcp", "server_label": "x", "connector_id": "own_1"}]},
    ),
    Own(
        dialect=RESPONSES,
        path="tools[0].tunnel_id",
        fields={"tools": [{"type": "mcp", "server_label": "x", "tunnel_id": "own_1"}]},
    ),
    Own(
        dialect=RESPONSES,
        path="tools[0].environment.skills[0].skill_id",
        fields={
            "tools": [
                {
                    "type": "shell",
                    "environment": {
                        "type": "container_auto",
                        "skills": [{"type": "skill_reference", "skill_id": "own_1"}],
                    },
                }
            ]
        },
    ),
    Own(
        dialect=RESPONSES,
        path="tools[0].container.file_ids[0]",
        fields={
            "tools": [
                {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["own_1"]}}
            ]
        },
        makeable=True,
    ),
    Own(
        dialect=MESSAGES,
        path="container.skills[0].skill_id",
        fields={"container": {"skills": [{"type": "custom", "skill_id": "own_1"}]}},
    ),
    Own(
        dialect=MESSAGES,
        path="messages[0].content[0].source.file_id",
        fields=_message({"type": "document", "source": {"type": "file", "file_id": "own_1"}}),
        makeable=True,
    ),
    Own(
        dialect=CHAT,
        path="messages[0].content[0].file.file_id",
        fields=_message({"type": "file", "file": {"file_id": "own_1"}}),
        makeable=True,
    ),
    Own(
        dialect=CHAT,
        path="audio.voice.id",
        fields={"audio": {"voice": {"id": "own_1"}, "format": "wav"}},
    ),
)
_each_own = pytest.mark.parametrize("own", OWN, ids=lambda own: f"{own.dialect.name} {own.path}")


async def _send(gateway: Client, own: Own, secret: str, **fields: Any) -> Any:
    body = {**own.dialect.body(), **own.fields, **fields}
    return await gateway.post(own.dialect.path, secret, body)


@_each_own
async def test_operator_objects_need_a_grant(
    gateway: Client, books: Books, upstream: Upstream, own: Own
) -> None:
    own.dialect.served_by(upstream, stream=False)
    secret = await books.add_key(provider_objects=("own_2", "*_own_1"))

    refused = await _send(gateway, own, secret)

    status, code = (404, "not_found") if own.makeable else (403, "provider_object_not_allowed")
    if own.dialect is not MESSAGES and not own.makeable:
        status = 400
    error = own.dialect.check_error(refused, status, code)
    assert own.path in error["message"]
    assert "provider_objects" in error["message"]
    assert upstream.requests == []
    assert (await books.the_event(secret)).error_code == code
    if not own.makeable:
        assert refused.headers["x-should-retry"] == "false"


@_each_own
async def test_a_grant_of_account_key_or_route_is_enough(
    gateway: Client, books: Books, upstream: Upstream, own: Own
) -> None:
    endpoints = Endpoints(upstream, own.dialect)
    by_account = await books.add_key(await books.add_account(provider_objects=("own_1",)))
    by_key = await books.add_key(provider_objects=("other", "own_*"))
    plain = await books.add_key()
    one = deployment(upstream, "a", formats=(own.dialect.name,))
    closed = await add_route(books, one)
    opened = await add_route(books, one, provider_objects=("own_?",))

    for secret, model in ((by_account, closed), (by_key, closed), (plain, opened)):
        served = await _send(gateway, own, secret, model=model)
        assert served.status_code == 200, served.text
    refused = await _send(gateway, own, plain, model=closed)

    assert refused.status_code in (400, 403, 404)
    assert endpoints.calls == ["a"] * 3


async def test_a_grant_and_its_removal_take_effect_at_once(
    gateway: Client, books: Books, upstream: Upstream
) -> None:
    own = OWN[0]
    own.dialect.served_by(upstream, stream=False)
    user_id = await books.add_account()
    secret = await books.add_key(user_id)
    assert (await _send(gateway, own, secret)).status_code == 400

    for grants, status in ((["own_1"], 200), ([], 400)):
        change = {"$set": {"provider_objects": grants}}
        await books.database["accounts"].update_one({"_id": user_id}, change)
        await publish(books.redis, Invalidation(kind="account", id=user_id))

        async def answered(expected: int = status) -> bool:
            return bool((await _send(gateway, own, secret)).status_code == expected)

        await eventually(answered)


async def test_a_routes_grant_takes_effect_at_once(
    gateway: Client, books: Books, upstream: Upstream
) -> None:
    own = OWN[0]
    Endpoints(upstream, own.dialect)
    model = await add_route(books, deployment(upstream, "a", formats=("responses",)))
    secret = await books.add_key()
    assert (await _send(gateway, own, secret, model=model)).status_code == 400

    change = {"$set": {"provider_objects": ["own_1"]}}
    await books.database["routes"].update_one({"_id": model}, change)
    await announce(books, model)

    async def is_served() -> bool:
        return bool((await _send(gateway, own, secret, model=model)).status_code == 200)

    await eventually(is_served)


async def test_grants_do_not_reach_threads_of_other_accounts(
    gateway: Client, books: Books, upstream: Upstream
) -> None:
    _script(upstream, _RESPONSE, "resp_of_a")
    await _ask(gateway, _RESPONSE, await books.add_key())
    upstream.requests.clear()
    other = await books.add_key(provider_objects=("*",))

    refused = await _ask(gateway, _RESPONSE, other, previous_response_id="resp_of_a")

    RESPONSES.check_error(refused, 404, "not_found")
    assert upstream.requests == []


async def test_a_granted_object_does_not_become_the_accounts_own(
    gateway: Client, books: Books, upstream: Upstream
) -> None:
    """The answer says which container the call ran in, and that was the operator's."""
    container = next(case for case in CASES if case.name == "container")
    _script(upstream, container, "container_of_operator")
    user_id = await books.add_account()
    granted = await books.add_key(user_id, provider_objects=("container_of_operator",))
    fields = container.names("container_of_operator")

    assert (await _ask(gateway, container, granted, **fields)).status_code == 200
    plain = await books.add_key(user_id)
    refused = await _ask(gateway, container, plain, **fields)

    assert (await books.events(granted))[0].objects == ()
    MESSAGES.check_error(refused, 404, "not_found")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_estimate_covers_the_thread_being_continued(
    gateway: Client, books: Books, upstream: Upstream, stream: bool
) -> None:
    object_id = f"resp_{uuid4().hex}"
    _script(upstream, _RESPONSE, object_id)
    secret = await books.add_key()
    await _ask(gateway, _RESPONSE, secret)
    unreported = {name: value for name, value in RESPONSES.whole.items() if name != "usage"}
    if stream:
        upstream.streams(RESPONSES.frames[:2])
    else:
        upstream.answers(json.dumps(unreported).encode())

    for fields in ({"previous_response_id": object_id}, {"user": object_id}):
        body = {**RESPONSES.body(stream=stream), **fields}
        await gateway.post(RESPONSES.path, secret, body)

    _, goes_on, begins = await books.events(secret)
    assert goes_on.usage_source == begins.usage_source == "estimated"
    assert goes_on.usage is not None
    assert begins.usage is not None
    assert goes_on.usage.input_text is not None
    assert begins.usage.input_text is not None
    # The names of the two fields have a few tokens more or less.
    assert abs(goes_on.usage.input_text - begins.usage.input_text - _USED) < 5


async def test_dropped_fields_of_a_translation_are_not_looked_up(
    gateway: Client, books: Books, upstream: Upstream
) -> None:
    """Hints to a provider, and items whose content only their own provider has."""
    upstream.answers(CHAT.answer)
    model = await add_route(books, deployment(upstream, "m", formats=("chat",)))
    secret = await books.add_key()

    for dialect, fields in (
        (MESSAGES, {"diagnostics": {"previous_message_id": "msg_of_a_translation"}}),
        (RESPONSES, {"prompt_cache_options": {"comparison_response_id": "resp_of_a_translation"}}),
    ):
        body = {**dialect.body(), "model": model, **fields}
        served = await gateway.post(dialect.path, secret, body)
        assert served.status_code == 200, served.text


async def test_a_translated_call_cannot_name_objects(
    gateway: Client, books: Books, upstream: Upstream
) -> None:
    upstream.answers(CHAT.answer)
    model = await add_route(books, deployment(upstream, "m", OTHER_MODEL))
    secret = await books.add_key()

    for case in CASES:
        fields = case.names("obj_1")
        if set(fields) <= {"diagnostics"} or case.name == "reasoning":
            continue
        refused = await _ask(gateway, case, secret, model=model, **fields)
        assert refused.status_code in (400, 404), (case.name, refused.text)
    assert upstream.requests == []


async def test_an_untranslatable_thread_is_rejected_as_unsupported(
    gateway: Client, books: Books, upstream: Upstream
) -> None:
    upstream.answers(CHAT.answer)
    model = await add_route(books, deployment(upstream, "m", OTHER_MODEL))

    refused = await _ask(
        gateway, _THREAD, await books.add_key(), model=model, thread={"type": "create"}
    )

    MESSAGES.check_error(refused, 400, "unsupported_field")
    details = refused.json()["error"]["details"]
    assert details == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}


async def test_names_chosen_by_the_client_pass(
    gateway: Client, books: Books, upstream: Upstream
) -> None:
    """Tools of clients have parameters of such names, and people write about them."""
    secret = await books.add_key()
    schema = {"type": "object", "properties": {"file_id": {"type": "string", "enum": ["f"]}}}
    for dialect, fields in (
        (
            MESSAGES,
            {
                "tools": [{"name": "f", "input_schema": {**schema, "default": {"file_id": "f"}}}],
                "container": {"skills": [{"type": "anthropic", "skill_id": "pptx"}]},
                "messages": [
                    {"role": "user", "content": 'What is a "file_id"?'},
                    {
                        "role": "assistant",
                        "content": [
                            {"type": "tool_use", "id": "t", "name": "f", "input": {"file_id": "f"}}
                        ],
                    },
                ],
                "metadata": {"user_id": "u"},
            },
        ),
        (
            CHAT,
            {
                "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
                "metadata": {"file_id": "f"},
            },
        ),
        (
            RESPONSES,
            {
                "tools": [{"type": "function", "name": "f", "parameters": schema}],
                "metadata": {"container": "c", "id": "i"},
                "input": [
                    {
                        "type": "message",
                        "id": "msg_1",
                        "role": "assistant",
                        "content": [
                            {
                                "type": "output_text",
                                "text": "x",
                                "annotations": [{"type": "file_citation", "file_id": "f"}],
                            }
                        ],
                    }
                ],
            },
        ),
    ):
        dialect.served_by(upstream, stream=False)
        served = await gateway.post(dialect.path, secret, {**dialect.body(), **fields})
        assert served.status_code == 200, served.text
